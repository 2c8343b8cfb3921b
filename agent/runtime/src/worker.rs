//! Gives many guests their turns: one slice of fuel each, round and round.

use crate::{
    actor::{Signal, Until},
    budget,
    context::{Context, Effect, OutgoingPath, Refusal, Rest},
    data::Data,
    device::Devices,
    exchange::{Exit, Launch, Usage, WorkerCommand, WorkerEvent},
    interpreter::{Export, Guest, Interpreter, Step},
    mailbox::{Kind, Letters, Origin},
    program::{Content, Loaded, Programs},
    store::Store,
};
use litemap::LiteMap;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use zhost_base::{Batch, Farewell, Instant, Name, Pid, Rng, SpaceKey, limits::PATH_WINDOW_MESSAGES};
use zhost_mex::{Assets, PublicKey};

/// How often a running guest's use of its budgets is told.
const USAGE_PERIOD: Duration = Duration::from_secs(1);

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
    Initialize,
    Init,
    Process,
    Close,
}

/// How a guest left its slice; acted upon when all it wrote is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Returned(i32),
    Waits,
    Exited(i32),
}

struct Task {
    guest: Box<dyn Guest>,
    loaded: Arc<Loaded>,
    pid: Pid,
    phase: Phase,
    /// Whether it runs one function to its end instead of `on_process` again and again.
    is_program: bool,
    in_call: bool,
    queued: bool,
    /// Left its slice, and what it wrote is not durable yet.
    settling: Option<Left>,
    /// Commits so far.
    commits: u64,
    stop: bool,
    /// In the present call.
    fuel_spent: u64,
    /// What it may still burn at present, if it is limited; in debt it waits.
    fuel_allowance: i64,
    fuel_refilled_at: Instant,
    wake_at: Option<Instant>,
    close_by: Option<Instant>,
    /// Under which it stands among the timers.
    timer: Option<Instant>,
    usage: Usage,
    usage_told_at: Instant,
}

/// Runs guests.
pub struct Worker {
    programs: Programs,
    store: Arc<dyn Store>,
    devices: Arc<dyn Devices>,
    rng: Rng,
    unix_origin_ms: u64,
    tasks: LiteMap<SpaceKey, Box<Task>>,
    /// UI spaces, which are files and nothing that runs.
    sites: LiteMap<SpaceKey, u32>,
    timers: BTreeSet<(Instant, SpaceKey)>,
    ready: VecDeque<SpaceKey>,
    /// Have used up a slice and want more: they come after those that have just woken up.
    busy: VecDeque<SpaceKey>,
    /// Turns that `busy` has let pass.
    passed: u32,
    fuel_burnt: u64,
    /// Wait for a long slice, to store what they wrote.
    storing: VecDeque<SpaceKey>,
    /// Wait for a device, which may take its time.
    commanding: VecDeque<SpaceKey>,
    launches: VecDeque<Launch>,
    events: VecDeque<WorkerEvent>,
}

impl Worker {
    /// A worker without spaces that runs packages of these publishers. `unix_origin_ms` is as in [`Self::handle_clock`].
    pub fn new(
        interpreter: Box<dyn Interpreter>,
        store: Arc<dyn Store>,
        devices: Arc<dyn Devices>,
        publishers: Vec<PublicKey>,
        rng: Rng,
        unix_origin_ms: u64,
    ) -> Self {
        Self {
            programs: Programs::new(interpreter, store.clone(), publishers),
            store,
            devices,
            rng,
            unix_origin_ms,
            tasks: LiteMap::new(),
            sites: LiteMap::new(),
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            busy: VecDeque::new(),
            passed: 0,
            fuel_burnt: 0,
            storing: VecDeque::new(),
            commanding: VecDeque::new(),
            launches: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The wall clock is there at the origin of the monotonic one: it may have been set. 0 if it is not set.
    pub fn handle_clock(&mut self, unix_origin_ms: u64) {
        if self.unix_origin_ms != unix_origin_ms {
            self.unix_origin_ms = unix_origin_ms;
            self.tasks.iter_mut().for_each(|(_, task)| task.guest.context().unix_origin_ms = unix_origin_ms);
        }
    }

    /// Obeys the node.
    pub fn handle_command(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Start(launch) => self.launches.push_back(launch),
            WorkerCommand::Stop(key) => self.stop(now, &key),
            WorkerCommand::Abandon(key) => {
                if self.tasks.get(&key).is_some_and(|task| task.settling.is_some()) {
                    self.finish(&key, Exit::Closed);
                }
            }
            WorkerCommand::Deliver { key, from, sender, path, payloads } => {
                let origin = Origin::Path(from, sender);
                self.put(&key, Letters::new(Kind::Path, origin, Some(path), payloads));
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
                        context.undelivered.entry(path.name.clone()).or_default().add(undelivered);
                    }
                }
                self.enqueue(&key);
            }
            WorkerCommand::Signal { key, number, signal } => {
                if self.is_there(&key, number) {
                    self.handle_signal(&key, signal);
                } else if let Signal::Exit(pid, Farewell { normal: false, reason }) = signal {
                    self.end_launch(
                        &key,
                        number,
                        &format!("the space {pid}, with which it is linked, ended: {reason}"),
                    );
                }
            }
            WorkerCommand::Answer { key, number, serial, answer } => {
                if self.is_there(&key, number) {
                    self.answer(&key, Some(serial), answer);
                }
            }
            WorkerCommand::Replicated { key, number, commit } => {
                if self.is_there(&key, number)
                    && let Some(task) = self.tasks.get_mut(&key)
                    && commit >= task.commits
                    && !self.storing.contains(&key)
                    && let Some(left) = task.settling.take()
                {
                    self.proceed(now, &key, left);
                }
            }
        }
    }

    fn is_there(&self, key: &SpaceKey, number: u32) -> bool {
        self.tasks.get(key).is_some_and(|task| task.pid.number == number)
    }

    /// A space ends before it has begun.
    fn end_launch(&mut self, key: &SpaceKey, number: u32, reason: &str) {
        let is_meant = |launch: &Launch| launch.key == *key && launch.pid.number == number;
        if let Some(index) = self.launches.iter().position(is_meant) {
            self.launches.remove(index);
            let exit = Exit::Crashed(reason.to_owned());
            self.events.push_back(WorkerEvent::Exited(key.clone(), number, exit));
        }
    }

    fn stop(&mut self, now: Instant, key: &SpaceKey) {
        if let Some(index) = self.launches.iter().position(|launch| launch.key == *key)
            && let Some(launch) = self.launches.remove(index)
        {
            self.events.push_back(WorkerEvent::Exited(key.clone(), launch.pid.number, Exit::Closed));
        }
        if let Some(number) = self.sites.remove(key) {
            self.events.push_back(WorkerEvent::Exited(key.clone(), number, Exit::Closed));
        }
        let Some(task) = self.tasks.get_mut(key) else { return };
        if task.is_program {
            return self.finish(key, Exit::Closed);
        }
        task.stop = true;
        task.close_by = Some(now + budget::CLOSE_TIMEOUT);
        self.answer(key, None, Err(Refusal::TimedOut));
        self.enqueue(key);
        self.set_timer(key);
    }

    /// Gives a waiting guest its answer: to that question, or to whatever it waits for.
    fn answer(&mut self, key: &SpaceKey, serial: Option<u32>, answer: Result<Vec<u8>, Refusal>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let waiting = &mut task.guest.context().waiting;
        let Some(waited) = waiting.take_if(|waiting| serial.is_none_or(|serial| serial == waiting.serial))
        else {
            return;
        };
        // A sleeper that wakes has what it wanted.
        let answer = if waited.until == Until::Deadline { Ok(Vec::new()) } else { answer };
        task.guest.answer(answer);
        self.enqueue(key);
        self.set_timer(key);
    }

    fn put(&mut self, key: &SpaceKey, letters: Letters) {
        if let Some(task) = self.tasks.get_mut(key) {
            let mailbox = &mut task.guest.context().mailbox;
            mailbox.push(letters);
            if mailbox.signals() > budget::SIGNALS_WAITING_MAX {
                let reason = "it does not take the signals that it asked for";
                return self.finish(key, Exit::Crashed(reason.into()));
            }
        }
        self.enqueue(key);
    }

    fn handle_signal(&mut self, key: &SpaceKey, signal: Signal) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let context = task.guest.context();
        let text = |text: &str| Batch::from_iter([text.as_bytes()]);
        let letters = match signal {
            Signal::Message(from, payloads) => {
                Letters::new(Kind::Direct, Origin::Direct(from), None, payloads)
            }
            Signal::Call(from, serial, path, payload) => {
                Letters::new(Kind::Call, Origin::Call(from, serial), path, Batch::from_iter([&*payload]))
            }
            Signal::Exit(pid, farewell) if context.traps_exits => {
                Letters::new(Kind::Exit, Origin::Signal(pid), None, text(&farewell.reason))
            }
            Signal::Exit(_, farewell) if farewell.normal => return,
            Signal::Exit(pid, farewell) => {
                let reason = format!("the space {pid}, with which it is linked, ended: {}", farewell.reason);
                return self.finish(key, Exit::Crashed(reason));
            }
            Signal::Down(pid, farewell) => {
                Letters::new(Kind::Down, Origin::Signal(pid), None, text(&farewell.reason))
            }
            Signal::ZhostDown(name) => {
                Letters::new(Kind::ZhostDown, Origin::Nobody, None, text(name.as_str()))
            }
            Signal::NameLost(name) => Letters::new(Kind::NameLost, Origin::Nobody, None, text(name.as_str())),
            Signal::Credit(pid, messages, bytes) => {
                context.settle(pid, messages, bytes);
                return self.wake_if_refused(key);
            }
            Signal::Undelivered(pid, undelivered) => {
                context.unsent.entry(pid).or_default().add(undelivered);
                return self.enqueue(key);
            }
        };
        self.put(key, letters);
    }

    /// A guest that was told to try again may do so now.
    fn wake_if_refused(&mut self, key: &SpaceKey) {
        let refused = |task: &mut Box<Task>| std::mem::take(&mut task.guest.context().was_refused);
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

    /// Loads a space: reading and checking its package takes long, if it is not in use already.
    fn start(&mut self, now: Instant, launch: Launch) {
        let (key, pid) = (launch.key.clone(), launch.pid);
        let content = self.programs.get(launch.package, launch.package_bytes, &launch.space);
        let loaded = match content {
            Ok(Content::Program(loaded)) => self.load(launch, loaded),
            Ok(Content::Files(assets)) => return self.open_site(key, pid.number, assets),
            Err(reason) => Err(reason),
        };
        match loaded {
            Ok((guest, loaded)) => {
                let task = Task {
                    guest,
                    loaded,
                    pid,
                    phase: Phase::Initialize,
                    is_program: false,
                    in_call: false,
                    queued: false,
                    settling: None,
                    commits: 0,
                    stop: false,
                    fuel_spent: 0,
                    fuel_allowance: 0,
                    fuel_refilled_at: now,
                    wake_at: None,
                    close_by: None,
                    timer: None,
                    usage: Usage::default(),
                    usage_told_at: now,
                };
                self.tasks.insert(key.clone(), Box::new(task));
                self.begin_life(&key, Phase::Initialize);
                self.enqueue(&key);
            }
            Err(reason) => self.events.push_back(WorkerEvent::Exited(key, pid.number, Exit::Crashed(reason))),
        }
    }

    /// A UI space runs nothing: it is there at once.
    fn open_site(&mut self, key: SpaceKey, number: u32, assets: Assets) {
        self.events.push_back(WorkerEvent::Serves(key.clone(), number, Arc::new(assets)));
        self.events.push_back(WorkerEvent::Started(key.clone(), number));
        self.sites.insert(key, number);
    }

    fn load(&mut self, launch: Launch, loaded: Arc<Loaded>) -> Result<(Box<dyn Guest>, Arc<Loaded>), String> {
        let spec = loaded.spec.clone();
        let writes = spec.capabilities.iter().any(|declared| declared.as_str() == "data.write");
        let data = Data::open(self.store.clone(), &launch.key, spec.storage_bytes, writes);
        let data = data.map_err(|e| e.to_string())?;
        let memory_bytes = spec.memory_bytes;
        let identity = (launch.key, launch.pid);
        let mut context = Context::new(identity, spec, data, self.devices.clone(), self.rng.fork());
        context.unix_origin_ms = self.unix_origin_ms;
        context.argument = launch.argument;
        let path = |name: &Name| OutgoingPath { name: name.clone(), credit: 0, outstanding_bytes: 0 };
        context.paths = loaded.paths.iter().map(path).collect();
        context.recognizers.clone_from(&loaded.recognizers);
        let guest = loaded.program.instantiate(context, memory_bytes).map_err(|e| e.to_string())?;
        Ok((guest, loaded))
    }

    /// Goes on to the first of `_initialize`, `on_init` and the space's own work that the guest has, from `phase` on.
    fn begin_life(&mut self, key: &SpaceKey, phase: Phase) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let steps = [(Phase::Initialize, Export::Initialize), (Phase::Init, Export::OnInit)];
        let is_first = phase == Phase::Initialize;
        let steps = steps.into_iter().filter(|(step, _)| is_first || *step == phase);
        for (step, export) in steps {
            if task.guest.call(export) {
                task.phase = step;
                task.in_call = true;
                return;
            }
        }
        task.phase = Phase::Process;
        self.events.push_back(WorkerEvent::Started(key.clone(), task.pid.number));
    }

    fn enqueue(&mut self, key: &SpaceKey) {
        if let Some(task) = self.tasks.get_mut(key)
            && !task.queued
            && task.settling.is_none()
            && task.guest.context().waiting.is_none()
        {
            task.queued = true;
            self.ready.push_back(key.clone());
        }
    }

    /// Enters the next time at which something is to be done for a space.
    fn set_timer(&mut self, key: &SpaceKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let context = task.guest.context();
        let waiting = context.waiting.map(|waiting| waiting.deadline);
        let due = context.subscription_due();
        let timer = [waiting, due, task.wake_at, task.close_by].into_iter().flatten().min();
        if timer == task.timer {
            return;
        }
        if let Some(old) = std::mem::replace(&mut task.timer, timer) {
            self.timers.remove(&(old, key.clone()));
        }
        if let Some(at) = timer {
            self.timers.insert((at, key.clone()));
        }
    }

    /// Wakes sleepers, reads sensors for their subscribers, and ends those that do not close in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<SpaceKey> =
            self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect();
        for key in due {
            let Some(task) = self.tasks.get_mut(&key) else { continue };
            if task.close_by.is_some_and(|by| by <= now) {
                self.finish(&key, Exit::Closed);
                continue;
            }
            let context = task.guest.context();
            context.read_subscriptions(now);
            let has_mail = !context.mailbox.is_empty();
            let is_late = context.waiting.is_some_and(|waiting| waiting.deadline <= now);
            let wakes = task.wake_at.take_if(|at| *at <= now).is_some();
            if is_late {
                self.answer(&key, None, Err(Refusal::TimedOut));
            } else if wakes || has_mail {
                self.enqueue(&key);
            }
            self.set_timer(&key);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.first().map(|(at, _)| (*at, "a space wakes up"))
    }

    /// Whether there is something to do in such a slice.
    pub fn is_ready(&self, slice: Slice) -> bool {
        let only_long = !self.storing.is_empty() || !self.commanding.is_empty() || !self.launches.is_empty();
        !self.ready.is_empty() || !self.busy.is_empty() || (slice == Slice::Long && only_long)
    }

    /// Runs one slice of the next space in line.
    pub fn run_slice(&mut self, now: Instant, slice: Slice) {
        if slice == Slice::Long {
            if let Some(launch) = self.launches.pop_front() {
                self.start(now, launch);
                if self.launches.is_empty() {
                    self.programs.rest();
                }
                return;
            }
            if let Some(key) = self.storing.pop_front() {
                return self.store_data(now, &key);
            }
            if let Some(key) = self.commanding.pop_front() {
                return self.carry_out_command(now, &key);
            }
        }
        let Some((key, fuel)) = self.next_in_line(slice) else { return };
        self.run(now, &key, slice, fuel);
        self.set_timer(&key);
    }

    /// Whose turn it is, and for how much fuel. Those who need much have their turns between those who have just woken
    /// up, but now and then even if there are always more of these; and in small slices, so that nobody waits for long.
    fn next_in_line(&mut self, slice: Slice) -> Option<(SpaceKey, u64)> {
        self.passed = if self.busy.is_empty() { 0 } else { self.passed + 1 };
        let is_due = self.passed > budget::TURNS_PASSED_MAX;
        if !is_due && let Some(key) = self.ready.pop_front() {
            let fuel = if slice == Slice::Long { budget::SLICE_FUEL } else { budget::SHORT_SLICE_FUEL };
            return Some((key, fuel));
        }
        self.passed = 0;
        Some((self.busy.pop_front()?, budget::SHORT_SLICE_FUEL))
    }

    fn run(&mut self, now: Instant, key: &SpaceKey, slice: Slice, fuel: u64) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.queued = false;
        task.wake_at = task.throttle(now);
        if task.wake_at.is_some() {
            return;
        }
        if !task.in_call && !task.begin_call() {
            return self.finish(key, Exit::Closed);
        }
        task.guest.context().enter(now);
        let (step, fuel) = task.guest.run(fuel);
        task.burn(fuel);
        self.fuel_burnt += fuel;
        let watchdog = task.fuel_spent > task.fuel_max();
        self.tell_usage(now, key);
        match step {
            Step::Preempted if watchdog => self.handle_watchdog(key),
            Step::Preempted if self.does_too_much(key) => {
                let reason = "it does too much to others before what it wrote can be stored";
                self.finish(key, Exit::Crashed(reason.into()));
            }
            Step::Preempted => {
                self.drain_context(key);
                if let Some(task) = self.tasks.get_mut(key) {
                    task.queued = true;
                    self.busy.push_back(key.clone());
                }
            }
            Step::Trapped(reason) => self.finish(key, Exit::Crashed(format!("trapped: {reason}"))),
            Step::Returned(code) => self.leave(now, key, slice, Left::Returned(code)),
            Step::Waiting => self.leave(now, key, slice, Left::Waits),
            Step::Exited(code) => self.leave(now, key, slice, Left::Exited(code)),
        }
    }

    fn does_too_much(&mut self, key: &SpaceKey) -> bool {
        let effects = |task: &mut Box<Task>| task.guest.context().effects.len();
        self.tasks.get_mut(key).map_or(0, effects) > budget::EFFECTS_MAX
    }

    fn handle_watchdog(&mut self, key: &SpaceKey) {
        let exit = match self.tasks.get(key).map(|task| task.phase) {
            Some(Phase::Close) => Exit::Closed,
            Some(Phase::Initialize | Phase::Init) => {
                Exit::Crashed("on_init did not end within its fuel; the watchdog ended it".into())
            }
            _ => Exit::Crashed("on_process did not end within its fuel; the watchdog ended it".into()),
        };
        self.finish(key, exit);
    }

    /// A guest left its slice: what it wrote is made durable before anything follows from that.
    fn leave(&mut self, now: Instant, key: &SpaceKey, slice: Slice, left: Left) {
        self.drain_context(key);
        let Some(task) = self.tasks.get_mut(key) else { return };
        if !task.guest.context().data.is_dirty() {
            return self.proceed(now, key, left);
        }
        task.settling = Some(left);
        match slice {
            Slice::Long => self.store_data(now, key),
            Slice::Short => self.storing.push_back(key.clone()),
        }
    }

    fn store_data(&mut self, now: Instant, key: &SpaceKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let data = &mut task.guest.context().data;
        let changes = data.take_changes();
        if let Err(reason) = data.commit(&changes) {
            return self.finish(key, Exit::Crashed(format!("its data could not be stored: {reason}")));
        }
        task.commits += 1;
        if task.loaded.spec.replicas > 0 {
            let wrote = WorkerEvent::Wrote(key.clone(), task.pid.number, task.commits, changes);
            self.events.push_back(wrote);
            return;
        }
        if let Some(left) = task.settling.take() {
            self.proceed(now, key, left);
            self.set_timer(key);
        }
    }

    fn carry_out_command(&mut self, now: Instant, key: &SpaceKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let context = task.guest.context();
        let waiting = context.waiting.filter(|waiting| waiting.until == Until::Device);
        if let Some((waiting, answer)) = waiting.zip(context.carry_out_command(now)) {
            self.answer(key, Some(waiting.serial), answer);
        }
    }

    /// Goes on with a guest that left its slice and whose data is durable.
    fn proceed(&mut self, now: Instant, key: &SpaceKey, left: Left) {
        self.drain_context(key);
        let Some(task) = self.tasks.get_mut(key) else { return };
        match left {
            Left::Returned(code) => self.handle_return(now, key, code),
            Left::Waits => {
                let (stop, waiting) = (task.stop, task.guest.context().waiting);
                match waiting.map(|waiting| waiting.until) {
                    Some(Until::Durable) => self.answer(key, None, Ok(Vec::new())),
                    _ if stop => self.answer(key, None, Err(Refusal::TimedOut)),
                    Some(Until::Device) => self.commanding.push_back(key.clone()),
                    _ => {}
                }
                // It may have been answered while what it wrote was not durable yet.
                self.enqueue(key);
            }
            Left::Exited(0) => self.finish(key, Exit::Ended(0)),
            Left::Exited(code) => self.finish(key, Exit::Crashed(format!("it exited with code {code}"))),
        }
        self.set_timer(key);
    }

    fn handle_return(&mut self, now: Instant, key: &SpaceKey, code: i32) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.in_call = false;
        task.fuel_spent = 0;
        match task.phase {
            Phase::Initialize => {
                self.begin_life(key, Phase::Init);
                self.enqueue(key);
            }
            Phase::Init if code != 0 => {
                self.finish(key, Exit::Crashed(format!("on_init returned {code}")));
            }
            Phase::Init => {
                self.begin_life(key, Phase::Process);
                self.enqueue(key);
            }
            Phase::Process if task.is_program => self.finish(key, Exit::Ended(0)),
            Phase::Process if code != 0 && !task.stop => self.finish(key, Exit::Ended(code)),
            Phase::Process => {
                let context = task.guest.context();
                let has_work = !context.mailbox.is_empty();
                let rest = context.rest.take();
                if has_work || task.stop {
                    self.enqueue(key);
                } else {
                    task.wake_at = match rest {
                        None => Some(now + budget::IDLE_PERIOD),
                        Some(Rest::Until(at)) => Some(at),
                        Some(Rest::UntilCalled) => None,
                    };
                }
            }
            Phase::Close => self.finish(key, Exit::Closed),
        }
    }

    /// Turns what the guest did into events. What it did to others waits while data it wrote is not durable.
    fn drain_context(&mut self, key: &SpaceKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let number = task.pid.number;
        let context = task.guest.context();
        let logs = context.logs.drain(..).map(|(level, text)| WorkerEvent::Log(key.clone(), level, text));
        self.events.extend(logs);
        let consumed = context.mailbox.take_consumed().into_iter();
        self.events.extend(consumed.map(|consumed| WorkerEvent::Consumed(key.clone(), consumed)));
        if context.data.is_dirty() {
            return;
        }
        let effects = context.effects.drain(..);
        self.events.extend(effects.map(|effect| match effect {
            Effect::Emit(path, payloads) => WorkerEvent::Emitted(key.clone(), path, payloads),
            Effect::Act(act) => WorkerEvent::Acted(key.clone(), number, act),
        }));
    }

    fn tell_usage(&mut self, now: Instant, key: &SpaceKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        // What it reports of itself may be the last it does for long.
        let has_news = task.guest.context().report != task.usage.report;
        if now.since(task.usage_told_at) >= USAGE_PERIOD || has_news {
            task.usage_told_at = now;
            self.tell_last_usage(key);
        }
    }

    fn tell_last_usage(&mut self, key: &SpaceKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.usage.memory_bytes = task.guest.memory_bytes();
        let context = task.guest.context();
        task.usage.storage_bytes = context.data.used_bytes();
        task.usage.logs_dropped = context.logs_dropped_in_all + u64::from(context.logs_dropped);
        task.usage.report.clone_from(&context.report);
        self.events.push_back(WorkerEvent::Used(key.clone(), task.pid.number, task.usage.clone()));
    }

    fn finish(&mut self, key: &SpaceKey, exit: Exit) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let context = task.guest.context();
        context.end_output();
        if context.logs_dropped > 0 {
            context.tell_dropped();
        }
        // What a call did to others never happened if what it wrote is not as durable as it has to be.
        if context.data.is_dirty() || task.settling.is_some() {
            context.effects.clear();
            context.data.take_changes();
        }
        self.drain_context(key);
        self.tell_last_usage(key);
        if let Some(task) = self.tasks.remove(key) {
            if let Some(at) = task.timer {
                self.timers.remove(&(at, key.clone()));
            }
            self.devices.leases().release_all(task.pid);
            self.ready.retain(|ready| ready != key);
            self.busy.retain(|busy| busy != key);
            self.storing.retain(|storing| storing != key);
            self.events.push_back(WorkerEvent::Exited(key.clone(), task.pid.number, exit));
        }
    }

    /// Fuel that all guests together have burnt so far.
    pub fn fuel_burnt(&self) -> u64 {
        self.fuel_burnt
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
        if self.stop && self.phase != Phase::Close {
            self.phase = Phase::Close;
            return self.guest.call(Export::OnClose);
        }
        if self.guest.call(Export::OnProcess) {
            return true;
        }
        self.is_program = true;
        self.guest.call(Export::Start)
    }

    fn fuel_max(&self) -> u64 {
        match self.phase {
            Phase::Initialize | Phase::Init => budget::INIT_FUEL_MAX,
            Phase::Process if self.is_program => u64::MAX,
            Phase::Process => budget::PROCESS_FUEL_MAX,
            Phase::Close => budget::CLOSE_FUEL_MAX,
        }
    }

    /// Until when it has to wait, having burnt more than its share; the share of one second can be saved up.
    fn throttle(&mut self, now: Instant) -> Option<Instant> {
        let per_second = i64::try_from(self.loaded.spec.fuel_per_second).unwrap_or(i64::MAX);
        if per_second == 0 || self.stop {
            return None;
        }
        let micros = now.since(self.fuel_refilled_at).as_micros().min(1_000_000) as i64;
        let gained = (i128::from(per_second) * i128::from(micros) / 1_000_000) as i64;
        self.fuel_refilled_at = now;
        self.fuel_allowance = self.fuel_allowance.saturating_add(gained).min(per_second);
        if self.fuel_allowance >= 0 {
            return None;
        }
        let debt_us = i128::from(-self.fuel_allowance) * 1_000_000 / i128::from(per_second) + 1;
        Some(now + Duration::from_micros(u64::try_from(debt_us).unwrap_or(u64::MAX).min(3_600_000_000)))
    }

    fn burn(&mut self, fuel: u64) {
        self.fuel_spent += fuel;
        self.usage.fuel += fuel;
        self.fuel_allowance = self.fuel_allowance.saturating_sub(i64::try_from(fuel).unwrap_or(i64::MAX));
    }
}
