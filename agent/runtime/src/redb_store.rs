//! The store on flash: redb over any backend, a file on a board, a tearing disk in the simulator.

use crate::store::{Entries, Range, Store, StoreError, Write};
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableDefinition, TableError, TableHandle};
use std::sync::{Mutex, PoisonError};

/// redb's page cache; its default of 1 GiB is more than a board has.
const CACHE_SIZE_BYTES: usize = 512 * 1024;

/// Opens the backend; called again after a failure, since redb gives up on a database that had one.
type Opener<B> = Box<dyn Fn() -> Result<B, std::io::Error> + Send + Sync>;

/// A store on redb.
pub struct RedbStore<B: StorageBackend> {
    open: Opener<B>,
    database: Mutex<Option<Database>>,
}

fn definition(table: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(table)
}

impl<B: StorageBackend> RedbStore<B> {
    /// Opens the store, repairing it if it was not closed.
    pub fn open(
        open: impl Fn() -> Result<B, std::io::Error> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let store = Self { open: Box::new(open), database: Mutex::new(None) };
        store.with(|_| Ok(()))?;
        Ok(store)
    }

    /// Runs `act` on the database; after an error the database is opened afresh for the next call.
    fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let backend = (self.open)().map_err(|e| io_error(&e))?;
            let database = Builder::new().set_cache_size(CACHE_SIZE_BYTES).create_with_backend(backend);
            *slot = Some(database.map_err(|e| store_error(e.into()))?);
        }
        let Some(database) = slot.as_ref() else { return Err(StoreError::Failed("not open".into())) };
        act(database).map_err(|error| {
            *slot = None;
            store_error(error)
        })
    }
}

impl<B: StorageBackend> RedbStore<B> {
    /// What `take` makes of the first `limit` entries whose keys start with `prefix`.
    fn walk<T>(
        &self,
        table: &str,
        prefix: &[u8],
        limit: usize,
        take: impl Fn(&[u8], &[u8]) -> T,
    ) -> Result<Vec<T>, StoreError> {
        self.with(|database| {
            let read = database.begin_read()?;
            let table = match read.open_table(definition(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut taken = Vec::new();
            for entry in table.range::<&[u8]>(prefix..)?.take(limit) {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                taken.push(take(key.value(), value.value()));
            }
            Ok(taken)
        })
    }
}

fn io_error(error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Failed(error.to_string()),
    }
}

fn store_error(error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) => io_error(&error),
        other => StoreError::Failed(other.to_string()),
    }
}

impl<B: StorageBackend> Store for RedbStore<B> {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|database| {
            let read = database.begin_read()?;
            match read.open_table(definition(table)) {
                Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn scan(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Entries, StoreError> {
        self.walk(table, prefix, limit, |key, value| (key.to_vec(), value.to_vec()))
    }

    fn keys(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.walk(table, prefix, limit, |key, _| key.to_vec())
    }

    fn range(
        &self,
        table: &str,
        from: &[u8],
        to: Option<&[u8]>,
        size_bytes: usize,
    ) -> Result<(Entries, Option<Vec<u8>>), StoreError> {
        self.with(|database| {
            let mut range = Range::new(to, size_bytes);
            let read = database.begin_read()?;
            let table = match read.open_table(definition(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(range.end(None)),
                Err(error) => return Err(error.into()),
            };
            for entry in table.range::<&[u8]>(from..)? {
                let (key, value) = entry?;
                if !range.take(key.value(), value.value()) {
                    return Ok(range.end(Some(key.value())));
                }
            }
            Ok(range.end(None))
        })
    }

    fn usage(&self, table: &str) -> Result<u64, StoreError> {
        let sizes = self.walk(table, b"", usize::MAX, |key, value| (key.len() + value.len()) as u64)?;
        Ok(sizes.into_iter().sum())
    }

    fn drop_tables(&self, prefix: &str) -> Result<(), StoreError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            let tables = transaction.list_tables()?.map(|table| table.name().to_owned());
            for table in tables.filter(|table| table.starts_with(prefix)).collect::<Vec<_>>() {
                transaction.delete_table(definition(&table))?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            let mut rest = writes;
            while let Some(first) = rest.first() {
                let same = rest.iter().take_while(|write| write.table == first.table).count();
                let mut table = transaction.open_table(definition(&first.table))?;
                for Write { key, value, .. } in &rest[..same] {
                    match value {
                        Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                        None => table.remove(key.as_slice())?,
                    };
                }
                rest = &rest[same..];
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn what_is_committed_can_be_read_and_scanned() {
        let store = RedbStore::open(|| Ok(InMemoryBackend::new())).unwrap();
        let write = |key: &str, value: Option<&str>| Write {
            table: "t".into(),
            key: key.into(),
            value: value.map(Into::into),
        };
        assert_eq!(store.get("t", b"a1").unwrap(), None);
        store.commit(&[write("a1", Some("x")), write("a2", Some("y")), write("b", Some("z"))]).unwrap();
        store.commit(&[write("a1", None)]).unwrap();
        assert_eq!(store.scan("t", b"a", 10).unwrap(), vec![(b"a2".to_vec(), b"y".to_vec())]);
        assert_eq!(store.scan("t", b"", 1).unwrap().len(), 1);
        assert_eq!(store.scan("none", b"", 1).unwrap().len(), 0);
    }

    #[test]
    fn dropped_tables_are_gone_and_others_stay() {
        let store = RedbStore::open(|| Ok(InMemoryBackend::new())).unwrap();
        let write = |table: &str| Write { table: table.into(), key: vec![1], value: Some(vec![2]) };
        store.commit(&[write("data/a/x"), write("data/a/y"), write("data/ab/x")]).unwrap();
        store.drop_tables("data/a/").unwrap();
        let is_there = |table: &str| store.get(table, &[1]).unwrap().is_some();
        assert_eq!(["data/a/x", "data/a/y", "data/ab/x"].map(is_there), [false, false, true]);
        store.drop_tables("data/a/").unwrap();
    }

    #[test]
    fn a_backend_that_cannot_be_opened_is_an_error_not_a_panic() {
        let full = || Err::<InMemoryBackend, _>(std::io::ErrorKind::StorageFull.into());
        assert_eq!(RedbStore::open(full).err(), Some(StoreError::Full));
    }
}
