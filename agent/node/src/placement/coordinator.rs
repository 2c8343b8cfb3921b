//! What a super does for the topologies it coordinates: compares wanted with actual and writes placements.

use crate::{
    node::{Level, Node},
    placement::{
        keepers::{self, View},
        plan::{self, Site, Sites},
    },
};
use litemap::LiteMap;
use std::collections::BTreeSet;
use zhost_base::{Instant, SpaceKey, SpaceSpec, TopologyId, ZhostId};
use zhost_gossip::{
    document::{
        Document, DocumentKey, Home, Keepers, Placement, PlacementVersion, Slot, TopologyDocument, Wanted,
    },
    row::{LoadBand, Row, RowKey, SpaceRow, SpaceState},
};

/// What is remembered of placements between reigns.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    /// The slot each topology's placement was last obeyed from.
    obeyed: LiteMap<TopologyId, Slot>,
}

/// The zhosts where a space could be.
fn suitable(space: &SpaceSpec, sites: &Sites<'_>) -> BTreeSet<ZhostId> {
    sites.iter().filter(|(_, site)| site.suits(space)).map(|(id, _)| *id).collect()
}

impl Node {
    /// The placement of a topology that this zhost obeys: that of the reign in force, or while there is none (or it
    /// has not placed the topology yet) the one obeyed last.
    pub(crate) fn obeyed_placement(&self, id: TopologyId) -> Option<&Placement> {
        let placed_under = |slot, term| {
            self.ledger.durable_placement(id, slot).is_some_and(|placement| placement.version.term == term)
        };
        let slot = match self.reign_slot() {
            Some((slot, term)) if placed_under(slot, term) => slot,
            _ => self.coordinator.obeyed.get(&id).copied().unwrap_or(Slot::Full),
        };
        self.ledger.durable_placement(id, slot)
    }

    /// Remembers which slots are obeyed, and places what we coordinate.
    pub(crate) fn reconcile_topologies(&mut self, now: Instant) {
        let ids: Vec<TopologyId> = self.ledger.topologies().map(|(id, _)| id).collect();
        self.coordinator.obeyed.retain(|id, _| ids.contains(id));
        self.census.retain(|id| ids.contains(id));
        self.copies.forget_sessions(|key| !ids.contains(&key.topology));
        for id in ids {
            if let Some(placement) = self.obeyed_placement(id) {
                let slot = placement.version.slot;
                self.coordinator.obeyed.insert(id, slot);
            }
            if self.ready && !self.is_shutting_down() && self.coordinator_of(id) == Some(self.id) {
                self.reconcile_topology(now, id);
            } else {
                self.census.end(id);
            }
        }
    }

    fn reconcile_topology(&mut self, now: Instant, id: TopologyId) {
        let Some((slot, term)) = self.reign_slot() else { return };
        let Some(topology) = self.ledger.topology(id).filter(|topology| topology.wanted == Wanted::Running)
        else {
            return self.census.end(id);
        };
        let is_common = slot == Slot::Full && topology.spec.spaces.iter().any(|space| space.replicas > 0);
        let is_with_majority = is_common && self.is_with_majority(id);
        let newest = self.ledger.placement(id, slot);
        let other = if slot == Slot::Full { Slot::Provisional } else { Slot::Full };
        // A new reign goes on from what is obeyed now; after that, from what it wrote itself.
        let base = newest.filter(|p| p.version.term == term).or_else(|| self.obeyed_placement(id)).or(newest);
        let base = base.or_else(|| self.ledger.placement(id, other));
        let homes = base.map(|base| self.carried_homes(id, topology, base)).unwrap_or_default();
        let mut sites = self.sites(now, id);
        let usable: Vec<BTreeSet<ZhostId>> =
            topology.spec.spaces.iter().map(|space| suitable(space, &sites)).collect();
        // Decisions of full terms count more than what is obeyed at present.
        let decisions = [self.ledger.placement(id, Slot::Full), base];
        let last = |space: &SpaceSpec| {
            let mut keepers = decisions.iter().flatten().flat_map(|placement| &placement.keepers);
            keepers.find(|keepers| keepers.space == space.name)
        };
        let old = |space: &SpaceSpec| last(space).filter(|keepers| !self.is_lost(slot, keepers));
        let spaces = &topology.spec.spaces;
        let synced: Vec<Vec<ZhostId>> =
            spaces.iter().map(|space| self.synced_replicas(id, space, base, old(space))).collect();
        let view = |index: usize| View {
            usable: &usable[index],
            is_full: slot == Slot::Full,
            is_with_majority,
            is_fresh: base.is_none(),
            synced: &synced[index],
            seed: id.seed().wrapping_add(index as u64),
        };
        let decided = topology.spec.spaces.iter().enumerate().filter(|(_, space)| space.replicas > 0);
        let home = |index: usize, space: &SpaceSpec| match (last(space), old(space)) {
            (_, Some(old)) => Some(keepers::home(old, &view(index))),
            (Some(lost), None) => keepers::heir_of_lost(lost, &view(index)).map(Home::On),
            (None, None) => None,
        };
        let decided = decided.filter_map(|(index, space)| Some((index, home(index, space)?)));
        let decided: LiteMap<usize, Home> = decided.collect();
        let homes = plan::place(id, &topology.spec.spaces, &homes, &decided, &mut sites);
        let kept = topology.spec.spaces.iter().zip(&homes).enumerate().filter(|(_, (s, _))| s.replicas > 0);
        let kept =
            kept.filter_map(|(index, (space, home))| keepers::decide(space, old(space), home, &view(index)));
        let kept: Vec<Keepers> = kept.collect();
        let is_decided = kept.iter().all(|keepers| keepers.confirmed);
        let carried = base.is_some_and(|base| base.revision == topology.revision && base.settled);
        let settled = carried || self.all_running(id, topology, &homes);
        let unchanged = newest.is_some_and(|newest| {
            newest.homes == homes
                && newest.keepers == kept
                && newest.settled == settled
                && newest.revision == topology.revision
                && newest.version.term == term
        });
        if unchanged {
            if is_decided {
                self.census.end(id);
            }
            return;
        }
        let lost = topology.spec.spaces.iter().filter_map(last).filter(|keepers| self.is_lost(slot, keepers));
        let mut lines: Vec<(Level, String)> = lost
            .map(|keepers| {
                (
                    Level::Warn,
                    format!("the data of {} is lost with its zhosts, or with their flash", keepers.space),
                )
            })
            .collect();
        let revision = topology.revision;
        let earlier = [slot, other].into_iter().filter_map(|slot| self.ledger.placement(id, slot));
        let counter =
            earlier.map(|placement| placement.version.counter).fold(self.ledger.horizon(), u64::max);
        let version =
            PlacementVersion { slot, term, counter: counter.saturating_add(1), coordinator: self.id };
        let version = if is_common { self.granted_version(now, id, term) } else { Some(version) };
        let Some(version) = version else { return };
        let Some(topology) = self.ledger.topology(id) else { return };
        let placement = Placement { version, revision, homes, settled, keepers: kept };
        lines.push((Level::Info, self.describe_placement(topology, &placement)));
        lines.into_iter().for_each(|(level, text)| self.log(level, text));
        self.take_document(now, DocumentKey::Placement(id, slot), Document::Placement(placement), None);
        if is_common {
            self.ask_majority(now, id);
        }
    }

    /// Whether everybody who had the data of a space was taken off the roster or has lost it: then nobody brings it back,
    /// and the space begins anew with what is where it is placed.
    fn is_lost(&self, slot: Slot, keepers: &Keepers) -> bool {
        // One that is not on the roster yet, or not as far as we have heard, is not gone.
        let is_blank = |id: &ZhostId| self.profile(*id).is_some_and(|profile| profile.blank);
        let is_gone = |id: &ZhostId| self.ledger.was_removed(*id) || is_blank(id);
        slot == Slot::Full && is_gone(&keepers.primary) && keepers.replicas.iter().all(is_gone)
    }

    /// The replicas that the primary of a space waits for, if it speaks of the placement `base`.
    fn synced_replicas(
        &self,
        id: TopologyId,
        space: &SpaceSpec,
        base: Option<&Placement>,
        old: Option<&Keepers>,
    ) -> Vec<ZhostId> {
        let key = SpaceKey { topology: id, space: space.name.clone() };
        let row = old.and_then(|old| self.space_row(old.primary, &key));
        let row = row.filter(|row| base.is_some_and(|base| base.version == row.placement));
        row.map(|row| row.synced.clone()).unwrap_or_default()
    }

    fn describe_placement(&self, topology: &TopologyDocument, placement: &Placement) -> String {
        let places = topology.spec.spaces.iter().zip(&placement.homes).map(|(space, home)| match home {
            Home::On(id) => format!("{} on {}", space.name, self.zhost_name(*id)),
            Home::Nowhere(reason) => format!("{} nowhere: {reason}", space.name),
            Home::OnDemand => format!("{} on demand", space.name),
        });
        let names = |ids: &[ZhostId]| {
            let names: Vec<String> = ids.iter().map(|id| self.zhost_name(*id)).collect();
            if names.is_empty() { "nobody".to_owned() } else { names.join(" and ") }
        };
        let kept = placement.keepers.iter().map(|keepers| {
            let Keepers { space, primary, replicas, joining, confirmed: _ } = keepers;
            let primary = self.zhost_name(*primary);
            format!("data of {space} on {primary}, copied to {}, soon to {}", names(replicas), names(joining))
        });
        let places: Vec<String> = places.chain(kept).collect();
        format!(
            "placing {} ({}.{}): {}",
            topology.spec.name,
            placement.version.term,
            placement.version.counter,
            places.join(", ")
        )
    }

    /// The homes of an earlier placement, in the order of the present spec. A space of an earlier revision keeps its
    /// home if the present one does not say otherwise, found by its rows, since the earlier spec is gone.
    fn carried_homes(&self, id: TopologyId, topology: &TopologyDocument, base: &Placement) -> Vec<Home> {
        if base.revision == topology.revision {
            return base.homes.clone();
        }
        let nowhere = Home::Nowhere(zhost_gossip::document::FailureReason::Capacity);
        let home = |name: &zhost_base::Name| {
            let key = RowKey::Space(SpaceKey { topology: id, space: name.clone() });
            self.registry.rows().find(|(_, row_key, _)| **row_key == key).map(|(owner, _, _)| Home::On(owner))
        };
        topology
            .spec
            .spaces
            .iter()
            .map(|space| home(&space.name).unwrap_or_else(|| nowhere.clone()))
            .collect()
    }

    /// The zhosts that may run spaces, with what the other topologies have placed there.
    fn sites(&self, now: Instant, except: TopologyId) -> Sites<'_> {
        let (judged, usual_rtt) = (self.judged_failed(), self.usual_rtt());
        let usable = self.known_zhosts().filter(|(id, profile)| profile.runs_spaces && !judged.contains(id));
        let mut sites: Sites<'_> = usable
            .map(|(id, profile)| {
                let load = match self.registry.row(id, &RowKey::Load) {
                    Some(Row::Load(load)) => *load,
                    _ => LoadBand::default(),
                };
                let (is_slow, is_fresh) = (self.is_slow(id, usual_rtt), self.is_fresh(now, id));
                (id, Site { profile, load, is_slow, is_fresh, spaces: 0, memory_bytes: 0 })
            })
            .collect();
        for (id, topology) in self.ledger.topologies().filter(|(id, _)| *id != except) {
            let Some(placement) = self.obeyed_placement(id).filter(|p| p.revision == topology.revision)
            else {
                continue;
            };
            if topology.wanted != Wanted::Running {
                continue;
            }
            for (space, home) in topology.spec.spaces.iter().zip(&placement.homes) {
                if let Home::On(zhost) = home
                    && let Some(site) = sites.get_mut(zhost)
                {
                    site.add(space);
                }
            }
        }
        sites
    }

    fn all_running(&self, id: TopologyId, topology: &TopologyDocument, homes: &[Home]) -> bool {
        topology.spec.spaces.iter().zip(homes).all(|(space, home)| match home {
            Home::On(zhost) => {
                let key = SpaceKey { topology: id, space: space.name.clone() };
                self.space_row(*zhost, &key).is_some_and(|row| {
                    row.revision == topology.revision
                        && matches!(row.state, SpaceState::Running | SpaceState::Ended)
                })
            }
            Home::Nowhere(_) => false,
            Home::OnDemand => true,
        })
    }

    /// What a zhost says of a space.
    pub(crate) fn space_row(&self, zhost: ZhostId, key: &SpaceKey) -> Option<&SpaceRow> {
        match self.registry.row(zhost, &RowKey::Space(key.clone()))? {
            Row::Space(row) => Some(row),
            _ => None,
        }
    }
}
