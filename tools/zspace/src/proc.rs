//! Other spaces as actors, and global names. Who is told what when one ends: `agent/node/ACTORS.md`.

use crate::{
    Refusal,
    imports::{names, proc},
    outcome,
};

/// One start of a space, anywhere in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub [u8; 16]);

fn filled(result: i32, pid: Pid) -> Result<Pid, Refusal> {
    outcome(result).map(|_| pid)
}

/// Oneself.
pub fn own() -> Pid {
    let mut pid = Pid::default();
    proc::own(pid.0.as_mut_ptr());
    pid
}

/// Starts a space of one's topology on the named zhost, or anywhere. Needs `proc.spawn`; waits until it runs.
pub fn spawn(zhost: Option<&str>, space: &str, argument: &[u8]) -> Result<Pid, Refusal> {
    let (mut pid, zhost) = (Pid::default(), zhost.unwrap_or_default());
    let (argument, size) = (argument.as_ptr(), argument.len());
    let place = pid.0.as_mut_ptr();
    let result = proc::spawn(zhost.as_ptr(), zhost.len(), space.as_ptr(), space.len(), argument, size, place);
    filled(result, pid)
}

/// The same, and links the two.
pub fn spawn_link(zhost: Option<&str>, space: &str, argument: &[u8]) -> Result<Pid, Refusal> {
    let (mut pid, zhost) = (Pid::default(), zhost.unwrap_or_default());
    let (argument, size) = (argument.as_ptr(), argument.len());
    let place = pid.0.as_mut_ptr();
    let result =
        proc::spawn_link(zhost.as_ptr(), zhost.len(), space.as_ptr(), space.len(), argument, size, place);
    filled(result, pid)
}

/// Ends a spawned space.
pub fn exit(pid: Pid, reason: &str) -> Result<(), Refusal> {
    outcome(proc::exit(pid.0.as_ptr(), reason.as_ptr(), reason.len())).map(drop)
}

/// Sends a message to a space. Needs `proc.send`.
pub fn send(pid: Pid, message: &[u8]) -> Result<(), Refusal> {
    outcome(proc::send(pid.0.as_ptr(), message.as_ptr(), message.len())).map(drop)
}

/// Calls a space and waits for its reply. Needs `proc.send`.
pub fn call<'a>(pid: Pid, message: &[u8], within_ms: u32, reply: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let (place, room) = (reply.as_mut_ptr(), reply.len());
    let size = outcome(proc::call(pid.0.as_ptr(), message.as_ptr(), message.len(), within_ms, place, room))?;
    reply.get(..size).ok_or(Refusal::Failed)
}

/// Takes a notice of messages to a pid that did not arrive: to whom, how many are lost, of how many nobody knows.
pub fn unsent() -> Result<(Pid, u32, u32), Refusal> {
    let mut notice = [0; 24];
    outcome(proc::unsent(notice.as_mut_ptr(), notice.len()))?;
    let (pid, rest) = notice.split_first_chunk().ok_or(Refusal::Failed)?;
    let (lost, rest) = rest.split_first_chunk().ok_or(Refusal::Failed)?;
    let unknown = rest.first_chunk().ok_or(Refusal::Failed)?;
    Ok((Pid(*pid), u32::from_le_bytes(*lost), u32::from_le_bytes(*unknown)))
}

/// Binds one's fate to another's: the end of one ends the other, unless it was by its own wish. Needs `proc.link`.
pub fn link(pid: Pid) {
    proc::link(pid.0.as_ptr());
}

/// Undoes it.
pub fn unlink(pid: Pid) {
    proc::unlink(pid.0.as_ptr());
}

/// Has the ends of linked spaces come as mail instead.
pub fn trap_exits(yes: bool) {
    proc::trap_exits(i32::from(yes));
}

/// Wants mail, once, when a space ends. Needs `proc.monitor`.
pub fn monitor(pid: Pid) {
    proc::monitor(pid.0.as_ptr());
}

/// Does not want it any more.
pub fn demonitor(pid: Pid) {
    proc::demonitor(pid.0.as_ptr());
}

/// Wants mail, once, when a zhost dies. Needs `proc.monitor`.
pub fn monitor_zhost(name: &str) -> Result<(), Refusal> {
    outcome(proc::monitor_zhost(name.as_ptr(), name.len())).map(drop)
}

/// The names of the live zhosts, in `buffer`: each behind its length in two little-endian bytes. Needs `proc.list`.
pub fn zhosts(buffer: &mut [u8]) -> Result<&[u8], Refusal> {
    let size = outcome(proc::list(buffer.as_mut_ptr(), buffer.len()))?;
    buffer.get(..size).ok_or(Refusal::Failed)
}

/// Takes a global name. Needs `names.register`.
pub fn register(name: &str) -> Result<(), Refusal> {
    outcome(names::register(name.as_ptr(), name.len())).map(drop)
}

/// Gives it back.
pub fn unregister(name: &str) -> Result<(), Refusal> {
    outcome(names::unregister(name.as_ptr(), name.len())).map(drop)
}

/// Who has a global name. Needs `names.whereis`.
pub fn whereis(name: &str) -> Result<Pid, Refusal> {
    let mut pid = Pid::default();
    let result = names::whereis(name.as_ptr(), name.len(), pid.0.as_mut_ptr());
    filled(result, pid)
}
