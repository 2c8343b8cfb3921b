//! Keys and values on the zhost's flash. Reading needs `data.read`, writing `data.write`.

use crate::{Refusal, imports, outcome};

/// The value of a key, in `buffer`.
pub fn get<'a>(key: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let size = outcome(imports::get(key.as_ptr(), key.len(), buffer.as_mut_ptr(), buffer.len()))?;
    buffer.get(..size).ok_or(Refusal::Failed)
}

/// Sets a key; durable when this call of `process` has ended.
pub fn put(key: &str, value: &[u8]) -> Result<(), Refusal> {
    outcome(imports::put(key.as_ptr(), key.len(), value.as_ptr(), value.len())).map(drop)
}

/// Deletes a key; likewise.
pub fn delete(key: &str) -> Result<(), Refusal> {
    outcome(imports::delete(key.as_ptr(), key.len())).map(drop)
}

/// The keys that start with `prefix`, in `buffer`: each behind its length in two little-endian bytes.
pub fn list<'a>(prefix: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let size = outcome(imports::list(prefix.as_ptr(), prefix.len(), buffer.as_mut_ptr(), buffer.len()))?;
    buffer.get(..size).ok_or(Refusal::Failed)
}

/// Waits until all that was written is durable.
pub fn sync() -> Result<(), Refusal> {
    outcome(imports::sync()).map(drop)
}

/// Writes a batch, all or nothing: of each write the key's length (`u16`, little-endian), the key, the value's length
/// (`u32`; all ones to delete the key), the value.
pub fn batch(writes: &[u8]) -> Result<(), Refusal> {
    outcome(imports::batch(writes.as_ptr(), writes.len())).map(drop)
}
