//! Gives many guests their turns: one slice of fuel each, round and round.

use crate::{
    budget,
    context::{Context, LogLevel, OutgoingPath, Undelivered},
    device::Devices,
    interpreter::{Export, Guest, Interpreter, Step},
    mailbox::{Consumed, Letters, Sender},
    store::{Store, Write, blob_key, table},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use zhost_base::{
    Batch, BlobDigest, Instant, Name, Rng, SpaceKey,
    limits::{BLOB_CHUNK_SIZE_BYTES, PATH_WINDOW_MESSAGES},
};
use zhost_mex::{Package, PublicKey, Trust};

/// What a space needs to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which space.
    pub key: SpaceKey,
    /// Distinguishes successive starts.
    pub incarnation: u32,
    /// The package with its WASM, complete in the store.
    pub package: BlobDigest,
    /// Size of the package.
    pub package_bytes: u32,
}

/// What the node tells a worker. Commands about a space or incarnation that is not there are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Start a space.
    Start(Launch),
    /// Close a space, within [`budget::CLOSE_TIMEOUT`].
    Stop(SpaceKey),
    /// Put messages into a mailbox.
    Deliver {
        /// Of this space.
        key: SpaceKey,
        /// The space that sent them.
        from: Name,
        /// Whose credit they used.
        sender: Sender,
        /// The path they came along.
        path: Name,
        /// Their contents.
        payloads: Batch,
    },
    /// The target of an outgoing path is running (anew), or not.
    Target {
        /// The sending space.
        key: SpaceKey,
        /// Index of its outgoing path.
        path: u8,
        /// Whether messages can be taken.
        up: bool,
    },
    /// The target of an outgoing path consumed messages.
    Credit {
        /// The sending space.
        key: SpaceKey,
        /// Index of its outgoing path.
        path: u8,
        /// How many.
        messages: u32,
        /// Of how many bytes.
        bytes: u32,
    },
    /// Messages of an outgoing path did not arrive, or may not have.
    Undelivered {
        /// The sending space.
        key: SpaceKey,
        /// Index of its outgoing path.
        path: u8,
        /// How many.
        undelivered: Undelivered,
    },
}

/// How a space ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was told to.
    Closed,
    /// `on_process` asked for it with this code.
    Ended(i32),
    /// It failed, for this reason.
    Crashed(String),
}

/// What a worker tells the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// `on_init` succeeded.
    Started(SpaceKey, u32),
    /// The space is gone.
    Exited(SpaceKey, u32, Exit),
    /// It sent messages along an outgoing path.
    Emitted(SpaceKey, u8, Batch),
    /// It consumed messages that another space had sent.
    Consumed {
        /// The space that consumed them.
        key: SpaceKey,
        /// The space that sent them.
        from: Name,
        /// Whose credit they used.
        sender: Sender,
        /// The path they came along.
        path: Name,
        /// How many.
        messages: u32,
        /// Of how many bytes.
        bytes: u32,
    },
    /// It wrote a line.
    Log(SpaceKey, LogLevel, String),
}

/// What kind of slice to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// A whole one, by somebody who may wait for flash.
    Long,
    /// A short one that never waits: what a call wrote to the store is left for a long one.
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Init,
    Process,
    Close,
}

struct Task {
    guest: Box<dyn Guest>,
    incarnation: u32,
    phase: Phase,
    in_call: bool,
    queued: bool,
    /// What the call returned whose data is not in the store yet.
    returned: Option<i32>,
    stop: bool,
    fuel_spent: u64,
    wake_at: Option<Instant>,
    close_by: Option<Instant>,
}

/// Runs guests.
pub struct Worker {
    interpreter: Box<dyn Interpreter>,
    store: Arc<dyn Store>,
    devices: Arc<dyn Devices>,
    publishers: Vec<PublicKey>,
    rng: Rng,
    unix_origin_ms: u64,
    tasks: BTreeMap<SpaceKey, Task>,
    ready: VecDeque<SpaceKey>,
    /// Wait for a long slice, to store what they wrote or to be loaded.
    storing: VecDeque<SpaceKey>,
    launches: VecDeque<Launch>,
    events: VecDeque<WorkerEvent>,
}

impl Worker {
    /// A worker without spaces that runs packages of these publishers. `unix_origin_ms` is the wall clock at the origin of the monotonic one, 0 if not set.
    pub fn new(
        interpreter: Box<dyn Interpreter>,
        store: Arc<dyn Store>,
        devices: Arc<dyn Devices>,
        publishers: Vec<PublicKey>,
        rng: Rng,
        unix_origin_ms: u64,
    ) -> Self {
        Self {
            interpreter,
            store,
            devices,
            publishers,
            rng,
            unix_origin_ms,
            tasks: BTreeMap::new(),
            ready: VecDeque::new(),
            storing: VecDeque::new(),
            launches: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Obeys the node.
    pub fn handle_command(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Start(launch) => self.launches.push_back(launch),
            WorkerCommand::Stop(key) => {
                if let Some(index) = self.launches.iter().position(|launch| launch.key == key)
                    && let Some(launch) = self.launches.remove(index)
                {
                    let exited = WorkerEvent::Exited(key.clone(), launch.incarnation, Exit::Closed);
                    self.events.push_back(exited);
                }
                if let Some(task) = self.tasks.get_mut(&key) {
                    task.stop = true;
                    task.close_by = Some(now + budget::CLOSE_TIMEOUT);
                }
                self.enqueue(&key);
            }
            WorkerCommand::Deliver { key, from, sender, path, payloads } => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    let letters = Letters::new(Some(from), sender, path, payloads);
                    task.guest.context().mailbox.push(letters);
                }
                self.enqueue(&key);
            }
            WorkerCommand::Target { key, path, up } => {
                self.with_path(&key, path, |path| {
                    path.credit = if up { PATH_WINDOW_MESSAGES } else { 0 };
                    path.outstanding_bytes = 0;
                });
                self.wake_if_refused(&key);
            }
            WorkerCommand::Credit { key, path, messages, bytes } => {
                self.with_path(&key, path, |path| {
                    path.credit = path.credit.saturating_add(messages).min(PATH_WINDOW_MESSAGES);
                    path.outstanding_bytes = path.outstanding_bytes.saturating_sub(bytes);
                });
                self.wake_if_refused(&key);
            }
            WorkerCommand::Undelivered { key, path, undelivered } => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    let context = task.guest.context();
                    if let Some(path) = context.paths.get(usize::from(path)) {
                        let held = context.undelivered.entry(path.name.clone()).or_default();
                        held.lost = held.lost.saturating_add(undelivered.lost);
                        held.unknown = held.unknown.saturating_add(undelivered.unknown);
                    }
                }
                self.enqueue(&key);
            }
        }
    }

    /// A guest that was told to try again may do so now.
    fn wake_if_refused(&mut self, key: &SpaceKey) {
        let refused = |task: &mut Task| std::mem::take(&mut task.guest.context().was_refused);
        if self.tasks.get_mut(key).is_some_and(refused) {
            self.enqueue(key);
        }
    }

    fn with_path(&mut self, key: &SpaceKey, path: u8, act: impl FnOnce(&mut OutgoingPath)) {
        if let Some(task) = self.tasks.get_mut(key)
            && let Some(path) = task.guest.context().paths.get_mut(usize::from(path))
        {
            act(path);
        }
    }

    /// Loads a space: reading and checking its package takes long.
    fn start(&mut self, now: Instant, launch: Launch) {
        let (key, incarnation) = (launch.key.clone(), launch.incarnation);
        match self.load(launch) {
            Ok(mut guest) => {
                let has_init = guest.call(Export::OnInit);
                let task = Task {
                    guest,
                    incarnation,
                    phase: if has_init { Phase::Init } else { Phase::Process },
                    in_call: has_init,
                    queued: false,
                    returned: None,
                    stop: false,
                    fuel_spent: 0,
                    wake_at: Some(now),
                    close_by: None,
                };
                self.tasks.insert(key.clone(), task);
                if !has_init {
                    self.events.push_back(WorkerEvent::Started(key.clone(), incarnation));
                }
                self.enqueue(&key);
            }
            Err(reason) => {
                self.events.push_back(WorkerEvent::Exited(key, incarnation, Exit::Crashed(reason)))
            }
        }
    }

    fn load(&mut self, launch: Launch) -> Result<Box<dyn Guest>, String> {
        let mut package = Vec::with_capacity(launch.package_bytes as usize);
        for index in 0..launch.package_bytes.div_ceil(BLOB_CHUNK_SIZE_BYTES as u32) {
            let piece =
                self.store.get(table::BLOBS, &blob_key(launch.package, index)).map_err(|e| e.to_string())?;
            package.extend_from_slice(&piece.ok_or("its package is not complete on this zhost")?);
        }
        if zhost_mex::digest(&package) != launch.package {
            return Err("its package is damaged on this zhost's flash".into());
        }
        // Checked again here: a zhost takes nobody's word for what it runs.
        let package =
            Package::open(&package, Trust::Publishers(&self.publishers)).map_err(|e| e.to_string())?;
        let spec =
            package.topology.space(&launch.key.space).ok_or("its package does not declare it")?.clone();
        let has_path = package.topology.has_path(&spec.name);
        let wasm = package.wasm(&spec.name).ok_or("its package holds no WASM for it")?;
        let mut context = Context::new(launch.key, self.store.clone(), self.devices.clone(), self.rng.fork());
        context.unix_origin_ms = self.unix_origin_ms;
        let paths = package.topology.paths_from(&spec.name);
        context.paths = paths
            .map(|(path, _)| OutgoingPath { name: path.name.clone(), credit: 0, outstanding_bytes: 0 })
            .collect();
        context.capabilities.clone_from(&spec.capabilities);
        self.interpreter.check(wasm, &spec, has_path).map_err(|e| e.to_string())?;
        self.interpreter.instantiate(wasm, context, spec.memory_bytes).map_err(|e| e.to_string())
    }

    fn enqueue(&mut self, key: &SpaceKey) {
        if let Some(task) = self.tasks.get_mut(key)
            && !task.queued
        {
            task.queued = true;
            self.ready.push_back(key.clone());
        }
    }

    /// Wakes sleepers and ends those that do not close in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |task: &Task| {
            task.wake_at.is_some_and(|at| at <= now) || task.close_by.is_some_and(|by| by <= now)
        };
        let keys: Vec<SpaceKey> =
            self.tasks.iter().filter(|(_, task)| due(task)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if self.tasks.get(&key).is_some_and(|task| task.close_by.is_some_and(|by| by <= now)) {
                self.finish(&key, Exit::Closed);
            } else {
                self.enqueue(&key);
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let times = self.tasks.values().flat_map(|task| [task.wake_at, task.close_by]).flatten();
        times.min().map(|at| (at, "a space wakes up"))
    }

    /// Whether there is something to do in such a slice.
    pub fn is_ready(&self, slice: Slice) -> bool {
        let only_long = !self.storing.is_empty() || !self.launches.is_empty();
        !self.ready.is_empty() || (slice == Slice::Long && only_long)
    }

    /// Runs one slice of the next space in line.
    pub fn run_slice(&mut self, now: Instant, slice: Slice) {
        if slice == Slice::Long {
            if let Some(launch) = self.launches.pop_front() {
                return self.start(now, launch);
            }
            if let Some(key) = self.storing.pop_front() {
                let returned = self.tasks.get_mut(&key).and_then(|task| task.returned.take());
                if let Some(code) = returned {
                    self.handle_return(now, &key, code);
                }
                return;
            }
        }
        let Some(key) = self.ready.pop_front() else { return };
        let Some(task) = self.tasks.get_mut(&key) else { return };
        task.queued = false;
        task.wake_at = None;
        if !task.in_call && !task.begin_call() {
            self.finish(&key, Exit::Closed);
            return;
        }
        let context = task.guest.context();
        context.now = now;
        let fuel = if slice == Slice::Long { budget::SLICE_FUEL } else { budget::SHORT_SLICE_FUEL };
        let (step, fuel) = task.guest.run(fuel);
        task.fuel_spent += fuel;
        let watchdog = task.fuel_spent > task.fuel_max();
        self.drain_context(&key, watchdog || step != Step::Preempted);
        match step {
            Step::Preempted if watchdog => self.handle_watchdog(&key),
            Step::Preempted => self.enqueue(&key),
            Step::Trapped(reason) => self.finish(&key, Exit::Crashed(format!("trapped: {reason}"))),
            Step::Returned(code) if slice == Slice::Short && self.has_written(&key) => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    // Not run again before its data is stored.
                    task.queued = true;
                    task.returned = Some(code);
                }
                self.storing.push_back(key);
            }
            Step::Returned(code) => self.handle_return(now, &key, code),
        }
    }

    fn handle_watchdog(&mut self, key: &SpaceKey) {
        let phase = self.tasks.get(key).map(|task| task.phase);
        let exit = match phase {
            Some(Phase::Close) => Exit::Closed,
            Some(Phase::Init) => {
                Exit::Crashed("on_init did not end within its fuel; the watchdog ended it".into())
            }
            _ => Exit::Crashed("on_process did not end within its fuel; the watchdog ended it".into()),
        };
        self.finish(key, exit);
    }

    fn has_written(&mut self, key: &SpaceKey) -> bool {
        self.tasks.get_mut(key).is_some_and(|task| !task.guest.context().data_writes.is_empty())
    }

    fn handle_return(&mut self, now: Instant, key: &SpaceKey, code: i32) {
        if let Some(task) = self.tasks.get_mut(key)
            && !self.ready.contains(key)
        {
            task.queued = false;
        }
        if let Err(reason) = self.commit_data(key) {
            self.finish(key, Exit::Crashed(format!("its data could not be stored: {reason}")));
            return;
        }
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.in_call = false;
        task.fuel_spent = 0;
        match task.phase {
            Phase::Init if code != 0 => {
                self.finish(key, Exit::Crashed(format!("on_init returned {code}")));
            }
            Phase::Init => {
                task.phase = Phase::Process;
                let started = WorkerEvent::Started(key.clone(), task.incarnation);
                self.events.push_back(started);
                self.enqueue(key);
            }
            Phase::Process if code != 0 && !task.stop => self.finish(key, Exit::Ended(code)),
            Phase::Process => {
                let context = task.guest.context();
                let has_work = !context.mailbox.is_empty();
                let sleep_until = context.sleep_until.take();
                if has_work || task.stop {
                    self.enqueue(key);
                } else {
                    task.wake_at = Some(sleep_until.unwrap_or(now + budget::IDLE_PERIOD));
                }
            }
            Phase::Close => self.finish(key, Exit::Closed),
        }
    }

    /// Makes what the guest wrote in this call durable.
    fn commit_data(&mut self, key: &SpaceKey) -> Result<(), crate::StoreError> {
        let Some(task) = self.tasks.get_mut(key) else { return Ok(()) };
        let context = task.guest.context();
        if context.data_writes.is_empty() {
            return Ok(());
        }
        let table = &context.table;
        let writes = std::mem::take(&mut context.data_writes).into_iter();
        let writes: Vec<Write> =
            writes.map(|(key, value)| Write { table: table.clone(), key, value }).collect();
        self.store.commit(&writes)
    }

    /// Turns what the guest did into events.
    fn drain_context(&mut self, key: &SpaceKey, call_ended: bool) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let context = task.guest.context();
        let dropped = if call_ended { std::mem::take(&mut context.logs_dropped) } else { 0 };
        if dropped > 0 {
            context
                .logs
                .push((LogLevel::Warn, format!("{dropped} more lines dropped: too many in one call")));
        }
        let logs = context.logs.drain(..).map(|(level, text)| WorkerEvent::Log(key.clone(), level, text));
        self.events.extend(logs);
        let consumed = context.mailbox.take_consumed().into_iter();
        self.events.extend(consumed.map(|Consumed { from, sender, path, messages, bytes }| {
            WorkerEvent::Consumed { key: key.clone(), from, sender, path, messages, bytes }
        }));
        let emitted = context.emitted.drain(..);
        self.events.extend(emitted.map(|(path, payloads)| WorkerEvent::Emitted(key.clone(), path, payloads)));
    }

    fn finish(&mut self, key: &SpaceKey, exit: Exit) {
        if let Some(task) = self.tasks.remove(key) {
            self.ready.retain(|ready| ready != key);
            self.storing.retain(|storing| storing != key);
            self.events.push_back(WorkerEvent::Exited(key.clone(), task.incarnation, exit));
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }
}

impl Task {
    /// Begins the call the task's state asks for; `false` when it is closing and has nothing to call.
    fn begin_call(&mut self) -> bool {
        self.in_call = true;
        self.fuel_spent = 0;
        self.guest.context().log_lines = 0;
        if self.stop && self.phase != Phase::Close {
            self.phase = Phase::Close;
            return self.guest.call(Export::OnClose);
        }
        self.guest.call(Export::OnProcess)
    }

    fn fuel_max(&self) -> u64 {
        match self.phase {
            Phase::Init => budget::INIT_FUEL_MAX,
            Phase::Process => budget::PROCESS_FUEL_MAX,
            Phase::Close => budget::CLOSE_FUEL_MAX,
        }
    }
}
