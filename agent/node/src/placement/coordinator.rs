//! What a super does for the topologies it coordinates: compares wanted with actual and writes placements.

use crate::{
    facts::Facts,
    node::Node,
    output::Level,
    placement::{
        draft::{Draft, Proposal},
        plan::{Site, Sites},
    },
};
use zhost_base::{Instant, SpaceKey, TopologyId, ZhostId};
use zhost_gossip::{
    document::{Document, DocumentKey, Home, Placement, ReplicaSet, Slot, Wanted},
    row::{LoadBand, Row, RowKey, SpaceRow},
};

impl Facts {
    /// The placement of a topology that this zhost obeys: that of the term in force, or while there is none (or it
    /// has not placed the topology yet) the one obeyed last.
    pub(crate) fn obeyed_placement(&self, id: TopologyId) -> Option<&Placement> {
        let placed_under = |slot, term| {
            self.ledger.durable_placement(id, slot).is_some_and(|placement| placement.version.term == term)
        };
        let slot = match self.term_in_force() {
            Some((slot, term)) if placed_under(slot, term) => slot,
            _ => self.obeyed.get(&id).copied().unwrap_or(Slot::Full),
        };
        self.ledger.durable_placement(id, slot)
    }

    fn describe_placement(&self, id: TopologyId, placement: &Placement) -> String {
        let spec = self.ledger.topology(id).map(|topology| &topology.spec);
        let spaces = spec.map(|spec| spec.spaces.as_slice()).unwrap_or_default();
        let places = spaces.iter().zip(&placement.homes).map(|(space, home)| match home {
            Home::On(id) => format!("{} on {}", space.name, self.zhost_name(*id)),
            Home::Nowhere(reason) => format!("{} nowhere: {reason}", space.name),
            Home::OnDemand => format!("{} on demand", space.name),
        });
        let names = |ids: &[ZhostId]| {
            let names: Vec<String> = ids.iter().map(|id| self.zhost_name(*id)).collect();
            if names.is_empty() { "nobody".to_owned() } else { names.join(" and ") }
        };
        let kept = placement.replica_sets.iter().map(|set| {
            let ReplicaSet { space, primary, replicas, joining, confirmed: _ } = set;
            let primary = self.zhost_name(*primary);
            format!("data of {space} on {primary}, copied to {}, soon to {}", names(replicas), names(joining))
        });
        let places: Vec<String> = places.chain(kept).collect();
        format!(
            "placing {} ({}.{}): {}",
            spec.map(|spec| spec.name.as_str()).unwrap_or_default(),
            placement.version.term,
            placement.version.counter,
            places.join(", ")
        )
    }

    /// What a zhost says of a space.
    pub(crate) fn space_row(&self, zhost: ZhostId, key: &SpaceKey) -> Option<&SpaceRow> {
        match self.registry.row(zhost, &RowKey::Space(key.clone()))? {
            Row::Space(row) => Some(row),
            _ => None,
        }
    }
}

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
        let proposal = draft.propose(&mut self.sites(now, id), is_with_majority);
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

    /// The zhosts that may run spaces, with what the other topologies have placed there.
    fn sites(&self, now: Instant, except: TopologyId) -> Sites<'_> {
        let (judged, usual_rtt) = (self.facts.judged_failed(), self.facts.usual_rtt());
        let usable =
            self.facts.known_zhosts().filter(|(id, profile)| profile.runs_spaces && !judged.contains(id));
        let mut sites: Sites<'_> = usable
            .map(|(id, profile)| {
                let load = match self.facts.registry.row(id, &RowKey::Load) {
                    Some(Row::Load(load)) => *load,
                    _ => LoadBand::default(),
                };
                let (is_slow, is_fresh) = (self.facts.is_slow(id, usual_rtt), self.mesh.is_fresh(now, id));
                (id, Site { profile, load, is_slow, is_fresh, spaces: 0, memory_bytes: 0 })
            })
            .collect();
        for (id, topology) in self.facts.ledger.topologies().filter(|(id, _)| *id != except) {
            let Some(placement) = self.facts.obeyed_placement(id).filter(|p| p.revision == topology.revision)
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
}
