//! Threads that run spaces, and the thread that writes to flash.

use crate::{clock::Clock, shell::Event};
use smol::channel::Sender;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};
use zhost_base::{Rng, SpaceKey};
use zhost_mex::PublicKey;
use zhost_node::DiskRequest;
use zhost_runtime::{Devices, Exit, Store, Wasmi, Worker, WorkerCommand, WorkerEvent};

/// How many threads run spaces.
const WORKERS: usize = 2;

/// What the worker threads need.
#[derive(Clone)]
pub struct Surroundings {
    pub store: Arc<dyn Store>,
    pub devices: Arc<dyn Devices>,
    pub publishers: Vec<PublicKey>,
    pub clock: Clock,
    pub events: Sender<Event>,
}

/// Hands commands to the thread that runs the space.
pub struct Workers(Vec<mpsc::Sender<WorkerCommand>>);

impl Workers {
    /// Starts the threads.
    pub fn start(surroundings: &Surroundings, rng: &mut Rng) -> std::io::Result<Self> {
        let start = |index: usize| {
            let (sender, commands) = mpsc::channel();
            let (surroundings, rng) = (surroundings.clone(), rng.fork());
            let name = format!("spaces-{index}");
            thread::Builder::new()
                .name(name)
                .spawn(move || run(&surroundings, rng, &commands))
                .map(|_| sender)
        };
        (0..WORKERS).map(start).collect::<Result<_, _>>().map(Self)
    }

    /// Hands over a command.
    pub fn command(&self, command: WorkerCommand) {
        let key = match &command {
            WorkerCommand::Start(launch) => &launch.key,
            WorkerCommand::Stop(key)
            | WorkerCommand::Deliver { key, .. }
            | WorkerCommand::Target { key, .. }
            | WorkerCommand::Credit { key, .. }
            | WorkerCommand::Undelivered { key, .. } => key,
        };
        let index = key
            .space
            .as_str()
            .bytes()
            .fold(key.topology.seed(), |acc, byte| acc.wrapping_mul(31) + u64::from(byte));
        // The thread lives as long as the process.
        let _ = self.0[(index % self.0.len() as u64) as usize].send(command);
    }
}

/// One worker thread: a panic in it costs its spaces a restart, nothing else.
fn run(surroundings: &Surroundings, mut rng: Rng, commands: &mpsc::Receiver<WorkerCommand>) {
    let mut here: BTreeMap<SpaceKey, u32> = BTreeMap::new();
    loop {
        let Surroundings { store, devices, publishers, clock, .. } = surroundings;
        let worker = Worker::new(
            Box::new(Wasmi),
            store.clone(),
            devices.clone(),
            publishers.clone(),
            rng.fork(),
            clock.unix_origin_ms,
        );
        let outcome = catch_unwind(AssertUnwindSafe(|| work(surroundings, worker, commands, &mut here)));
        if outcome.is_ok() {
            return;
        }
        log::error!("a worker panicked; its spaces start again");
        for (key, incarnation) in std::mem::take(&mut here) {
            let exit = Exit::Crashed("the worker that ran it panicked".into());
            if surroundings
                .events
                .send_blocking(Event::Worker(WorkerEvent::Exited(key, incarnation, exit)))
                .is_err()
            {
                return;
            }
        }
    }
}

/// Runs guests until the agent ends.
fn work(
    surroundings: &Surroundings,
    mut worker: Worker,
    commands: &mpsc::Receiver<WorkerCommand>,
    here: &mut BTreeMap<SpaceKey, u32>,
) {
    loop {
        let now = surroundings.clock.now();
        let wait = worker.poll_timeout().map(|(at, _)| at.since(now));
        let next = match wait {
            _ if worker.is_busy() => commands.try_recv().map_err(|e| e == mpsc::TryRecvError::Disconnected),
            Some(wait) => commands.recv_timeout(wait).map_err(|e| e == mpsc::RecvTimeoutError::Disconnected),
            None => commands.recv().map_err(|_| true),
        };
        let now = surroundings.clock.now();
        match next {
            Ok(command) => {
                if let WorkerCommand::Start(launch) = &command {
                    here.insert(launch.key.clone(), launch.incarnation);
                }
                worker.handle_command(now, command);
            }
            Err(true) => return,
            Err(false) => {}
        }
        worker.handle_timeout(now);
        worker.run_slice(now);
        while let Some(event) = worker.poll_event() {
            if let WorkerEvent::Exited(key, ..) = &event {
                here.remove(key);
            }
            if surroundings.events.send_blocking(Event::Worker(event)).is_err() {
                return;
            }
        }
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
