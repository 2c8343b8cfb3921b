//! What a zhost knows of placements: which it obeys, where spaces could be, and how people are told
//! of them.

use crate::{
    facts::Facts,
    placement::plan::{Site, Sites},
};
use zhost_base::{SpaceKey, TopologyId, ZhostId};
use zhost_gossip::{
    document::{Home, Placement, ReplicaSet, Slot, Wanted},
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

    pub(crate) fn describe_placement(&self, id: TopologyId, placement: &Placement) -> String {
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

    /// The zhosts that may run spaces, with what the other topologies than this one have placed there. Whoever `is_fresh`
    /// is back for so short a time that it may go again.
    pub(crate) fn sites(&self, except: TopologyId, is_fresh: impl Fn(ZhostId) -> bool) -> Sites<'_> {
        let (judged, usual_rtt) = (self.judged_failed(), self.usual_rtt());
        let usable = self.known_zhosts().filter(|(id, profile)| profile.runs_spaces && !judged.contains(id));
        let mut sites: Sites<'_> = usable
            .map(|(id, profile)| {
                let load = match self.registry.row(id, &RowKey::Load) {
                    Some(Row::Load(load)) => *load,
                    _ => LoadBand::default(),
                };
                let (is_slow, is_fresh) = (self.is_slow(id, usual_rtt), is_fresh(id));
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
}
