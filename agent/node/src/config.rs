//! What a zhost is told at its start.

use crate::{
    cluster::{clock::ClockTrust, founding::Named},
    firmware::Slots,
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};
use zhost_base::{Name, ZhostId};
use zhost_gossip::seal::ClusterSecret;
use zhost_link::Identity;
use zhost_mex::PublicKey;

/// The configuration of one zhost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The cluster's name.
    pub cluster: Name,
    /// Who it is: the public half of its static key.
    pub id: ZhostId,
    /// What people call it.
    pub name: Name,
    /// Where it stands.
    pub region: Name,
    /// What sort of machine it is.
    pub kind: Name,
    /// Where others reach its gossip (UDP) and links (TCP), as far as it is known at the start.
    pub addrs: Vec<SocketAddr>,
    /// Where operators reach it, if they do over a network; no address stands for all of its own.
    pub control_addr: Option<SocketAddr>,
    /// Where browsers reach it, if they do, likewise.
    pub web_addr: Option<SocketAddr>,
    /// Zhosts to join the cluster at.
    pub join: Vec<Named>,
    /// Whether it looks for the cluster on its network.
    pub discover: bool,
    /// Addresses at which everybody on the same network may hear, as far as they are known at the start.
    pub broadcasts: Vec<SocketAddr>,
    /// Whether it may become a super node.
    pub eligible: bool,
    /// Whether it runs spaces.
    pub runs_spaces: bool,
    /// Linear memory it gives to spaces.
    pub memory_bytes: u32,
    /// Capabilities of its hardware; the base capabilities come by themselves.
    pub capabilities: Vec<Name>,
    /// Public keys of the operators it obeys.
    pub operators: Vec<[u8; 32]>,
    /// Publishers whose packages it runs.
    pub publishers: Vec<PublicKey>,
    /// Periods and timeouts.
    pub timing: Timing,
    /// Milliseconds since 1970 at the origin of the monotonic clock; 0 while the wall clock is not set.
    pub unix_origin_ms: u64,
    /// How much that clock is worth.
    pub clock_trust: ClockTrust,
    /// The agent's version.
    pub version: Name,
    /// Where the board keeps agents, if it does.
    pub slots: Option<Slots>,
}

/// What nobody else may know. The node never sees it.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What all zhosts of the cluster share.
    pub secret: ClusterSecret,
    /// The zhost's static key.
    pub identity: Identity,
    /// The key under which operators speak to it.
    pub control: [u8; 32],
}

/// Periods and timeouts an operator may set.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// How often a zhost reports to its super.
    pub heartbeat: Duration,
    /// A zhost silent for this long has failed.
    pub heartbeat_timeout: Duration,
    /// How long a zhost that was in a cluster waits for it before it goes on alone.
    pub alone: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(30),
            alone: Duration::from_secs(15),
        }
    }
}
