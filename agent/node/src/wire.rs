//! What zhosts say to each other over links.

use serde::{Deserialize, Serialize};
use zhost_base::{BlobDigest, Generation, Name, SpaceKey};
use zhost_gossip::{ledger::LedgerMessage, membership::Rumour};

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// A local's report to its super.
    Heartbeat(Heartbeat),
    /// Ledger replication.
    Ledger(LedgerMessage),
    /// Asks for a piece of a blob.
    BlobRequest {
        /// Which blob.
        digest: BlobDigest,
        /// Which piece.
        index: u32,
    },
    /// A piece of a blob; empty if the sender does not have it.
    BlobPiece {
        /// Which blob.
        digest: BlobDigest,
        /// Which piece.
        index: u32,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// A message between spaces.
    Message {
        /// The receiving space.
        to: SpaceKey,
        /// The incarnation the sender meant.
        incarnation: u32,
        /// The sending space, of the same topology.
        from: Name,
        /// The path's name.
        path: Name,
        /// Its content.
        payload: Vec<u8>,
    },
    /// The target of a path consumed messages.
    Credit {
        /// The sending space.
        to: SpaceKey,
        /// The path's name.
        path: Name,
        /// The incarnation of the target that consumed.
        incarnation: u32,
        /// How many.
        messages: u32,
    },
    /// Everything the sender knows of the members.
    Members(Vec<Rumour>),
    /// Asks for a [`Frame::Pong`] with the same number.
    Ping(u64),
    /// The answer to a [`Frame::Ping`].
    Pong(u64),
    /// An operator's request that only the receiver can answer.
    Query {
        /// Comes back with the answer.
        serial: u64,
        /// A [`zhost_control::protocol::Request`].
        request: Vec<u8>,
    },
    /// The answer to a [`Frame::Query`].
    Answer {
        /// As in the query.
        serial: u64,
        /// A [`zhost_control::protocol::Reply`].
        reply: Vec<u8>,
    },
}

/// A zhost's report to its super.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The zhost's start.
    pub generation: Generation,
    /// Counts its heartbeats; what is not higher than the last is stale.
    pub counter: u64,
    /// Processor use, percent.
    pub cpu_percent: u8,
    /// Memory use, percent.
    pub memory_percent: u8,
    /// Use of the disk, percent.
    pub disk_percent: u8,
    /// The spaces it runs.
    pub spaces: Vec<SpaceKey>,
}

impl Frame {
    /// The bytes of the frame.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads the bytes of a frame.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
