//! Which zhost suits a space: a pure function of what everybody knows.

use litemap::LiteMap;
use zhost_base::{Name, SpaceSpec, Start, TopologyId, ZhostId, id::rendezvous, limits::SPACES_PER_ZHOST_MAX};
use zhost_gossip::{
    document::{FailureReason, Home},
    row::{LoadBand, Profile},
};

/// A zhost that may run spaces.
#[derive(Clone, Debug)]
pub(crate) struct Site<'a> {
    pub profile: &'a Profile,
    pub load: LoadBand,
    /// Much farther from the others than usual: avoided while there is somebody else.
    pub is_slow: bool,
    /// Back for so short a time that it may go again: avoided likewise.
    pub is_fresh: bool,
    /// What is placed there already.
    pub spaces: usize,
    pub memory_bytes: u64,
}

/// The zhosts that may run spaces.
pub(crate) type Sites<'a> = LiteMap<ZhostId, Site<'a>>;

impl Site<'_> {
    fn offers(&self, space: &SpaceSpec) -> bool {
        space.needs().all(|capability| self.profile.capabilities.contains(&capability))
    }

    fn in_region(&self, space: &SpaceSpec) -> bool {
        space.region.as_ref().is_none_or(|region| *region == self.profile.region)
    }

    fn of_kind(&self, space: &SpaceSpec) -> bool {
        space.zhost_kind.as_ref().is_none_or(|kind| *kind == self.profile.kind)
    }

    fn has_room(&self, space: &SpaceSpec) -> bool {
        let memory = self.memory_bytes + u64::from(space.memory_bytes);
        self.spaces < SPACES_PER_ZHOST_MAX && memory <= u64::from(self.profile.memory_bytes)
    }

    /// Whether the space may be there at all, room aside.
    pub fn suits(&self, space: &SpaceSpec) -> bool {
        let may_keep = space.replicas == 0 || !self.profile.blank;
        may_keep && self.offers(space) && self.in_region(space) && self.of_kind(space)
    }

    pub fn add(&mut self, space: &SpaceSpec) {
        self.spaces += 1;
        self.memory_bytes += u64::from(space.memory_bytes);
    }
}

/// Places the spaces of a topology: those whose home still suits stay, the others go where the fewest spaces are.
///
/// The homes of those in `decided` follow from something else, such as who has their data.
pub(crate) fn place(
    topology: TopologyId,
    spaces: &[SpaceSpec],
    homes: &[Home],
    decided: &LiteMap<usize, Home>,
    sites: &mut Sites<'_>,
) -> Vec<Home> {
    let mut placed: Vec<Option<Home>> = vec![None; spaces.len()];
    for (index, home) in decided {
        if let Home::On(id) = home
            && let Some(site) = sites.get_mut(id)
        {
            site.add(&spaces[*index]);
        }
        placed[*index] = Some(home.clone());
    }
    for (space, slot) in spaces.iter().zip(&mut placed) {
        if space.start == Start::Spawned {
            *slot = Some(Home::OnDemand);
        }
    }
    for ((space, home), slot) in spaces.iter().zip(homes).zip(&mut placed).filter(|(_, slot)| slot.is_none())
    {
        if let Home::On(id) = home
            && let Some(site) = sites.get_mut(id)
            && site.suits(space)
        {
            site.add(space);
            *slot = Some(home.clone());
        }
    }
    // The most constrained spaces choose first, so that they find room where they must be.
    let mut open: Vec<usize> = (0..spaces.len()).filter(|index| placed[*index].is_none()).collect();
    open.sort_by_key(|index| sites.values().filter(|site| site.suits(&spaces[*index])).count());
    for index in open {
        placed[index] = Some(choose(topology, index, &spaces[index], sites));
    }
    placed.into_iter().flatten().collect()
}

fn choose(topology: TopologyId, index: usize, space: &SpaceSpec, sites: &mut Sites<'_>) -> Home {
    let seed = topology.seed().wrapping_add(index as u64);
    let best = sites
        .iter()
        .filter(|(_, site)| site.suits(space) && site.has_room(space))
        .min_by_key(|(id, site)| {
            let doubtful = site.is_slow || site.is_fresh;
            (doubtful, site.spaces, site.load.cpu, site.load.memory, rendezvous(seed, **id))
        })
        .map(|(id, _)| *id);
    match best.and_then(|id| Some((id, sites.get_mut(&id)?))) {
        Some((id, site)) => {
            site.add(space);
            Home::On(id)
        }
        None => Home::Nowhere(why_nowhere(space, sites)),
    }
}

fn why_nowhere(space: &SpaceSpec, sites: &Sites<'_>) -> FailureReason {
    let offered = |name: &Name| sites.values().any(|site| site.profile.capabilities.contains(name));
    if let Some(missing) = space.needs().find(|name| !offered(name)) {
        return FailureReason::Capability(missing);
    }
    match (&space.region, &space.zhost_kind) {
        (Some(region), _) if !sites.values().any(|site| site.offers(space) && site.in_region(space)) => {
            FailureReason::Region(region.clone())
        }
        (_, Some(kind)) if !sites.values().any(|site| site.offers(space) && site.of_kind(space)) => {
            FailureReason::Kind(kind.clone())
        }
        _ if sites.values().any(|site| site.suits(space)) => FailureReason::Capacity,
        _ => match space.capabilities.first() {
            // Each capability is offered somewhere, but nowhere all of them.
            Some(first) => FailureReason::Capability(first.clone()),
            None => FailureReason::Capacity,
        },
    }
}

#[cfg(test)]
pub(super) mod tests;
