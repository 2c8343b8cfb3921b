//! The next placement of one topology, as its coordinator drafts it: from what is obeyed now, from who has the data of its
//! spaces, and from the zhosts where its spaces could be. A pure function of what is known.

use crate::{
    facts::Facts,
    output::Level,
    placement::{
        plan::{self, Sites},
        replica_sets::{self, View},
    },
};
use litemap::LiteMap;
use std::collections::BTreeSet;
use zhost_base::{Name, SpaceKey, SpaceSpec, TopologyId, ZhostId};
use zhost_gossip::{
    document::{
        FailureReason, Home, Placement, PlacementVersion, ReplicaSet, Slot, TopologyDocument, Wanted,
    },
    row::{RowKey, SpaceState},
};

/// What a draft starts from.
pub(crate) struct Draft<'a> {
    facts: &'a Facts,
    id: TopologyId,
    topology: &'a TopologyDocument,
    slot: Slot,
    term: u64,
    /// The last placement of this slot.
    newest: Option<&'a Placement>,
    /// The last placement of a full term.
    decided: Option<&'a Placement>,
    /// The placement that is gone on from.
    base: Option<&'a Placement>,
}

/// A placement that has no version yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub homes: Vec<Home>,
    pub settled: bool,
    pub replica_sets: Vec<ReplicaSet>,
}

/// Where a space could be, and who follows its data there.
struct Candidates {
    usable: BTreeSet<ZhostId>,
    synced: Vec<ZhostId>,
}

fn other(slot: Slot) -> Slot {
    match slot {
        Slot::Full => Slot::Provisional,
        Slot::Provisional => Slot::Full,
    }
}

impl<'a> Draft<'a> {
    /// Under the term in force. None if there is none, or the topology is not to run. `learned` is what others have on flash,
    /// if a round was held.
    pub fn new(facts: &'a Facts, id: TopologyId, learned: Option<&'a Placement>) -> Option<Self> {
        let (slot, term) = facts.term_in_force()?;
        Self::under(facts, id, (slot, term), learned)
    }

    fn under(
        facts: &'a Facts,
        id: TopologyId,
        (slot, term): (Slot, u64),
        learned: Option<&'a Placement>,
    ) -> Option<Self> {
        let topology = facts.ledger.topology(id).filter(|topology| topology.wanted == Wanted::Running)?;
        let newest = facts.ledger.placement(id, slot);
        let full = facts.ledger.placement(id, Slot::Full);
        let is_news = |learned: &&Placement| full.is_none_or(|full| full.version < learned.version);
        let learned = learned.filter(|_| slot == Slot::Full).filter(is_news);
        // What a majority may have decided unheard comes first. A new term goes on from what is obeyed now; after that, from
        // what it wrote itself.
        let base = learned.or_else(|| newest.filter(|newest| newest.version.term == term));
        let base = base.or_else(|| facts.obeyed_placement(id)).or(newest);
        let base = base.or_else(|| facts.ledger.placement(id, other(slot)));
        Some(Self { facts, id, topology, slot, term, newest, decided: learned.or(full), base })
    }

    fn spaces(&self) -> &'a [SpaceSpec] {
        &self.topology.spec.spaces
    }

    /// Where it is written.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Under which term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The revision of the topology that is placed.
    pub fn revision(&self) -> u64 {
        self.topology.revision
    }

    /// Whether a majority has to know of it before it counts: it says who has data.
    pub fn needs_majority(&self) -> bool {
        self.slot == Slot::Full && self.spaces().iter().any(|space| space.replicas > 0)
    }

    /// The placement, if the zhosts are these, and whether a majority has the present one.
    pub fn propose(&self, sites: &mut Sites<'_>, is_with_majority: bool) -> Proposal {
        let candidates: Vec<Candidates> =
            self.spaces().iter().map(|space| self.candidates(space, sites)).collect();
        let view = |index: usize| self.view(index, &candidates[index], is_with_majority);
        let replicated = || self.spaces().iter().enumerate().filter(|(_, space)| space.replicas > 0);
        let decided: LiteMap<usize, Home> = replicated()
            .filter_map(|(index, space)| Some((index, self.home_of_data(space, &view(index))?)))
            .collect();
        let homes = plan::place(self.id, self.spaces(), &self.carried_homes(), &decided, sites);
        let replica_sets = replicated().filter_map(|(index, space)| {
            replica_sets::decide(space, self.present_set(space), homes.get(index)?, &view(index))
        });
        let replica_sets = replica_sets.collect();
        let settled = self.was_settled() || self.all_running(&homes);
        Proposal { homes, settled, replica_sets }
    }

    /// Whether it says what the last one says.
    pub fn is_as_before(&self, proposal: &Proposal) -> bool {
        self.newest.is_some_and(|newest| {
            newest.homes == proposal.homes
                && newest.replica_sets == proposal.replica_sets
                && newest.settled == proposal.settled
                && newest.revision == self.topology.revision
                && newest.version.term == self.term
        })
    }

    /// A version above all that is known here, for what no majority has to know.
    pub fn next_version(&self) -> PlacementVersion {
        let earlier = [self.slot, other(self.slot)].into_iter();
        let earlier = earlier.filter_map(|slot| self.facts.ledger.placement(self.id, slot));
        let counters = earlier.map(|placement| placement.version.counter);
        let counter = counters.fold(self.facts.ledger.horizon(), u64::max).saturating_add(1);
        PlacementVersion { slot: self.slot, term: self.term, counter, coordinator: self.facts.id }
    }

    /// What an operator should hear of data that nobody has any more.
    pub fn losses(&self) -> Vec<(Level, String)> {
        let last = self.spaces().iter().filter_map(|space| self.last_set(space));
        let lost = last.filter(|set| self.is_lost(set));
        let line = |set: &ReplicaSet| {
            format!("the data of {} is lost with its zhosts, or with their flash", set.space)
        };
        lost.map(|set| (Level::Warn, line(set))).collect()
    }

    /// Who has the data of a space by the last decision. Those of full terms count more than what is obeyed at present.
    fn last_set(&self, space: &SpaceSpec) -> Option<&'a ReplicaSet> {
        let decisions = [self.decided, self.base];
        let mut sets = decisions.into_iter().flatten().flat_map(|placement| &placement.replica_sets);
        sets.find(|set| set.space == space.name)
    }

    /// The same, if anybody still has it.
    fn present_set(&self, space: &SpaceSpec) -> Option<&'a ReplicaSet> {
        self.last_set(space).filter(|set| !self.is_lost(set))
    }

    /// Whether everybody who had the data of a space was taken off the roster or has lost it: then nobody brings it back,
    /// and the space begins anew with what is where it is placed.
    fn is_lost(&self, set: &ReplicaSet) -> bool {
        // One that is not on the roster yet, or not as far as we have heard, is not gone.
        let is_blank = |id: &ZhostId| self.facts.profile(*id).is_some_and(|profile| profile.blank);
        let is_gone = |id: &ZhostId| self.facts.ledger.was_removed(*id) || is_blank(id);
        self.slot == Slot::Full && is_gone(&set.primary) && set.replicas.iter().all(is_gone)
    }

    /// Where the zhost must be that runs a space, if its data says so.
    fn home_of_data(&self, space: &SpaceSpec, view: &View<'_>) -> Option<Home> {
        match (self.last_set(space)?, self.present_set(space)) {
            (_, Some(present)) => Some(replica_sets::home(present, view)),
            (lost, None) => replica_sets::successor_of_lost(lost, view).map(Home::On),
        }
    }

    fn candidates(&self, space: &SpaceSpec, sites: &Sites<'_>) -> Candidates {
        let usable = sites.iter().filter(|(_, site)| site.suits(space)).map(|(id, _)| *id).collect();
        Candidates { usable, synced: self.synced_replicas(space) }
    }

    fn view<'b>(&self, index: usize, candidates: &'b Candidates, is_with_majority: bool) -> View<'b> {
        View {
            usable: &candidates.usable,
            is_full: self.slot == Slot::Full,
            is_with_majority,
            is_fresh: self.base.is_none(),
            synced: &candidates.synced,
            seed: self.id.seed().wrapping_add(index as u64),
        }
    }

    /// The replicas that the primary of a space waits for, if it speaks of the placement that is gone on from.
    fn synced_replicas(&self, space: &SpaceSpec) -> Vec<ZhostId> {
        let row = self.present_set(space).and_then(|present| {
            let key = SpaceKey { topology: self.id, space: space.name.clone() };
            self.facts.space_row(present.primary, &key)
        });
        let row = row.filter(|row| self.base.is_some_and(|base| base.version == row.placement));
        row.map(|row| row.synced.clone()).unwrap_or_default()
    }

    /// The homes of an earlier placement, in the order of the present spec. A space of an earlier revision keeps its
    /// home if the present one does not say otherwise, found by its rows, since the earlier spec is gone.
    fn carried_homes(&self) -> Vec<Home> {
        let Some(base) = self.base else { return Vec::new() };
        if base.revision == self.topology.revision {
            return base.homes.clone();
        }
        let home = |name: &Name| {
            let key = RowKey::Space(SpaceKey { topology: self.id, space: name.clone() });
            let mut rows = self.facts.registry.rows();
            rows.find(|(_, row_key, _)| **row_key == key).map(|(owner, _, _)| Home::On(owner))
        };
        let nowhere = || Home::Nowhere(FailureReason::Capacity);
        self.spaces().iter().map(|space| home(&space.name).unwrap_or_else(nowhere)).collect()
    }

    /// Whether all spaces of this revision have been running at once before.
    fn was_settled(&self) -> bool {
        self.base.is_some_and(|base| base.revision == self.topology.revision && base.settled)
    }

    fn all_running(&self, homes: &[Home]) -> bool {
        self.spaces().iter().zip(homes).all(|(space, home)| match home {
            Home::On(zhost) => {
                let key = SpaceKey { topology: self.id, space: space.name.clone() };
                self.facts.space_row(*zhost, &key).is_some_and(|row| {
                    row.revision == self.topology.revision
                        && matches!(row.state, SpaceState::Running | SpaceState::Ended)
                })
            }
            Home::Nowhere(_) => false,
            Home::OnDemand => true,
        })
    }
}

#[cfg(test)]
mod tests;
