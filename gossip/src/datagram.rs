//! What a sealed gossip datagram carries.

use crate::{
    membership::{Claim, Rumour, Swim},
    registry::RegistryMessage,
};
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};
use zhost_base::{ZhostId, limits::DATAGRAM_SIZE_MAX_BYTES};

use crate::seal::SEAL_OVERHEAD_BYTES;

/// Plain bytes that fit a sealed datagram.
pub const PLAIN_SIZE_MAX_BYTES: usize = DATAGRAM_SIZE_MAX_BYTES - SEAL_OVERHEAD_BYTES;

/// One gossip datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datagram {
    /// A packet of the SWIM protocol.
    Swim(Swim),
    /// The sender wants to join, or asks whether the receiver is there; answered by [`Datagram::Welcome`].
    Hello {
        /// Who asks.
        me: Rumour,
        /// At which address.
        asked: SocketAddr,
    },
    /// As [`Datagram::Hello`], to everybody on the sender's network; answered by some of those to whom it is new.
    Beacon(Rumour),
    /// The answer to a hello.
    Welcome {
        /// Who answers.
        me: Rumour,
        /// The address at which it was asked, if not by a beacon.
        asked: Option<SocketAddr>,
        /// Whom it answers: a replayed answer means nothing to anybody else.
        to: ZhostId,
        /// Another start of the asker, if the answerer knows of one.
        known: Option<Rumour>,
        /// The super nodes and some other members, at most [`zhost_base::limits::HELLO_PEERS_MAX`].
        rumours: Vec<Rumour>,
    },
    /// Hashes of what the sender holds; opens a round of anti-entropy when they differ.
    Summary {
        /// Who sends it.
        from: ZhostId,
        /// Whether the sender knows the cluster.
        readiness: Readiness,
        /// [`crate::membership::Membership::hash`].
        members: u64,
        /// [`crate::registry::Registry::hash`].
        registry: u64,
        /// [`crate::ledger::Ledger::hash`].
        ledger: u64,
    },
    /// Registry reconciliation.
    Registry(RegistryMessage),
    /// Asks for a vote.
    VoteRequest {
        /// Who wants to lead.
        proposer: ZhostId,
        /// In which term.
        term: u64,
    },
    /// The answer to a [`Datagram::VoteRequest`].
    Vote {
        /// Who votes.
        voter: ZhostId,
        /// For whom: a vote sent to somebody else counts for nobody.
        proposer: ZhostId,
        /// In which term.
        term: u64,
        /// The highest term the voter has seen.
        highest: u64,
        /// Yes, or why not.
        verdict: Verdict,
    },
    /// To another start of the sender, or to those who may know of one.
    Claim(Claim),
}

/// How far a zhost is with its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// It knows the cluster.
    Ready,
    /// It looks for one, and founds it if nobody answers.
    Founding,
    /// It waits for the cluster it was told of, or was a member of.
    Waiting,
}

/// A voter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The vote is given, and on flash.
    Granted,
    /// It was given to somebody else in this term, or the term is old.
    TermTaken,
    /// A super with a full term is alive in the voter's eyes.
    LeaderAlive,
}

impl Datagram {
    /// The bytes to seal.
    pub fn encode(&self) -> Vec<u8> {
        // Encoding into a growing vector fails for none of these types.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads opened bytes.
    pub fn decode(plain: &[u8]) -> Option<Self> {
        postcard::from_bytes(plain).ok()
    }
}
