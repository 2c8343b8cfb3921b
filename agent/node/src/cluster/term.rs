//! Terms as the rest of the node sees them: the view the election decides on, and who our super is.

use crate::facts::Facts;
use zhost_base::{Name, ZhostId, id::rendezvous};
use zhost_gossip::{
    document::Slot,
    election::{Candidate, View},
    row::{Leadership, Profile, Row, RowKey},
};

impl Facts {
    /// The profile of a live zhost.
    pub(crate) fn profile(&self, id: ZhostId) -> Option<&Profile> {
        match self.registry.row(id, &RowKey::Profile)? {
            Row::Profile(profile) => Some(profile),
            _ => None,
        }
    }

    /// The live zhosts whose profile is known, ourselves included.
    pub(crate) fn known_zhosts(&self) -> impl Iterator<Item = (ZhostId, &Profile)> {
        self.registry.owners().filter_map(|(id, _)| Some((id, self.profile(id)?)))
    }

    /// The name of a zhost, as far as we know it.
    pub(crate) fn name_of(&self, id: ZhostId) -> Option<&Name> {
        let of_member =
            || self.ledger.roster().find(|(member, _)| *member == id).map(|(_, entry)| &entry.name);
        self.profile(id).map(|profile| &profile.name).or_else(of_member)
    }

    /// Whether a zhost is on the roster.
    pub(crate) fn is_member(&self, id: ZhostId) -> bool {
        self.ledger.roster().any(|(member, _)| member == id)
    }

    /// What people call a zhost; where another has the same name, with the beginning of its id.
    pub(crate) fn zhost_name(&self, id: ZhostId) -> String {
        let Some(name) = self.name_of(id) else { return id.to_string() };
        let is_shared = self.ledger.roster().any(|(other, entry)| other != id && entry.name == *name);
        if is_shared { format!("{name} ({:.8})", id.to_string()) } else { name.to_string() }
    }

    /// The term in force.
    pub(crate) fn leadership(&self) -> Option<&Leadership> {
        self.election.leadership().map(|(_, leadership)| leadership)
    }

    /// The supers of the term in force.
    pub(crate) fn supers(&self) -> Vec<ZhostId> {
        self.leadership().map(|leadership| leadership.supers.to_vec()).unwrap_or_default()
    }

    /// The supers of the term in force that are alive.
    pub(crate) fn live_supers(&self) -> impl Iterator<Item = ZhostId> {
        let supers = self.leadership().map(|leadership| leadership.supers.as_slice()).unwrap_or_default();
        supers.iter().copied().filter(|id| self.membership.peer(*id).is_some() && !self.is_judged_failed(*id))
    }

    /// The super this zhost reports to.
    pub(crate) fn super_node(&self) -> Option<ZhostId> {
        match self.registry.row(self.id, &RowKey::Super)? {
            Row::Super(id) => Some(*id),
            _ => None,
        }
    }

    /// Whether this zhost is a super of the term in force.
    pub(crate) fn is_super(&self, id: ZhostId) -> bool {
        self.leadership().is_some_and(|leadership| leadership.supers.contains(&id))
    }

    /// The super that coordinates a topology.
    pub(crate) fn coordinator_of(&self, topology: zhost_base::TopologyId) -> Option<ZhostId> {
        self.live_supers().max_by_key(|id| rendezvous(topology.seed(), *id))
    }

    /// The slot that placements of the term in force go into.
    pub(crate) fn term_in_force(&self) -> Option<(Slot, u64)> {
        let leadership = self.leadership()?;
        Some((if leadership.full { Slot::Full } else { Slot::Provisional }, leadership.term))
    }

    /// What the election decides on; one that is leaving takes no part.
    pub(crate) fn election_view(&self, is_leaving: bool) -> View {
        let judged = self.judged_failed();
        let candidates = self.known_zhosts().filter(|(id, _)| !judged.contains(id));
        let candidates = candidates.map(|(id, profile)| Candidate {
            id,
            eligible: profile.eligible,
            capacity: profile.memory_bytes,
        });
        let leaderships = self.registry.rows().filter_map(|(owner, _, row)| match row {
            Row::Leadership(leadership) if !judged.contains(&owner) => Some((owner, leadership.clone())),
            _ => None,
        });
        View {
            candidates: candidates.collect(),
            roster: self.ledger.roster().map(|(id, _)| id).collect(),
            leaderships: leaderships.collect(),
            ready: self.ready && !is_leaving,
            placed_term: self.ledger.placed_term(),
        }
    }

    /// Whom this zhost should report to: every zhost computes the same for each.
    pub(crate) fn best_super(&self) -> Option<ZhostId> {
        self.live_supers().max_by_key(|id| rendezvous(self.id.0, *id))
    }
}
