//! What the stores of this crate have in common, and one that has nothing.

use zhost_exchange::{Entries, Store, StoreError, Write};

/// Gathers what [`Store::range`] gives.
pub(crate) struct Range<'a> {
    to: Option<&'a [u8]>,
    room: usize,
    entries: Entries,
}

impl<'a> Range<'a> {
    pub fn new(to: Option<&'a [u8]>, size_bytes: usize) -> Self {
        Self { to, room: size_bytes, entries: Entries::new() }
    }

    /// Takes an entry; `false` if it lies behind the range, or there is no room for it.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> bool {
        let size = key.len() + value.len();
        let is_within = self.to.is_none_or(|to| key < to);
        if !is_within || (size > self.room && !self.entries.is_empty()) {
            return false;
        }
        self.room = self.room.saturating_sub(size);
        self.entries.push((key.to_vec(), value.to_vec()));
        true
    }

    /// What was gathered; `next` is the key of the entry that was not taken.
    pub fn end(self, next: Option<&[u8]>) -> (Entries, Option<Vec<u8>>) {
        let next = next.filter(|next| self.to.is_none_or(|to| *next < to)).map(<[u8]>::to_vec);
        (self.entries, next)
    }
}

/// The store of a guest that never runs.
pub(crate) struct NoStore;

impl NoStore {
    fn refusal<T>() -> Result<T, StoreError> {
        Err(StoreError::Failed("there is none".into()))
    }
}

impl Store for NoStore {
    fn get(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Self::refusal()
    }

    fn scan(&self, _: &str, _: &[u8], _: usize) -> Result<Entries, StoreError> {
        Self::refusal()
    }

    fn keys(&self, _: &str, _: &[u8], _: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        Self::refusal()
    }

    fn range(
        &self,
        _: &str,
        _: &[u8],
        _: Option<&[u8]>,
        _: usize,
    ) -> Result<(Entries, Option<Vec<u8>>), StoreError> {
        Self::refusal()
    }

    fn usage(&self, _: &str) -> Result<u64, StoreError> {
        Self::refusal()
    }

    fn drop_tables(&self, _: &str) -> Result<(), StoreError> {
        Self::refusal()
    }

    fn commit(&self, _: &[Write]) -> Result<(), StoreError> {
        Self::refusal()
    }
}
