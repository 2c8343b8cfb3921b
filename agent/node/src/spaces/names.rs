//! Global names: granted by one super, told to everybody as registry rows, found without asking anybody.
//!
//! The super that grants a name is chosen by rendezvous hashing. Grants are ordered like placements; should a partition
//! have let two supers grant the same name, the later grant wins everywhere when the two sides meet, and the space that
//! loses it is told.

use crate::{effects::Effects, facts::Facts, output::Level, spaces::context::Context, wire::ActorMessage};
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

/// What comes of a wish for a name.
#[derive(Debug)]
pub(crate) enum Registration {
    /// This, at once.
    Answer(Result<Vec<u8>, Refusal>),
    /// This zhost is to be asked so.
    Ask(ZhostId, ActorMessage),
}

impl Grants {
    /// How many names local spaces hold.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The number of the local space that holds a name.
    #[cfg(test)]
    pub fn holder(&self, topology: TopologyId, name: &Name) -> Option<u32> {
        self.held.get(&(topology, name.clone())).map(|(number, _)| *number)
    }

    /// What was under way is lost: what is said of names held here is what is held by spaces that are here.
    pub fn begin_again(&mut self, cx: &Context<'_>, effects: &mut Effects) {
        self.held.retain(|_, (number, _)| cx.host.key_of(*number).is_some());
        for (key, row) in cx.facts.registry.rows_of(cx.facts.id) {
            if let (RowKey::Name(topology, name), Row::Name { number, grant }) = (key, row)
                && self.held.get(&(*topology, name.clone())) != Some(&(*number, *grant))
            {
                effects.no_row(key.clone());
            }
        }
        for ((topology, name), (number, grant)) in self.held.iter() {
            let row = Row::Name { number: *number, grant: *grant };
            effects.row(RowKey::Name(*topology, name.clone()), row);
        }
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

impl Grants {
    /// A local space wants a name.
    pub fn register(
        &self,
        facts: &Facts,
        topology: TopologyId,
        (number, serial): (u32, u32),
        name: Name,
    ) -> Registration {
        let me = facts.pid(number);
        let held = self.held.values().filter(|(holder, _)| *holder == number).count();
        let answer = match (facts.whereis(topology, &name), facts.granter(topology, &name)) {
            (Some(holder), _) if holder == me => Ok(Vec::new()),
            (Some(_), _) => Err(Refusal::Taken),
            (None, _) if held >= NAMES_PER_SPACE_MAX => Err(Refusal::Full),
            (None, _) if self.held() >= NAMES_MAX => Err(Refusal::Full),
            (None, None) => Err(Refusal::TryAgain),
            (None, Some(granter)) => {
                return Registration::Ask(granter, ActorMessage::Claim(name, me, serial));
            }
        };
        Registration::Answer(answer)
    }

    /// We are asked to grant a name.
    pub fn handle_claim(
        &mut self,
        now: Instant,
        facts: &Facts,
        topology: TopologyId,
        name: Name,
        (pid, serial): (Pid, u32),
        effects: &mut Effects,
    ) {
        let answer = match self.grant(now, facts, topology, &name, pid) {
            Ok(grant) => ActorMessage::Granted(name, pid, serial, Some(grant)),
            Err(Refusal::Taken) => ActorMessage::Granted(name, pid, serial, None),
            Err(refusal) => ActorMessage::Refused(pid, serial, refusal as i8),
        };
        effects.actor(pid.zhost, topology, answer);
    }

    fn grant(
        &mut self,
        now: Instant,
        facts: &Facts,
        topology: TopologyId,
        name: &Name,
        pid: Pid,
    ) -> Result<PlacementVersion, Refusal> {
        let is_super = facts.live_supers().any(|id| id == facts.id);
        let (slot, term) = facts.term_in_force().filter(|_| is_super).ok_or(Refusal::TryAgain)?;
        let is_taken = |holder: Pid| holder != pid;
        if facts.whereis(topology, name).is_some_and(is_taken) {
            return Err(Refusal::Taken);
        }
        let membership = &facts.membership;
        let lives =
            |pid: &Pid| pid.zhost == facts.id || membership.generation(pid.zhost) == Some(pid.generation);
        self.granted.retain(|_, (holder, until)| *until > now && lives(holder));
        let key = (topology, name.clone());
        if self.granted.get(&key).is_some_and(|(holder, _)| is_taken(*holder)) {
            return Err(Refusal::Taken);
        }
        if self.granted.len() >= GRANTS_MAX {
            return Err(Refusal::TryAgain);
        }
        if !planted::has(Bug::ForgetGrants) {
            self.granted.insert(key, (pid, now + GRANT_TTL));
        }
        self.counter += 1;
        // Of two starts of this zhost, the later one's grants are the later ones.
        let counter = facts.generation.first_serial() | u64::from(self.counter);
        Ok(PlacementVersion { slot, term, counter, coordinator: facts.id })
    }

    /// A super answers a claim; what the local space is answered, if it lives.
    pub fn handle_granted(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        name: Name,
        pid: Pid,
        (granter, grant): (ZhostId, Option<PlacementVersion>),
        effects: &mut Effects,
    ) -> Option<Result<Vec<u8>, Refusal>> {
        let lives = cx.local(topology, pid).is_some();
        match grant {
            Some(grant) if lives => {
                let row = Row::Name { number: pid.number, grant };
                self.held.insert((topology, name.clone()), (pid.number, grant));
                effects.row(RowKey::Name(topology, name), row);
                Some(Ok(Vec::new()))
            }
            Some(_) => {
                effects.actor(granter, topology, ActorMessage::Release(name, pid));
                None
            }
            None => lives.then_some(Err(Refusal::Taken)),
        }
    }

    /// A local space gives a name back.
    pub fn unregister(
        &mut self,
        facts: &Facts,
        topology: TopologyId,
        number: u32,
        name: &Name,
        effects: &mut Effects,
    ) {
        let key = (topology, name.clone());
        if self.held.get(&key).is_none_or(|(holder, _)| *holder != number) {
            return;
        }
        self.held.remove(&key);
        effects.no_row(RowKey::Name(topology, name.clone()));
        if let Some(granter) = facts.granter(topology, name) {
            let release = ActorMessage::Release(name.clone(), facts.pid(number));
            effects.actor(granter, topology, release);
        }
    }

    /// A local space ended: its names are free.
    pub fn handle_space_ended(
        &mut self,
        facts: &Facts,
        topology: TopologyId,
        number: u32,
        effects: &mut Effects,
    ) {
        if planted::has(Bug::KeepNames) {
            return;
        }
        let held = self.held.iter().filter(|(_, (holder, _))| *holder == number);
        let names: Vec<Name> = held.map(|((_, name), _)| name.clone()).collect();
        names.iter().for_each(|name| self.unregister(facts, topology, number, name, effects));
    }

    /// Gives up names that another zhost's space holds by a later grant.
    pub fn refresh(&mut self, cx: &Context<'_>, effects: &mut Effects) {
        let registry = &cx.facts.registry;
        let is_lost = |(topology, name): &(TopologyId, Name), grant: &PlacementVersion| {
            let key = RowKey::Name(*topology, name.clone());
            let others = registry.owners().filter(|(zhost, _)| *zhost != cx.facts.id);
            let mut rows = others.filter_map(|(zhost, _)| registry.row(zhost, &key));
            rows.any(|row| matches!(row, Row::Name { grant: other, .. } if other > grant))
        };
        let lost = self.held.iter().filter(|(key, (_, grant))| is_lost(key, grant));
        let lost: Vec<_> = lost.map(|(key, (number, _))| (key.clone(), *number)).collect();
        for ((topology, name), number) in lost {
            let text = format!("the name {name} was granted to two spaces; the later grant wins");
            effects.log(Level::Warn, text);
            self.held.remove(&(topology, name.clone()));
            effects.no_row(RowKey::Name(topology, name.clone()));
            cx.signal(number, Signal::NameLost(name), effects);
        }
    }
}

#[cfg(test)]
mod tests;
