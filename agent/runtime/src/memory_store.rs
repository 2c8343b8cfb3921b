//! A store in memory, for tests that need none that survives.

use crate::store::Range;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use zhost_exchange::{Entries, Store, StoreError, Write};

#[derive(Debug, Default)]
struct Table(BTreeMap<Vec<u8>, Vec<u8>>);

/// A store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<String, Table>>);

impl Store for MemoryStore {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.get(table).and_then(|table| table.0.get(key).cloned()))
    }

    fn scan(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Entries, StoreError> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = tables.get(table).into_iter().flat_map(|table| table.0.range(prefix.to_vec()..));
        let entries = entries.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(entries.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn keys(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.scan(table, prefix, limit)?.into_iter().map(|(key, _)| key).collect())
    }

    fn range(
        &self,
        table: &str,
        from: &[u8],
        to: Option<&[u8]>,
        size_bytes: usize,
    ) -> Result<(Entries, Option<Vec<u8>>), StoreError> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = tables.get(table).into_iter().flat_map(|table| table.0.range(from.to_vec()..));
        let mut range = Range::new(to, size_bytes);
        let next = entries.into_iter().find(|(key, value)| !range.take(key, value));
        Ok(range.end(next.map(|(key, _)| key.as_slice())))
    }

    fn usage(&self, table: &str) -> Result<u64, StoreError> {
        Ok(self
            .scan(table, b"", usize::MAX)?
            .iter()
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum())
    }

    fn drop_tables(&self, prefix: &str) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|name, _| !name.starts_with(prefix));
        Ok(())
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Write { table, key, value } in writes {
            let table = tables.entry(table.clone()).or_default();
            match value {
                Some(value) => table.0.insert(key.clone(), value.clone()),
                None => table.0.remove(key),
            };
        }
        Ok(())
    }
}
