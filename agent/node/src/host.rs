//! The spaces of this zhost: compares those that should run here with those that do, and acts on the difference.

use crate::{
    node::{Level, Node, Output},
    supervision::{Decision, Supervision},
};
use std::collections::{BTreeMap, VecDeque};
use zhost_base::{
    Instant, SpaceKey, TopologySpec,
    limits::SPACE_LOG_LINES_MAX,
    planted::{self, Bug},
};
use zhost_gossip::{
    document::{Home, PlacementVersion, Wanted},
    row::{Row, RowKey, SpaceRow, SpaceState},
};
use zhost_runtime::{Exit, Launch, LogLevel, WorkerCommand, WorkerEvent};

/// Spaces started at once: more wait, so that a recovery does not starve what runs.
const STARTS_AT_ONCE: usize = 8;

/// A space on this zhost.
#[derive(Debug)]
pub(crate) struct LocalSpace {
    pub launch: Launch,
    pub state: SpaceState,
    pub placement: PlacementVersion,
    pub revision: u64,
    pub restarts: u32,
    pub restart_at: Option<Instant>,
    pub last_exit: Option<String>,
    pub messages_in: u64,
    pub messages_out: u64,
    /// Delivered to the mailbox and not yet consumed.
    pub mailbox: u32,
    supervision: Supervision,
}

/// A line of a space's log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub unix_ms: u64,
    pub level: LogLevel,
    pub text: String,
}

/// All spaces of this zhost.
#[derive(Debug, Default)]
pub(crate) struct Host {
    spaces: BTreeMap<SpaceKey, LocalSpace>,
    /// Outlive their spaces, so that one can read why a space ended.
    logs: BTreeMap<SpaceKey, VecDeque<Line>>,
    incarnations: u32,
}

impl Host {
    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// How many spaces are being started.
    fn starting(&self) -> usize {
        self.spaces.values().filter(|space| space.state == SpaceState::Starting).count()
    }

    /// How many spaces were ever started.
    pub fn starts(&self) -> u32 {
        self.incarnations
    }

    pub fn keys(&self) -> impl Iterator<Item = &SpaceKey> {
        self.spaces.keys()
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

impl Node {
    /// Starts what should run here and does not; closes what runs here and should not, or runs an old revision.
    pub(crate) fn reconcile_spaces(&mut self, now: Instant) {
        let wishes = self.wishes();
        let surplus: Vec<SpaceKey> = self
            .host
            .spaces
            .iter()
            .filter(|(key, space)| match wishes.get(key) {
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
                None if !has_turn => {}
                None if self.blobs.is_complete(wish.launch.package) => self.start_space(now, wish),
                None => {}
            }
        }
    }

    /// Whether a new revision of the space's topology waits for its placement: until then the old one goes on.
    fn is_undecided(&self, key: &SpaceKey) -> bool {
        let Some(topology) = self.ledger.topology(key.topology) else { return false };
        let placed = self.obeyed_placement(key.topology).is_some_and(|p| p.revision == topology.revision);
        topology.wanted == Wanted::Running && !placed && !self.is_shutting_down()
    }

    /// What the ledger wants to run on this zhost.
    fn wishes(&self) -> BTreeMap<SpaceKey, Wish> {
        let mut wishes = BTreeMap::new();
        if !self.ready || self.is_shutting_down() {
            return wishes;
        }
        for (id, topology) in
            self.ledger.topologies().filter(|(_, topology)| topology.wanted == Wanted::Running)
        {
            let Some(placement) = self.obeyed_placement(id).filter(|p| p.revision == topology.revision)
            else {
                continue;
            };
            for (space, home) in topology.spec.spaces.iter().zip(&placement.homes) {
                if *home != Home::On(self.id) {
                    continue;
                }
                let key = SpaceKey { topology: id, space: space.name.clone() };
                let launch = Launch {
                    key: key.clone(),
                    incarnation: 0,
                    package: topology.package,
                    package_bytes: topology.package_bytes,
                };
                wishes
                    .insert(key, Wish { launch, placement: placement.version, revision: topology.revision });
            }
        }
        wishes
    }

    fn start_space(&mut self, now: Instant, wish: Wish) {
        let key = wish.launch.key.clone();
        let space = LocalSpace {
            launch: wish.launch,
            state: SpaceState::Starting,
            placement: wish.placement,
            revision: wish.revision,
            restarts: 0,
            restart_at: None,
            last_exit: None,
            messages_in: 0,
            messages_out: 0,
            mailbox: 0,
            supervision: Supervision::default(),
        };
        self.host.spaces.insert(key.clone(), space);
        self.launch_space(now, &key);
    }

    fn launch_space(&mut self, now: Instant, key: &SpaceKey) {
        let Some(space) = self.host.spaces.get_mut(key) else { return };
        self.host.incarnations += 1;
        space.launch.incarnation = self.host.incarnations;
        space.state = SpaceState::Starting;
        space.restart_at = None;
        space.mailbox = 0;
        let launch = space.launch.clone();
        self.log(Level::Info, format!("starting space {} (start {})", key.space, launch.incarnation));
        self.output(Output::Worker(WorkerCommand::Start(launch)));
        self.write_space_row(now, key);
    }

    fn close_space(&mut self, now: Instant, key: &SpaceKey) {
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

    fn drop_space(&mut self, now: Instant, key: &SpaceKey) {
        self.host.spaces.remove(key);
        self.messages.forget_sender(key);
        self.registry.remove(now, &RowKey::Space(key.clone()));
        let known = |key: &SpaceKey| self.ledger.topologies().any(|(id, _)| id == key.topology);
        self.host.logs.retain(|key, _| known(key));
    }

    fn write_space_row(&mut self, now: Instant, key: &SpaceKey) {
        let Some(space) = self.host.spaces.get(key) else { return };
        let row = SpaceRow {
            state: space.state,
            placement: space.placement,
            revision: space.revision,
            incarnation: space.launch.incarnation,
            restarts: space.restarts,
        };
        self.set_row(now, RowKey::Space(key.clone()), Row::Space(row));
    }

    pub(crate) fn handle_worker_event(&mut self, now: Instant, event: WorkerEvent) {
        match event {
            WorkerEvent::Started(key, incarnation) => {
                if let Some(space) = self.host.spaces.get_mut(&key)
                    && space.launch.incarnation == incarnation
                    && space.state == SpaceState::Starting
                {
                    space.state = SpaceState::Running;
                    self.log(Level::Info, format!("space {} is running", key.space));
                    self.write_space_row(now, &key);
                    self.reconcile_spaces(now);
                }
            }
            WorkerEvent::Exited(key, incarnation, exit) => self.handle_exit(now, &key, incarnation, exit),
            WorkerEvent::Emitted(key, path, payloads) => self.handle_emitted(now, &key, path, payloads),
            WorkerEvent::Consumed { key, from, sender, path, messages, bytes } => {
                self.handle_consumed(&key, (from, sender, path), (messages, bytes));
            }
            WorkerEvent::Log(key, level, text) => {
                self.log(Level::Info, format!("[{}] {}: {text}", key.space, level.as_str()));
                let line = Line { unix_ms: self.unix_ms(now), level, text };
                let lines = self.host.logs.entry(key).or_default();
                if lines.len() >= SPACE_LOG_LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        }
    }

    fn handle_exit(&mut self, now: Instant, key: &SpaceKey, incarnation: u32, exit: Exit) {
        let Some(space) =
            self.host.spaces.get_mut(key).filter(|space| space.launch.incarnation == incarnation)
        else {
            return;
        };
        let text = match &exit {
            Exit::Closed => "closed".to_owned(),
            Exit::Ended(code) => format!("asked to be stopped with code {code}"),
            Exit::Crashed(reason) => reason.clone(),
        };
        space.last_exit = Some(text.clone());
        if space.state == SpaceState::Closing {
            self.log(Level::Info, format!("space {} is closed", key.space));
            self.drop_space(now, key);
            // The same space may be wanted here again, in another revision.
            self.reconcile_spaces(now);
            return;
        }
        match exit {
            Exit::Closed | Exit::Ended(_) => space.state = SpaceState::Ended,
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

    /// The spec of the topology a space belongs to.
    pub(crate) fn spec_of(&self, key: &SpaceKey) -> Option<&TopologySpec> {
        self.ledger.topology(key.topology).map(|topology| &topology.spec)
    }
}
