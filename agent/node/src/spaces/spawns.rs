//! Spaces that others start while they run: where, and who is told.

use crate::{
    effects::Effects,
    facts::Facts,
    output::Level,
    spaces::{
        bonds::{Bonds, Tie},
        context::Context,
        host::Spawner,
    },
    wire::ActorMessage,
};
use litemap::LiteMap;
use std::cmp::Reverse;
use zhost_base::{Name, Pid, Rng, SpaceKey, Start, TopologyId, ZhostId, limits::SPAWNED_PER_ZHOST_MAX};
use zhost_exchange::{Launch, Refusal};
use zhost_gossip::{
    document::{TopologyDocument, Wanted},
    row::{LoadBand, Row, RowKey},
};

/// Spawns that wait for their package.
const SPAWNS_WAITING_MAX: usize = 64;
/// How much of the parent's name a spawned space has in its own.
const SPAWNED_STEM_MAX: usize = 21;

/// A space that is to be started for another.
#[derive(Clone, Debug)]
pub(crate) struct Spawn {
    pub topology: TopologyId,
    pub serial: u32,
    pub parent: Pid,
    pub space: Name,
    pub argument: Vec<u8>,
    pub link: bool,
}

/// The spawns this zhost has to do with.
#[derive(Debug)]
pub(crate) struct Spawns {
    rng: Rng,
    /// Wait for their package.
    waiting: Vec<Spawn>,
    /// How many spaces were spawned from here, by zhost.
    spawned: LiteMap<ZhostId, u32>,
    /// Being started, by number: whom to tell.
    starting: LiteMap<u32, Spawn>,
}

impl Spawns {
    pub fn new(rng: Rng) -> Self {
        Self { rng, waiting: Vec::new(), spawned: LiteMap::new(), starting: LiteMap::new() }
    }

    /// What was under way is lost; those who asked are told by others that nobody knows.
    pub fn begin_again(&mut self) {
        self.waiting.clear();
        self.spawned.clear();
        self.starting.clear();
    }

    /// The topologies whose packages are needed for spawns.
    pub fn topologies_needed(&self) -> impl Iterator<Item = TopologyId> {
        self.waiting.iter().map(|spawn| spawn.topology)
    }

    /// A zhost is gone, and with it those that asked for spawns.
    pub fn forget(&mut self, zhost: ZhostId, is_gone: impl Fn(&Pid) -> bool) {
        self.waiting.retain(|spawn| !is_gone(&spawn.parent));
        self.spawned.remove(&zhost);
    }
}

impl Spawns {
    /// Where a space is to be spawned: on that zhost, or on the one that suits best.
    pub fn choose_site(
        &mut self,
        facts: &Facts,
        topology: TopologyId,
        space: &Name,
        zhost: Option<&Name>,
    ) -> Result<ZhostId, Refusal> {
        let document = facts.ledger.topology(topology).ok_or(Refusal::NotFound)?;
        let spec = document.spec.space(space).filter(|spec| spec.start == Start::Spawned);
        let spec = spec.ok_or(Refusal::NotFound)?;
        let offers = |id: &ZhostId| {
            facts.profile(*id).is_some_and(|profile| {
                profile.runs_spaces && spec.capabilities.iter().all(|c| profile.capabilities.contains(c))
            })
        };
        if let Some(name) = zhost {
            let named = facts.known_zhosts().find(|(_, profile)| profile.name == *name);
            let (id, _) = named.ok_or(Refusal::NotFound)?;
            return if offers(&id) { Ok(id) } else { Err(Refusal::Denied) };
        }
        let judged = facts.judged_failed();
        let load = |id: ZhostId| match facts.registry.row(id, &RowKey::Load) {
            Some(Row::Load(load)) => *load,
            _ => LoadBand::default(),
        };
        let blob = RowKey::Blob(document.package);
        let sites = facts.known_zhosts().map(|(id, _)| id).filter(|id| offers(id) && !judged.contains(id));
        let mut sites: Vec<_> = sites
            .map(|id| {
                let has_package = facts.registry.row(id, &blob).is_some();
                let load = load(id);
                let spawned = self.spawned.get(&id).copied().unwrap_or(0);
                (id, (Reverse(has_package), load.cpu.max(load.memory), spawned))
            })
            .collect();
        let best = sites.iter().map(|(_, rank)| *rank).min().ok_or(Refusal::Denied)?;
        sites.retain(|(_, rank)| *rank == best);
        let index = self.rng.below(sites.len() as u64) as usize;
        let chosen = sites[index].0;
        *self.spawned.entry(chosen).or_default() += 1;
        Ok(chosen)
    }

    /// A space is to be spawned here: now, when its package is there, or not at all.
    pub fn handle_spawn(&mut self, cx: &Context<'_>, spawn: Spawn, bonds: &mut Bonds, effects: &mut Effects) {
        let refusal = match cx.facts.ledger.topology(spawn.topology) {
            None => Some(Refusal::NotFound),
            Some(document) if document.wanted != Wanted::Running => Some(Refusal::TryAgain),
            Some(_) if !cx.takes_spawns => Some(Refusal::TryAgain),
            Some(document) if cx.blobs.is_complete(document.package) => {
                return self.start(cx, spawn, bonds, effects);
            }
            Some(_) if self.waiting.len() >= SPAWNS_WAITING_MAX => Some(Refusal::TryAgain),
            Some(_) => None,
        };
        match refusal {
            Some(refusal) => spawn.refuse(refusal, effects),
            None => {
                self.waiting.push(spawn);
                effects.blobs();
            }
        }
    }

    /// Those that wait no more, since a package is complete or the ledger has changed: they go on, or come to nothing.
    pub fn take_due(&mut self, cx: &Context<'_>) -> Vec<Spawn> {
        let waits = |document: &TopologyDocument| {
            document.wanted == Wanted::Running && !cx.blobs.is_complete(document.package)
        };
        let is_due = |spawn: &mut Spawn| !cx.facts.ledger.topology(spawn.topology).is_some_and(waits);
        self.waiting.extract_if(.., is_due).collect()
    }

    fn start(&mut self, cx: &Context<'_>, spawn: Spawn, bonds: &mut Bonds, effects: &mut Effects) {
        let Some(document) = cx.facts.ledger.topology(spawn.topology) else { return };
        let number = cx.host.next_number();
        let name = match spawn.name_here(cx, document) {
            Ok(name) => name,
            Err(refusal) => return spawn.refuse(refusal, effects),
        };
        let key = SpaceKey { topology: spawn.topology, space: name };
        let launch = Launch {
            key: key.clone(),
            space: spawn.space.clone(),
            pid: Pid::default(),
            package: document.package,
            package_bytes: document.package_bytes,
            argument: spawn.argument.clone(),
        };
        if spawn.link {
            bonds.tie(number, spawn.parent, Tie::Link);
        }
        effects.log(Level::Debug, format!("spawning {} for {}", key.space, spawn.parent));
        let spawner = Spawner { parent: spawn.parent, serial: spawn.serial };
        self.starting.insert(number, spawn);
        effects.host(launch, document.revision, spawner);
    }

    /// A spawned space runs, or ended before it did: who spawned it is told.
    pub fn tell(&mut self, facts: &Facts, number: u32, result: Result<(), Refusal>, effects: &mut Effects) {
        let Some(Spawn { topology, serial, parent, link, .. }) = self.starting.remove(&number) else {
            return;
        };
        let result = result.map(|()| facts.pid(number)).map_err(|refusal| refusal as i8);
        let spawned = ActorMessage::Spawned { parent, serial, link, result };
        effects.actor(parent.zhost, topology, spawned);
    }
}

impl Spawn {
    fn refuse(self, refusal: Refusal, effects: &mut Effects) {
        let Self { topology, serial, parent, link, .. } = self;
        let spawned = ActorMessage::Spawned { parent, serial, link, result: Err(refusal as i8) };
        effects.actor(parent.zhost, topology, spawned);
    }

    /// What the space is called here, if there is room for it.
    fn name_here(&self, cx: &Context<'_>, document: &TopologyDocument) -> Result<Name, Refusal> {
        let spec = document.spec.space(&self.space).filter(|spec| spec.start == Start::Spawned);
        let memory = spec.map(|spec| u64::from(spec.memory_bytes)).ok_or(Refusal::NotFound)?;
        let stem: String = self.space.as_str().chars().take(SPAWNED_STEM_MAX).collect();
        let name = format!("{stem}.{}", cx.host.next_number()).parse::<Name>();
        let is_free = |name: &Name| {
            let key = SpaceKey { topology: self.topology, space: name.clone() };
            document.spec.space(name).is_none() && cx.host.space(&key).is_none()
        };
        let is_placed = cx.facts.obeyed_placement(self.topology).is_some();
        let name = name.ok().filter(|name| is_free(name) && is_placed).ok_or(Refusal::TryAgain)?;
        let memory_of =
            |key: &SpaceKey| cx.host.spec_of(cx.facts, key).map_or(0, |spec| u64::from(spec.memory_bytes));
        let taken: u64 = cx.host.keys().map(memory_of).sum();
        let has_room =
            cx.host.spawned() < SPAWNED_PER_ZHOST_MAX && taken + memory <= u64::from(cx.memory_bytes);
        if has_room { Ok(name) } else { Err(Refusal::Full) }
    }
}
