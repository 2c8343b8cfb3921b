//! Spaces that others start while they run: where, and who is told.

use crate::{
    node::{Level, Node},
    spaces::{actors::refusal, bonds::Tie},
    wire::ActorMessage,
};
use litemap::LiteMap;
use std::cmp::Reverse;
use zhost_base::{
    Instant, Name, Pid, SpaceKey, Start, TopologyId, ZhostId,
    limits::SPAWNED_PER_ZHOST_MAX,
    planted::{self, Bug},
};
use zhost_exchange::Refusal;
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
#[derive(Debug, Default)]
pub(crate) struct Spawns {
    /// Wait for their package.
    waiting: Vec<Spawn>,
    /// How many spaces were spawned from here, by zhost.
    spawned: LiteMap<ZhostId, u32>,
    /// Being started, by number: whom to tell.
    starting: LiteMap<u32, Spawn>,
}

impl Spawns {
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

impl Node {
    /// Where a space is to be spawned: on that zhost, or on the one that suits best.
    pub(crate) fn spawn_site(
        &mut self,
        topology: TopologyId,
        space: &Name,
        zhost: Option<&Name>,
    ) -> Result<ZhostId, Refusal> {
        let document = self.facts.ledger.topology(topology).ok_or(Refusal::NotFound)?;
        let spec = document.spec.space(space).filter(|spec| spec.start == Start::Spawned);
        let spec = spec.ok_or(Refusal::NotFound)?;
        let offers = |id: &ZhostId| {
            self.facts.profile(*id).is_some_and(|profile| {
                profile.runs_spaces && spec.capabilities.iter().all(|c| profile.capabilities.contains(c))
            })
        };
        if let Some(name) = zhost {
            let named = self.facts.known_zhosts().find(|(_, profile)| profile.name == *name);
            let (id, _) = named.ok_or(Refusal::NotFound)?;
            return if offers(&id) { Ok(id) } else { Err(Refusal::Denied) };
        }
        let judged = self.facts.judged_failed();
        let load = |id: ZhostId| match self.facts.registry.row(id, &RowKey::Load) {
            Some(Row::Load(load)) => *load,
            _ => LoadBand::default(),
        };
        let blob = RowKey::Blob(document.package);
        let sites =
            self.facts.known_zhosts().map(|(id, _)| id).filter(|id| offers(id) && !judged.contains(id));
        let mut sites: Vec<_> = sites
            .map(|id| {
                let has_package = self.facts.registry.row(id, &blob).is_some();
                let load = load(id);
                let spawned = self.actors.spawns.spawned.get(&id).copied().unwrap_or(0);
                (id, (Reverse(has_package), load.cpu.max(load.memory), spawned))
            })
            .collect();
        let best = sites.iter().map(|(_, rank)| *rank).min().ok_or(Refusal::Denied)?;
        sites.retain(|(_, rank)| *rank == best);
        let index = self.rng.below(sites.len() as u64) as usize;
        let chosen = sites[index].0;
        *self.actors.spawns.spawned.entry(chosen).or_default() += 1;
        Ok(chosen)
    }

    pub(crate) fn handle_spawn(&mut self, now: Instant, spawn: Spawn) {
        let refusal = match self.facts.ledger.topology(spawn.topology) {
            None => Some(Refusal::NotFound),
            Some(document) if document.wanted != Wanted::Running => Some(Refusal::TryAgain),
            Some(_) if self.is_shutting_down() || !self.config.runs_spaces => Some(Refusal::TryAgain),
            Some(document) if self.blobs.is_complete(document.package) => {
                return self.start_spawned(now, spawn);
            }
            Some(_) if self.actors.spawns.waiting.len() >= SPAWNS_WAITING_MAX => Some(Refusal::TryAgain),
            Some(_) => None,
        };
        match refusal {
            Some(refusal) => self.refuse_spawn(now, spawn, refusal),
            None => {
                self.actors.spawns.waiting.push(spawn);
                self.refresh_blobs(now);
            }
        }
    }

    fn refuse_spawn(&mut self, now: Instant, spawn: Spawn, refusal: Refusal) {
        let Spawn { topology, serial, parent, link, .. } = spawn;
        let spawned = ActorMessage::Spawned { parent, serial, link, result: Err(refusal as i8) };
        self.send_actor_message(now, parent.zhost, topology, spawned);
    }

    /// A package is complete, or the ledger has changed: spawns that wait no more go on, or come to nothing.
    pub(crate) fn resume_spawns(&mut self, now: Instant) {
        let waits = |spawn: &Spawn| {
            let document = self.facts.ledger.topology(spawn.topology);
            let waits = |document: &TopologyDocument| {
                document.wanted == Wanted::Running && !self.blobs.is_complete(document.package)
            };
            document.is_some_and(waits)
        };
        let waiting = std::mem::take(&mut self.actors.spawns.waiting);
        let (waiting, due): (Vec<Spawn>, Vec<Spawn>) = waiting.into_iter().partition(waits);
        self.actors.spawns.waiting = waiting;
        due.into_iter().for_each(|spawn| self.handle_spawn(now, spawn));
    }

    fn start_spawned(&mut self, now: Instant, spawn: Spawn) {
        let Some(document) = self.facts.ledger.topology(spawn.topology) else { return };
        let spec = document.spec.space(&spawn.space).filter(|spec| spec.start == Start::Spawned);
        let memory = spec.map(|spec| u64::from(spec.memory_bytes));
        let memory_of = |key: &SpaceKey| self.space_spec(key).map_or(0, |spec| u64::from(spec.memory_bytes));
        let taken: u64 = self.host.keys().map(memory_of).sum();
        let number = self.host.next_number();
        let stem: String = spawn.space.as_str().chars().take(SPAWNED_STEM_MAX).collect();
        let name = format!("{stem}.{number}").parse::<Name>();
        let is_free = |name: &Name| {
            let key = SpaceKey { topology: spawn.topology, space: name.clone() };
            document.spec.space(name).is_none() && self.host.space(&key).is_none()
        };
        let name =
            name.ok().filter(|name| is_free(name) && self.facts.obeyed_placement(spawn.topology).is_some());
        let refusal = match memory {
            None => Some(Refusal::NotFound),
            Some(_) if name.is_none() => Some(Refusal::TryAgain),
            Some(_) if self.host.spawned() >= SPAWNED_PER_ZHOST_MAX => Some(Refusal::Full),
            Some(memory) if taken + memory > u64::from(self.config.memory_bytes) => Some(Refusal::Full),
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.refuse_spawn(now, spawn, refusal);
        }
        let Some(name) = name else { return };
        let key = SpaceKey { topology: spawn.topology, space: name };
        let launch = zhost_exchange::Launch {
            key: key.clone(),
            space: spawn.space.clone(),
            pid: Pid::default(),
            package: document.package,
            package_bytes: document.package_bytes,
            argument: spawn.argument.clone(),
        };
        let revision = document.revision;
        if spawn.link {
            let (me, parent) = (self.facts.pid(number), spawn.parent);
            self.actors.bonds.tie(me.number, parent, Tie::Link);
        }
        self.log(Level::Debug, format!("spawning {} for {}", key.space, spawn.parent));
        self.actors.spawns.starting.insert(number, spawn);
        self.host_spawned(now, launch, revision);
    }

    /// A spawned space runs, or ended before it did: who spawned it is told.
    pub(crate) fn tell_spawned(&mut self, now: Instant, number: u32, result: Result<(), Refusal>) {
        let Some(Spawn { topology, serial, parent, link, .. }) = self.actors.spawns.starting.remove(&number)
        else {
            return;
        };
        let pid = self.facts.pid(number);
        let result = result.map(|()| pid).map_err(|refusal| refusal as i8);
        self.send_actor_message(
            now,
            parent.zhost,
            topology,
            ActorMessage::Spawned { parent, serial, link, result },
        );
    }

    pub(crate) fn handle_spawned(
        &mut self,
        now: Instant,
        topology: TopologyId,
        parent: Pid,
        (serial, link): (u32, bool),
        result: Result<Pid, i8>,
    ) {
        let lives = self.local(topology, parent).is_some();
        // One that was told meanwhile that nobody knows what came of it would never hear of the child.
        let waits = lives && self.is_asking(parent.number, serial);
        let mut result = result;
        if let (Ok(child), true) = (result, link)
            && !(waits && self.actors.bonds.tie(parent.number, child, Tie::Link))
            && !planted::has(Bug::OrphanSpawned)
        {
            // Closed, not told: one that traps exits would live on.
            let exit = ActorMessage::Exit(parent, child, "its parent cannot be linked with it".into());
            self.send_actor_message(now, child.zhost, topology, exit);
            result = Err(Refusal::Full as i8);
        }
        if lives {
            let answer = result.map(|pid| pid.encode().to_vec()).map_err(refusal);
            self.answer_space(parent.number, serial, answer);
        }
    }

    /// A space wants a spawned one to end.
    pub(crate) fn end_spawned(
        &mut self,
        now: Instant,
        topology: TopologyId,
        from: Pid,
        to: Pid,
        reason: &str,
    ) {
        let Some(key) = self.local(topology, to).cloned() else { return };
        if self.host.space(&key).is_some_and(|space| space.is_spawned) {
            self.log(Level::Debug, format!("{from} ends {}: {reason}", key.space));
            self.close_space(now, &key);
        }
    }
}
