//! Other spaces, as the stage plays them: a test says what they answer, ends them, and looks what they were asked.
//!
//! ```
//! use zspace::{Refusal, net, proc, stage::others};
//!
//! others::answer(Ok(b"42"));
//! let mut reply = [0; 8];
//! assert_eq!(net::call("questions", b"what is six by seven?", 100, &mut reply), Ok(&b"42"[..]));
//! assert_eq!(net::call("questions", b"and why?", 100, &mut reply), Err(Refusal::TimedOut));
//!
//! proc::trap_exits(true);
//! let child = proc::spawn_link(None, "worker", b"tile 3").unwrap();
//! assert_eq!(others::spawned(), [("worker".to_owned(), b"tile 3".to_vec(), child)]);
//! others::end(child, "trapped");
//! let mut buffer = [0; 64];
//! assert_eq!(net::recv_next(&mut buffer), Ok(&b"trapped"[..]));
//! assert_eq!(net::sender(), Ok(child));
//! ```

use super::{Kind, put_about, with};
use crate::{Refusal, proc::Pid};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};

/// The space's own pid.
pub const OWN: Pid = Pid([1; 16]);

/// Whoever is at the other end of the paths.
pub const PARTNER: Pid = Pid([3; 16]);

/// Who was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The space at the end of that path.
    Path(String),
    /// That space.
    Pid(Pid),
}

/// A space that the one on the stage has started: which, what it was told, its pid.
pub type Spawned = (String, Vec<u8>, Pid);

#[derive(Default)]
pub(super) struct Others {
    answers: VecDeque<Result<Vec<u8>, Refusal>>,
    called: Vec<(Whom, Vec<u8>)>,
    sent: Vec<(Pid, Vec<u8>)>,
    spawned: Vec<Spawned>,
    spawns: u32,
    spawn_refusal: Option<Refusal>,
    links: BTreeSet<Pid>,
    monitors: BTreeSet<Pid>,
    zhosts: BTreeSet<String>,
    traps_exits: bool,
    names: BTreeMap<String, Pid>,
}

/// What the next call of the space gets; without an answer, a call is refused when its time is over.
pub fn answer(answer: Result<&[u8], Refusal>) {
    with(|stage| stage.others.answers.push_back(answer.map(<[u8]>::to_vec)));
}

/// Takes what the space has called with, and whom.
pub fn called() -> Vec<(Whom, Vec<u8>)> {
    with(|stage| std::mem::take(&mut stage.others.called))
}

/// Takes the messages that the space has sent to pids.
pub fn sent() -> Vec<(Pid, Vec<u8>)> {
    with(|stage| std::mem::take(&mut stage.others.sent))
}

/// Takes the spaces that the space has started.
pub fn spawned() -> Vec<Spawned> {
    with(|stage| std::mem::take(&mut stage.others.spawned))
}

/// Whether, and for what reason, no space can be started.
pub fn refuse_spawns(refusal: Option<Refusal>) {
    with(|stage| stage.others.spawn_refusal = refusal);
}

/// Puts a message of another space into the mailbox.
pub fn deliver(from: Pid, message: &[u8]) {
    put_about(Kind::Direct, "", Some(from), message);
}

/// Another space has ended: the one on the stage is told, if it is bound to it.
///
/// # Panics
/// If the two are linked and it does not trap exits: a zhost ends it, too.
pub fn end(pid: Pid, reason: &str) {
    let (linked, monitored, traps) = with(|stage| {
        let others = &mut stage.others;
        others.names.retain(|_, holder| *holder != pid);
        (others.links.remove(&pid), others.monitors.remove(&pid), others.traps_exits)
    });
    assert!(!linked || traps, "the space ends with the one it is linked with: {reason}");
    if linked {
        put_about(Kind::Exit, "", Some(pid), reason.as_bytes());
    }
    if monitored {
        put_about(Kind::Down, "", Some(pid), reason.as_bytes());
    }
}

/// A zhost has died: the space is told, if it has asked.
pub fn end_zhost(name: &str) {
    if with(|stage| stage.others.zhosts.remove(name)) {
        put_about(Kind::ZhostDown, "", None, name.as_bytes());
    }
}

/// Another space has this global name from now on, also if the one on the stage had it.
pub fn hold_name(name: &str, holder: Pid) {
    let former = with(|stage| stage.others.names.insert(name.into(), holder));
    if former == Some(OWN) && holder != OWN {
        put_about(Kind::NameLost, "", None, name.as_bytes());
    }
}

pub(super) fn take_answer(whom: Whom, message: Vec<u8>) -> Option<Result<Vec<u8>, Refusal>> {
    with(|stage| {
        stage.others.called.push((whom, message));
        stage.others.answers.pop_front()
    })
}

pub(super) fn send(to: Pid, message: Vec<u8>) -> Result<(), Refusal> {
    if message.len() > super::imports::MESSAGE_MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    with(|stage| stage.others.sent.push((to, message)));
    Ok(())
}

pub(super) fn spawn(space: String, argument: Vec<u8>, linked: bool) -> Result<Pid, Refusal> {
    with(|stage| {
        let others = &mut stage.others;
        if let Some(refusal) = others.spawn_refusal {
            return Err(refusal);
        }
        others.spawns += 1;
        let mut pid = Pid([2; 16]);
        pid.0[12..].copy_from_slice(&others.spawns.to_le_bytes());
        others.spawned.push((space, argument, pid));
        if linked {
            others.links.insert(pid);
        }
        Ok(pid)
    })
}

pub(super) fn bind(other: Pid, link: bool) -> i32 {
    with(|stage| if link { stage.others.links.insert(other) } else { stage.others.monitors.insert(other) });
    0
}

pub(super) fn unbind(other: Pid, link: bool) -> i32 {
    with(|stage| if link { stage.others.links.remove(&other) } else { stage.others.monitors.remove(&other) });
    0
}

pub(super) fn watch_zhost(name: String) -> i32 {
    with(|stage| stage.others.zhosts.insert(name));
    0
}

pub(super) fn trap_exits(yes: bool) {
    with(|stage| stage.others.traps_exits = yes);
}

pub(super) fn register(name: String) -> Result<(), Refusal> {
    with(|stage| match *stage.others.names.entry(name).or_insert(OWN) {
        OWN => Ok(()),
        _ => Err(Refusal::Taken),
    })
}

pub(super) fn unregister(name: &str) {
    with(|stage| stage.others.names.retain(|held, holder| held != name || *holder != OWN));
}

pub(super) fn whereis(name: &str) -> Result<Pid, Refusal> {
    with(|stage| stage.others.names.get(name).copied()).ok_or(Refusal::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net, proc};

    #[test]
    fn who_is_bound_is_told_once() {
        let (one, two) = (proc::spawn(None, "one", b"").unwrap(), proc::spawn(None, "two", b"").unwrap());
        proc::monitor(one);
        proc::monitor(two);
        proc::demonitor(two);
        [one, two, one].into_iter().for_each(|pid| end(pid, "gone"));
        let mut buffer = [0; 16];
        assert_eq!(net::recv_next(&mut buffer), Ok(&b"gone"[..]));
        assert_eq!(net::sender(), Ok(one));
        assert_eq!(net::recv_next(&mut buffer), Err(Refusal::NotFound));
    }

    #[test]
    fn a_name_has_one_holder() {
        let other = Pid([9; 16]);
        assert_eq!(proc::register("front"), Ok(()));
        assert_eq!(proc::whereis("front"), Ok(OWN));
        hold_name("front", other);
        assert_eq!(proc::register("front"), Err(Refusal::Taken));
        assert_eq!(net::recv_next(&mut [0; 16]), Ok(&b"front"[..]));
        end(other, "gone");
        assert_eq!(proc::whereis("front"), Err(Refusal::NotFound));
    }

    #[test]
    #[should_panic(expected = "ends with the one it is linked with: crashed")]
    fn who_is_linked_ends_too() {
        let child = proc::spawn_link(None, "child", b"").unwrap();
        end(child, "crashed");
    }
}
