//! The event loop: sockets, timers and threads on one side, the node on the other.

use crate::{
    clock::Clock,
    descriptors::Budget,
    event::{Answer, Event},
    firmware, first,
    network::{self, Follower},
    recording,
    serial::{self, Line},
    service::Manager,
    sockets::{self, Sockets},
    tasks, web,
    workers::{self, Surroundings, Workers},
};
use litemap::LiteMap;
use smol::{
    LocalExecutor, Timer,
    channel::{Receiver, Sender},
    future,
    net::TcpStream,
};
use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, TrySendError},
    },
    time::Duration,
};
use zhost_base::{Rng, limits::LINK_QUEUE_MAX_BYTES};
use zhost_control::{
    SessionId,
    protocol::{RecordingOrder, Reply, Service},
};
use zhost_exchange::{Store, StoreError};
use zhost_hal::{Board, kernel, watchdog::Watchdog};
use zhost_mex::PublicKey;
use zhost_node::{
    Agent, ConnectionId, DiskRequest, Ending, Examination, FirmwareOrder, Input, Level, Load, Output, Port,
    WebId,
};
use zhost_runtime::{Wasmi, examine};
use zhost_threads::{Concern, Run, concerns, look_after, once};

/// Events waiting for the node; those who bring more wait themselves.
const EVENTS_MAX: usize = 1024;
/// Events handled before timers and sockets have their turn again.
const EVENTS_AT_ONCE: usize = 64;
/// Rounds of running spaces and working off what they did, before timers and sockets have their turn again.
const ROUNDS_AT_ONCE: usize = 16;
/// How often the machine's load is measured.
const LOAD_PERIOD: Duration = Duration::from_secs(2);
/// How long an examination may take before its thread is given up; operators are told sooner.
const EXAMINED_WITHIN: Duration = Duration::from_secs(120);
/// How long reading a piece of a recording may take.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// How long each step of putting an agent into its slot may take; the node waits longer.
const INSTALLATION_STEP_WITHIN: Duration = Duration::from_secs(90);

/// What the loop runs with.
pub struct Machine {
    pub clock: Clock,
    pub sockets: Sockets,
    pub serial: Option<Line>,
    pub follower: Follower,
    pub store: Arc<dyn Store>,
    pub board: Arc<Board>,
    pub watchdog: Option<Watchdog>,
    pub manager: Option<Manager>,
    pub publishers: Vec<PublicKey>,
    pub data_dir: PathBuf,
}

struct Connection {
    /// Ends the connection's tasks when dropped.
    outgoing: Sender<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
    /// The address of ours that it comes from.
    local: Option<IpAddr>,
}

struct Shell {
    agent: Agent,
    clock: Clock,
    sockets: Rc<Sockets>,
    executor: Rc<LocalExecutor<'static>>,
    events: Sender<Event>,
    connections: LiteMap<ConnectionId, Connection>,
    accepted: u64,
    browsers: LiteMap<WebId, Sender<Answer>>,
    /// For the serial line.
    frames: Sender<Vec<u8>>,
    workers: Workers,
    disk: mpsc::SyncSender<(u64, DiskRequest)>,
    store: Arc<dyn Store>,
    publishers: Vec<PublicKey>,
    data_dir: PathBuf,
    follower: Follower,
    /// The flash does not answer: that the board hangs is for the watchdog to see.
    has_lost_disk: bool,
    /// Set once it is time to end.
    ending: Option<Ending>,
}

/// Runs the agent until it has finished.
pub fn run(machine: Machine, make_agent: impl FnOnce(Rng) -> Agent, mut rng: Rng) -> io::Result<Ending> {
    let (events, inbox) = smol::channel::bounded(EVENTS_MAX);
    let Machine { clock, sockets, serial, follower, store, board, watchdog, manager, publishers, data_dir } =
        machine;
    let surroundings = Surroundings {
        store: store.clone(),
        devices: board.clone(),
        publishers: publishers.clone(),
        clock,
        events: events.clone(),
    };
    let workers = Workers::start(&surroundings, &mut rng)?;
    let disk = workers::start_disk(store.clone(), events.clone())?;
    workers::start_devices(board, events.clone())?;
    let executor = Rc::new(LocalExecutor::new());
    let sockets = Rc::new(sockets);
    let budget = Budget::of_this_process();
    for (name, port) in [("gossip", Port::Gossip), ("control", Port::Control)] {
        let (sockets, events) = (sockets.clone(), events.clone());
        executor
            .spawn(tasks::keep(name, move || sockets::receive(sockets.clone(), port, events.clone())))
            .detach();
    }
    let (taken, inbound) = (sockets.clone(), events.clone());
    executor.spawn(tasks::keep("links", move || sockets::accept(taken.clone(), inbound.clone()))).detach();
    let notices = events.clone();
    executor.spawn(tasks::keep("networks", move || network::attend(notices.clone()))).detach();
    if sockets.web.is_some() {
        let (sockets, spawner, events) = (sockets.clone(), executor.clone(), events.clone());
        let attend = move || web::attend(sockets.clone(), spawner.clone(), events.clone(), budget.browsers);
        executor.spawn(tasks::keep("web", attend)).detach();
    }
    executor.spawn(await_signal(events.clone())?).detach();
    let (frames, outgoing) = smol::channel::bounded(serial::FRAMES_MAX);
    if let Some(line) = serial {
        let events = events.clone();
        let attend = move || serial::attend(line.clone(), outgoing.clone(), events.clone());
        executor.spawn(tasks::keep("serial", attend)).detach();
    }
    let mut shell = Shell {
        agent: make_agent(rng),
        clock,
        sockets,
        executor: executor.clone(),
        events,
        connections: LiteMap::new(),
        accepted: 1,
        browsers: LiteMap::new(),
        frames,
        workers,
        disk,
        store,
        publishers,
        data_dir,
        follower,
        has_lost_disk: false,
        ending: None,
    };
    shell.tell(Input::Room { links: budget.links, unproved: budget.strangers });
    smol::block_on(executor.run(shell.run(inbox, watchdog, manager.as_ref())));
    Ok(shell.ending.unwrap_or_default())
}

fn await_signal(events: Sender<Event>) -> io::Result<impl Future<Output = ()>> {
    use async_signal::{Signal, Signals};
    use smol::stream::StreamExt;
    let mut signals = Signals::new([Signal::Term, Signal::Int, Signal::Child])?;
    Ok(async move {
        while let Some(signal) = signals.next().await {
            if let Ok(Signal::Child) = signal {
                if first::is_this() {
                    zhost_init::board::reap();
                }
                continue;
            }
            if events.send(Event::Node(Input::Shutdown)).await.is_err() {
                return;
            }
        }
    })
}

impl Shell {
    async fn run(
        &mut self,
        inbox: Receiver<Event>,
        mut watchdog: Option<Watchdog>,
        manager: Option<&Manager>,
    ) {
        let cpu = kernel::Cpu::default();
        let mut load_at = self.clock.now();
        #[cfg(debug_assertions)]
        let mut planted = crate::planted::panics();
        self.drain().await;
        if let Some(manager) = manager {
            manager.is_ready();
        }
        while self.ending.is_none() {
            if load_at <= self.clock.now() {
                load_at = self.clock.now() + LOAD_PERIOD;
                self.tell(Input::Load(measure_load(&cpu, &self.data_dir)));
                look_after(self.clock.now());
                let concerns = concerns().into_iter().map(service).collect();
                self.tell(Input::Services(concerns));
                #[cfg(debug_assertions)]
                planted.next().into_iter().for_each(|panic| self.tell(Input::Planted(Some(panic))));
                self.look_at_clock();
                if let Some(Err(error)) = watchdog.as_mut().map(Watchdog::feed) {
                    log::warn!("feeding the watchdog: {error}");
                }
                if let Some(manager) = manager {
                    manager.is_healthy();
                }
                self.look_at_network();
            }
            let agent_wake = self.agent.poll_timeout().map(|(at, _)| at);
            let wakes = [Some(load_at), agent_wake, self.workers.poll_timeout()];
            let wake = wakes.into_iter().flatten().min().unwrap_or(load_at);
            let timer = async {
                Timer::at(self.clock.system(wake)).await;
                None
            };
            if let Some(event) = future::or(async { inbox.recv().await.ok() }, timer).await {
                self.handle(event);
            }
            for _ in 1..EVENTS_AT_ONCE {
                let Ok(event) = inbox.try_recv() else { break };
                self.handle(event);
            }
            self.tell(Input::Timeout);
            self.drain().await;
            self.run_spaces().await;
        }
        if let Some(manager) = manager {
            manager.is_ending();
        }
        let watchdog = watchdog.filter(|_| !self.has_lost_disk);
        if let Some(Err(error)) = watchdog.map(Watchdog::disarm) {
            log::warn!("calling the watchdog off: {error}");
        }
    }

    /// Runs spaces shortly, and works off what they did, as long as one leads to the other.
    async fn run_spaces(&mut self) {
        for _ in 0..ROUNDS_AT_ONCE {
            let events = self.workers.work(self.clock.now());
            if events.is_empty() {
                return;
            }
            events.into_iter().for_each(|event| self.tell(Input::Worker(event)));
            self.drain().await;
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Node(input) => self.tell(input),
            Event::Datagram(port, from, bytes) => {
                self.agent.handle_datagram(self.clock.now(), port, from, &bytes);
            }
            Event::Serial(bytes) => self.agent.handle_serial(self.clock.now(), &bytes),
            Event::Bytes(connection, bytes) => {
                self.agent.handle_bytes(self.clock.now(), connection, &bytes);
            }
            Event::Accepted(stream, from, _place) => {
                self.accepted += 2;
                let connection = ConnectionId(self.accepted);
                self.adopt(connection, stream);
                self.agent.handle_accepted(self.clock.now(), connection, from);
            }
            Event::Connected(connection, stream) => {
                self.adopt(connection, stream);
                self.tell(Input::Connected(connection));
            }
            Event::Closed(connection, refused) => {
                self.connections.remove(&connection);
                self.tell(Input::Closed { connection, refused });
            }
            Event::Asked(id, request, answers) => {
                self.browsers.insert(id, answers);
                self.agent.handle_asked(self.clock.now(), id, request);
            }
            Event::Left(id) => {
                self.browsers.remove(&id);
                self.tell(Input::Left(id));
            }
            Event::Network => self.look_at_network(),
            Event::DiskLost(reason) => {
                // Without its disk thread a zhost must not go on as if it had a disk.
                log::error!("the disk thread: {reason}: ending");
                self.has_lost_disk = true;
                self.ending = Some(Ending::Restart);
            }
            Event::Recorded(session, message, reply) => {
                self.agent.handle_recorded(self.clock.now(), session, message, &reply);
            }
            Event::Worker(desk) => self.workers.handle_done(desk),
        }
    }

    /// Tells the node what happens now.
    fn tell(&mut self, input: Input) {
        self.agent.handle(self.clock.now(), input);
    }

    /// Starts the tasks of a connection.
    fn adopt(&mut self, connection: ConnectionId, stream: TcpStream) {
        // Batching is the links' own; waiting for more would only delay.
        let _ = stream.set_nodelay(true);
        // Bounded by what waits, in bytes.
        let (outgoing, queue) = smol::channel::unbounded();
        let (hang_up, hung_up) = smol::channel::bounded(1);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let local = stream.local_addr().ok().map(|addr| sockets::canonical(addr).ip());
        self.executor.spawn(sockets::read(connection, stream.clone(), self.events.clone(), hung_up)).detach();
        self.executor.spawn(sockets::write(stream, queue, queued_bytes.clone(), hang_up)).detach();
        self.connections.insert(connection, Connection { outgoing, queued_bytes, local });
    }

    /// Tells the node if the network is another one. Connections from an address that is gone would be silent for long.
    fn look_at_network(&mut self) {
        let Some(networks) = self.follower.changed(&self.sockets.gossip) else { return };
        let is_lost = |connection: &Connection| connection.local.is_some_and(|local| !networks.have(local));
        let lost: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| is_lost(connection))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.connections.remove(&id);
            self.tell(Input::Closed { connection: id, refused: false });
        }
        self.tell(Input::Network { addrs: networks.addrs, broadcasts: networks.broadcasts });
    }

    /// Does what the node wants done.
    async fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Datagram(port, to, bytes) => {
                    let (socket, is_v6) = sockets::socket_of(&self.sockets, port);
                    let addr = sockets::for_socket(is_v6, to);
                    // Datagrams get lost; a network that takes none now must not stop the loop.
                    if let Some(Err(error)) = future::poll_once(socket.send_to(&bytes, addr)).await {
                        log::debug!("sending to {to}: {error}");
                    }
                }
                // A line that is slower than what it is to carry loses some, which is sent again.
                Output::Serial(frame) => drop(self.frames.try_send(frame)),
                Output::Resolve(names) => network::resolve(names, self.events.clone()),
                Output::Connect(connection, addr) => {
                    self.executor.spawn(sockets::connect(connection, addr, self.events.clone())).detach();
                }
                Output::Write(connection, bytes) => self.write(connection, bytes),
                Output::Close(connection) => {
                    self.connections.remove(&connection);
                }
                Output::Web { id, bytes, content, is_last } => {
                    // A browser that does not keep up misses what it would have been shown.
                    if let Some(answers) = self.browsers.get(&id) {
                        let _ = answers.try_send(Answer { bytes, content, is_last });
                    }
                    if is_last {
                        self.browsers.remove(&id);
                    }
                }
                // One that is gone is reported, with the reason; there is room for all that the node asks at once.
                Output::Disk(token, request) => {
                    if let Err(TrySendError::Full(_)) = self.disk.try_send((token, request)) {
                        self.tell(Input::Disk(token, Err(StoreError::Busy)));
                    }
                }
                Output::Examine(examination) => self.examine(examination),
                Output::Firmware(order) => self.carry_out(order),
                Output::Recording(session, message, order) => self.record(session, message, order),
                Output::SetClock(unix_ms) => {
                    if first::is_this() {
                        zhost_init::board::set_clock(unix_ms);
                    }
                    self.look_at_clock();
                }
                Output::Worker(command) => self.workers.command(command),
                Output::Log(Level::Debug, text) => log::debug!("{text}"),
                Output::Log(Level::Info, text) => log::info!("{text}"),
                Output::Log(Level::Warn, text) => log::warn!("{text}"),
                Output::Finished(ending) => self.ending = Some(ending),
            }
        }
    }

    fn look_at_clock(&mut self) {
        let unix_origin_ms = self.clock.unix_origin_ms();
        self.tell(Input::Clock(unix_origin_ms));
        self.workers.handle_clock(unix_origin_ms);
    }

    /// Examining a large package takes a small board seconds.
    fn examine(&mut self, examination: Examination) {
        let (publishers, ticket) = (self.publishers.clone(), examination.ticket());
        let work = move |_: &Run| {
            Input::Examined(examination.perform(&publishers, |package| examine(package, &Wasmi)))
        };
        let lost = move |error: &str| {
            let reason =
                format!("examining it failed ({error}), which is a fault of zhost; its log says where");
            Event::Node(Input::Examined(ticket.give_up(&reason)))
        };
        self.do_beside("examination", EXAMINED_WITHIN, |thread| Event::Node(work(thread)), lost);
    }

    /// Writing to a slot takes a while.
    fn carry_out(&mut self, order: FirmwareOrder) {
        let (store, publishers, asked) = (self.store.clone(), self.publishers.clone(), order.clone());
        let work = move |thread: &Run| {
            let result = firmware::carry_out(&asked, store.as_ref(), &publishers, thread);
            Event::Node(Input::Firmware(asked, result))
        };
        let lost = move |error: &str| Event::Node(Input::Firmware(order.clone(), Err(error.to_owned())));
        self.do_beside("firmware", INSTALLATION_STEP_WITHIN, work, lost);
    }

    /// The flash may take its time over reading a recording.
    fn record(&mut self, session: SessionId, message: u32, order: RecordingOrder) {
        let data_dir = self.data_dir.clone();
        let work = move |_: &Run| Event::Recorded(session, message, recording::carry_out(&data_dir, order));
        let lost = move |error: &str| {
            let reply = Reply::Refused(format!("the recording: {error}; try again"));
            Event::Recorded(session, message, reply)
        };
        self.do_beside("recording", RECORDED_WITHIN, work, lost);
    }

    /// Does what takes long, and seldom happens, in a thread of its own. What comes of it is an event; if it fails, hangs or
    /// finds no thread, what `lost` makes of the reason.
    fn do_beside(
        &mut self,
        name: &'static str,
        within: Duration,
        work: impl FnOnce(&Run) -> Event + Send + 'static,
        lost: impl Fn(&str) -> Event + Clone + Send + 'static,
    ) {
        let (events, inbox, given_up) = (self.events.clone(), self.events.clone(), lost.clone());
        let body = move |thread: &Run| {
            let event = work(thread);
            if thread.goes_on() {
                // The loop has ended when nobody listens.
                let _ = events.send_blocking(event);
            }
        };
        if let Err(error) = once(name, within, body, move |error| inbox.try_send(given_up(error)).is_ok()) {
            log::error!("no thread for {name}: {error}");
            self.handle(lost(&error.to_string()));
        }
    }

    /// Queues bytes for a connection; one that takes too little is closed.
    fn write(&mut self, id: ConnectionId, bytes: Vec<u8>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let queued = connection.queued_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if queued + bytes.len() > LINK_QUEUE_MAX_BYTES || connection.outgoing.try_send(bytes).is_err() {
            self.connections.remove(&id);
            self.tell(Input::Closed { connection: id, refused: false });
        }
    }
}

/// What operators are told of a thread or a task.
fn service(concern: Concern) -> Service {
    let Concern { name, is_well, failures, last_error } = concern;
    let state = if is_well { "ok" } else { "failed; begins anew" };
    let detail = match failures {
        0 => String::new(),
        1 => format!("failed once: {last_error}"),
        failures => format!("failed {failures} times, at last: {last_error}"),
    };
    Service { name, state: state.into(), detail }
}

fn measure_load(cpu: &kernel::Cpu, data_dir: &Path) -> Load {
    let disk = rustix::fs::statvfs(data_dir).map_or(0, |fs| {
        let used = fs.f_blocks.saturating_sub(fs.f_bavail);
        (used * 100).checked_div(fs.f_blocks).unwrap_or(0)
    });
    Load {
        cpu_percent: cpu.percent().unwrap_or(0),
        memory_percent: kernel::Memory.percent().unwrap_or(0),
        disk_percent: disk as u8,
        resident_kib: kernel::resident_kib().unwrap_or(0),
    }
}
