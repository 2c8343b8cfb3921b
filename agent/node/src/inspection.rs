//! What a referee may look at: the simulator compares these between nodes.

use crate::{Part, mesh::traffic::Line, node::Node, spaces::host::LocalSpace};
use litemap::LiteMap;
use std::collections::BTreeSet;
use zhost_base::{BlobDigest, Instant, Name, Pid, SpaceKey, TopologyId, ZhostId, limits};
use zhost_gossip::{
    document::{DocumentKey, PlacementVersion},
    row::{Leadership, Row, RowKey},
};

/// A node's view of the cluster, and what it does itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The live members it sees, itself included.
    pub members: BTreeSet<ZhostId>,
    /// The term it sees in force, with its leader.
    pub leadership: Option<(ZhostId, Leadership)>,
    /// Hash of its registry.
    pub registry_hash: u64,
    /// Hash of its ledger.
    pub ledger_hash: u64,
    /// Documents it holds of topologies, deleted ones and placements included.
    pub topology_documents: usize,
    /// The packages of those topologies.
    pub packages: BTreeSet<BlobDigest>,
    /// Version, state and reason of every topology, by name.
    pub topologies: LiteMap<String, (String, &'static str, Option<String>)>,
    /// The spaces it runs.
    pub running: BTreeSet<SpaceKey>,
    /// Those of them that are of another version of their topology than is wanted.
    pub outdated: BTreeSet<SpaceKey>,
    /// How many spaces it ever started.
    pub starts: u32,
    /// Members of the roster.
    pub roster: usize,
    /// Whether it takes part.
    pub ready: bool,
}

/// What nodes that agree have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Live members, the node itself included.
    pub members: usize,
    /// Who they are.
    pub members_hash: u64,
    /// Who leads, in which term.
    pub leader: Option<(ZhostId, u64)>,
    /// Hash of the registry.
    pub registry_hash: u64,
    /// Hash of the ledger.
    pub ledger_hash: u64,
}

impl Node {
    /// What was sent, by carrier and kind.
    pub(crate) fn traffic_lines(&self, now: Instant) -> impl Iterator<Item = Line> {
        let streams = self.streams.traffic.lines(now).chain(self.mesh.links.traffic.lines(now));
        self.gossip.traffic.lines(now).chain(streams)
    }

    /// The term this node leads, if it does, and whether it is full.
    pub fn inspect_leadership(&self) -> Option<(u64, bool)> {
        match self.facts.registry.row(self.facts.id, &RowKey::Leadership)? {
            Row::Leadership(leadership) => Some((leadership.term, leadership.full)),
            _ => None,
        }
    }

    /// Whether this node takes a zhost for alive.
    pub fn inspect_member(&self, id: ZhostId) -> bool {
        self.facts.membership.peer(id).is_some()
    }

    /// How many local spaces were spawned by others.
    pub fn inspect_spawned(&self) -> usize {
        self.host.spawned()
    }

    /// How many other zhosts have all data of a local space.
    pub fn inspect_copies(&self, key: &SpaceKey) -> usize {
        self.replicas.copies(key)
    }

    /// How many global names local spaces hold.
    pub fn inspect_names(&self) -> usize {
        self.actors.grants.held()
    }

    /// Who holds a name, as this node sees it.
    pub fn inspect_holder(&self, topology: TopologyId, name: &Name) -> Option<Pid> {
        self.facts.whereis(topology, name)
    }

    /// The packages and agents that this node has on its flash in full.
    pub fn inspect_blobs(&self) -> impl Iterator<Item = BlobDigest> {
        self.blobs.digests()
    }

    /// Packets this node passed on for others.
    pub fn inspect_relayed(&self) -> u64 {
        self.streams.relayed
    }

    /// Whom this node suspects of not answering.
    pub fn inspect_suspects(&self) -> impl Iterator<Item = ZhostId> {
        self.facts.membership.suspects()
    }

    /// Rows this start of the node wrote about itself.
    pub fn inspect_rows_written(&self) -> u64 {
        self.facts.registry.own_version()
    }

    /// Bytes sent so far, by carrier and kind.
    pub fn inspect_traffic(&self, now: Instant) -> impl Iterator<Item = (String, u64)> {
        self.traffic_lines(now)
            .map(|line| (format!("{}: {}", line.carrier.name(), line.kind), line.sent.bytes))
    }

    /// How often parts of this node panicked, and the last message of each that did.
    pub fn inspect_panics(&self) -> impl Iterator<Item = (Part, u32, &str)> {
        self.faults.panics()
    }

    /// Whether a part is neither broken nor held, be it for one topology only.
    pub fn inspect_works(&self, part: Part) -> bool {
        !self.faults.is_broken(part) && !self.faults.holds_any(part)
    }

    /// How often this node took a zhost for dead.
    pub fn inspect_deaths(&self) -> u64 {
        self.deaths_seen
    }

    /// What nodes that agree have in common.
    pub fn inspect_agreement(&self) -> Agreement {
        Agreement {
            members: self.facts.membership.peer_count() + 1,
            members_hash: self.facts.membership.hash(),
            leader: self.facts.election.leadership().map(|(leader, leadership)| (leader, leadership.term)),
            registry_hash: self.facts.registry.hash(),
            ledger_hash: self.facts.ledger.hash(),
        }
    }

    /// The spaces this node keeps, and the placements by which it does.
    pub fn inspect_orders(&self) -> impl Iterator<Item = (SpaceKey, PlacementVersion)> {
        let running = self.host.running();
        running.map(|(key, space)| (key.clone(), space.placement))
    }

    /// Sizes of what must stay bounded, each with its limit.
    pub fn inspect_sizes(&self) -> [(&'static str, usize, usize); 9] {
        let rows = self.facts.registry.owners().map(|(id, _)| self.facts.registry.rows_of(id).count()).max();
        [
            ("members", self.facts.membership.peer_count(), limits::MEMBERS_MAX),
            ("rows of one zhost", rows.unwrap_or(0), limits::ROWS_PER_OWNER_MAX),
            (
                "documents",
                self.facts.ledger.documents().count(),
                3 * limits::TOPOLOGIES_MAX + limits::MEMBERS_MAX,
            ),
            ("links", self.mesh.links.peers().count(), limits::LINKS_MAX),
            ("bytes for one zhost", self.streams.queued_max_bytes(), limits::STREAM_QUEUE_MAX_BYTES),
            (
                "messages in one mailbox",
                self.host.mailbox_max(),
                crate::spaces::messages::MAILBOX_MAX_MESSAGES as usize,
            ),
            ("calls in one mailbox", self.actors.mail.calls_max(), crate::spaces::mail::CALLS_PER_SPACE_MAX),
            ("commands", self.commands.count(), crate::operators::commands::COMMANDS_MAX),
            ("topologies left alone", self.faults.hold_count(), crate::faults::HOLDS_MAX),
        ]
    }

    /// Connections and tunnels, also those that are being made.
    pub(crate) fn inspect_channels(&self) -> (usize, usize) {
        (self.mesh.links.connection_count(), self.streams.tunnel_count())
    }

    /// The time of day here, milliseconds since 1970.
    pub fn inspect_unix_ms(&self, now: Instant) -> u64 {
        self.time_of_day.unix_ms(now.as_millis())
    }

    /// Looks at the node without changing it.
    pub fn inspect(&self) -> Inspection {
        let topologies = self.facts.ledger.topologies().map(|(id, topology)| {
            let (state, reason) = self.facts.topology_state(id, topology);
            (topology.spec.name.to_string(), (topology.spec.version.to_string(), state.as_str(), reason))
        });
        let revision_of = |key: &SpaceKey| Some(self.facts.ledger.topology(key.topology)?.revision);
        let is_outdated = |key: &SpaceKey, space: &LocalSpace| revision_of(key) != Some(space.revision);
        let is_of_topology =
            |key: &DocumentKey| !matches!(key, DocumentKey::Roster(_) | DocumentKey::Firmware);
        Inspection {
            topology_documents: self.facts.ledger.documents().filter(|(key, _)| is_of_topology(key)).count(),
            members: self.facts.membership.peers().map(|peer| peer.id).chain([self.facts.id]).collect(),
            leadership: self
                .facts
                .election
                .leadership()
                .map(|(leader, leadership)| (leader, leadership.clone())),
            registry_hash: self.facts.registry.hash(),
            ledger_hash: self.facts.ledger.hash(),
            packages: self.facts.ledger.topologies().map(|(_, topology)| topology.package).collect(),
            topologies: topologies.collect(),
            running: self.host.running().map(|(key, _)| key.clone()).collect(),
            outdated: self
                .host
                .running()
                .filter(|(key, space)| is_outdated(key, space))
                .map(|(key, _)| key.clone())
                .collect(),
            starts: self.host.starts(),
            roster: self.facts.ledger.roster().count(),
            ready: self.facts.ready,
        }
    }
}
