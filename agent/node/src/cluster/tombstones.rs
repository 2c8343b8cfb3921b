//! Tombstone collection: forgetting deleted topologies, once nobody can bring them back.
//!
//! Whoever has been in agreement with us since a tombstone reached our flash holds that tombstone on its own, and will
//! not give it up for anything older. Once that is true of everybody in the roster, the topology's coordinator says so
//! in a last document. It goes the way of all documents, and everybody forgets it after a while. A zhost that was away
//! meanwhile brings its tombstone back, never the topology, and the same begins again.

use litemap::LiteMap;
use std::time::Duration;
use zhost_base::{Instant, TopologyId, ZhostId};
use zhost_gossip::{
    document::{Document, DocumentKey, Stamp, TopologyDocument, Wanted},
    ledger::Ledger,
};

/// How often it is looked what can be forgotten.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// How long what can be forgotten is kept, so that everybody hears of it.
const KEEP: Duration = Duration::from_secs(600);

/// The deleted topologies that are not forgotten yet.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// By the fingerprints of their documents, and since when we hold these in this run. As many as the ledger has.
    held: LiteMap<TopologyId, (u64, Instant)>,
    /// When others last held the same ledger as we: members only.
    agreed: LiteMap<ZhostId, Instant>,
    next_look: Option<Instant>,
}

/// What is to be done with a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collection {
    /// Say to everybody that it can be forgotten, with [`last_document`].
    Announce(TopologyId),
    /// Forget it.
    Forget(TopologyId),
}

impl Tombstones {
    /// Another zhost holds the same ledger.
    pub fn note_agreement(&mut self, now: Instant, with: ZhostId) {
        if !self.held.is_empty() {
            self.agreed.insert(with, now);
        }
    }

    /// The ledger is another one.
    pub fn handle_ledger(&mut self, now: Instant, ledger: &Ledger) {
        let seen: LiteMap<TopologyId, u64> =
            ledger.tombstones().map(|(id, document)| (id, document.fingerprint())).collect();
        self.held.retain(|id, (fingerprint, _)| seen.get(id) == Some(fingerprint));
        for (id, fingerprint) in seen {
            self.held.entry(id).or_insert((fingerprint, now));
        }
        if self.held.is_empty() {
            self.agreed.clear();
            self.next_look = None;
        } else {
            self.next_look.get_or_insert(now + LOOK_PERIOD);
        }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.next_look.map(|at| (at, "forget deleted topologies"))
    }

    /// Whether it is time to ask for [`Self::due`].
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_time = self.next_look.is_some_and(|at| at <= now);
        if is_time {
            self.next_look = Some(now + LOOK_PERIOD);
        }
        is_time
    }

    /// What is to be done now. `coordinates` says of a topology whether it is ours to announce, `must_agree` of a zhost
    /// whether its agreement is needed.
    pub fn due(
        &self,
        now: Instant,
        ledger: &Ledger,
        coordinates: impl Fn(TopologyId) -> bool,
        must_agree: impl Fn(ZhostId) -> bool,
    ) -> Vec<Collection> {
        let all_agree = |since: Instant| {
            let agrees = |zhost: ZhostId| self.agreed.get(&zhost).is_some_and(|at| *at > since);
            ledger.roster().all(|(zhost, _)| agrees(zhost) || !must_agree(zhost))
        };
        let due = |(id, (_, since)): (&TopologyId, &(u64, Instant))| match ledger.topology(*id)?.wanted {
            Wanted::Forgotten if now.since(*since) >= KEEP => Some(Collection::Forget(*id)),
            Wanted::Deleted if coordinates(*id) && all_agree(*since) => Some(Collection::Announce(*id)),
            _ => None,
        };
        self.held.iter().filter_map(due).collect()
    }
}

/// The document with which `writer` says that everybody holds the tombstone of a topology.
pub(crate) fn last_document(ledger: &Ledger, id: TopologyId, writer: ZhostId) -> Option<Document> {
    let Document::Topology(held, topology) = ledger.document(&DocumentKey::Topology(id))? else {
        return None;
    };
    // Anybody who submits it anew takes this number at least, and wins.
    let stamp = Stamp { counter: held.counter.saturating_add(1), writer };
    Some(Document::Topology(stamp, TopologyDocument { wanted: Wanted::Forgotten, ..topology.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fixture;

    const ME: ZhostId = ZhostId(1);
    const OTHERS: [ZhostId; 2] = [ZhostId(2), ZhostId(3)];
    const ID: TopologyId = TopologyId([1; 16]);
    const START: Instant = Instant::from_micros(1_000_000);

    fn document(wanted: Wanted, counter: u64) -> Document {
        fixture::topology(wanted, counter, ME)
    }

    /// The ledger of a cluster of three.
    fn ledger(wanted: Wanted) -> Ledger {
        let topology = (DocumentKey::Topology(ID), document(wanted, 5));
        fixture::facts(&[ME, OTHERS[0], OTHERS[1]], [topology]).ledger
    }

    /// Takes a document, and it reaches the flash.
    fn store(ledger: &mut Ledger, document: Document) {
        let (key, fingerprint) = (DocumentKey::Topology(ID), document.fingerprint());
        ledger.offer(key, document);
        ledger.handle_stored(key, fingerprint);
    }

    fn look(
        tombstones: &mut Tombstones,
        now: Instant,
        ledger: &Ledger,
        coordinates: bool,
    ) -> Vec<Collection> {
        if !tombstones.handle_timeout(now) {
            return Vec::new();
        }
        tombstones.due(now, ledger, |_| coordinates, |zhost| zhost != ME)
    }

    #[test]
    fn it_is_announced_once_everybody_has_agreed_since_and_by_the_coordinator_alone() {
        let ledger = ledger(Wanted::Deleted);
        let mut tombstones = Tombstones::default();
        // Agreement from before the tombstone says nothing of it.
        OTHERS.into_iter().for_each(|other| tombstones.note_agreement(START, other));
        tombstones.handle_ledger(START, &ledger);
        let mut now = START + LOOK_PERIOD;
        assert_eq!(look(&mut tombstones, now, &ledger, true), []);
        tombstones.note_agreement(now, OTHERS[0]);
        now += LOOK_PERIOD;
        assert_eq!(look(&mut tombstones, now, &ledger, true), [], "one of three is away");
        tombstones.note_agreement(now, OTHERS[1]);
        assert_eq!(look(&mut tombstones, now, &ledger, true), [], "it was looked a moment ago");
        now += LOOK_PERIOD;
        assert_eq!(look(&mut tombstones, now, &ledger, false), [], "another one coordinates it");
        now += LOOK_PERIOD;
        assert_eq!(look(&mut tombstones, now, &ledger, true), [Collection::Announce(ID)]);
    }

    #[test]
    fn a_tombstone_that_changes_has_to_be_agreed_to_anew() {
        let mut ledger = ledger(Wanted::Deleted);
        let mut tombstones = Tombstones::default();
        tombstones.handle_ledger(START, &ledger);
        let mut now = START + LOOK_PERIOD;
        OTHERS.into_iter().for_each(|other| tombstones.note_agreement(now, other));
        now += LOOK_PERIOD;
        store(&mut ledger, document(Wanted::Deleted, 6));
        tombstones.handle_ledger(now, &ledger);
        assert_eq!(look(&mut tombstones, now, &ledger, true), []);
        OTHERS.into_iter().for_each(|other| tombstones.note_agreement(now + LOOK_PERIOD, other));
        now += LOOK_PERIOD;
        assert_eq!(look(&mut tombstones, now, &ledger, true), [Collection::Announce(ID)]);
    }

    #[test]
    fn what_was_announced_is_forgotten_after_a_while_and_a_submit_wins_over_it() {
        let mut ledger = ledger(Wanted::Deleted);
        let last = last_document(&ledger, ID, ME).unwrap();
        store(&mut ledger, last.clone());
        let mut tombstones = Tombstones::default();
        tombstones.handle_ledger(START, &ledger);
        assert_eq!(look(&mut tombstones, START + LOOK_PERIOD, &ledger, true), []);
        assert_eq!(look(&mut tombstones, START + KEEP, &ledger, false), [Collection::Forget(ID)]);
        assert!(
            document(Wanted::Running, ledger.next_stamp(&DocumentKey::Topology(ID), ME).counter).beats(&last)
        );
        store(&mut ledger, document(Wanted::Running, 9));
        tombstones.handle_ledger(START + KEEP, &ledger);
        assert_eq!(tombstones.poll_timeout(), None, "there is nothing to look at");
    }
}
