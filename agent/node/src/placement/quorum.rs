//! Quorum rounds: decisions that a majority of the roster has to know of, such as who keeps the data of a space.
//!
//! Whoever coordinates asks a majority what was decided before, and to refuse everything below a version of its own
//! choice (*prepare*); only then it decides, under that version; and the decision counts when a majority has it on flash. So
//! of two coordinators that do not know of each other, at most one can decide, and whoever decides next learns of it: the two
//! phases of Paxos (Lamport, "The Part-Time Parliament", 1998), with placement versions as ballots. A *promise* to refuse is
//! on flash before it counts, the coordinator's own included.

use crate::{
    disk::{DiskRequest, Purpose, promise_write},
    effects::Effects,
    facts::Facts,
    wire::Frame,
};
use litemap::LiteMap;
use std::{cmp::Ordering, time::Duration};
use zhost_base::{Instant, TopologyId, ZhostId};
use zhost_gossip::{
    document::{Document, DocumentKey, Placement, PlacementVersion, Slot},
    ledger::LedgerMessage,
};

/// How often those who have not answered are asked again.
const ASK_PERIOD: Duration = Duration::from_millis(200);

/// What others have told about one topology's placement.
#[derive(Debug)]
struct Round {
    serial: u64,
    floor: PlacementVersion,
    /// Who refuses what is below the floor, and the fingerprint of the placement that is on flash there.
    promises: LiteMap<ZhostId, Option<u64>>,
    /// The newest placement that one of them has on flash. It is not taken in here: that would be below the floor.
    learned: Option<Placement>,
    ask_again_at: Instant,
}

/// The rounds that this zhost has begun, and what it has promised in rounds of others. One of each for every topology.
#[derive(Debug, Default)]
pub(crate) struct Quorum {
    rounds: LiteMap<TopologyId, Round>,
    serial: u64,
    /// Below these, placements are refused.
    floors: LiteMap<TopologyId, PlacementVersion>,
    /// Those that are on their way to the flash, or there; what the flash refused is not among them.
    asked: LiteMap<TopologyId, PlacementVersion>,
    /// Those that are on flash.
    kept: LiteMap<TopologyId, PlacementVersion>,
    /// Who asked about a topology and has no answer yet, with the number of the question.
    askers: LiteMap<(TopologyId, ZhostId), u64>,
    /// Somebody answered.
    news: bool,
}

fn key(id: TopologyId) -> DocumentKey {
    DocumentKey::Placement(id, Slot::Full)
}

impl Facts {
    /// The placement of full terms, as it is told to others.
    fn placement_messages(&self, id: TopologyId) -> Vec<LedgerMessage> {
        self.ledger.documents_of([key(id)].into_iter())
    }

    fn is_majority(&self, count: usize) -> bool {
        count * 2 > self.ledger.roster().count()
    }
}

impl Quorum {
    /// With what was promised before this start.
    pub fn new(promises: LiteMap<TopologyId, PlacementVersion>) -> Self {
        Self { floors: promises.clone(), asked: promises.clone(), kept: promises, ..Self::default() }
    }

    /// What was under way is lost; who asks in vain asks again. What was refused stays so: a lower promise that came to the flash
    /// after a higher one would take that back.
    pub fn begin_again(&mut self) {
        let (floors, kept) = (std::mem::take(&mut self.floors), std::mem::take(&mut self.kept));
        *self = Self { serial: self.serial, news: true, floors, ..Self::new(kept) };
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let times = self.rounds.values().map(|round| round.ask_again_at);
        times.min().map(|at| (at, "ask a majority"))
    }

    /// Ends the round about a topology of which nothing is to be asked.
    pub fn end(&mut self, id: TopologyId) {
        self.rounds.remove(&id);
    }

    /// Keeps what is about known topologies.
    pub fn retain(&mut self, known: impl Fn(&TopologyId) -> bool) {
        self.rounds.retain(|id, _| known(id));
        self.floors.retain(|id, _| known(id));
        self.asked.retain(|id, _| known(id));
        self.kept.retain(|id, _| known(id));
        self.askers.retain(|(id, _), _| known(id));
    }

    /// Whether there is a round about a topology. One that ends in a panic is lost.
    pub fn has_round(&self, id: TopologyId) -> bool {
        self.rounds.contains_key(&id)
    }

    /// Whether somebody answered since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether this zhost has promised to refuse a placement.
    pub fn refuses(&self, id: TopologyId, version: PlacementVersion) -> bool {
        self.floors.get(&id).is_some_and(|floor| version < *floor)
    }

    /// The newest placement that others have on flash, as far as they told in the round about it. Whoever decides goes on from
    /// it if it is newer than what stands in the ledger.
    pub fn learned(&self, id: TopologyId) -> Option<&Placement> {
        self.rounds.get(&id)?.learned.as_ref()
    }

    fn has_kept(&self, id: TopologyId, floor: PlacementVersion) -> bool {
        self.kept.get(&id).is_some_and(|kept| *kept >= floor)
    }

    /// The version under which a decision about a topology may be written now: a majority has told what it knows, and
    /// refuses what is lower. Nothing, and the majority is asked, if that has still to come.
    pub fn granted_version(
        &mut self,
        now: Instant,
        facts: &Facts,
        id: TopologyId,
        term: u64,
        effects: &mut Effects,
    ) -> Option<PlacementVersion> {
        let newest = facts.ledger.placement(id, Slot::Full).map(|placement| placement.version);
        let promised = self.floors.get(&id).copied();
        let is_open = |round: &Round| {
            round.floor.term == term
                && newest.is_none_or(|newest| newest < round.floor)
                && promised.is_none_or(|promised| promised <= round.floor)
        };
        if let Some(round) = self.rounds.get(&id).filter(|round| is_open(round)) {
            // What we have promised before may be forgotten: then we are none of those who know.
            let own = usize::from(!facts.lost.votes);
            let others = round.promises.keys().filter(|peer| facts.is_member(**peer)).count();
            let is_granted = self.has_kept(id, round.floor) && facts.is_majority(others + own);
            return is_granted.then_some(round.floor);
        }
        let provisional = facts.ledger.placement(id, Slot::Provisional).map(|placement| placement.version);
        let known = [newest, promised, provisional].into_iter().flatten().map(|version| version.counter);
        let counter = known.fold(facts.ledger.horizon(), u64::max).saturating_add(1);
        let floor = PlacementVersion { slot: Slot::Full, term, counter, coordinator: facts.id };
        self.promise(id, promised.map_or(floor, |promised| promised.max(floor)), effects);
        self.serial += 1;
        let (serial, ask_again_at) = (self.serial, now + ASK_PERIOD);
        let learned = self.rounds.remove(&id).and_then(|round| round.learned);
        self.rounds.insert(id, Round { serial, floor, promises: LiteMap::new(), learned, ask_again_at });
        self.ask(facts, id, effects);
        None
    }

    /// Refuses what is below a version from now on, and for good once that is on flash.
    fn promise(&mut self, id: TopologyId, floor: PlacementVersion, effects: &mut Effects) {
        self.floors.insert(id, floor);
        if self.asked.insert(id, floor) != Some(floor) {
            let write = DiskRequest::Commit(vec![promise_write(id, Some(floor))]);
            effects.disk(write, Purpose::Promise(id, floor));
        }
    }

    /// A promise of this zhost is on flash, or could not be put there.
    pub fn handle_stored(
        &mut self,
        facts: &Facts,
        id: TopologyId,
        floor: PlacementVersion,
        is_kept: bool,
        effects: &mut Effects,
    ) {
        if is_kept {
            let kept = self.kept.get(&id).map_or(floor, |kept| floor.max(*kept));
            self.kept.insert(id, kept);
            // This zhost is one of the majority, too.
            self.news = true;
            self.answer(facts, id, effects);
        } else if self.asked.get(&id) == Some(&floor) {
            // Whoever asks again has it tried again. Until then it is refused all the same: that harms nobody.
            self.asked.remove(&id);
        }
    }

    /// Whether a majority has the present placement of a topology on flash, as far as it was told.
    pub fn is_with_majority(&self, facts: &Facts, id: TopologyId) -> bool {
        let Some(fingerprint) = facts.ledger.document(&key(id)).map(Document::fingerprint) else {
            return false;
        };
        let own = usize::from(facts.ledger.kept_fingerprint(&key(id)) == Some(fingerprint));
        let is_same =
            |(peer, kept): &(&ZhostId, &Option<u64>)| **kept == Some(fingerprint) && facts.is_member(**peer);
        let same = |round: &Round| round.promises.iter().filter(is_same).count();
        facts.is_majority(own + self.rounds.get(&id).map_or(0, same))
    }

    /// Sends the present placement to everybody, and asks what is on flash there.
    pub fn ask(&self, facts: &Facts, id: TopologyId, effects: &mut Effects) {
        let Some(Round { serial, floor, .. }) = self.rounds.get(&id) else { return };
        for peer in facts.membership.peers() {
            for message in facts.placement_messages(id) {
                effects.send(peer.id, Frame::Ledger(message));
            }
            effects.send(peer.id, Frame::Prepare { serial: *serial, topology: id, floor: *floor });
        }
    }

    /// Somebody who coordinates asks what we know, and to refuse what is below a version.
    pub fn handle_prepare(
        &mut self,
        facts: &Facts,
        peer: ZhostId,
        serial: u64,
        id: TopologyId,
        floor: PlacementVersion,
        effects: &mut Effects,
    ) {
        // What we have promised before may be forgotten.
        if facts.ledger.topology(id).is_none() || facts.lost.votes {
            return;
        }
        let floor = self.floors.get(&id).map_or(floor, |promised| floor.max(*promised));
        self.promise(id, floor, effects);
        for message in facts.placement_messages(id) {
            effects.send(peer, Frame::Ledger(message));
        }
        self.askers.insert((id, peer), serial);
        self.answer(facts, id, effects);
    }

    /// Answers those who asked, if what they are promised is on flash.
    fn answer(&mut self, facts: &Facts, id: TopologyId, effects: &mut Effects) {
        let Some(floor) = self.floors.get(&id).copied() else { return };
        if !self.has_kept(id, floor) {
            return;
        }
        let kept = facts.ledger.durable_placement(id, Slot::Full);
        for ((_, peer), serial) in self.askers.iter().filter(|((asked, _), _)| *asked == id) {
            effects.send(*peer, Frame::Promise { serial: *serial, kept: kept.cloned(), floor });
        }
        self.askers.retain(|(asked, _), _| *asked != id);
    }

    /// Somebody has promised to refuse what is below a floor, and tells what placement is on its flash.
    pub fn handle_promise(
        &mut self,
        facts: &Facts,
        peer: ZhostId,
        serial: u64,
        kept: Option<Placement>,
        floor: PlacementVersion,
        effects: &mut Effects,
    ) {
        let mut rounds = self.rounds.iter_mut();
        let Some((id, round)) = rounds.find(|(_, round)| round.serial == serial) else { return };
        let fits = |kept: &Placement| kept.version.slot == Slot::Full;
        if !facts.is_member(peer) || !kept.as_ref().is_none_or(fits) {
            return;
        }
        let is_newer = kept.as_ref().is_some_and(|kept| kept.version > round.floor);
        match floor.cmp(&round.floor) {
            // The answer to a question of another start of ours.
            Ordering::Less => return,
            // It has promised more to somebody else: this round comes to nothing.
            Ordering::Greater => {
                let (id, known) = (*id, self.floors.get(id).copied());
                self.promise(id, known.map_or(floor, |known| floor.max(known)), effects);
            }
            // It has more than this round asks about, which it has sent: the round comes to nothing once we have it.
            Ordering::Equal if is_newer => return,
            Ordering::Equal => {
                let learned = round.learned.as_ref().map(|learned| learned.version);
                if kept.as_ref().map(|kept| kept.version) > learned {
                    round.learned.clone_from(&kept);
                }
                let kept = kept.map(|kept| Document::Placement(kept).fingerprint());
                round.promises.insert(peer, kept);
            }
        }
        self.news = true;
    }

    /// Asks those again who have not answered, this zhost's own flash included.
    pub fn handle_timeout(&mut self, now: Instant, facts: &Facts, effects: &mut Effects) {
        let mut due = Vec::new();
        for (id, round) in self.rounds.iter_mut().filter(|(_, round)| round.ask_again_at <= now) {
            round.ask_again_at = now + ASK_PERIOD;
            due.push((*id, round.floor));
        }
        for (id, floor) in due {
            let floor = self.floors.get(&id).map_or(floor, |promised| floor.max(*promised));
            self.promise(id, floor, effects);
            self.ask(facts, id, effects);
        }
    }
}

#[cfg(test)]
mod tests;
