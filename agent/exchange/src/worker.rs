//! What a node and its workers tell each other.

use crate::{
    actor::{Act, Refusal, Signal, Undelivered},
    mail::{Consumed, Sender},
    store::Changes,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use zhost_base::{Batch, BlobDigest, Name, Pid, SpaceKey};
use zhost_mex::Assets;

/// What a space needs to start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    /// Which space.
    pub key: SpaceKey,
    /// Its name in the package; a spawned space has another one in `key`.
    pub space: Name,
    /// Which start.
    pub pid: Pid,
    /// The package with its WASM, complete in the store.
    pub package: BlobDigest,
    /// Size of the package.
    pub package_bytes: u32,
    /// What the space that spawned it tells it.
    pub argument: Vec<u8>,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// For the operator, nothing wrong.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The level a guest names by number; unknown ones are errors.
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Debug,
            1 => Self::Info,
            2 => Self::Warn,
            _ => Self::Error,
        }
    }

    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What the node tells a worker. Commands about a space or start that is not there are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkerCommand {
    /// Start a space.
    Start(Launch),
    /// Close a space, within the time that it gets for that.
    Stop(SpaceKey),
    /// End a space whose last write nobody will ever acknowledge.
    Abandon(SpaceKey),
    /// Put messages into a mailbox.
    Deliver {
        /// Of this space.
        key: SpaceKey,
        /// The space that sent them.
        from: Name,
        /// Whose credit they used.
        sender: Sender,
        /// The path they came along.
        path: Name,
        /// Their contents.
        payloads: Batch,
    },
    /// The target of an outgoing path is running (anew), or not.
    Target {
        /// The sending space.
        key: SpaceKey,
        /// Index of its outgoing path.
        path: u8,
        /// Whether messages can be taken.
        up: bool,
    },
    /// The target of an outgoing path consumed messages.
    Credit {
        /// The sending space.
        key: SpaceKey,
        /// Index of its outgoing path.
        path: u8,
        /// How many.
        messages: u32,
        /// Of how many bytes.
        bytes: u32,
    },
    /// Messages of an outgoing path did not arrive, or may not have.
    Undelivered {
        /// The sending space.
        key: SpaceKey,
        /// Index of its outgoing path.
        path: u8,
        /// How many.
        undelivered: Undelivered,
        /// If the path goes on, as many may be sent in their stead, of so many bytes.
        credit_bytes: Option<u32>,
    },
    /// Something befell a space.
    Signal {
        /// Which space.
        key: SpaceKey,
        /// Which start of it.
        number: u32,
        /// What.
        signal: Signal,
    },
    /// An answer to what a space asked.
    Answer {
        /// Which space.
        key: SpaceKey,
        /// Which start of it.
        number: u32,
        /// Which question.
        serial: u32,
        /// The answer.
        answer: Result<Vec<u8>, Refusal>,
    },
    /// What a space wrote is as durable as it wants.
    Replicated {
        /// Which space.
        key: SpaceKey,
        /// Which start of it.
        number: u32,
        /// Up to which of its commits.
        commit: u64,
    },
    /// The node has lost what was under way with this start of a space. The space is told that nobody knows what came of
    /// it, and the node is told how the space is: [`WorkerEvent::Resumed`].
    Resume {
        /// Which space.
        key: SpaceKey,
        /// Which start of it.
        number: u32,
    },
    /// The node has lost which write this start of a space waits for: [`WorkerEvent::Wrote`] is told again, without what
    /// was written, which is in the store.
    TellWrite {
        /// Which space.
        key: SpaceKey,
        /// Which start of it.
        number: u32,
    },
}

impl WorkerCommand {
    /// The space it is about.
    pub fn key(&self) -> &SpaceKey {
        match self {
            Self::Start(launch) => &launch.key,
            Self::Stop(key)
            | Self::Abandon(key)
            | Self::Deliver { key, .. }
            | Self::Target { key, .. }
            | Self::Credit { key, .. }
            | Self::Undelivered { key, .. }
            | Self::Signal { key, .. }
            | Self::Answer { key, .. }
            | Self::Replicated { key, .. }
            | Self::Resume { key, .. }
            | Self::TellWrite { key, .. } => key,
        }
    }
}

/// How a space ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It was told to.
    Closed,
    /// It asked for it with this code.
    Ended(i32),
    /// It failed, for this reason.
    Crashed(String),
}

/// What a guest reports of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether it is well.
    pub healthy: bool,
    /// How busy it is, percent.
    pub saturation_percent: u8,
    /// In its own words.
    pub text: String,
}

/// What a running space has used of its budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Linear memory.
    pub memory_bytes: u64,
    /// Fuel since it started.
    pub fuel: u64,
    /// Keys and values.
    pub storage_bytes: u64,
    /// Log lines dropped since it started.
    pub logs_dropped: u64,
    /// What it says of itself, if anything.
    pub report: Option<Report>,
}

/// How a space is at its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// It is not there.
    Gone,
    /// It is being started.
    Starting,
    /// It runs, and so many messages that came along paths wait in its mailbox.
    Running(u32),
}

/// What a worker tells the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerEvent {
    /// `on_init` succeeded.
    Started(SpaceKey, u32),
    /// A UI space is there, with these files; it is told before [`Self::Started`].
    Serves(SpaceKey, u32, Arc<Assets>),
    /// The space is gone.
    Exited(SpaceKey, u32, Exit),
    /// It sent messages along an outgoing path.
    Emitted(SpaceKey, u8, Batch),
    /// It did something to others.
    Acted(SpaceKey, u32, Act),
    /// It consumed messages that another space had sent.
    Consumed(SpaceKey, Consumed),
    /// It wrote data, which is in the store, and waits until the commit of this number is on other zhosts too.
    Wrote(SpaceKey, u32, u64, Changes),
    /// It wrote a line.
    Log(SpaceKey, LogLevel, String),
    /// What it has used so far; told about once a second while it runs.
    Used(SpaceKey, u32, Usage),
    /// How this start of a space is, for [`WorkerCommand::Resume`], and to which question it was told that nobody knows the
    /// answer.
    Resumed(SpaceKey, u32, Presence, Option<u32>),
}

impl WorkerEvent {
    /// Whether the space did something to others, or with what came from them.
    pub fn does_something(&self) -> bool {
        matches!(self, Self::Emitted(..) | Self::Acted(..) | Self::Consumed(..))
    }

    /// The space it is about.
    pub fn key(&self) -> &SpaceKey {
        match self {
            Self::Started(key, ..)
            | Self::Serves(key, ..)
            | Self::Exited(key, ..)
            | Self::Emitted(key, ..)
            | Self::Acted(key, ..)
            | Self::Consumed(key, ..)
            | Self::Wrote(key, ..)
            | Self::Log(key, ..)
            | Self::Used(key, ..)
            | Self::Resumed(key, ..) => key,
        }
    }
}
