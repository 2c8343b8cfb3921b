//! A store in memory, for tests that need none that survives.

use crate::store::{Entries, Store, StoreError, Write};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// A store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<(String, Vec<u8>), Vec<u8>>>);

impl Store for MemoryStore {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.get(&(table.to_owned(), key.to_vec())).cloned())
    }

    fn scan(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Entries, StoreError> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (table.to_owned(), prefix.to_vec());
        let entries =
            tables.range(from..).take_while(|((name, key), _)| name == table && key.starts_with(prefix));
        Ok(entries.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Write { table, key, value } in writes {
            let key = (table.clone(), key.clone());
            match value {
                Some(value) => tables.insert(key, value.clone()),
                None => tables.remove(&key),
            };
        }
        Ok(())
    }
}
