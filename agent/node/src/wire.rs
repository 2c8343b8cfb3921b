//! What zhosts say to each other: to neighbours over a link, and to anybody through a stream.

use crate::cluster::clock::ClockTrust;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zhost_base::{Batch, BlobDigest, ExitReason, Generation, Name, Pid, SpaceKey, TopologyId, ZhostId};
use zhost_gossip::{
    datagram::Readiness,
    document::{DataLife, Placement, PlacementVersion},
    ledger::LedgerMessage,
    membership::Rumour,
    registry::RegistryMessage,
};
use zhost_link::{stream::Packet, tunnel::Envelope};

/// What neighbours say over their link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hop {
    /// Asks for a [`Hop::Pong`] with the same number.
    Ping(u64),
    /// The answer to a [`Hop::Ping`].
    Pong(u64),
    /// Something for the neighbour itself.
    Parcel(Parcel),
    /// Something for somebody further on.
    Relay(Relayed),
    /// A relay could not pass something on; goes back to where it came from.
    NoRoute(NoRoute),
    /// A gossip datagram, for a neighbour that datagrams do not reach.
    Gossip(#[serde(with = "serde_bytes")] Vec<u8>),
    /// What the sender holds, as in [`zhost_gossip::datagram::Datagram::Summary`].
    Summary {
        /// Whether the sender knows the cluster.
        readiness: Readiness,
        /// Hash of the members.
        members: u64,
        /// Hash of the registry.
        registry: u64,
        /// Hash of the ledger.
        ledger: u64,
    },
    /// Everything the sender knows of the members.
    Members(Vec<Rumour>),
    /// Registry reconciliation without the limits of datagrams.
    Registry(RegistryMessage),
    /// The time of day at the sender.
    Clock {
        /// Milliseconds since 1970.
        unix_ms: u64,
        /// How much it is worth.
        trust: ClockTrust,
    },
}

/// What a zhost says to another, over a link or through relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parcel {
    /// Part of their stream.
    Stream(Packet),
    /// Asks for a [`Parcel::EchoReply`] with the same number.
    Echo(u64),
    /// The answer to a [`Parcel::Echo`].
    EchoReply(u64),
}

/// A sealed parcel on its way through relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relayed {
    /// All zhosts of the way, from the sender to the receiver.
    pub route: Vec<ZhostId>,
    /// Which of them is to read this.
    pub at: u8,
    /// For the last one only.
    pub envelope: Envelope,
}

/// A way that ends too early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoRoute {
    /// All zhosts of the way.
    pub route: Vec<ZhostId>,
    /// Which of them is to read this.
    pub at: u8,
    /// Which of them has no link to the next.
    pub stuck: u8,
}

/// What one zhost says to another in their stream.
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
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Opens a channel: a number for messages from one space to another.
    Channel {
        /// Never used before by this sender.
        channel: u32,
        /// The receiving space.
        to: SpaceKey,
        /// Which start of the sending space.
        sender: u32,
        /// Of which messages.
        flow: Flow,
    },
    /// Messages between spaces.
    Messages {
        /// Of this channel.
        channel: u32,
        /// Their contents.
        payloads: Batch,
    },
    /// Messages that the receiver did not take: their target has moved, or is full.
    Returned {
        /// The topology of both spaces.
        topology: TopologyId,
        /// Of which messages.
        flow: Flow,
        /// How many.
        messages: u32,
        /// Of how many bytes.
        bytes: u32,
    },
    /// The target of a path consumed messages.
    Credit {
        /// The topology of both spaces.
        topology: TopologyId,
        /// Of which messages.
        flow: Flow,
        /// How many.
        messages: u32,
        /// Of how many bytes.
        bytes: u32,
    },
    /// Between spaces of this topology.
    Actor(TopologyId, ActorMessage),
    /// Asks what is known of the placement of a topology, and to refuse lower versions from now on.
    Prepare {
        /// Comes back with the answer.
        serial: u64,
        /// Which topology.
        topology: TopologyId,
        /// Below this, nothing is to be taken.
        floor: PlacementVersion,
    },
    /// The answer to a [`Frame::Prepare`]; the placement that is on flash is sent before, and stands here for one that does
    /// not take it in any more, because it has promised to refuse it.
    Promise {
        /// As in the question.
        serial: u64,
        /// The placement that is on flash.
        kept: Option<Placement>,
        /// Below this, nothing is taken: as asked, or what somebody else has asked.
        floor: PlacementVersion,
    },
    /// Between those who keep the data of a space.
    Data(SpaceKey, DataMessage),
    /// An operator's request that only the receiver can answer.
    Query {
        /// Comes back with the answer.
        serial: u64,
        /// A [`zhost_control::protocol::Request`].
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// The answer to a [`Frame::Query`].
    Answer {
        /// As in the query.
        serial: u64,
        /// A [`zhost_control::protocol::Reply`].
        #[serde(with = "serde_bytes")]
        reply: Vec<u8>,
    },
}

impl Frame {
    /// The topology it is about, if that stands in it.
    pub(crate) fn topology(&self) -> Option<TopologyId> {
        match self {
            Self::Channel { to: key, .. } | Self::Data(key, _) => Some(key.topology),
            Self::Returned { topology, .. }
            | Self::Credit { topology, .. }
            | Self::Prepare { topology, .. }
            | Self::Actor(topology, _) => Some(*topology),
            _ => None,
        }
    }
}

/// What spaces of one topology, by their zhosts, do with each other beside sending along paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorMessage {
    /// Start a space.
    Spawn {
        /// Comes back with [`Self::Spawned`].
        serial: u32,
        /// Who asks.
        parent: Pid,
        /// Which space of the topology.
        space: Name,
        /// What it is told.
        #[serde(with = "serde_bytes")]
        argument: Vec<u8>,
        /// Whether to link it with its parent.
        link: bool,
    },
    /// A space was started, or not: a [`zhost_exchange::Refusal`] by its number.
    Spawned {
        /// Who asked.
        parent: Pid,
        /// As in the request.
        serial: u32,
        /// Whether the two are linked.
        link: bool,
        /// The new space.
        result: Result<Pid, i8>,
    },
    /// Messages to a space.
    Messages {
        /// Who sent them.
        from: Pid,
        /// To whom.
        to: Pid,
        /// Their contents.
        payloads: Batch,
    },
    /// A space consumed messages.
    Consumed {
        /// Who had sent them.
        from: Pid,
        /// To whom.
        to: Pid,
        /// How many.
        messages: u32,
        /// Of how many bytes.
        bytes: u32,
    },
    /// Messages did not arrive, or nobody knows.
    Undelivered {
        /// Who had sent them.
        from: Pid,
        /// To whom.
        to: Pid,
        /// How many, and of how many bytes.
        messages: (u32, u32),
        /// Whether they may have arrived.
        unknown: bool,
    },
    /// A call of a space.
    Call {
        /// Who calls.
        from: Pid,
        /// Whom.
        to: Pid,
        /// Comes back with [`Self::Reply`].
        serial: u32,
        /// Along which path, if along one.
        path: Option<Name>,
        /// What it says.
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
    },
    /// The answer to a call, or why there is none.
    Reply {
        /// Who called.
        to: Pid,
        /// As in the call.
        serial: u32,
        /// The answer.
        result: Result<ByteBuf, i8>,
    },
    /// A space binds itself to another.
    Bond(Pid, Pid, Bond),
    /// And does not want to be bound any more.
    Unbond(Pid, Pid, Bond),
    /// A space ended, or cannot be reached any more by the one bound to it.
    Ended(Pid, Pid, Bond, ExitReason),
    /// A spawned space should end.
    Exit(Pid, Pid, String),
    /// A super is asked for a name.
    Claim(Name, Pid, u32),
    /// It has been granted, or not.
    Granted(Name, Pid, u32, Option<PlacementVersion>),
    /// A name is free again.
    Release(Name, Pid),
    /// No name can be granted now: to whom, the number of the question, and the refusal.
    Refused(Pid, u32, i8),
}

/// What those who keep the data of a space tell each other. A session begins whenever the two find each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataMessage {
    /// A part of a [`DataOrder`]; the last one makes it whole.
    Part {
        /// Of the primary.
        session: u64,
        /// Whether the order is whole now.
        last: bool,
        /// Its next bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// An order was carried out, and is on flash.
    Done {
        /// Whose order.
        session: u64,
        /// Which: they are counted within the session.
        order: u64,
        /// For [`DataOrder::Compare`]: whether the replica has the same.
        same: bool,
    },
    /// The replica knows of a later primary.
    Refused {
        /// Whose order.
        session: u64,
    },
}

impl ActorMessage {
    /// Whether nobody would say it again.
    pub(crate) fn is_last_word(&self) -> bool {
        !matches!(self, Self::Spawn { .. } | Self::Messages { .. } | Self::Call { .. })
    }
}

/// What a primary wants of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataOrder {
    /// Recognise the primary, by the placement that made it one, in that life of the data.
    Attach(PlacementVersion, DataLife),
    /// Say whether the entries from one key up to before another have this hash.
    Compare(KeyRange, [u8; 16]),
    /// Have exactly these entries from one key up to before another.
    Replace(KeyRange, Entries),
    /// Make these changes.
    Write(Vec<(ByteBuf, Option<ByteBuf>)>),
}

/// Keys and values.
pub type Entries = Vec<(ByteBuf, ByteBuf)>;

/// Keys from one up to before another, or to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first.
    pub from: ByteBuf,
    /// The first behind it.
    pub to: Option<ByteBuf>,
}

/// What binds a space to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bond {
    /// The fate of each is that of the other.
    Link,
    /// The first is told of the other's end.
    Monitor,
}

/// Messages along one path, from one window of a space to one start of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// The sending space.
    pub from: Name,
    /// Which window of the sending zhost's the messages belong to.
    pub window: u32,
    /// The path's name.
    pub path: Name,
    /// Which start of the receiving space.
    pub incarnation: u32,
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

macro_rules! postcard_bytes {
    ($($message:ty),*) => {$(
        impl $message {
            /// The bytes of the message.
            pub fn encode(&self) -> Vec<u8> {
                // Encoding into a growing vector fails for none of these types.
                postcard::to_allocvec(self).unwrap_or_default()
            }

            /// Reads the bytes of a message.
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                postcard::from_bytes(bytes).ok()
            }
        }
    )*};
}

postcard_bytes!(DataOrder, Frame, Hop, Parcel);
