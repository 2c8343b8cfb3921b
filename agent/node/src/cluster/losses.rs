//! A zhost whose flash was lost, though others know it: its store was emptied, or was damaged and set aside.
//!
//! What it knew of topologies it learns anew. Two things must not be taken for granted: it may have voted, so it abstains
//! until it knows which terms are past ([`zhost_gossip::election::Election::abstain`]); and it may count as one who has the
//! data of a space, so it says that it is blank, runs and keeps nothing that has replicas, and is no place for such until no
//! placement counts on it.

use crate::{disk::Lost, facts::Facts};
use zhost_base::SpaceSpec;
use zhost_gossip::document::Slot;

impl Facts {
    /// Whether a placement says that we have the data of a space.
    fn is_counted_on(&self) -> bool {
        let slots = [Slot::Full, Slot::Provisional];
        let placements =
            self.ledger.topologies().flat_map(|(id, _)| slots.map(|slot| self.ledger.placement(id, slot)));
        let mut sets = placements.flatten().flat_map(|placement| &placement.replica_sets);
        sets.any(|set| set.primary == self.id || set.replicas.contains(&self.id))
    }

    /// What is lost no more: once no placement counts on data that we have not any more, we are as good a place for data
    /// as anybody.
    pub(crate) fn regained(&self) -> Option<Lost> {
        let is_over = self.lost.data && !self.lost.votes && self.ready && !self.is_counted_on();
        is_over.then(Lost::default)
    }

    /// Whether a space would find nothing of what was acknowledged to it here.
    pub(crate) fn has_lost_data_of(&self, space: &SpaceSpec) -> bool {
        self.lost.data && space.replicas > 0
    }

    /// What an operator should know of it.
    pub(crate) fn describe_losses(&self) -> Option<String> {
        let (told, needed) = self.election.abstention()?;
        Some(match needed {
            0 => "its store was lost: leads provisionally, until others of its cluster answer".to_owned(),
            _ => format!(
                "its store was lost: does not vote until {needed} others have told their terms ({told} have); \
                 `zctl cluster remove` takes those off that will not come back"
            ),
        })
    }
}
