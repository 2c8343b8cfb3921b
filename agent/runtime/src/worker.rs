//! Gives many guests their turns: one slice of fuel each, round and round.

mod commands;
mod resume;
mod task;

use crate::{
    actor::Until,
    budget,
    context::{Effect, Rest},
    interpreter::{Interpreter, Step},
    program::Programs,
};
use litemap::LiteMap;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use task::{Left, Phase, Task};
use zhost_base::{Instant, Rng, SpaceKey};
use zhost_exchange::{Devices, Exit, Launch, Refusal, Store, WorkerEvent};
use zhost_mex::{Assets, PublicKey};

/// How often a running guest's use of its budgets is told.
const USAGE_PERIOD: Duration = Duration::from_secs(1);

/// Ends of spaces that are remembered.
const ENDED_MAX: usize = 64;

/// What kind of slice to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// A whole one, by somebody who may wait for flash.
    Long,
    /// A short one that never waits: what a call wrote to the store is left for a long one.
    Short,
}

/// A UI space.
struct Site {
    /// Which start of it.
    number: u32,
    assets: Arc<Assets>,
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
    sites: LiteMap<SpaceKey, Site>,
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
    /// The last ends, should the node have to be told again.
    ended: VecDeque<(SpaceKey, u32, Exit)>,
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
            ended: VecDeque::new(),
        }
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
            phase => {
                let call = match phase {
                    Some(Phase::Begin) => "its start section",
                    Some(Phase::Initialize | Phase::Init) => "on_init",
                    _ => "on_process",
                };
                Exit::Crashed(format!("{call} did not end within its fuel; the watchdog ended it"))
            }
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
        match task.phase {
            Phase::Begin => {
                self.begin_life(key, Phase::Initialize);
                self.enqueue(key);
            }
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
            self.tell_exit(key.clone(), task.pid.number, exit);
        }
    }

    fn tell_exit(&mut self, key: SpaceKey, number: u32, exit: Exit) {
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((key.clone(), number, exit.clone()));
        self.events.push_back(WorkerEvent::Exited(key, number, exit));
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
