//! Global names: granted by one super, told to everybody as registry rows, found without asking anybody.
//!
//! The super that grants a name is chosen by rendezvous hashing. Grants are ordered like placements; should a partition
//! have let two supers grant the same name, the later grant wins everywhere when the two sides meet, and the space that
//! loses it is told.

use crate::{
    facts::Facts,
    node::{Level, Node},
    wire::ActorMessage,
};
use litemap::LiteMap;
use sha2::{Digest, Sha256};
use std::time::Duration;
use zhost_base::{
    Instant, Name, Pid, TopologyId, ZhostId,
    id::rendezvous,
    limits::NAMES_PER_SPACE_MAX,
    planted::{self, Bug},
};
use zhost_exchange::{Refusal, Signal};
use zhost_gossip::{
    document::PlacementVersion,
    row::{Row, RowKey},
};

/// Names that the spaces of one zhost hold together: registry rows are needed for other things, too.
const NAMES_MAX: usize = 256;
/// How long a grant is remembered by the super: by then everybody knows the row.
const GRANT_TTL: Duration = Duration::from_secs(15);
/// Grants remembered; beyond it none are given until some are known to everybody.
const GRANTS_MAX: usize = 4096;

/// What this zhost has granted lately, and what its own spaces hold.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    granted: LiteMap<(TopologyId, Name), (Pid, Instant)>,
    counter: u32,
    /// Names of local spaces.
    held: LiteMap<(TopologyId, Name), (u32, PlacementVersion)>,
}

impl Grants {
    /// How many names local spaces hold.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A name is free again.
    pub fn release(&mut self, topology: TopologyId, name: &Name, pid: Pid) {
        let key = (topology, name.clone());
        if self.granted.get(&key).is_some_and(|(holder, _)| *holder == pid) {
            self.granted.remove(&key);
        }
    }
}

impl Facts {
    /// The super that grants a name.
    fn granter(&self, topology: TopologyId, name: &Name) -> Option<ZhostId> {
        let hash = Sha256::new().chain_update(topology.0).chain_update(name.as_str()).finalize();
        let seed = hash.iter().take(8).fold(0, |acc, byte| acc << 8 | u64::from(*byte));
        self.live_supers().max_by_key(|id| rendezvous(seed, *id))
    }

    /// Who holds a name, as everybody knows it.
    pub(crate) fn whereis(&self, topology: TopologyId, name: &Name) -> Option<Pid> {
        let key = RowKey::Name(topology, name.clone());
        let judged = self.judged_failed();
        let holders = self.registry.owners().filter_map(|(zhost, generation)| {
            match self.registry.row(zhost, &key)? {
                Row::Name { number, grant } => Some((*grant, Pid { zhost, generation, number: *number })),
                _ => None,
            }
        });
        holders
            .filter(|(_, pid)| !judged.contains(&pid.zhost))
            .max_by_key(|(grant, _)| *grant)
            .map(|(_, pid)| pid)
    }
}

impl Node {
    /// A local space wants a name.
    pub(crate) fn register(
        &mut self,
        now: Instant,
        topology: TopologyId,
        (number, serial): (u32, u32),
        name: Name,
    ) {
        let me = self.facts.pid(number);
        let held = self.actors.grants.held.values().filter(|(holder, _)| *holder == number).count();
        let answer = match (self.facts.whereis(topology, &name), self.facts.granter(topology, &name)) {
            (Some(holder), _) if holder == me => Ok(Vec::new()),
            (Some(_), _) => Err(Refusal::Taken),
            (None, _) if held >= NAMES_PER_SPACE_MAX => Err(Refusal::Full),
            (None, _) if self.actors.grants.held() >= NAMES_MAX => Err(Refusal::Full),
            (None, None) => Err(Refusal::TryAgain),
            (None, Some(granter)) => {
                let claim = ActorMessage::Claim(name, me, serial);
                return self.ask_zhost(now, granter, topology, (number, serial), claim);
            }
        };
        self.answer_space(number, serial, answer);
    }

    /// We are asked to grant a name.
    pub(crate) fn handle_claim(
        &mut self,
        now: Instant,
        topology: TopologyId,
        name: Name,
        pid: Pid,
        serial: u32,
    ) {
        let answer = match self.grant(now, topology, &name, pid) {
            Ok(grant) => ActorMessage::Granted(name, pid, serial, Some(grant)),
            Err(Refusal::Taken) => ActorMessage::Granted(name, pid, serial, None),
            Err(refusal) => ActorMessage::Refused(pid, serial, refusal as i8),
        };
        self.send_actor_message(now, pid.zhost, topology, answer);
    }

    fn grant(
        &mut self,
        now: Instant,
        topology: TopologyId,
        name: &Name,
        pid: Pid,
    ) -> Result<PlacementVersion, Refusal> {
        let is_super = self.facts.live_supers().any(|id| id == self.facts.id);
        let (slot, term) = self.facts.term_in_force().filter(|_| is_super).ok_or(Refusal::TryAgain)?;
        let is_taken = |holder: Pid| holder != pid;
        if self.facts.whereis(topology, name).is_some_and(is_taken) {
            return Err(Refusal::Taken);
        }
        let membership = &self.facts.membership;
        let lives = |pid: &Pid| {
            pid.zhost == self.facts.id || membership.generation(pid.zhost) == Some(pid.generation)
        };
        let grants = &mut self.actors.grants;
        grants.granted.retain(|_, (holder, until)| *until > now && lives(holder));
        let key = (topology, name.clone());
        if grants.granted.get(&key).is_some_and(|(holder, _)| is_taken(*holder)) {
            return Err(Refusal::Taken);
        }
        if grants.granted.len() >= GRANTS_MAX {
            return Err(Refusal::TryAgain);
        }
        if !planted::has(Bug::ForgetGrants) {
            grants.granted.insert(key, (pid, now + GRANT_TTL));
        }
        grants.counter += 1;
        // Of two starts of this zhost, the later one's grants are the later ones.
        let counter = u64::from(self.facts.generation.0) << 32 | u64::from(grants.counter);
        Ok(PlacementVersion { slot, term, counter, coordinator: self.facts.id })
    }

    /// A super answers a claim.
    pub(crate) fn handle_granted(
        &mut self,
        now: Instant,
        topology: TopologyId,
        name: Name,
        (pid, serial): (Pid, u32),
        (granter, grant): (ZhostId, Option<PlacementVersion>),
    ) {
        let lives = self.local(topology, pid).is_some();
        match grant {
            Some(grant) if lives => {
                let row = Row::Name { number: pid.number, grant };
                self.actors.grants.held.insert((topology, name.clone()), (pid.number, grant));
                self.set_row(now, RowKey::Name(topology, name), row);
                self.answer_space(pid.number, serial, Ok(Vec::new()));
            }
            Some(_) => {
                self.send_actor_message(now, granter, topology, ActorMessage::Release(name, pid));
            }
            None if lives => self.answer_space(pid.number, serial, Err(Refusal::Taken)),
            None => {}
        }
    }

    /// A local space gives a name back.
    pub(crate) fn unregister(&mut self, now: Instant, topology: TopologyId, number: u32, name: &Name) {
        let key = (topology, name.clone());
        if self.actors.grants.held.get(&key).is_none_or(|(holder, _)| *holder != number) {
            return;
        }
        self.actors.grants.held.remove(&key);
        self.facts.registry.remove(now, &RowKey::Name(topology, name.clone()));
        if let Some(granter) = self.facts.granter(topology, name) {
            let release = ActorMessage::Release(name.clone(), self.facts.pid(number));
            self.send_actor_message(now, granter, topology, release);
        }
    }

    /// A local space ended: its names are free.
    pub(crate) fn release_names(&mut self, now: Instant, topology: TopologyId, number: u32) {
        if planted::has(Bug::KeepNames) {
            return;
        }
        let held = self.actors.grants.held.iter().filter(|(_, (holder, _))| *holder == number);
        let names: Vec<Name> = held.map(|((_, name), _)| name.clone()).collect();
        names.iter().for_each(|name| self.unregister(now, topology, number, name));
    }

    /// Gives up names that another zhost's space holds by a later grant.
    pub(crate) fn refresh_names(&mut self, now: Instant) {
        let mut lost = Vec::new();
        for ((topology, name), (number, grant)) in &self.actors.grants.held {
            let key = RowKey::Name(*topology, name.clone());
            let is_later = |zhost: ZhostId| matches!(self.facts.registry.row(zhost, &key), Some(Row::Name { grant: other, .. }) if other > grant);
            if self.facts.registry.owners().any(|(zhost, _)| zhost != self.facts.id && is_later(zhost)) {
                lost.push((*topology, name.clone(), *number));
            }
        }
        for (topology, name, number) in lost {
            self.log(Level::Warn, format!("the name {name} was granted to two spaces; the later grant wins"));
            self.actors.grants.held.remove(&(topology, name.clone()));
            self.facts.registry.remove(now, &RowKey::Name(topology, name.clone()));
            self.signal(number, Signal::NameLost(name));
        }
    }
}
