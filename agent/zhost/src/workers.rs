//! Who runs spaces, and the thread that writes to flash.
//!
//! The loop runs short slices of spaces itself: for a message that asks little of its receiver, waking a thread costs
//! more than the message. What a space does not finish in such a slice, or what has to wait for flash, goes to the
//! thread of its desk.

use crate::{clock::Clock, event::Event};
use litemap::LiteMap;
use smol::channel::Sender;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use zhost_base::{Instant, Rng, SpaceKey, limits::DISK_REQUESTS_MAX, panic_text};
use zhost_exchange::{Devices, Exit, Store, WorkerCommand, WorkerEvent};
use zhost_hal::Board;
use zhost_mex::PublicKey;
use zhost_node::{DiskRequest, Input};
use zhost_runtime::{STRETCH_STACK_BYTES, Slice, Wasmi, Worker};
use zhost_threads::{Care, Run, keep, once};

/// How many desks, each with a thread, run spaces.
const DESKS: usize = 2;
/// A desk whose thread does not come back from a slice, or from a device, for so long is shown to operators.
const SLICE_WITHIN: Duration = Duration::from_secs(30);
/// How long one request may keep the flash busy; after that the agent ends, since it has no disk.
const DISK_WITHIN: Duration = Duration::from_secs(120);
/// How often it is looked which devices are there, and how long a look may take.
const DEVICES_PERIOD: Duration = Duration::from_secs(2);
const DEVICES_WITHIN: Duration = Duration::from_secs(30);
/// A wall clock that moved by more was set.
const CLOCK_SET_MS: u64 = 100;
/// Slices the loop runs at one desk before its thread takes over.
const SLICES_AT_ONCE: usize = 8;

/// What the desks need.
#[derive(Clone)]
pub struct Surroundings {
    pub store: Arc<dyn Store>,
    pub devices: Arc<dyn Devices>,
    pub publishers: Vec<PublicKey>,
    pub clock: Clock,
    pub events: Sender<Event>,
}

/// Some of the spaces; whoever holds the lock runs them.
struct Desk {
    bench: Mutex<Bench>,
    /// Whether the loop waits for its turn at the bench.
    wanted: AtomicBool,
    /// Whether the thread is to look.
    called: Mutex<bool>,
    call: Condvar,
}

struct Bench {
    worker: Worker,
    /// What happened here and the loop has not heard yet, in order.
    events: Vec<WorkerEvent>,
    here: LiteMap<SpaceKey, u32>,
    surroundings: Surroundings,
    rng: Rng,
}

/// All desks, as the loop sees them.
pub struct Workers {
    desks: Vec<Arc<Desk>>,
    waiting: Vec<Waiting>,
    unix_origin_ms: u64,
}

/// What the loop has for a desk.
#[derive(Default)]
struct Waiting {
    /// Commands not handed over yet.
    commands: Vec<WorkerCommand>,
    /// When one of the desk's spaces wants to be woken.
    wake: Option<Instant>,
    /// Its thread has something to tell, or had the bench when the loop wanted it.
    look: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    fn new(surroundings: &Surroundings, mut rng: Rng) -> Self {
        let worker = new_worker(surroundings, &mut rng);
        Self { worker, events: Vec::new(), here: LiteMap::new(), surroundings: surroundings.clone(), rng }
    }

    /// Obeys commands and runs up to `slices` slices. A panic costs the spaces here a restart, nothing else.
    fn work(&mut self, now: Instant, commands: Vec<WorkerCommand>, slice: Slice, slices: usize) {
        for command in &commands {
            if let WorkerCommand::Start(launch) = command {
                self.here.insert(launch.key.clone(), launch.pid.number);
            }
        }
        let worker = &mut self.worker;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            commands.into_iter().for_each(|command| worker.handle_command(now, command));
            worker.handle_timeout(now);
            for _ in 0..slices {
                if !worker.is_ready(slice) {
                    break;
                }
                worker.run_slice(now, slice);
            }
            std::iter::from_fn(|| worker.poll_event()).collect()
        }));
        let events: Vec<WorkerEvent> =
            outcome.unwrap_or_else(|panic| self.start_afresh(&panic_text(panic.as_ref())));
        for event in &events {
            if let WorkerEvent::Exited(key, ..) = event {
                self.here.remove(key);
            }
        }
        self.events.extend(events);
    }

    fn start_afresh(&mut self, panic: &str) -> Vec<WorkerEvent> {
        log::error!("a worker's spaces start again: {panic}");
        self.worker = new_worker(&self.surroundings, &mut self.rng);
        let exit = || Exit::Crashed("the worker that ran it panicked".into());
        let lost = std::mem::take(&mut self.here).into_iter();
        lost.map(|(key, incarnation)| WorkerEvent::Exited(key, incarnation, exit())).collect()
    }
}

fn new_worker(surroundings: &Surroundings, rng: &mut Rng) -> Worker {
    let Surroundings { store, devices, publishers, clock, .. } = surroundings;
    Worker::new(
        Box::new(Wasmi),
        store.clone(),
        devices.clone(),
        publishers.clone(),
        rng.fork(),
        clock.unix_origin_ms(),
    )
}

impl Desk {
    fn call(&self) {
        *lock(&self.called) = true;
        self.call.notify_one();
    }

    /// The desk's thread: works whenever it is called, for as long as there is work.
    fn attend(&self, index: usize, surroundings: &Surroundings, thread: &Run) {
        while thread.rests() {
            let mut called = lock(&self.called);
            while !*called {
                called = self.call.wait(called).unwrap_or_else(PoisonError::into_inner);
            }
            *called = false;
            drop(called);
            let mut busy = true;
            // The loop, when it waits, has its turn after each slice, and calls again.
            while busy && !self.wanted.swap(false, Ordering::AcqRel) {
                let mut bench = lock(&self.bench);
                thread.goes_on();
                bench.work(surroundings.clock.now(), Vec::new(), Slice::Long, 1);
                busy = bench.worker.is_ready(Slice::Long);
                drop(bench);
                thread.rests();
                if surroundings.events.send_blocking(Event::Worker(index)).is_err() {
                    return;
                }
            }
        }
    }
}

impl Workers {
    /// Sets up the desks and starts their threads.
    pub fn start(surroundings: &Surroundings, rng: &mut Rng) -> std::io::Result<Self> {
        let start = |index: usize| {
            let desk = Arc::new(Desk {
                bench: Mutex::new(Bench::new(surroundings, rng.fork())),
                wanted: AtomicBool::new(false),
                called: Mutex::default(),
                call: Condvar::new(),
            });
            let (surroundings, attended) = (surroundings.clone(), desk.clone());
            let attend = move |thread: &Run| {
                attended.attend(index, &surroundings, thread);
                Ok(())
            };
            let care =
                Care { stack_size_bytes: 2 * STRETCH_STACK_BYTES, ..Care::irreplaceable(SLICE_WITHIN) };
            keep(&format!("spaces-{index}"), care, attend).map(|()| desk)
        };
        let desks: Vec<Arc<Desk>> = (0..DESKS).map(start).collect::<Result<_, _>>()?;
        let waiting = desks.iter().map(|_| Waiting::default()).collect();
        Ok(Self { desks, waiting, unix_origin_ms: surroundings.clock.unix_origin_ms() })
    }

    /// Takes a command; it is carried out by the next [`Self::work`].
    pub fn command(&mut self, command: WorkerCommand) {
        let key = command.key();
        let bytes = key.space.as_str().bytes();
        let hash = bytes.fold(key.topology.seed(), |acc, byte| acc.wrapping_mul(31) + u64::from(byte));
        let index = (hash % self.desks.len() as u64) as usize;
        self.waiting[index].commands.push(command);
    }

    /// The wall clock may have been set.
    pub fn handle_clock(&mut self, unix_origin_ms: u64) {
        // A clock that is only adjusted is not worth waiting for the desks.
        if self.unix_origin_ms.abs_diff(unix_origin_ms) > CLOCK_SET_MS {
            self.unix_origin_ms = unix_origin_ms;
            self.desks.iter().for_each(|desk| lock(&desk.bench).worker.handle_clock(unix_origin_ms));
        }
    }

    /// A desk's thread has worked: the next [`Self::work`] takes what it did.
    pub fn handle_done(&mut self, index: usize) {
        self.waiting[index].look = true;
    }

    /// When a desk has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|waiting| waiting.wake).min()
    }

    /// Hands commands over and runs what is due, shortly; gives what happened.
    pub fn work(&mut self, now: Instant) -> Vec<WorkerEvent> {
        let mut events = Vec::new();
        for (desk, waiting) in self.desks.iter().zip(&mut self.waiting) {
            let is_due = waiting.wake.is_some_and(|at| at <= now);
            if waiting.commands.is_empty() && !is_due && !waiting.look {
                continue;
            }
            let mut bench = match desk.bench.try_lock() {
                Ok(bench) => bench,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    // Its thread is at it, and says when it has done a slice.
                    desk.wanted.store(true, Ordering::Release);
                    waiting.wake = None;
                    waiting.look = true;
                    continue;
                }
            };
            desk.wanted.store(false, Ordering::Release);
            waiting.look = false;
            bench.work(now, std::mem::take(&mut waiting.commands), Slice::Short, SLICES_AT_ONCE);
            events.append(&mut bench.events);
            waiting.wake = bench.worker.poll_timeout().map(|(at, _)| at);
            if bench.worker.is_ready(Slice::Long) {
                desk.call();
            }
        }
        events
    }
}

/// Starts the thread that carries out disk requests in order. When it is gone, or hangs, the loop is told.
pub fn start_disk(
    store: Arc<dyn Store>,
    events: Sender<Event>,
) -> std::io::Result<mpsc::SyncSender<(u64, DiskRequest)>> {
    let (sender, requests) = mpsc::sync_channel::<(u64, DiskRequest)>(DISK_REQUESTS_MAX);
    let inbox = events.clone();
    let work = move |thread: &Run| {
        while thread.rests()
            && let Ok((token, request)) = requests.recv()
        {
            thread.goes_on();
            let result = request.perform(store.as_ref());
            thread.rests();
            if events.send_blocking(Event::Node(Input::Disk(token, result))).is_err() {
                return;
            }
        }
    };
    let lost = move |error: &str| inbox.try_send(Event::DiskLost(error.into())).is_ok();
    once("disk", DISK_WITHIN, work, lost)?;
    Ok(sender)
}

/// Starts the thread that looks which devices are there: a driver may take its time over being asked.
pub fn start_devices(board: Arc<Board>, events: Sender<Event>) -> std::io::Result<()> {
    keep("devices", Care::replaceable(DEVICES_WITHIN), move |thread| {
        while thread.rests() {
            thread::sleep(DEVICES_PERIOD);
            thread.goes_on();
            let has_changed = board.look_around();
            if !thread.goes_on() {
                return Ok(());
            }
            if has_changed
                && events.send_blocking(Event::Node(Input::Capabilities(board.capabilities()))).is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
