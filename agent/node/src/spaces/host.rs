//! The spaces of this zhost: compares those that should run here with those that do, and acts on the difference.

use crate::{
    effects::Effects,
    facts::Facts,
    output::{Level, Output},
    spaces::{
        messages::MAILBOX_MAX_MESSAGES,
        supervision::{Decision, Supervision},
        wishes::{Situation, Wish},
    },
};
use litemap::LiteMap;
use std::{collections::VecDeque, time::Duration};
use zhost_base::{
    ExitReason, Instant, Pid, Restart, Rng, SpaceKey, SpaceSpec, TopologySpec,
    limits::SPACE_LOG_LINES_MAX,
    planted::{self, Bug},
};
use zhost_exchange::{Exit, Launch, LogLevel, Presence, Usage, WorkerCommand};
use zhost_gossip::{
    document::PlacementVersion,
    row::{RowKey, SpaceState},
};

/// Spaces started at once: more wait, so that a recovery does not starve what runs.
const STARTS_AT_ONCE: usize = 8;

/// How long a space pauses that ended by itself and is to run always.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// After so long without news of what a space uses, it uses nothing.
const USAGE_STALE: Duration = Duration::from_secs(3);

/// Ends of a space that are remembered; older ones go.
const ENDINGS_MAX: usize = 8;

/// The space that spawned another, and which question of it that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spawner {
    pub parent: Pid,
    pub serial: u32,
}

/// A space on this zhost.
#[derive(Debug)]
pub(crate) struct LocalSpace {
    pub launch: Launch,
    pub state: SpaceState,
    pub placement: PlacementVersion,
    pub revision: u64,
    pub restarts: u32,
    pub restart_at: Option<Instant>,
    pub messages_in: u64,
    pub messages_out: u64,
    /// Delivered to the mailbox and not yet consumed.
    pub mailbox: u32,
    /// What has asked for it, if it was spawned and not placed: then it is not started again.
    pub spawner: Option<Spawner>,
    /// What it has used when that was last told, and the fuel it used per second before.
    pub usage: Usage,
    fuel_per_second: u64,
    used_at: Instant,
    supervision: Supervision,
}

impl LocalSpace {
    /// Whether another space has spawned it.
    pub fn is_spawned(&self) -> bool {
        self.spawner.is_some()
    }

    /// Whether its worker has it.
    fn has_worker(&self) -> bool {
        matches!(self.state, SpaceState::Starting | SpaceState::Running | SpaceState::Closing)
    }

    /// Fuel it uses per second; what a space uses is told about once a second, and not while it sleeps.
    pub fn fuel_per_second(&self, now: Instant) -> u64 {
        if now.since(self.used_at) < USAGE_STALE { self.fuel_per_second } else { 0 }
    }
}

/// A line of a space's log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub unix_ms: u64,
    pub level: LogLevel,
    pub text: String,
}

/// How a space ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub unix_ms: u64,
    /// Which start of it.
    pub number: u32,
    pub reason: String,
}

/// All spaces of this zhost.
#[derive(Debug)]
pub(crate) struct Host {
    rng: Rng,
    spaces: LiteMap<SpaceKey, LocalSpace>,
    /// Outlive their spaces, so that one can read why a space ended.
    logs: LiteMap<SpaceKey, VecDeque<Line>>,
    endings: LiteMap<SpaceKey, VecDeque<Ending>>,
    /// By the number of their start.
    numbers: LiteMap<u32, SpaceKey>,
    incarnations: u32,
}

impl Host {
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            spaces: LiteMap::new(),
            logs: LiteMap::new(),
            endings: LiteMap::new(),
            numbers: LiteMap::new(),
            incarnations: 0,
        }
    }

    /// What workers said, or were told, may be lost: they are asked how each space is, and what is said in the registry of
    /// spaces here is said anew.
    pub fn begin_again(&mut self, facts: &Facts, effects: &mut Effects) {
        self.numbers.clear();
        for (key, space) in &mut self.spaces {
            space.mailbox = 0;
            let number = space.launch.pid.number;
            if space.has_worker() {
                self.numbers.insert(number, key.clone());
                effects.output(Output::Worker(WorkerCommand::Resume { key: key.clone(), number }));
            }
            effects.space_row(key.clone());
        }
        let rows = facts.registry.rows_of(facts.id).map(|(key, _)| key);
        let gone = rows.filter(|key| matches!(key, RowKey::Space(key) if !self.spaces.contains_key(key)));
        gone.for_each(|key| effects.no_row(key.clone()));
    }

    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// How many placed spaces are being started.
    fn starting(&self) -> usize {
        let is_starting = |space: &&LocalSpace| space.state == SpaceState::Starting && !space.is_spawned();
        self.spaces.values().filter(is_starting).count()
    }

    /// How many spaces run here because others spawned them.
    pub fn spawned(&self) -> usize {
        self.spaces.values().filter(|space| space.is_spawned()).count()
    }

    /// How many spawned spaces of that kind run here.
    pub fn spawned_of(&self, kind: &SpaceKey) -> usize {
        let is_of = |(key, space): &(&SpaceKey, &LocalSpace)| {
            space.is_spawned() && key.topology == kind.topology && space.launch.space == kind.space
        };
        self.spaces.iter().filter(is_of).count()
    }

    /// The space with the start of that number.
    pub fn key_of(&self, number: u32) -> Option<&SpaceKey> {
        self.numbers.get(&number)
    }

    /// The spaces that were spawned here for this question.
    pub fn spawned_for(&self, spawner: Spawner) -> Vec<(SpaceKey, u32)> {
        let spaces = self.spaces.iter().filter(|(_, space)| space.spawner == Some(spawner));
        spaces.map(|(key, space)| (key.clone(), space.launch.pid.number)).collect()
    }

    /// The number of the next start.
    pub fn next_number(&self) -> u32 {
        self.incarnations.wrapping_add(1)
    }

    /// How often a space has ended, and how, lately.
    pub fn endings(&self, key: &SpaceKey) -> impl Iterator<Item = &Ending> {
        self.endings.get(key).into_iter().flatten()
    }

    /// How many spaces were ever started.
    pub fn starts(&self) -> u32 {
        self.incarnations
    }

    pub fn keys(&self) -> impl Iterator<Item = &SpaceKey> {
        self.spaces.keys()
    }

    /// Under which name logs and endings are kept: those of spawned spaces under that of their kind.
    fn record_key(&self, key: &SpaceKey) -> SpaceKey {
        let name = self.spaces.get(key).map_or(&key.space, |space| &space.launch.space);
        SpaceKey { topology: key.topology, space: name.clone() }
    }

    /// Takes in a space that is to run here by that placement of that revision of its topology.
    pub fn insert(
        &mut self,
        now: Instant,
        launch: Launch,
        placement: PlacementVersion,
        revision: u64,
        spawner: Option<Spawner>,
    ) {
        let key = launch.key.clone();
        let space = LocalSpace {
            launch,
            state: SpaceState::Starting,
            placement,
            revision,
            restarts: 0,
            restart_at: None,
            messages_in: 0,
            messages_out: 0,
            mailbox: 0,
            spawner,
            usage: Usage::default(),
            fuel_per_second: 0,
            used_at: now,
            supervision: Supervision::default(),
        };
        self.spaces.insert(key, space);
    }

    /// Begins the next start of a space; what its worker is to be told.
    pub fn launch(&mut self, facts: &Facts, key: &SpaceKey) -> Option<Launch> {
        let number = self.next_number();
        let space = self.spaces.get_mut(key)?;
        self.incarnations = number;
        self.numbers.insert(number, key.clone());
        space.launch.pid = facts.pid(number);
        space.state = SpaceState::Starting;
        space.restart_at = None;
        space.mailbox = 0;
        space.usage = Usage::default();
        Some(space.launch.clone())
    }

    /// A space is here no longer.
    pub fn remove(&mut self, key: &SpaceKey) {
        if let Some(space) = self.spaces.remove(key) {
            self.numbers.remove(&space.launch.pid.number);
        }
    }

    pub fn space(&self, key: &SpaceKey) -> Option<&LocalSpace> {
        self.spaces.get(key)
    }

    /// What the package says of a space.
    pub fn spec_of<'a>(&self, facts: &'a Facts, key: &SpaceKey) -> Option<&'a SpaceSpec> {
        let name = self.space(key).map_or(&key.space, |space| &space.launch.space);
        facts.spec_of(key)?.space(name)
    }

    /// The spaces here whose data other zhosts keep, too, each with the number of its start.
    pub fn replicated(&self, facts: &Facts) -> Vec<(SpaceKey, u32)> {
        let is_replicated = |key: &SpaceKey| self.spec_of(facts, key).is_some_and(|spec| spec.replicas > 0);
        let spaces = self.spaces.iter().filter(|(key, _)| is_replicated(key));
        spaces.map(|(key, space)| (key.clone(), space.launch.pid.number)).collect()
    }

    pub fn space_mut(&mut self, key: &SpaceKey) -> Option<&mut LocalSpace> {
        self.spaces.get_mut(key)
    }

    pub fn running(&self) -> impl Iterator<Item = (&SpaceKey, &LocalSpace)> {
        self.spaces.iter().filter(|(_, space)| space.state == SpaceState::Running)
    }

    /// Messages in the fullest mailbox.
    pub fn mailbox_max(&self) -> usize {
        self.spaces.values().map(|space| space.mailbox as usize).max().unwrap_or(0)
    }

    pub fn log(&self, key: &SpaceKey) -> impl Iterator<Item = &Line> {
        self.logs.get(key).into_iter().flatten()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let restarts = self.spaces.values().filter_map(|space| space.restart_at);
        restarts.min().map(|at| (at, "restart a space"))
    }
}

impl Facts {
    /// The spec of the topology a space belongs to.
    pub(crate) fn spec_of(&self, key: &SpaceKey) -> Option<&TopologySpec> {
        self.ledger.topology(key.topology).map(|topology| &topology.spec)
    }
}

impl Host {
    /// Starts what should run here and does not; closes what runs here and should not, or runs an old revision.
    pub fn reconcile(&mut self, at: &Situation<'_>, effects: &mut Effects) {
        let wishes = at.wishes();
        let is_surplus = |key: &SpaceKey, space: &LocalSpace| match wishes.get(key) {
            _ if at.is_held(key.topology) => true,
            _ if space.is_spawned() => !at.is_spawn_wanted(key, space.revision),
            Some(wish) => !wish.is_of(space.revision, space.launch.package),
            None => !at.is_undecided(key) && !planted::has(Bug::IgnoreMove),
        };
        let surplus = self.spaces.iter().filter(|(key, space)| is_surplus(key, space));
        let surplus: Vec<SpaceKey> = surplus.map(|(key, _)| key.clone()).collect();
        for key in surplus {
            effects.about(key.topology);
            self.close(at.facts, &key, effects);
        }
        for (key, wish) in wishes {
            effects.about(key.topology);
            let has_turn = self.starting() < STARTS_AT_ONCE;
            match self.spaces.get_mut(&key) {
                Some(space)
                    if space.placement != wish.placement
                        && wish.is_of(space.revision, space.launch.package) =>
                {
                    space.placement = wish.placement;
                    effects.space_row(key);
                }
                Some(_) => {}
                // Those that have to wait start when others are running.
                None if !has_turn || !wish.has_place => {}
                None if at.blobs.is_complete(wish.launch.package) => {
                    let Wish { launch, placement, revision, .. } = wish;
                    self.take_in(at.now, at.facts, (launch, placement, revision), None, effects);
                }
                None => {}
            }
        }
    }

    /// Starts a space that another spawned.
    pub fn take_in_spawned(
        &mut self,
        now: Instant,
        facts: &Facts,
        (launch, revision): (Launch, u64),
        spawner: Spawner,
        effects: &mut Effects,
    ) {
        if let Some(placement) = facts.obeyed_placement(launch.key.topology) {
            self.take_in(now, facts, (launch, placement.version, revision), Some(spawner), effects);
        }
    }

    fn take_in(
        &mut self,
        now: Instant,
        facts: &Facts,
        (launch, placement, revision): (Launch, PlacementVersion, u64),
        spawner: Option<Spawner>,
        effects: &mut Effects,
    ) {
        let key = launch.key.clone();
        effects.space_starts(key.clone());
        self.insert(now, launch, placement, revision, spawner);
        self.begin(facts, &key, effects);
    }

    /// Has a space started by its worker.
    fn begin(&mut self, facts: &Facts, key: &SpaceKey, effects: &mut Effects) {
        let Some(launch) = self.launch(facts, key) else { return };
        let is_spawned = self.space(key).is_some_and(|space| space.is_spawned());
        let level = if is_spawned { Level::Debug } else { Level::Info };
        effects.log(level, format!("starting space {} (start {})", key.space, launch.pid.number));
        effects.output(Output::Worker(WorkerCommand::Start(launch)));
        effects.space_row(key.clone());
    }

    /// Ends a space, or forgets it if it has ended.
    pub fn close(&mut self, facts: &Facts, key: &SpaceKey, effects: &mut Effects) {
        let Some(space) = self.spaces.get_mut(key) else { return };
        match space.state {
            SpaceState::Closing => {}
            SpaceState::Starting | SpaceState::Running => {
                space.state = SpaceState::Closing;
                effects.log(Level::Info, format!("closing space {}", key.space));
                effects.output(Output::Worker(WorkerCommand::Stop(key.clone())));
                effects.space_row(key.clone());
            }
            SpaceState::Backoff | SpaceState::Held | SpaceState::Ended => self.drop(facts, key, effects),
        }
    }

    /// Ends a space and starts it again, also one that was held or has ended.
    pub fn restart(&mut self, at: &Situation<'_>, key: &SpaceKey, effects: &mut Effects) {
        self.close(at.facts, key, effects);
        self.reconcile(at, effects);
    }

    fn drop(&mut self, facts: &Facts, key: &SpaceKey, effects: &mut Effects) {
        self.remove(key);
        effects.space_gone(key.clone());
        effects.no_row(RowKey::Space(key.clone()));
        let known = |key: &SpaceKey| facts.ledger.topologies().any(|(id, _)| id == key.topology);
        self.logs.retain(|key, _| known(key));
        self.endings.retain(|key, _| known(key));
    }

    /// The start of a space of that number, if that is the present one.
    fn start_of(&mut self, key: &SpaceKey, number: u32) -> Option<&mut LocalSpace> {
        self.spaces.get_mut(key).filter(|space| space.launch.pid.number == number)
    }

    /// A space runs. Whether it is one that another spawned, who is to be told.
    pub fn handle_started(
        &mut self,
        at: &Situation<'_>,
        (key, number): (&SpaceKey, u32),
        effects: &mut Effects,
    ) -> bool {
        let space = self.start_of(key, number).filter(|space| space.state == SpaceState::Starting);
        let Some(space) = space else { return false };
        space.state = SpaceState::Running;
        if space.is_spawned() {
            return true;
        }
        effects.log(Level::Info, format!("space {} is running", key.space));
        effects.space_row(key.clone());
        self.reconcile(at, effects);
        false
    }

    /// A worker says how a space is, after what it had said may have been lost. Whether it runs since then and is one that
    /// another spawned, who is to be told.
    pub fn handle_resumed(
        &mut self,
        at: &Situation<'_>,
        (key, number): (&SpaceKey, u32),
        presence: Presence,
        effects: &mut Effects,
    ) -> bool {
        let Some(space) = self.start_of(key, number).filter(|space| space.has_worker()) else { return false };
        if space.state == SpaceState::Closing && presence != Presence::Gone {
            effects.output(Output::Worker(WorkerCommand::Stop(key.clone())));
        }
        match presence {
            Presence::Gone => {
                let exit = Exit::Crashed("ended while nobody noted how".into());
                self.handle_exit(at, (key, number), exit, effects);
                false
            }
            Presence::Starting => false,
            Presence::Running(unread) => {
                space.mailbox = space.mailbox.saturating_add(unread).min(MAILBOX_MAX_MESSAGES);
                self.handle_started(at, (key, number), effects)
            }
        }
    }

    /// A space ended: it is started again, held, or forgotten.
    pub fn handle_exit(
        &mut self,
        at: &Situation<'_>,
        (key, number): (&SpaceKey, u32),
        exit: Exit,
        effects: &mut Effects,
    ) {
        let Some(space) = self.start_of(key, number) else { return };
        let (is_spawned, is_closing) = (space.is_spawned(), space.state == SpaceState::Closing);
        let text = match &exit {
            Exit::Closed => "closed".to_owned(),
            Exit::Ended(code) => format!("asked to be stopped with code {code}"),
            Exit::Crashed(reason) => reason.clone(),
        };
        self.note_ending(at.unix_ms, key, number, &text);
        let normal = matches!(exit, Exit::Ended(_));
        effects.space_ended(key.clone(), number, ExitReason { normal, reason: text.clone() });
        if is_closing || is_spawned {
            let level = if is_spawned { Level::Debug } else { Level::Info };
            effects.log(level, format!("space {} is closed: {text}", key.space));
            self.drop(at.facts, key, effects);
        } else {
            self.numbers.remove(&number);
            let state = self.judge(at, key, &exit);
            effects.log(Level::Warn, format!("space {} {text}; now {state}", key.space));
            effects.space_row(key.clone());
        }
        // The same space may be wanted here again, in another revision, or another has its turn.
        self.reconcile(at, effects);
    }

    /// What becomes of a placed space that ended by itself, in a word.
    fn judge(&mut self, at: &Situation<'_>, key: &SpaceKey, exit: &Exit) -> &'static str {
        let restart = self.spec_of(at.facts, key).map(|spec| spec.restart).unwrap_or_default();
        let Some(space) = self.spaces.get_mut(key) else { return "gone" };
        (space.state, space.restart_at) = match exit {
            Exit::Closed | Exit::Ended(_) if restart == Restart::Always => {
                (SpaceState::Backoff, Some(at.now + RESTART_PAUSE))
            }
            Exit::Closed | Exit::Ended(_) => (SpaceState::Ended, None),
            Exit::Crashed(_) if restart == Restart::Never => (SpaceState::Held, None),
            Exit::Crashed(_) => match space.supervision.handle_crash(at.now, &mut self.rng) {
                Decision::RestartAt(at) => (SpaceState::Backoff, Some(at)),
                Decision::Hold => (SpaceState::Held, None),
            },
        };
        space.state.as_str()
    }

    /// A space wrote a line to its log.
    pub fn handle_line(
        &mut self,
        unix_ms: u64,
        key: &SpaceKey,
        (level, text): (LogLevel, String),
        effects: &mut Effects,
    ) {
        effects.log(Level::Info, format!("[{}] {}: {text}", key.space, level.as_str()));
        let lines = self.logs.entry(self.record_key(key)).or_default();
        if lines.len() >= SPACE_LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(Line { unix_ms, level, text });
    }

    /// Starts again what has paused for long enough.
    pub fn handle_timeout(&mut self, now: Instant, facts: &Facts, effects: &mut Effects) {
        let due = |space: &LocalSpace| space.restart_at.is_some_and(|at| at <= now);
        let keys = self.spaces.iter().filter(|(_, space)| due(space)).map(|(key, _)| key.clone());
        for key in keys.collect::<Vec<_>>() {
            if let Some(space) = self.spaces.get_mut(&key) {
                space.restarts += 1;
            }
            self.begin(facts, &key, effects);
        }
    }

    fn note_ending(&mut self, unix_ms: u64, key: &SpaceKey, number: u32, reason: &str) {
        let endings = self.endings.entry(self.record_key(key)).or_default();
        if endings.len() >= ENDINGS_MAX {
            endings.pop_front();
        }
        endings.push_back(Ending { unix_ms, number, reason: reason.to_owned() });
    }

    /// What a space has used until now.
    pub fn handle_usage(&mut self, now: Instant, (key, number): (&SpaceKey, u32), usage: Usage) {
        let Some(space) = self.start_of(key, number) else { return };
        let micros = now.since(space.used_at).as_micros().max(1) as u64;
        let fuel = usage.fuel.saturating_sub(space.usage.fuel);
        space.fuel_per_second = fuel.saturating_mul(1_000_000) / micros;
        space.used_at = now;
        space.usage = usage;
    }
}

#[cfg(test)]
mod tests;
