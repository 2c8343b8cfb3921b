//! What a referee may look at: the simulator compares these between nodes.

use crate::node::Node;
use std::collections::{BTreeMap, BTreeSet};
use zhost_base::{SpaceKey, ZhostId};
use zhost_gossip::row::{Reign, Row, RowKey};

/// A node's view of the cluster, and what it does itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The live members it sees, itself included.
    pub members: BTreeSet<ZhostId>,
    /// The reign it sees in force, with its leader.
    pub reign: Option<(ZhostId, Reign)>,
    /// Hash of its registry.
    pub registry_hash: u64,
    /// Hash of its ledger.
    pub ledger_hash: u64,
    /// Version, state and reason of every topology, by name.
    pub topologies: BTreeMap<String, (String, &'static str, Option<String>)>,
    /// The spaces it runs.
    pub running: BTreeSet<SpaceKey>,
    /// How many spaces it ever started.
    pub starts: u32,
    /// Members of the roster.
    pub roster: usize,
    /// Whether it takes part.
    pub ready: bool,
}

impl Node {
    /// The term this node leads, if it does, and whether it is full.
    pub fn inspect_reign(&self) -> Option<(u64, bool)> {
        match self.registry.row(self.id, &RowKey::Reign)? {
            Row::Reign(reign) => Some((reign.term, reign.full)),
            _ => None,
        }
    }

    /// Looks at the node without changing it.
    pub fn inspect(&self) -> Inspection {
        let topologies = self.ledger.topologies().map(|(id, topology)| {
            let (state, reason) = self.topology_state(id, topology);
            (topology.spec.name.to_string(), (topology.spec.version.to_string(), state.as_str(), reason))
        });
        Inspection {
            members: self.membership.peers().map(|peer| peer.id).chain([self.id]).collect(),
            reign: self.election.reign().map(|(leader, reign)| (leader, reign.clone())),
            registry_hash: self.registry.hash(),
            ledger_hash: self.ledger.hash(),
            topologies: topologies.collect(),
            running: self.host.running().map(|(key, _)| key.clone()).collect(),
            starts: self.host.starts(),
            roster: self.ledger.roster().count(),
            ready: self.ready,
        }
    }
}
