//! The store on flash: redb over any backend, a file on a board, a tearing disk in the simulator.

use crate::store::Range;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableDefinition, TableError, TableHandle};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};
use zhost_exchange::{Entries, Store, StoreError, Write};

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
            *slot = Some(create(backend)?);
        }
        let Some(database) = slot.as_ref() else { return Err(StoreError::Failed("not open".into())) };
        let outcome = catch_unwind(AssertUnwindSafe(|| act(database)));
        outcome
            .map_or_else(|_| Err(panicked()), |result| result.map_err(store_error))
            .inspect_err(|_| close(&mut slot))
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

/// Opens what the backend holds, or makes it a store if it is empty.
fn create(backend: impl StorageBackend) -> Result<Database, StoreError> {
    let create = || Builder::new().set_cache_size(CACHE_SIZE_BYTES).create_with_backend(backend);
    // What flipped bits say must not end the agent, whatever redb makes of them.
    match catch_unwind(AssertUnwindSafe(create)) {
        Ok(database) => database.map_err(|e| store_error(e.into())),
        Err(_) => Err(panicked()),
    }
}

/// Closes the database, which may write once more, and come upon damage then.
fn close(slot: &mut Option<Database>) {
    let open = slot.take();
    // There is nothing left to do with one that cannot even be closed.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
}

impl<B: StorageBackend> Drop for RedbStore<B> {
    fn drop(&mut self) {
        close(self.database.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What redb makes of flipped bits that it does not expect.
fn panicked() -> StoreError {
    StoreError::Damaged("reading it panicked".into())
}

fn io_error(error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        // It ends before it should, or says what cannot be.
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

fn store_error(error: redb::Error) -> StoreError {
    use redb::Error;
    match error {
        Error::Io(error) => io_error(&error),
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreError::InUse,
        // Our tables are all of one type, so another type is no table of ours.
        Error::Corrupted(_)
        | Error::RepairAborted
        | Error::UpgradeRequired(_)
        | Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TypeDefinitionChanged { .. } => StoreError::Damaged(error.to_string()),
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

    /// A store in memory whose bytes a test may damage between two openings.
    #[derive(Clone, Debug, Default)]
    struct Bytes(std::sync::Arc<Mutex<Vec<u8>>>);

    impl StorageBackend for Bytes {
        fn len(&self) -> std::io::Result<u64> {
            Ok(self.0.lock().unwrap().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            let (bytes, from) = (self.0.lock().unwrap(), offset as usize);
            out.copy_from_slice(bytes.get(from..from + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.lock().unwrap().resize(len as usize, 0);
            Ok(())
        }

        fn sync_data(&self) -> std::io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            let from = offset as usize;
            self.0.lock().unwrap()[from..from + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    /// Opens the bytes, reads all there is, and writes: what came of it.
    fn use_all(bytes: Vec<u8>) -> Result<(), StoreError> {
        let bytes = Bytes(std::sync::Arc::new(Mutex::new(bytes)));
        let store = RedbStore::open(move || Ok(bytes.clone()))?;
        store.scan("meta", b"", usize::MAX)?;
        store.scan("ledger", b"", usize::MAX)?;
        store.commit(&[Write { table: "meta".into(), key: vec![0], value: Some(vec![1]) }])
    }

    /// The bytes of a store with some hundred entries, as a kill leaves them or as an orderly end does.
    fn good_bytes(is_closed: bool) -> Vec<u8> {
        let bytes = Bytes::default();
        let shared = bytes.clone();
        let store = RedbStore::open(move || Ok(shared.clone())).unwrap();
        for index in 0..100_u8 {
            let write = |table: &str| Write {
                table: table.into(),
                key: vec![index],
                value: Some(vec![index; 20 * usize::from(index)]),
            };
            store.commit(&[write("meta"), write("ledger")]).unwrap();
        }
        let as_killed = bytes.0.lock().unwrap().clone();
        drop(store);
        let as_closed = bytes.0.lock().unwrap().clone();
        if is_closed { as_closed } else { as_killed }
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_store_and_never_a_panic() {
        let hush = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let mut rng = zhost_base::Rng::from_number(8);
        let (mut damaged, mut others) = (0, Vec::new());
        for round in 0..300 {
            let mut bytes = good_bytes(round % 2 == 0);
            let size = bytes.len() as u64;
            match round % 3 {
                0 => bytes.truncate(1 + rng.below(size) as usize),
                1 => {
                    for _ in 0..1 + rng.below(20) {
                        bytes[rng.below(size) as usize] ^= 1 << rng.below(8);
                    }
                }
                _ => {
                    let from = rng.below(size) as usize / 4096 * 4096;
                    let to = (from + 4096 * (1 + rng.below(4) as usize)).min(bytes.len());
                    bytes[from..to].fill(0);
                }
            }
            match use_all(bytes) {
                Ok(()) => {}
                Err(StoreError::Damaged(_)) => damaged += 1,
                Err(other) => others.push((round, other)),
            }
        }
        std::panic::set_hook(hush);
        assert_eq!(others, [], "what damage is taken for");
        assert!(damaged > 20, "only {damaged} of 300 were found to be damaged");
        assert!(matches!(use_all(b"a note to myself".to_vec()), Err(StoreError::Damaged(_))));
        assert_eq!(use_all(Vec::new()), Ok(()), "an empty file becomes an empty store");
    }

    #[test]
    fn a_backend_that_cannot_be_opened_is_an_error_not_a_panic() {
        let full = || Err::<InMemoryBackend, _>(std::io::ErrorKind::StorageFull.into());
        assert_eq!(RedbStore::open(full).err(), Some(StoreError::Full));
    }
}
