//! What a super does for the topologies it coordinates: compares wanted with actual and writes placements.

use super::Node;
use crate::{
    output::Level,
    placement::draft::{Draft, Proposal},
};
use zhost_base::{Instant, TopologyId};
use zhost_gossip::document::{Document, DocumentKey, Placement};

impl Node {
    /// Remembers which slots are obeyed, and places what we coordinate.
    pub(crate) fn reconcile_topologies(&mut self, now: Instant) {
        let ids: Vec<TopologyId> = self.facts.ledger.topologies().map(|(id, _)| id).collect();
        self.facts.obeyed.retain(|id, _| ids.contains(id));
        self.quorum.retain(|id| ids.contains(id));
        self.copies.forget_sessions(|key| !ids.contains(&key.topology));
        for id in ids {
            if let Some(placement) = self.facts.obeyed_placement(id) {
                let slot = placement.version.slot;
                self.facts.obeyed.insert(id, slot);
            }
            if self.facts.ready
                && !self.is_shutting_down()
                && self.facts.coordinator_of(id) == Some(self.facts.id)
            {
                self.reconcile_topology(now, id);
            } else {
                self.quorum.end(id);
            }
        }
    }

    /// Places a topology, unless it is placed as it should be. What says who has data waits for a majority.
    fn reconcile_topology(&mut self, now: Instant, id: TopologyId) {
        let Some(draft) = Draft::new(&self.facts, id, self.quorum.learned(id)) else {
            return self.quorum.end(id);
        };
        let needs_majority = draft.needs_majority();
        let is_with_majority = needs_majority && self.quorum.is_with_majority(&self.facts, id);
        let proposal = draft.propose(
            &mut {
                let mesh = &self.mesh;
                self.facts.sites(id, |zhost| mesh.is_fresh(now, zhost))
            },
            is_with_majority,
        );
        if draft.is_as_before(&proposal) {
            if proposal.replica_sets.iter().all(|set| set.confirmed) {
                self.quorum.end(id);
            }
            return;
        }
        let (slot, term, revision) = (draft.slot(), draft.term(), draft.revision());
        let (losses, next_version) = (draft.losses(), draft.next_version());
        let version = match needs_majority {
            true => self
                .run(now, |node, effects| node.quorum.granted_version(now, &node.facts, id, term, effects)),
            false => Some(next_version),
        };
        let Some(version) = version else { return };
        let Proposal { homes, settled, replica_sets } = proposal;
        let placement = Placement { version, revision, homes, settled, replica_sets };
        losses.into_iter().for_each(|(level, text)| self.log(level, text));
        self.log(Level::Info, self.facts.describe_placement(id, &placement));
        self.take_document(now, DocumentKey::Placement(id, slot), Document::Placement(placement), None);
        if needs_majority {
            self.run(now, |node, effects| node.quorum.ask(&node.facts, id, effects));
        }
    }
}
