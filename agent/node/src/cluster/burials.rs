//! Forgetting deleted topologies, once nobody can bring them back.
//!
//! Whoever has been in agreement with us since a tombstone reached our flash holds that tombstone on its own, and will
//! not give it up for anything older. Once that is true of everybody in the roster, the topology's coordinator says so
//! in a last document. It goes the way of all documents, and everybody forgets it after a while. A zhost that was away
//! meanwhile brings its tombstone back, never the topology, and the same begins again.

use crate::{
    disk::{DiskRequest, Purpose, document_removal, horizon_write, promise_write},
    node::Node,
};
use litemap::LiteMap;
use std::time::Duration;
use zhost_base::{
    Instant, TopologyId, ZhostId,
    planted::{self, Bug},
};
use zhost_gossip::document::{Document, DocumentKey, Stamp, TopologyDocument, Wanted};

/// How often it is looked what can be forgotten.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
/// How long what can be forgotten is kept, so that everybody hears of it.
const KEEP: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(crate) struct Burials {
    /// Deleted topologies by the fingerprints of their documents, and since when we hold these in this run.
    tombstones: LiteMap<TopologyId, (u64, Instant)>,
    /// When others last held the same ledger as we.
    agreed: LiteMap<ZhostId, Instant>,
    next_look: Option<Instant>,
}

impl Burials {
    /// Another zhost holds the same ledger.
    pub fn note_agreement(&mut self, now: Instant, with: ZhostId) {
        if !self.tombstones.is_empty() {
            self.agreed.insert(with, now);
        }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.next_look.map(|at| (at, "forget deleted topologies"))
    }
}

impl Node {
    pub(crate) fn refresh_burials(&mut self, now: Instant) {
        let seen: LiteMap<TopologyId, u64> =
            self.ledger.tombstones().map(|(id, document)| (id, document.fingerprint())).collect();
        let known = &mut self.burials.tombstones;
        known.retain(|id, (fingerprint, _)| seen.get(id) == Some(fingerprint));
        for (id, fingerprint) in seen {
            known.entry(id).or_insert((fingerprint, now));
        }
        if known.is_empty() {
            self.burials.agreed.clear();
            self.burials.next_look = None;
        } else {
            self.burials.next_look.get_or_insert(now + LOOK_PERIOD);
        }
    }

    pub(crate) fn burials_timeout(&mut self, now: Instant) {
        if self.burials.next_look.is_none_or(|at| at > now) {
            return;
        }
        self.burials.next_look = Some(now + LOOK_PERIOD);
        for (id, (_, since)) in self.burials.tombstones.clone() {
            match self.ledger.topology(id).map(|topology| topology.wanted) {
                Some(Wanted::Forgotten) if now.since(since) >= KEEP => self.forget_topology(id),
                Some(Wanted::Deleted) if self.may_be_forgotten(id, since) => self.bury(now, id),
                _ => {}
            }
        }
    }

    /// Whether we are to say that everybody holds a tombstone that we have had since then.
    fn may_be_forgotten(&self, id: TopologyId, since: Instant) -> bool {
        let is_excused = |zhost| planted::has(Bug::ForgetEarly) && self.membership.peer(zhost).is_none();
        let agrees = |zhost: ZhostId| {
            zhost == self.id
                || is_excused(zhost)
                || self.burials.agreed.get(&zhost).is_some_and(|at| *at > since)
        };
        let leads = self.coordinator_of(id) == Some(self.id) && self.reign().is_some_and(|reign| reign.full);
        leads && self.ledger.roster().all(|(zhost, _)| agrees(zhost))
    }

    fn bury(&mut self, now: Instant, id: TopologyId) {
        let key = DocumentKey::Topology(id);
        let Some(Document::Topology(held, topology)) = self.ledger.document(&key) else { return };
        // Anybody who submits it anew takes this number at least, and wins.
        let stamp = Stamp { counter: held.counter.saturating_add(1), writer: self.id };
        let last = TopologyDocument { wanted: Wanted::Forgotten, ..topology.clone() };
        self.take_document(now, key, Document::Topology(stamp, last), None);
    }

    fn forget_topology(&mut self, id: TopologyId) {
        let dropped = self.ledger.forget(id);
        let mut writes: Vec<_> = dropped.iter().map(document_removal).collect();
        writes.push(horizon_write(self.ledger.horizon()));
        writes.push(promise_write(id, None));
        self.disk(DiskRequest::Commit(writes), Purpose::Nothing);
    }
}
