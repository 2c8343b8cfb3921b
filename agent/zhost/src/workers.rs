//! Who runs spaces, and the thread that writes to flash.
//!
//! The loop runs short slices of spaces itself: for a message that asks little of its receiver, waking a thread costs
//! more than the message. What a space does not finish in such a slice, or what has to wait for flash, goes to the
//! thread of its desk.

use crate::{clock::Clock, shell::Event};
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
};
use zhost_base::{Instant, Rng, SpaceKey};
use zhost_mex::PublicKey;
use zhost_node::DiskRequest;
use zhost_runtime::{
    Devices, Exit, STRETCH_STACK_BYTES, Slice, Store, Wasmi, Worker, WorkerCommand, WorkerEvent,
};

/// How many desks, each with a thread, run spaces.
const DESKS: usize = 2;
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
        let events: Vec<WorkerEvent> = outcome.unwrap_or_else(|_| self.start_afresh());
        for event in &events {
            if let WorkerEvent::Exited(key, ..) = event {
                self.here.remove(key);
            }
        }
        self.events.extend(events);
    }

    fn start_afresh(&mut self) -> Vec<WorkerEvent> {
        log::error!("a worker panicked; its spaces start again");
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
    fn attend(&self, index: usize, surroundings: &Surroundings) {
        loop {
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
                bench.work(surroundings.clock.now(), Vec::new(), Slice::Long, 1);
                busy = bench.worker.is_ready(Slice::Long);
                drop(bench);
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
            thread::Builder::new()
                .stack_size(2 * STRETCH_STACK_BYTES)
                .name(format!("spaces-{index}"))
                .spawn(move || attended.attend(index, &surroundings))
                .map(|_| desk)
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

/// Starts the thread that carries out disk requests in order.
pub fn start_disk(
    store: Arc<dyn Store>,
    events: Sender<Event>,
) -> std::io::Result<mpsc::Sender<(u64, DiskRequest)>> {
    let (sender, requests) = mpsc::channel::<(u64, DiskRequest)>();
    thread::Builder::new().name("disk".into()).spawn(move || {
        for (token, request) in requests {
            if events.send_blocking(Event::Disk(token, request.perform(store.as_ref()))).is_err() {
                return;
            }
        }
    })?;
    Ok(sender)
}
