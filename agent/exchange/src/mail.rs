//! Whose messages a space has taken in, so that their senders get credit back.

use serde::{Deserialize, Serialize};
use zhost_base::{Name, Pid, ZhostId};

/// Where messages came from, for those who give credit back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sender {
    /// The start of the sending space.
    pub pid: Pid,
    /// The window on its zhost that the messages belong to.
    pub window: u32,
}

impl Sender {
    /// The zhost of the sending space.
    pub fn zhost(&self) -> ZhostId {
        self.pid.zhost
    }
}

/// Who gets credit back for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The space of that name, along a path.
    Path(Name, Sender),
    /// A space, to a pid.
    Direct(Pid),
    /// A call with this number.
    Call(Pid, u32),
    /// Nobody; but it tells of this space.
    Signal(Pid),
    /// Nobody.
    Nobody,
}

/// Messages that a guest took out of its mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumed {
    /// Who gets credit.
    pub origin: Origin,
    /// The path.
    pub path: Option<Name>,
    /// How many messages.
    pub messages: u32,
    /// Of how many bytes.
    pub bytes: u32,
}
