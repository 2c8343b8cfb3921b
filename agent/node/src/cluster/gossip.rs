//! Gossip datagrams: unsealing, sorting, and the rounds of anti-entropy.

use crate::{
    facts::Facts,
    mesh::traffic::Traffic,
    node::Node,
    output::{Level, Plain},
    wire::{Frame, Hop},
};
use litemap::LiteMap;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use zhost_base::{Instant, ZhostId, limits::STRANGERS_MAX};
use zhost_gossip::{
    datagram::{Datagram, Readiness},
    election::ElectionOutput,
    registry::{Carrier, RegistryMessage},
    row::{Row, RowKey},
    seal::SEAL_OVERHEAD_BYTES,
};

/// How often a zhost compares itself with another when nothing happens.
const ROUND_PERIOD: Duration = Duration::from_millis(2000);
/// How soon after a change.
const HURRY_PERIOD: Duration = Duration::from_millis(100);
/// Members told of a change at once; the rest learn in rounds.
const PUSH_FANOUT: usize = 8;
/// How often the ledger is compared in detail with one peer, at most.
const LEDGER_PERIOD: Duration = Duration::from_millis(500);

/// How often the whole registry is compared with one peer, at most, in a small cluster.
const REGISTRY_PERIOD: Duration = Duration::from_secs(2);
/// How often the members are compared in detail with one peer, at most.
const MEMBERS_PERIOD: Duration = Duration::from_secs(2);

/// The state of gossip rounds.
pub(crate) struct Gossip {
    next_round: Instant,
    /// Whom the last round went to.
    to_neighbour: bool,
    pushed_version: u64,
    seen_revision: u64,
    strangers: BTreeSet<(IpAddr, String)>,
    /// Who spoke last in a way we do not understand.
    foreign_speaker: Option<SocketAddr>,
    ledger_compared: LiteMap<ZhostId, Instant>,
    members_compared: LiteMap<ZhostId, Instant>,
    registry_compared: LiteMap<ZhostId, Instant>,
    remembered_peers: Vec<SocketAddr>,
    /// What was sent in datagrams.
    pub traffic: Traffic,
    /// The hashes of registry and ledger at these revisions of theirs.
    hashed: ((u64, u64), (u64, u64)),
}

impl Gossip {
    pub fn new(now: Instant) -> Self {
        Self {
            next_round: now + HURRY_PERIOD,
            to_neighbour: false,
            pushed_version: 0,
            seen_revision: 0,
            strangers: BTreeSet::new(),
            foreign_speaker: None,
            ledger_compared: LiteMap::new(),
            members_compared: LiteMap::new(),
            registry_compared: LiteMap::new(),
            remembered_peers: Vec::new(),
            traffic: Traffic::default(),
            hashed: Default::default(),
        }
    }

    /// Something changed: have a round soon.
    pub fn hurry(&mut self, now: Instant) {
        self.next_round = self.next_round.min(now + HURRY_PERIOD);
    }

    pub fn foreign_speaker(&self) -> Option<SocketAddr> {
        self.foreign_speaker
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.next_round, "gossip round"))
    }

    /// Whether `peers` differ from those remembered last; the order does not matter.
    pub fn remember_peers(&mut self, peers: &[SocketAddr]) -> bool {
        let mut sorted = peers.to_vec();
        sorted.sort_unstable();
        let changed = sorted != self.remembered_peers;
        self.remembered_peers = sorted;
        changed
    }
}

impl Facts {
    /// Whether the rows of every live member have arrived, so that nobody is taken for absent.
    fn knows_all_profiles(&self) -> bool {
        self.membership.peers().all(|peer| self.profile(peer.id).is_some())
    }
}

impl Node {
    /// A datagram arrived from somebody of another cluster.
    pub(crate) fn handle_foreign(&mut self, from: SocketAddr) {
        self.gossip.foreign_speaker = Some(from);
        self.note_stranger(from, "a datagram sealed with another secret or of another cluster");
    }

    pub(crate) fn handle_gossip(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        match Datagram::decode(datagram) {
            Some(datagram) => self.handle_opened(now, from, datagram),
            None => self.note_stranger(from, "a datagram of another version"),
        }
    }

    /// Logs each sort of trouble with an address once; after [`STRANGERS_MAX`] of them, nothing more is said until a restart.
    pub(crate) fn note_stranger(&mut self, from: SocketAddr, what: &str) {
        let strangers = &mut self.gossip.strangers;
        if strangers.len() >= STRANGERS_MAX || !strangers.insert((from.ip(), what.to_owned())) {
            return;
        }
        self.log(Level::Warn, format!("ignoring {from}: {what} (said once)"));
    }

    fn handle_opened(&mut self, now: Instant, from: SocketAddr, datagram: Datagram) {
        let concerns_us = matches!(datagram, Datagram::Swim(_) | Datagram::Claim(_));
        if self.facts.membership.stands_aside() && !concerns_us {
            return;
        }
        match datagram {
            Datagram::Claim(claim) => self.facts.membership.handle_claim(now, from, claim),
            Datagram::Swim(swim) => self.facts.membership.handle_swim(now, from, swim),
            Datagram::Hello { me, asked } => {
                self.facts.membership.handle_hello(now, from, me, Some(asked), &self.facts.supers());
            }
            Datagram::Beacon(me) => self.facts.membership.handle_beacon(now, from, me, &self.facts.supers()),
            Datagram::Welcome { me, asked, to, known, rumours } => {
                self.facts.membership.handle_welcome(now, from, (me, asked), (to, known), rumours);
            }
            Datagram::Summary { from: id, readiness, members, registry, ledger } => {
                self.facts.membership.handle_source(id, from);
                self.handle_summary(now, id, readiness, (members, registry, ledger));
            }
            Datagram::Registry(message) => self.handle_registry(message),
            Datagram::VoteRequest { proposer, term } => {
                self.facts.election.handle_vote_request(proposer, term)
            }
            Datagram::Vote { voter, proposer, term, highest, verdict } if proposer == self.facts.id => {
                self.facts.election.handle_vote(now, voter, term, highest, verdict);
            }
            Datagram::Vote { .. } => {}
        }
    }

    /// A gossip datagram that came over a link, since datagrams of its sender do not reach us, or ours not it.
    pub(crate) fn handle_gossip_over_link(&mut self, now: Instant, peer: ZhostId, plain: &[u8]) {
        let from = self.facts.membership.addr(peer);
        if let (Some(from), Some(datagram)) = (from, Datagram::decode(plain)) {
            self.handle_opened(now, from, datagram);
        }
    }

    pub(crate) fn handle_registry_over_link(&mut self, peer: ZhostId, message: RegistryMessage) {
        let membership = &self.facts.membership;
        let answers =
            self.facts.registry.handle_message(message, Carrier::Link, |id| membership.generation(id));
        answers.into_iter().for_each(|answer| self.mesh.links.send(peer, &Hop::Registry(answer)));
    }

    /// A link is open: we compare what both hold.
    pub(crate) fn handle_link_up(&mut self, now: Instant, peer: ZhostId) {
        self.run_clock(now, |time_of_day, _, (shell_ms, _), effects| {
            time_of_day.tell(shell_ms, peer, effects)
        });
        let (members, registry, ledger) = self.hashes();
        self.mesh.links.send(peer, &Hop::Summary { readiness: self.readiness(), members, registry, ledger });
        self.streams.wake();
    }

    pub(crate) fn tell_summary(&mut self, peer: ZhostId) {
        let (members, registry, ledger) = self.hashes();
        let readiness = self.readiness();
        self.send_datagram(
            peer,
            &Datagram::Summary { from: self.facts.id, readiness, members, registry, ledger },
        );
    }

    /// Hashes of members, registry and ledger.
    fn hashes(&mut self) -> (u64, u64, u64) {
        let revisions = (self.facts.registry.revision(), self.facts.ledger.revision());
        if self.gossip.hashed.0 != revisions {
            self.gossip.hashed = (revisions, (self.facts.registry.hash(), self.facts.ledger.hash()));
        }
        let (registry, ledger) = self.gossip.hashed.1;
        (self.facts.membership.hash(), registry, ledger)
    }

    fn handle_registry(&mut self, message: RegistryMessage) {
        let sender = match &message {
            RegistryMessage::Digest { from, .. } => Some(*from),
            RegistryMessage::Delta(_) => None,
        };
        let membership = &self.facts.membership;
        let answers =
            self.facts.registry.handle_message(message, Carrier::Datagram, |id| membership.generation(id));
        if let Some(sender) = sender {
            answers.into_iter().for_each(|answer| self.send_datagram(sender, &Datagram::Registry(answer)));
        }
    }

    pub(crate) fn handle_summary(
        &mut self,
        now: Instant,
        from: ZhostId,
        readiness: Readiness,
        (members, registry, ledger): (u64, u64, u64),
    ) {
        self.founding.handle_readiness(from, readiness);
        if self.facts.ready && readiness != Readiness::Ready {
            self.tell_summary(from);
        }
        // Whoever knows the cluster knows its roster. Who has just founded it may not have entered itself yet: one that was
        // in step with that would take itself for the only member, and lead in the founder's term.
        let knows_cluster = self.facts.ledger.roster().next().is_some();
        let ours = self.hashes();
        if members != ours.0 {
            self.compare_members(now, from);
        }
        if registry != ours.1 {
            self.compare_registry(now, from);
        }
        if ledger == ours.2 {
            self.tombstones.note_agreement(now, from);
            let is_in_step = readiness == Readiness::Ready && self.facts.membership.peer(from).is_some();
            if is_in_step && self.firmware.note_in_step() {
                self.refresh_firmware(now);
            }
        }
        if ledger != ours.2 {
            self.compare_ledger(now, from);
        } else if !self.facts.ready
            && knows_cluster
            && self.facts.membership.peer(from).is_some()
            && self.facts.knows_all_profiles()
        {
            self.log(
                Level::Info,
                format!("in step with the cluster (asked {})", self.facts.zhost_name(from)),
            );
            self.facts.ready = true;
        }
    }

    /// Sends our ledger's digest over the link, if there is one and it was not just done.
    pub(crate) fn compare_ledger(&mut self, now: Instant, peer: ZhostId) {
        let last = self.gossip.ledger_compared.get(&peer);
        if self.mesh.links.is_up(peer) && last.is_none_or(|last| now.since(*last) >= LEDGER_PERIOD) {
            self.gossip.ledger_compared.insert(peer, now);
            self.send(now, peer, &Frame::Ledger(self.facts.ledger.digest()));
        }
    }

    /// Sends all we know of the members over the link, if there is one and it was not just done.
    fn compare_members(&mut self, now: Instant, peer: ZhostId) {
        let last = self.gossip.members_compared.get(&peer);
        if self.mesh.links.is_up(peer) && last.is_none_or(|last| now.since(*last) >= MEMBERS_PERIOD) {
            self.gossip.members_compared.insert(peer, now);
            self.mesh.links.send(peer, &Hop::Members(self.facts.membership.rumours()));
        }
    }

    /// Sends a digest of the registry: of all of it over a link, if that was not just done, else of a part of it.
    fn compare_registry(&mut self, now: Instant, peer: ZhostId) {
        let last = self.gossip.registry_compared.get(&peer);
        let period = REGISTRY_PERIOD + self.facts.gathering_time() * 40;
        if self.mesh.links.is_up(peer) && last.is_none_or(|last| now.since(*last) >= period) {
            self.gossip.registry_compared.insert(peer, now);
            let digest = self.facts.registry.digest(Carrier::Link, true);
            self.mesh.links.send(peer, &Hop::Registry(digest));
        } else {
            let digest = self.facts.registry.digest(Carrier::Datagram, true);
            self.send_datagram(peer, &Datagram::Registry(digest));
        }
    }

    /// Seals and sends a datagram to a live member.
    pub(crate) fn send_datagram(&mut self, to: ZhostId, datagram: &Datagram) {
        if self.facts.membership.is_deaf(to) && self.mesh.links.is_up(to) {
            self.mesh.links.send(to, &Hop::Gossip(datagram.encode()));
        } else if let Some(addr) = self.facts.membership.addr(to) {
            self.send_to_addr(addr, datagram);
        }
    }

    fn send_to_addr(&mut self, addr: SocketAddr, datagram: &Datagram) {
        let bytes = datagram.encode();
        self.gossip.traffic.count(datagram, SEAL_OVERHEAD_BYTES + bytes.len());
        self.say(Plain::Gossip(addr, bytes));
    }

    pub(crate) fn drain_datagrams(&mut self) {
        while let Some((addr, datagram)) = self.facts.membership.poll_output() {
            match self.facts.membership.deaf_at(addr).filter(|id| self.mesh.links.is_up(*id)) {
                Some(id) => self.mesh.links.send(id, &Hop::Gossip(datagram.encode())),
                None => self.send_to_addr(addr, &datagram),
            }
        }
    }

    pub(crate) fn gossip_timeout(&mut self, now: Instant) {
        if self.gossip.next_round > now {
            return;
        }
        self.gossip.next_round = now + ROUND_PERIOD;
        self.gossip.ledger_compared.retain(|_, at| now.since(*at) < LEDGER_PERIOD);
        self.gossip.members_compared.retain(|_, at| now.since(*at) < MEMBERS_PERIOD);
        let period = REGISTRY_PERIOD + self.facts.gathering_time() * 40;
        self.gossip.registry_compared.retain(|_, at| now.since(*at) < period);
        // Neighbours and others in turn: what differs is put right over links, and reaches everybody.
        self.gossip.to_neighbour = !self.gossip.to_neighbour;
        let neighbours: Vec<ZhostId> = self.mesh.links.peers().collect();
        let peers: Vec<ZhostId> = if self.gossip.to_neighbour && !neighbours.is_empty() {
            neighbours
        } else {
            self.facts.membership.peers().map(|peer| peer.id).collect()
        };
        if let Some(peer) = self.rng.pick(&peers).copied() {
            self.tell_summary(peer);
        }
    }

    /// Tells some members at once what changed in our own rows; the rest hear of it in rounds.
    pub(crate) fn send_own_changes(&mut self, now: Instant) {
        if self.facts.registry.revision() != self.gossip.seen_revision {
            self.gossip.seen_revision = self.facts.registry.revision();
            self.gossip.hurry(now);
        }
        let version = self.facts.registry.own_version();
        if version == self.gossip.pushed_version {
            return;
        }
        let delta = self.facts.registry.own_delta(self.gossip.pushed_version);
        self.gossip.pushed_version = version;
        let mut peers: Vec<ZhostId> = self.facts.membership.peers().map(|peer| peer.id).collect();
        while peers.len() > PUSH_FANOUT {
            peers.swap_remove(self.rng.below(peers.len() as u64) as usize);
        }
        if let Some(delta) = delta {
            let datagram = Datagram::Registry(delta);
            peers.into_iter().for_each(|peer| self.send_datagram(peer, &datagram));
        }
    }

    pub(crate) fn drain_election(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(output) = self.facts.election.poll_output() {
            progress = true;
            match output {
                ElectionOutput::Send(to, datagram) => self.send_datagram(to, &datagram),
                ElectionOutput::Persist(ballot) => {
                    let write = crate::disk::ballot_write(ballot);
                    self.disk(crate::DiskRequest::Commit(vec![write]), crate::disk::Purpose::Ballot(ballot));
                }
                ElectionOutput::Announce(Some(leadership)) => {
                    let kind = if leadership.full { "full" } else { "provisional" };
                    self.log(Level::Info, format!("leading term {} ({kind})", leadership.term));
                    self.set_row(now, RowKey::Leadership, Row::Leadership(leadership));
                }
                ElectionOutput::Informed => self.regain_vote(now),
                ElectionOutput::Announce(None) => {
                    self.log(Level::Info, "stepping down: another term is in force".into());
                    self.facts.registry.remove(now, &RowKey::Leadership);
                }
            }
        }
        progress
    }
}
