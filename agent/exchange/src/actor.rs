//! What spaces do with each other beside sending along paths: spawn, call, link, monitor, register names.

use serde::{Deserialize, Serialize};
use zhost_base::{Batch, ExitReason, Name, Pid};

/// What a guest asks and waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A reply of the space at the end of an outgoing path.
    CallPath(u8, Vec<u8>),
    /// A reply of a space.
    CallPid(Pid, Vec<u8>),
    /// A new space; answered with its pid.
    Spawn {
        /// On this zhost, or anywhere.
        zhost: Option<Name>,
        /// Which of the topology's spaces.
        space: Name,
        /// What it is told with `sys.argument`.
        argument: Vec<u8>,
        /// Whether to link the two.
        link: bool,
    },
    /// A global name.
    Register(Name),
    /// Who holds a global name.
    Whereis(Name),
    /// The names of all live zhosts.
    Zhosts,
}

/// What a guest does to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Asks, and waits for the answer to this number.
    Ask(u32, Ask),
    /// Sends messages to a space.
    Send(Pid, Batch),
    /// Replies to a call: who called, its number, and the reply.
    Reply(Pid, u32, Vec<u8>),
    /// Binds its fate to another's.
    Link(Pid),
    /// Unbinds it.
    Unlink(Pid),
    /// Wants to be told once when a space ends.
    Monitor(Pid),
    /// Wants to be told once when a zhost dies.
    MonitorZhost(Name),
    /// Does not want to be told of the space any more.
    Demonitor(Pid),
    /// Ends a spawned space, for this reason.
    Exit(Pid, String),
    /// Gives a global name back.
    Unregister(Name),
}

/// What befell a space from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Messages of a space.
    Message(Pid, Batch),
    /// A call of a space, with its number and, if it came along one, the path.
    Call(Pid, u32, Option<Name>, Vec<u8>),
    /// A linked space ended.
    Exit(Pid, ExitReason),
    /// A monitored space ended.
    Down(Pid, ExitReason),
    /// A monitored zhost died.
    ZhostDown(Name),
    /// Another space holds the name now: after a partition, the later grant wins.
    NameLost(Name),
    /// A space consumed messages.
    Credit(Pid, u32, u32),
    /// Messages to a space did not arrive, or may not have.
    Undelivered(Pid, Undelivered),
}

/// Messages of one path that were accepted and did not arrive, or may not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Undelivered {
    /// Those that certainly did not arrive.
    pub lost: u32,
    /// Those of which nobody knows: the target died holding them.
    pub unknown: u32,
}

impl Undelivered {
    /// Both together.
    pub fn add(&mut self, more: Self) {
        self.lost = self.lost.saturating_add(more.lost);
        self.unknown = self.unknown.saturating_add(more.unknown);
    }
}

/// Why an import refused; guests see the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such path, key, sensor, space or message.
    NotFound = -1,
    /// Not now: no credit, no new reading, somebody else has it. Try again.
    TryAgain = -2,
    /// Larger than allowed, or than the buffer.
    TooLarge = -3,
    /// Not declared in the manifest.
    Denied = -4,
    /// The device, the flash or the other space failed.
    Failed = -5,
    /// No answer in time; whether the other did it, nobody knows.
    TimedOut = -6,
    /// Somebody else has the name or the device.
    Taken = -7,
    /// No room left for it.
    Full = -8,
}
