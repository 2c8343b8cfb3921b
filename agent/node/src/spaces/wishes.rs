//! Which spaces should run on this zhost, by what it knows.

use crate::{
    data::{blobs::Blobs, disposal::Disposal},
    facts::Facts,
    faults::{Faults, Part},
};
use litemap::LiteMap;
use zhost_base::{
    BlobDigest, Instant, Pid, SpaceKey, TopologyId,
    planted::{self, Bug},
};
use zhost_exchange::Launch;
use zhost_gossip::document::{Home, PlacementVersion, TopologyDocument, Wanted};

/// What decides which spaces run here.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub now: Instant,
    /// The time of day.
    pub unix_ms: u64,
    pub facts: &'a Facts,
    pub blobs: &'a Blobs,
    pub disposal: &'a Disposal,
    pub faults: &'a Faults,
    /// Whether this zhost is about to leave the cluster.
    pub is_leaving: bool,
}

/// A space that should run here.
pub(crate) struct Wish {
    /// Whether data that another had here is out of the way.
    pub has_place: bool,
    pub launch: Launch,
    pub placement: PlacementVersion,
    pub revision: u64,
}

impl Wish {
    /// Whether a space of that revision and package is what is wished for. Concurrent submits may share a revision, never a package.
    pub fn is_of(&self, revision: u64, package: BlobDigest) -> bool {
        (self.revision, self.launch.package) == (revision, package)
    }
}

impl Situation<'_> {
    /// What the ledger wants to run on this zhost.
    pub fn wishes(&self) -> LiteMap<SpaceKey, Wish> {
        let facts = self.facts;
        let mut wishes = LiteMap::new();
        if !facts.ready || self.is_leaving {
            return wishes;
        }
        let topologies = facts.ledger.topologies().filter(|(_, topology)| topology.wanted == Wanted::Running);
        let topologies = topologies.filter(|(id, _)| !self.is_held(*id));
        for (id, topology) in topologies {
            let placement = facts.obeyed_placement(id).filter(|p| p.revision == topology.revision);
            let Some(placement) = placement else { continue };
            for (space, home) in topology.spec.spaces.iter().zip(&placement.homes) {
                if *home != Home::On(facts.id) || facts.has_lost_data_of(space) {
                    continue;
                }
                let key = SpaceKey { topology: id, space: space.name.clone() };
                let launch = Launch {
                    key: key.clone(),
                    space: space.name.clone(),
                    pid: Pid::default(),
                    package: topology.package,
                    package_bytes: topology.package_bytes,
                    argument: Vec::new(),
                };
                // Those without data wait, too, while that of their topology goes: it goes when nobody of it runs here.
                let has_place = match space.keeps_data() {
                    true => self.disposal.is_at(&key, topology.data_life(&space.name)),
                    false => !self.disposal.holds(&key),
                };
                let (placement, revision) = (placement.version, topology.revision);
                wishes.insert(key, Wish { has_place, launch, placement, revision });
            }
        }
        wishes
    }

    /// Whether a space that another spawned may stay.
    pub fn is_spawn_wanted(&self, key: &SpaceKey, revision: u64) -> bool {
        let topology = self.facts.ledger.topology(key.topology);
        let is_current =
            |topology: &TopologyDocument| topology.revision == revision || planted::has(Bug::OutliveVersion);
        let wanted = |topology: &TopologyDocument| topology.wanted == Wanted::Running && is_current(topology);
        topology.is_some_and(wanted) && self.stays()
    }

    /// Whether a new revision of the space's topology waits for its placement: until then the old one goes on.
    pub fn is_undecided(&self, key: &SpaceKey) -> bool {
        let Some(topology) = self.facts.ledger.topology(key.topology) else { return false };
        let placed =
            self.facts.obeyed_placement(key.topology).is_some_and(|p| p.revision == topology.revision);
        topology.wanted == Wanted::Running && !placed && self.stays()
    }

    /// Whether a topology is left alone for the time being, since it panics.
    pub fn is_held(&self, topology: TopologyId) -> bool {
        self.faults.is_held(Part::Spaces, topology)
    }

    fn stays(&self) -> bool {
        !self.is_leaving && !self.facts.membership.stands_aside()
    }
}
