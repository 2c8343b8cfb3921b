//! A disk that forgets what was not synced, tears what was being written when the power went, and fills up.

use redb::StorageBackend;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use zhost_base::Rng;

#[derive(Debug, Default)]
struct State {
    /// What reads see.
    current: Vec<u8>,
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    /// After so many more operations every one fails: the power is going.
    dies_after: Option<u32>,
    /// No room for more than is there.
    full: bool,
}

/// A disk, shared between the store that uses it and the world that cuts its power.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the power go after so many more operations.
    pub fn die_after(&self, operations: u32) {
        self.state().dies_after = Some(operations);
    }

    /// Takes all free room, or gives it back.
    pub fn fill(&self, full: bool) {
        self.state().full = full;
    }

    /// What is on the disk for certain.
    pub fn snapshot(&self) -> Vec<u8> {
        self.state().durable.clone()
    }

    /// Puts an earlier content back: the disk of a board that was restored from a backup.
    pub fn restore(&self, snapshot: Vec<u8>) {
        let mut state = self.state();
        state.pending.clear();
        state.current.clone_from(&snapshot);
        state.durable = snapshot;
    }

    /// Power cut: of what was not synced, any part may have reached the disk. Afterwards it works again.
    pub fn cut_power(&self, rng: &mut Rng) {
        let mut state = self.state();
        for (offset, bytes) in std::mem::take(&mut state.pending) {
            if rng.chance(500) {
                apply(&mut state.durable, offset, &bytes);
            }
        }
        state.current = state.durable.clone();
        state.dies_after = None;
    }
}

fn apply(disk: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if disk.len() < offset + bytes.len() {
        disk.resize(offset + bytes.len(), 0);
    }
    disk[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl State {
    fn check_room(&self, len: usize) -> io::Result<()> {
        if self.full && len > self.current.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn operate(&mut self) -> io::Result<()> {
        match &mut self.dies_after {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let range = offset as usize..offset as usize + out.len();
        out.copy_from_slice(state.current.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.check_room(len as usize)?;
        state.current.resize(len as usize, 0);
        state.durable.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        for (offset, bytes) in std::mem::take(&mut state.pending) {
            apply(&mut state.durable, offset, &bytes);
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let offset = offset as usize;
        state.check_room(offset + bytes.len())?;
        apply(&mut state.current, offset, bytes);
        state.pending.push((offset, bytes.to_vec()));
        Ok(())
    }
}
