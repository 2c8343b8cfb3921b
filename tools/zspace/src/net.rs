//! Messages along declared paths.

use crate::{Refusal, imports, outcome, proc::Pid};

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

/// What sort of mail the last message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Along a path.
    Path,
    /// To oneself.
    Own,
    /// To the pid.
    Direct,
    /// A call, to be replied to.
    Call,
    /// A linked space ended; the content is the reason.
    Exit,
    /// A monitored space ended; the content is the reason.
    Down,
    /// A monitored zhost died; the content is its name.
    ZhostDown,
    /// A global name is lost; the content is the name.
    NameLost,
    /// A reading of a subscribed sensor.
    Reading,
    /// Something was recognised.
    Event,
}

/// What sort of mail the last message was.
pub fn recv_kind() -> Option<Kind> {
    Some(match imports::recv_kind() {
        0 => Kind::Path,
        1 => Kind::Own,
        2 => Kind::Direct,
        3 => Kind::Call,
        4 => Kind::Exit,
        5 => Kind::Down,
        6 => Kind::ZhostDown,
        7 => Kind::NameLost,
        8 => Kind::Reading,
        9 => Kind::Event,
        _ => return None,
    })
}

/// Whom the last message came from, or tells of.
pub fn sender() -> Result<Pid, Refusal> {
    let mut pid = Pid::default();
    outcome(imports::sender(pid.0.as_mut_ptr()))?;
    Ok(pid)
}

/// Calls the space at the end of a path and waits for its reply.
pub fn call<'a>(
    path: &str,
    message: &[u8],
    within_ms: u32,
    reply: &'a mut [u8],
) -> Result<&'a [u8], Refusal> {
    let (message, size) = (message.as_ptr(), message.len());
    let (place, room) = (reply.as_mut_ptr(), reply.len());
    let size = outcome(imports::call(path.as_ptr(), path.len(), message, size, within_ms, place, room))?;
    reply.get(..size).ok_or(Refusal::Failed)
}

/// Replies to the call taken last.
pub fn reply(message: &[u8]) -> Result<(), Refusal> {
    outcome(imports::reply(message.as_ptr(), message.len())).map(drop)
}
