//! Messages along declared paths.

use crate::{Refusal, imports, outcome};

/// Sends a message along an outgoing path. [`Refusal::TryAgain`] when the target's mailbox is full or it is not
/// running.
pub fn emit_to(path: &str, message: &[u8]) -> Result<(), Refusal> {
    outcome(imports::emit_to(path.as_ptr(), path.len(), message.as_ptr(), message.len())).map(drop)
}

/// Takes the next message out of the mailbox into `buffer`; [`Refusal::NotFound`] when there is none.
pub fn recv_next(buffer: &mut [u8]) -> Result<&[u8], Refusal> {
    let size = outcome(imports::recv_next(buffer.as_mut_ptr(), buffer.len()))?;
    buffer.get(..size).ok_or(Refusal::Failed)
}

/// The name of the path along which the last message came.
pub fn recv_path(buffer: &mut [u8]) -> Result<&str, Refusal> {
    let size = outcome(imports::recv_path(buffer.as_mut_ptr(), buffer.len()))?;
    let bytes = buffer.get(..size).ok_or(Refusal::Failed)?;
    core::str::from_utf8(bytes).map_err(|_| Refusal::Failed)
}

/// Messages of one path that were accepted and did not arrive, or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered<'a> {
    /// The path.
    pub path: &'a str,
    /// How many certainly did not arrive.
    pub lost: u32,
    /// Of how many nobody knows: the target died holding them.
    pub unknown: u32,
}

/// Takes the next notice of undelivered messages; [`Refusal::NotFound`] when there is none.
pub fn undelivered(buffer: &mut [u8]) -> Result<Undelivered<'_>, Refusal> {
    let size = outcome(imports::undelivered(buffer.as_mut_ptr(), buffer.len()))?;
    let notice = buffer.get(..size).ok_or(Refusal::Failed)?;
    let (lost, rest) = notice.split_first_chunk().ok_or(Refusal::Failed)?;
    let (unknown, path) = rest.split_first_chunk().ok_or(Refusal::Failed)?;
    let path = core::str::from_utf8(path).map_err(|_| Refusal::Failed)?;
    Ok(Undelivered { path, lost: u32::from_le_bytes(*lost), unknown: u32::from_le_bytes(*unknown) })
}
