//! The spaces of this zhost: compares those that should run here with those that do, and acts on the difference.

use crate::{
    facts::Facts,
    node::{Level, Node, Output},
    spaces::supervision::{Decision, Supervision},
};
use litemap::LiteMap;
use std::{collections::VecDeque, time::Duration};
use zhost_base::{
    ExitReason, Instant, Pid, Restart, SpaceKey, SpaceSpec, TopologySpec,
    limits::SPACE_LOG_LINES_MAX,
    planted::{self, Bug},
};
use zhost_exchange::{Exit, Launch, LogLevel, Origin, Usage, WorkerCommand, WorkerEvent};
use zhost_gossip::{
    document::{Home, PlacementVersion, TopologyDocument, Wanted},
    row::{Row, RowKey, SpaceRow, SpaceState},
};

/// Spaces started at once: more wait, so that a recovery does not starve what runs.
const STARTS_AT_ONCE: usize = 8;

/// How long a space pauses that ended by itself and is to run always.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// After so long without news of what a space uses, it uses nothing.
const USAGE_STALE: Duration = Duration::from_secs(3);

/// Ends of a space that are remembered; older ones go.
const ENDINGS_MAX: usize = 8;

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
    /// Started by another space, not placed: it is not started again.
    pub is_spawned: bool,
    /// What it has used when that was last told, and the fuel it used per second before.
    pub usage: Usage,
    fuel_per_second: u64,
    used_at: Instant,
    supervision: Supervision,
}

impl LocalSpace {
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
#[derive(Debug, Default)]
pub(crate) struct Host {
    spaces: LiteMap<SpaceKey, LocalSpace>,
    /// Outlive their spaces, so that one can read why a space ended.
    logs: LiteMap<SpaceKey, VecDeque<Line>>,
    endings: LiteMap<SpaceKey, VecDeque<Ending>>,
    /// By the number of their start.
    numbers: LiteMap<u32, SpaceKey>,
    incarnations: u32,
}

impl Host {
    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// How many placed spaces are being started.
    fn starting(&self) -> usize {
        let is_starting = |space: &&LocalSpace| space.state == SpaceState::Starting && !space.is_spawned;
        self.spaces.values().filter(is_starting).count()
    }

    /// How many spaces run here because others spawned them.
    pub fn spawned(&self) -> usize {
        self.spaces.values().filter(|space| space.is_spawned).count()
    }

    /// How many spawned spaces of that kind run here.
    pub fn spawned_of(&self, kind: &SpaceKey) -> usize {
        let is_of = |(key, space): &(&SpaceKey, &LocalSpace)| {
            space.is_spawned && key.topology == kind.topology && space.launch.space == kind.space
        };
        self.spaces.iter().filter(is_of).count()
    }

    /// The space with the start of that number.
    pub fn key_of(&self, number: u32) -> Option<&SpaceKey> {
        self.numbers.get(&number)
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

    pub fn space(&self, key: &SpaceKey) -> Option<&LocalSpace> {
        self.spaces.get(key)
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

struct Wish {
    /// Whether data that another had here is out of the way.
    has_place: bool,
    launch: Launch,
    placement: PlacementVersion,
    revision: u64,
}

impl Wish {
    /// Whether that space runs what is wished for. Concurrent submits may share a revision, never a package.
    fn is_of(&self, space: &LocalSpace) -> bool {
        (self.revision, self.launch.package) == (space.revision, space.launch.package)
    }
}

impl Facts {
    /// The spec of the topology a space belongs to.
    pub(crate) fn spec_of(&self, key: &SpaceKey) -> Option<&TopologySpec> {
        self.ledger.topology(key.topology).map(|topology| &topology.spec)
    }
}

impl Node {
    /// Starts what should run here and does not; closes what runs here and should not, or runs an old revision.
    pub(crate) fn reconcile_spaces(&mut self, now: Instant) {
        let wishes = self.wishes();
        let surplus: Vec<SpaceKey> = self
            .host
            .spaces
            .iter()
            .filter(|(key, space)| match wishes.get(key) {
                _ if space.is_spawned => !self.is_spawn_wanted(key, space.revision),
                Some(wish) => !wish.is_of(space),
                None => !self.is_undecided(key) && !planted::has(Bug::IgnoreMove),
            })
            .map(|(key, _)| key.clone())
            .collect();
        surplus.iter().for_each(|key| self.close_space(now, key));
        for (key, wish) in wishes {
            let has_turn = self.host.starting() < STARTS_AT_ONCE;
            match self.host.spaces.get_mut(&key) {
                Some(space) if space.placement != wish.placement && wish.is_of(space) => {
                    space.placement = wish.placement;
                    self.write_space_row(now, &key);
                }
                Some(_) => {}
                // Those that have to wait start when others are running.
                None if !has_turn || !wish.has_place => {}
                None if self.blobs.is_complete(wish.launch.package) => self.start_space(now, wish),
                None => {}
            }
        }
    }

    /// Whether a space that another spawned may stay.
    fn is_spawn_wanted(&self, key: &SpaceKey, revision: u64) -> bool {
        let topology = self.facts.ledger.topology(key.topology);
        let is_current =
            |topology: &TopologyDocument| topology.revision == revision || planted::has(Bug::OutliveVersion);
        let wanted = |topology: &TopologyDocument| topology.wanted == Wanted::Running && is_current(topology);
        topology.is_some_and(wanted) && !self.is_shutting_down() && !self.facts.membership.stands_aside()
    }

    /// Whether a new revision of the space's topology waits for its placement: until then the old one goes on.
    fn is_undecided(&self, key: &SpaceKey) -> bool {
        let Some(topology) = self.facts.ledger.topology(key.topology) else { return false };
        let placed =
            self.facts.obeyed_placement(key.topology).is_some_and(|p| p.revision == topology.revision);
        let stays = !self.is_shutting_down() && !self.facts.membership.stands_aside();
        topology.wanted == Wanted::Running && !placed && stays
    }

    /// What the ledger wants to run on this zhost.
    fn wishes(&self) -> LiteMap<SpaceKey, Wish> {
        let mut wishes = LiteMap::new();
        if !self.facts.ready || self.is_shutting_down() {
            return wishes;
        }
        for (id, topology) in
            self.facts.ledger.topologies().filter(|(_, topology)| topology.wanted == Wanted::Running)
        {
            let Some(placement) = self.facts.obeyed_placement(id).filter(|p| p.revision == topology.revision)
            else {
                continue;
            };
            for (space, home) in topology.spec.spaces.iter().zip(&placement.homes) {
                if *home != Home::On(self.facts.id) || self.facts.has_lost_data_of(space) {
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

    fn start_space(&mut self, now: Instant, wish: Wish) {
        self.host_space(now, wish, false);
    }

    /// Starts a space that another spawned.
    pub(crate) fn host_spawned(&mut self, now: Instant, launch: Launch, revision: u64) {
        let placement = self.facts.obeyed_placement(launch.key.topology).map(|placement| placement.version);
        if let Some(placement) = placement {
            self.host_space(now, Wish { has_place: true, launch, placement, revision }, true);
        }
    }

    fn host_space(&mut self, now: Instant, wish: Wish, is_spawned: bool) {
        let key = wish.launch.key.clone();
        let space = LocalSpace {
            launch: wish.launch,
            state: SpaceState::Starting,
            placement: wish.placement,
            revision: wish.revision,
            restarts: 0,
            restart_at: None,
            messages_in: 0,
            messages_out: 0,
            mailbox: 0,
            is_spawned,
            usage: Usage::default(),
            fuel_per_second: 0,
            used_at: now,
            supervision: Supervision::default(),
        };
        // It writes for itself.
        self.copies.forget_sessions(|other| *other == key);
        self.host.spaces.insert(key.clone(), space);
        self.launch_space(now, &key);
    }

    fn launch_space(&mut self, now: Instant, key: &SpaceKey) {
        let Some(space) = self.host.spaces.get_mut(key) else { return };
        self.host.incarnations += 1;
        space.launch.pid =
            Pid { zhost: self.facts.id, generation: self.facts.generation, number: self.host.incarnations };
        self.host.numbers.insert(self.host.incarnations, key.clone());
        space.state = SpaceState::Starting;
        space.restart_at = None;
        space.mailbox = 0;
        space.usage = Usage::default();
        let launch = space.launch.clone();
        let level = if space.is_spawned { Level::Debug } else { Level::Info };
        self.log(level, format!("starting space {} (start {})", key.space, launch.pid.number));
        self.output(Output::Worker(WorkerCommand::Start(launch)));
        self.write_space_row(now, key);
    }

    pub(crate) fn close_space(&mut self, now: Instant, key: &SpaceKey) {
        let Some(space) = self.host.spaces.get_mut(key) else { return };
        match space.state {
            SpaceState::Closing => {}
            SpaceState::Starting | SpaceState::Running => {
                space.state = SpaceState::Closing;
                self.log(Level::Info, format!("closing space {}", key.space));
                self.output(Output::Worker(WorkerCommand::Stop(key.clone())));
                self.write_space_row(now, key);
            }
            SpaceState::Backoff | SpaceState::Held | SpaceState::Ended => self.drop_space(now, key),
        }
    }

    /// Ends a space and starts it again, also one that was held or has ended.
    pub(crate) fn restart_space(&mut self, now: Instant, key: &SpaceKey) {
        self.close_space(now, key);
        self.reconcile_spaces(now);
    }

    fn drop_space(&mut self, now: Instant, key: &SpaceKey) {
        if let Some(space) = self.host.spaces.remove(key) {
            self.host.numbers.remove(&space.launch.pid.number);
        }
        self.dispose();
        self.messages.forget_sender(key);
        self.facts.registry.remove(now, &RowKey::Space(key.clone()));
        let known = |key: &SpaceKey| self.facts.ledger.topologies().any(|(id, _)| id == key.topology);
        self.host.logs.retain(|key, _| known(key));
        self.host.endings.retain(|key, _| known(key));
    }

    pub(crate) fn write_space_row(&mut self, now: Instant, key: &SpaceKey) {
        // Spawned spaces are found by their pids; a row for each would drown the registry.
        let Some(space) = self.host.spaces.get(key).filter(|space| !space.is_spawned) else { return };
        let row = SpaceRow {
            state: space.state,
            placement: space.placement,
            revision: space.revision,
            incarnation: space.launch.pid.number,
            restarts: space.restarts,
            synced: self.synced(key),
        };
        self.set_row(now, RowKey::Space(key.clone()), Row::Space(row));
    }

    pub(crate) fn handle_worker_event(&mut self, now: Instant, event: WorkerEvent) {
        match event {
            WorkerEvent::Started(key, incarnation) => {
                if let Some(space) = self.host.spaces.get_mut(&key)
                    && space.launch.pid.number == incarnation
                    && space.state == SpaceState::Starting
                {
                    space.state = SpaceState::Running;
                    if space.is_spawned {
                        return self.tell_spawned(now, incarnation, Ok(()));
                    }
                    self.log(Level::Info, format!("space {} is running", key.space));
                    self.write_space_row(now, &key);
                    self.reconcile_spaces(now);
                }
            }
            WorkerEvent::Serves(key, incarnation, assets) => {
                if self.host.spaces.get(&key).is_some_and(|space| space.launch.pid.number == incarnation) {
                    self.open_site(key, assets);
                }
            }
            WorkerEvent::Exited(key, incarnation, exit) => self.handle_exit(now, &key, incarnation, exit),
            WorkerEvent::Emitted(key, path, payloads) => self.handle_emitted(now, &key, path, payloads),
            WorkerEvent::Acted(key, number, act) => self.handle_act(now, &key, number, act),
            WorkerEvent::Consumed(key, consumed) => match (&consumed.origin, &consumed.path) {
                (Origin::Path(from, sender), Some(path)) => {
                    let flow = (from.clone(), *sender, path.clone());
                    self.handle_consumed(&key, flow, (consumed.messages, consumed.bytes));
                }
                _ => self.handle_direct_consumed(now, &key, &consumed),
            },
            WorkerEvent::Wrote(key, number, commit, changes) => {
                self.handle_wrote(now, &key, (number, commit), changes);
            }
            WorkerEvent::Used(key, number, usage) => self.note_usage(now, &key, number, usage),
            WorkerEvent::Log(key, level, text) => {
                self.log(Level::Info, format!("[{}] {}: {text}", key.space, level.as_str()));
                let line = Line { unix_ms: self.unix_ms(now), level, text };
                let lines = self.host.logs.entry(self.host.record_key(&key)).or_default();
                if lines.len() >= SPACE_LOG_LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        }
    }

    fn handle_exit(&mut self, now: Instant, key: &SpaceKey, incarnation: u32, exit: Exit) {
        if self.host.spaces.get(key).is_none_or(|space| space.launch.pid.number != incarnation) {
            return;
        }
        self.close_site(key);
        let Some(space) = self.host.spaces.get_mut(key) else { return };
        let text = match &exit {
            Exit::Closed => "closed".to_owned(),
            Exit::Ended(code) => format!("asked to be stopped with code {code}"),
            Exit::Crashed(reason) => reason.clone(),
        };
        let (is_spawned, is_closing) = (space.is_spawned, space.state == SpaceState::Closing);
        self.note_ending(now, key, incarnation, &text);
        let exit_reason = ExitReason { normal: matches!(exit, Exit::Ended(_)), reason: text.clone() };
        self.forget_actor(now, key, incarnation, &exit_reason);
        if is_closing || is_spawned {
            let level = if is_spawned { Level::Debug } else { Level::Info };
            self.log(level, format!("space {} is closed: {text}", key.space));
            self.drop_space(now, key);
            // The same space may be wanted here again, in another revision.
            self.reconcile_spaces(now);
            return;
        }
        self.host.numbers.remove(&incarnation);
        let restart = self.space_spec(key).map(|spec| spec.restart).unwrap_or_default();
        let Some(space) = self.host.spaces.get_mut(key) else { return };
        match exit {
            Exit::Closed | Exit::Ended(_) if restart == Restart::Always => {
                space.state = SpaceState::Backoff;
                space.restart_at = Some(now + RESTART_PAUSE);
            }
            Exit::Closed | Exit::Ended(_) => space.state = SpaceState::Ended,
            Exit::Crashed(_) if restart == Restart::Never => space.state = SpaceState::Held,
            Exit::Crashed(_) => match space.supervision.handle_crash(now, &mut self.rng) {
                Decision::RestartAt(at) => {
                    space.state = SpaceState::Backoff;
                    space.restart_at = Some(at);
                }
                Decision::Hold => space.state = SpaceState::Held,
            },
        }
        let state = space.state.as_str();
        self.log(Level::Warn, format!("space {} {text}; now {state}", key.space));
        self.write_space_row(now, key);
        self.reconcile_spaces(now);
    }

    pub(crate) fn host_timeout(&mut self, now: Instant) {
        let due = |space: &LocalSpace| space.restart_at.is_some_and(|at| at <= now);
        let keys: Vec<SpaceKey> =
            self.host.spaces.iter().filter(|(_, space)| due(space)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(space) = self.host.spaces.get_mut(&key) {
                space.restarts += 1;
            }
            self.launch_space(now, &key);
        }
    }

    fn note_ending(&mut self, now: Instant, key: &SpaceKey, number: u32, reason: &str) {
        let ending = Ending { unix_ms: self.unix_ms(now), number, reason: reason.to_owned() };
        let endings = self.host.endings.entry(self.host.record_key(key)).or_default();
        if endings.len() >= ENDINGS_MAX {
            endings.pop_front();
        }
        endings.push_back(ending);
    }

    fn note_usage(&mut self, now: Instant, key: &SpaceKey, number: u32, usage: Usage) {
        let Some(space) = self.host.spaces.get_mut(key).filter(|space| space.launch.pid.number == number)
        else {
            return;
        };
        let micros = now.since(space.used_at).as_micros().max(1) as u64;
        let fuel = usage.fuel.saturating_sub(space.usage.fuel);
        space.fuel_per_second = fuel.saturating_mul(1_000_000) / micros;
        space.used_at = now;
        space.usage = usage;
    }

    /// What the package says of a space.
    pub(crate) fn space_spec(&self, key: &SpaceKey) -> Option<&SpaceSpec> {
        let name = self.host.space(key).map_or(&key.space, |space| &space.launch.space);
        self.facts.spec_of(key)?.space(name)
    }
}
