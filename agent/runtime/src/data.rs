//! The keys and values of one space. What a call writes becomes visible to itself at once, and durable as a whole when
//! the call ends or waits; until then nothing that the call sent leaves the zhost.

use crate::budget;
use litemap::LiteMap;
use std::sync::Arc;
use zhost_base::SpaceKey;
use zhost_exchange::{Changes, Refusal, Store, StoreError, Write, table};

/// The data of a space.
pub(crate) struct Data {
    store: Arc<dyn Store>,
    table: String,
    quota_bytes: u64,
    /// Bytes of keys and values, with what is written and not yet durable.
    used_bytes: u64,
    changes: Changes,
}

/// Takes the next length and as many bytes from an encoded batch.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

impl Data {
    /// The data that a space finds; one that may not write needs no account of how much it is.
    pub fn open(
        store: Arc<dyn Store>,
        key: &SpaceKey,
        quota_bytes: u32,
        writes: bool,
    ) -> Result<Self, StoreError> {
        let table = table::data(key);
        let used_bytes = if writes { store.usage(&table)? } else { 0 };
        Ok(Self { store, table, quota_bytes: u64::from(quota_bytes), used_bytes, changes: Changes::new() })
    }

    /// Bytes of keys and values.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Whether something is written and not yet durable.
    pub fn is_dirty(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Takes what is to be made durable.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Makes changes durable.
    pub fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        let write = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| Write {
            table: self.table.clone(),
            key: key.clone(),
            value: value.clone(),
        };
        self.store.commit(&changes.iter().map(write).collect::<Vec<_>>())
    }

    pub fn get(&self, key: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.current(key)?.ok_or(Refusal::NotFound)
    }

    fn current(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(&self.table, key).map_err(|_| Refusal::Failed),
        }
    }

    pub fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Refusal> {
        self.write_all(vec![(key, value)])
    }

    /// Writes all of it or, with a refusal, nothing.
    fn write_all(&mut self, writes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Refusal> {
        let mut used = self.used_bytes;
        let mut fresh = 0;
        for (key, value) in &writes {
            let value_size = value.as_ref().map_or(0, Vec::len);
            if key.is_empty()
                || key.len() > budget::DATA_KEY_MAX_BYTES
                || value_size > budget::DATA_VALUE_MAX_BYTES
            {
                return Err(Refusal::TooLarge);
            }
            fresh += usize::from(!self.changes.contains_key(key));
            let old = self.current(key)?.map_or(0, |old| key.len() + old.len());
            let new = value.as_ref().map_or(0, |value| key.len() + value.len());
            used = used.saturating_sub(old as u64) + new as u64;
        }
        let bytes =
            |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        let written: usize = self.changes.iter().map(bytes).sum();
        let more: usize = writes.iter().map(|(key, value)| bytes((key, value))).sum();
        if self.changes.len() + fresh > budget::DATA_WRITES_PER_CALL_MAX
            || written + more > budget::DATA_BYTES_PER_CALL_MAX
        {
            return Err(Refusal::TryAgain);
        }
        if used > self.quota_bytes && used > self.used_bytes {
            return Err(Refusal::Full);
        }
        self.used_bytes = used;
        self.changes.extend(writes);
        Ok(())
    }

    /// Writes a batch, all or nothing: of each write the length of the key (`u16`, little-endian), the key, the length
    /// of the value (`u32`; all ones to delete the key), the value. No key may stand twice.
    pub fn write_batch(&mut self, mut batch: &[u8]) -> Result<(), Refusal> {
        let mut writes = Changes::new();
        while !batch.is_empty() {
            let (key, value) = read_write(&mut batch).ok_or(Refusal::Failed)?;
            if writes.insert(key, value).is_some() {
                return Err(Refusal::Failed);
            }
        }
        self.write_all(writes.into_iter().collect())
    }

    /// Keys starting with `prefix`, each behind its length in two little-endian bytes, as many as
    /// fit `room`.
    pub fn list(&self, prefix: &[u8], room: usize) -> Result<Vec<u8>, Refusal> {
        let stored =
            self.store.keys(&self.table, prefix, budget::DATA_LIST_MAX_KEYS).map_err(|_| Refusal::Failed)?;
        let mut keys: LiteMap<&[u8], bool> = stored.iter().map(|key| (key.as_slice(), true)).collect();
        let written = self.changes.iter().filter(|(key, _)| key.starts_with(prefix));
        keys.extend(written.map(|(key, value)| (key.as_slice(), value.is_some())));
        let mut list = Vec::new();
        for (key, _) in keys.iter().filter(|(_, present)| **present) {
            if list.len() + 2 + key.len() > room {
                break;
            }
            list.extend_from_slice(&(key.len() as u16).to_le_bytes());
            list.extend_from_slice(key);
        }
        Ok(list)
    }
}

fn read_write(batch: &mut &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let key_size = u16::from_le_bytes(take(batch, 2)?.try_into().ok()?);
    let key = take(batch, usize::from(key_size))?.to_vec();
    let value_size = u32::from_le_bytes(take(batch, 4)?.try_into().ok()?);
    let value = match value_size {
        u32::MAX => None,
        size => Some(take(batch, size as usize)?.to_vec()),
    };
    Some((key, value))
}
