//! Decisions that a majority of the roster has to know of: who keeps the data of a space.
//!
//! Whoever coordinates asks a majority what was decided before, and to refuse everything below a version of its own
//! choice; only then it decides, under that version; and the decision counts when a majority has it on flash. So of two
//! coordinators that do not know of each other, at most one can decide, and whoever decides next learns of it: the two
//! phases of Paxos (Lamport, 1998), with placement versions as ballots. A promise to refuse is on flash before it counts,
//! the coordinator's own included.

use crate::{
    disk::{DiskRequest, Purpose, promise_write},
    node::Node,
    wire::Frame,
};
use litemap::LiteMap;
use std::time::Duration;
use zhost_base::{Instant, TopologyId, ZhostId};
use zhost_gossip::{
    document::{Document, DocumentKey, PlacementVersion, Slot},
    ledger::LedgerMessage,
};

/// How often those who have not answered are asked again.
const ASK_PERIOD: Duration = Duration::from_millis(200);

/// What others have told about one topology's placement.
#[derive(Debug)]
struct Count {
    serial: u64,
    floor: PlacementVersion,
    /// Who refuses what is below the floor, and what is on flash there.
    answers: LiteMap<ZhostId, Option<u64>>,
    ask_again_at: Instant,
}

/// All counts of this zhost, and what it has promised to others.
#[derive(Debug, Default)]
pub(crate) struct Census {
    counts: LiteMap<TopologyId, Count>,
    serial: u64,
    /// Below these, placements are refused.
    floors: LiteMap<TopologyId, PlacementVersion>,
    /// Those that are on flash.
    kept: LiteMap<TopologyId, PlacementVersion>,
    /// Who asked about a topology and has no answer yet, with the number of the question.
    askers: LiteMap<(TopologyId, ZhostId), u64>,
    /// Somebody answered.
    news: bool,
}

impl Census {
    pub fn new(promises: LiteMap<TopologyId, PlacementVersion>) -> Self {
        Self { floors: promises.clone(), kept: promises, ..Self::default() }
    }

    fn has_kept(&self, id: TopologyId, floor: PlacementVersion) -> bool {
        self.kept.get(&id).is_some_and(|kept| *kept >= floor)
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let times = self.counts.values().map(|count| count.ask_again_at);
        times.min().map(|at| (at, "ask a majority"))
    }

    /// Ends the count of a topology about which nothing is to be asked.
    pub fn end(&mut self, id: TopologyId) {
        self.counts.remove(&id);
    }

    /// Keeps what is about known topologies.
    pub fn retain(&mut self, known: impl Fn(&TopologyId) -> bool) {
        self.counts.retain(|id, _| known(id));
        self.floors.retain(|id, _| known(id));
        self.kept.retain(|id, _| known(id));
        self.askers.retain(|(id, _), _| known(id));
    }

    /// Whether somebody answered since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether this zhost has promised to refuse a placement.
    pub fn refuses(&self, id: TopologyId, version: PlacementVersion) -> bool {
        self.floors.get(&id).is_some_and(|floor| version < *floor)
    }
}

fn key(id: TopologyId) -> DocumentKey {
    DocumentKey::Placement(id, Slot::Full)
}

impl Node {
    fn is_majority(&self, count: usize) -> bool {
        count * 2 > self.ledger.roster().count()
    }

    /// The version under which a decision about a topology may be written now: a majority has told what it knows, and
    /// refuses what is lower. Nothing, and the majority is asked, if that has still to come.
    pub(crate) fn granted_version(
        &mut self,
        now: Instant,
        id: TopologyId,
        term: u64,
    ) -> Option<PlacementVersion> {
        let newest = self.ledger.placement(id, Slot::Full).map(|placement| placement.version);
        let promised = self.census.floors.get(&id).copied();
        let is_open = |count: &Count| {
            count.floor.term == term
                && newest.is_none_or(|newest| newest < count.floor)
                && promised.is_none_or(|promised| promised <= count.floor)
        };
        if let Some(count) = self.census.counts.get(&id).filter(|count| is_open(count)) {
            let own = usize::from(self.census.has_kept(id, count.floor));
            return self.is_majority(count.answers.len() + own).then_some(count.floor);
        }
        let provisional = self.ledger.placement(id, Slot::Provisional).map(|placement| placement.version);
        let known = [newest, promised, provisional].into_iter().flatten().map(|version| version.counter);
        let counter = known.fold(self.ledger.horizon(), u64::max).saturating_add(1);
        let floor = PlacementVersion { slot: Slot::Full, term, counter, coordinator: self.id };
        self.promise(id, promised.map_or(floor, |promised| promised.max(floor)));
        self.census.serial += 1;
        let (serial, ask_again_at) = (self.census.serial, now + ASK_PERIOD);
        self.census.counts.insert(id, Count { serial, floor, answers: LiteMap::new(), ask_again_at });
        self.ask_majority(now, id);
        None
    }

    /// Refuses what is below a version from now on, and for good once that is on flash.
    fn promise(&mut self, id: TopologyId, floor: PlacementVersion) {
        if self.census.floors.insert(id, floor) != Some(floor) {
            self.disk(DiskRequest::Commit(vec![promise_write(id, Some(floor))]), Purpose::Promise(id, floor));
        }
    }

    /// A promise is on flash, or could not be put there.
    pub(crate) fn handle_promise(
        &mut self,
        now: Instant,
        id: TopologyId,
        floor: PlacementVersion,
        is_kept: bool,
    ) {
        if is_kept {
            self.census.kept.insert(id, floor);
            // This zhost is one of the majority, too.
            self.census.news = true;
            self.answer_census(now, id);
        } else if self.census.floors.get(&id) == Some(&floor) {
            // Whoever asks again has it tried again.
            self.census.floors.remove(&id);
        }
    }

    /// Whether a majority has the present placement of a topology on flash, as far as it was told.
    pub(crate) fn is_with_majority(&self, id: TopologyId) -> bool {
        let Some(fingerprint) = self.ledger.document(&key(id)).map(Document::fingerprint) else {
            return false;
        };
        let own = usize::from(self.ledger.kept_fingerprint(&key(id)) == Some(fingerprint));
        let same = |count: &Count| count.answers.values().filter(|kept| **kept == Some(fingerprint)).count();
        self.is_majority(own + self.census.counts.get(&id).map_or(0, same))
    }

    /// Sends the present placement to everybody, and asks what is on flash there.
    pub(crate) fn ask_majority(&mut self, now: Instant, id: TopologyId) {
        let Some(Count { serial, floor, .. }) = self.census.counts.get(&id) else { return };
        let census = Frame::Census { serial: *serial, topology: id, floor: *floor };
        let peers: Vec<ZhostId> = self.membership.peers().map(|peer| peer.id).collect();
        for peer in peers {
            self.send_placement(now, peer, id);
            self.send(now, peer, &census);
        }
    }

    fn send_placement(&mut self, now: Instant, peer: ZhostId, id: TopologyId) {
        let known: Vec<LedgerMessage> = self.ledger.documents_of([key(id)].into_iter());
        for message in known {
            self.send(now, peer, &Frame::Ledger(message));
        }
    }

    /// Somebody who coordinates asks what we know.
    pub(crate) fn handle_census(
        &mut self,
        now: Instant,
        peer: ZhostId,
        (serial, id): (u64, TopologyId),
        floor: PlacementVersion,
    ) {
        // What we have promised before may be forgotten.
        if self.ledger.topology(id).is_none() || self.lost.votes {
            return;
        }
        let floor = self.census.floors.get(&id).map_or(floor, |promised| floor.max(*promised));
        self.promise(id, floor);
        self.send_placement(now, peer, id);
        self.census.askers.insert((id, peer), serial);
        self.answer_census(now, id);
    }

    /// Answers those who asked, if what they are promised is on flash.
    fn answer_census(&mut self, now: Instant, id: TopologyId) {
        let Some(floor) = self.census.floors.get(&id).copied() else { return };
        if !self.census.has_kept(id, floor) {
            return;
        }
        let fingerprint = self.ledger.kept_fingerprint(&key(id));
        let of_topology = self.census.askers.iter().filter(|((asked, _), _)| *asked == id);
        let askers: Vec<(ZhostId, u64)> = of_topology.map(|((_, peer), serial)| (*peer, *serial)).collect();
        self.census.askers.retain(|(asked, _), _| *asked != id);
        for (peer, serial) in askers {
            self.send(now, peer, &Frame::Counted { serial, fingerprint, floor });
        }
    }

    /// Somebody answers.
    pub(crate) fn handle_counted(
        &mut self,
        peer: ZhostId,
        serial: u64,
        (fingerprint, floor): (Option<u64>, PlacementVersion),
    ) {
        let is_member = self.ledger.roster().any(|(member, _)| member == peer);
        let mut counts = self.census.counts.iter_mut();
        let Some((id, count)) = counts.find(|(_, count)| count.serial == serial && is_member) else { return };
        if floor > count.floor {
            // It has promised more to somebody else: this count comes to nothing.
            let (id, known) = (*id, self.census.floors.get(id).copied());
            self.promise(id, known.map_or(floor, |known| floor.max(known)));
        } else {
            count.answers.insert(peer, fingerprint);
        }
        self.census.news = true;
    }

    pub(crate) fn census_timeout(&mut self, now: Instant) {
        let due = self.census.counts.iter().filter(|(_, count)| count.ask_again_at <= now);
        let due: Vec<TopologyId> = due.map(|(id, _)| *id).collect();
        for id in due {
            if let Some(count) = self.census.counts.get_mut(&id) {
                count.ask_again_at = now + ASK_PERIOD;
            }
            self.ask_majority(now, id);
        }
    }
}
