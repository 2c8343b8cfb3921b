//! What a super does for the topologies it coordinates: compares wanted with actual and writes placements.

use super::Node;
use crate::{
    effects::Effects,
    faults::Part,
    output::Level,
    placement::draft::{Draft, Proposal},
};
use zhost_base::{Instant, TopologyId};
use zhost_gossip::document::{Document, DocumentKey, Placement, Slot};

/// A placement that is to be written.
struct Decision {
    slot: Slot,
    placement: Placement,
    /// What is to be told of data that is lost by it.
    losses: Vec<(Level, String)>,
    needs_majority: bool,
}

impl Node {
    /// Remembers which slots are obeyed, and places what we coordinate.
    pub(crate) fn reconcile_topologies(&mut self, now: Instant) {
        let ids: Vec<TopologyId> = self.facts.ledger.topologies().map(|(id, _)| id).collect();
        self.facts.obeyed.retain(|id, _| ids.contains(id));
        self.run(now, Part::Placement, |node, _| node.quorum.retain(|id| ids.contains(id)));
        self.run(now, Part::Data, |node, _| {
            node.copies.forget_sessions(|key| !ids.contains(&key.topology));
        });
        for id in ids {
            if let Some(placement) = self.facts.obeyed_placement(id) {
                let slot = placement.version.slot;
                self.facts.obeyed.insert(id, slot);
            }
            if self.facts.ready
                && !self.is_shutting_down()
                && self.facts.coordinator_of(id) == Some(self.facts.id)
            {
                self.do_about(id, |node| node.reconcile_topology(now, id));
            } else {
                self.run(now, Part::Placement, |node, _| node.quorum.end(id));
            }
        }
    }

    /// Places a topology, unless it is placed as it should be. What says who has data waits for a majority.
    fn reconcile_topology(&mut self, now: Instant, id: TopologyId) {
        if self.faults.is_held(Part::Placement, id) {
            return;
        }
        let decision = self.run(now, Part::Placement, |node, effects| node.decide(now, id, effects));
        let Some(Decision { slot, placement, losses, needs_majority }) = decision else { return };
        losses.into_iter().for_each(|(level, text)| self.log(level, text));
        self.log(Level::Info, self.facts.describe_placement(id, &placement));
        self.take_document(now, DocumentKey::Placement(id, slot), Document::Placement(placement), None);
        if needs_majority {
            self.run(now, Part::Placement, |node, effects| node.quorum.ask(&node.facts, id, effects));
        }
    }

    /// The next placement of a topology, if there is to be another and a majority has granted it where it must.
    fn decide(&mut self, now: Instant, id: TopologyId, effects: &mut Effects) -> Option<Decision> {
        let Some(draft) = Draft::new(&self.facts, id, self.quorum.learned(id)) else {
            self.quorum.end(id);
            return None;
        };
        let (needs_majority, term, next_version) =
            (draft.needs_majority(), draft.term(), draft.next_version());
        let is_with_majority = needs_majority && self.quorum.is_with_majority(&self.facts, id);
        let mut sites = self.facts.sites(id, |zhost| self.mesh.is_fresh(now, zhost));
        let proposal = draft.propose(&mut sites, is_with_majority);
        if draft.is_as_before(&proposal) {
            if proposal.replica_sets.iter().all(|set| set.confirmed) {
                self.quorum.end(id);
            } else if needs_majority && !self.quorum.has_round(id) {
                // It ended in a panic, before it was heard that a majority has the present placement: another tells.
                self.quorum.granted_version(now, &self.facts, id, term, effects);
            }
            return None;
        }
        let (slot, revision, losses) = (draft.slot(), draft.revision(), draft.losses());
        let version = match needs_majority {
            true => self.quorum.granted_version(now, &self.facts, id, term, effects)?,
            false => next_version,
        };
        let Proposal { homes, settled, replica_sets } = proposal;
        let placement = Placement { version, revision, homes, settled, replica_sets };
        Some(Decision { slot, placement, losses, needs_majority })
    }
}
