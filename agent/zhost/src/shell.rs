//! The event loop: sockets, timers and threads on one side, the node on the other.

use crate::{
    clock::Clock,
    descriptors::Budget,
    firmware, first,
    network::{self, Follower},
    recording,
    serial::{self, Line},
    service::Manager,
    tasks, web,
    workers::{self, Surroundings, Workers},
};
use litemap::LiteMap;
use smol::{
    LocalExecutor, Timer,
    channel::{Receiver, Sender},
    future,
    io::{AsyncReadExt, AsyncWriteExt},
    lock::{Semaphore, SemaphoreGuardArc},
    net::{TcpListener, TcpStream, UdpSocket},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
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
/// Reads from a connection, at most this much at once; who says little gets less room.
const READ_SIZE_BYTES: usize = 64 * 1024;
const READ_SIZE_MIN_BYTES: usize = 2 * 1024;
/// Connections that were taken and the node has not heard of yet; further ones wait in the kernel.
const ACCEPTED_MAX: usize = 4;
/// How long an examination may take before its thread is given up; operators are told sooner.
const EXAMINED_WITHIN: Duration = Duration::from_secs(120);
/// How long reading a piece of a recording may take.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// How long each step of putting an agent into its slot may take; the node waits longer.
const INSTALLATION_STEP_WITHIN: Duration = Duration::from_secs(90);
const DATAGRAM_SIZE_BYTES: usize = 2048;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Something that happened to this zhost.
pub enum Event {
    /// What is for the node alone.
    Node(Input),
    /// A datagram arrived.
    Datagram(Port, SocketAddr, Vec<u8>),
    /// Bytes came from the serial line.
    Serial(Vec<u8>),
    /// Bytes arrived on a connection.
    Bytes(ConnectionId, Vec<u8>),
    Accepted(TcpStream, SocketAddr, SemaphoreGuardArc),
    Connected(ConnectionId, TcpStream),
    /// With whether the other kernel refused the connection.
    Closed(ConnectionId, bool),
    /// A browser asks; what it is answered goes there.
    Asked(WebId, zhost_web::Request, Sender<web::Answer>),
    /// A browser is gone.
    Left(WebId),
    /// The machine's network may have changed.
    Network,
    /// The disk thread is gone, or hangs, for this reason.
    DiskLost(String),
    /// The recordings are as an operator wanted, or here is what he wanted of them.
    Recorded(SessionId, u32, Reply),
    /// The thread of this desk has worked.
    Worker(usize),
}

/// The sockets of a zhost, bound before it starts.
pub struct Sockets {
    pub gossip: UdpSocket,
    pub links: TcpListener,
    pub control: UdpSocket,
    /// Where browsers ask, if they may.
    pub web: Option<TcpListener>,
    /// Whether gossip and links are bound to an address of IPv6.
    pub gossip_is_v6: bool,
    /// Whether the control socket is.
    pub control_is_v6: bool,
}

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
    browsers: LiteMap<WebId, Sender<web::Answer>>,
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
        executor.spawn(tasks::keep(name, move || receive(sockets.clone(), port, events.clone()))).detach();
    }
    let (taken, inbound) = (sockets.clone(), events.clone());
    executor.spawn(tasks::keep("links", move || accept(taken.clone(), inbound.clone()))).detach();
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

/// A socket, and whether it is bound to an address of IPv6.
fn socket_of(sockets: &Sockets, port: Port) -> (&UdpSocket, bool) {
    match port {
        Port::Gossip => (&sockets.gossip, sockets.gossip_is_v6),
        Port::Control => (&sockets.control, sockets.control_is_v6),
    }
}

async fn receive(sockets: Rc<Sockets>, port: Port, events: Sender<Event>) {
    let mut buffer = [0; DATAGRAM_SIZE_BYTES];
    loop {
        match socket_of(&sockets, port).0.recv_from(&mut buffer).await {
            Ok((size, from)) => {
                let from = network::canonical(from);
                if events.send(Event::Datagram(port, from, buffer[..size].to_vec())).await.is_err() {
                    return;
                }
            }
            // Errors of earlier sends come back here; a socket that is really broken must not spin.
            Err(error) => {
                log::debug!("receiving on {port:?}: {error}");
                Timer::after(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn accept(sockets: Rc<Sockets>, events: Sender<Event>) {
    let room = Arc::new(Semaphore::new(ACCEPTED_MAX));
    loop {
        let place = room.acquire_arc().await;
        match sockets.links.accept().await {
            Ok((stream, from)) => {
                if events.send(Event::Accepted(stream, network::canonical(from), place)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                log::warn!("accepting a link: {error}");
                Timer::after(Duration::from_millis(100)).await;
            }
        }
    }
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

async fn connect(connection: ConnectionId, addr: SocketAddr, events: Sender<Event>) {
    let timeout = async {
        Timer::after(CONNECT_TIMEOUT).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    let event = match future::or(TcpStream::connect(addr), timeout).await {
        Ok(stream) => Event::Connected(connection, stream),
        Err(error) => Event::Closed(connection, error.kind() == io::ErrorKind::ConnectionRefused),
    };
    // The loop has ended when nobody listens.
    let _ = events.send(event).await;
}

async fn read(connection: ConnectionId, mut stream: TcpStream, events: Sender<Event>, hang_up: Receiver<()>) {
    let mut buffer = vec![0; READ_SIZE_MIN_BYTES];
    loop {
        let ended = async {
            // Nothing is ever sent: this ends when the connection is dropped.
            let _ = hang_up.recv().await;
            Ok(0)
        };
        match future::or(stream.read(&mut buffer), ended).await {
            Ok(size) if size > 0 => {
                if events.send(Event::Bytes(connection, buffer[..size].to_vec())).await.is_err() {
                    return;
                }
                if size == buffer.len() {
                    buffer.resize((2 * size).min(READ_SIZE_BYTES), 0);
                }
            }
            _ => {
                let _ = events.send(Event::Closed(connection, false)).await;
                return;
            }
        }
    }
}

async fn write(
    mut stream: TcpStream,
    outgoing: Receiver<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
    hang_up: Sender<()>,
) {
    while let Ok(bytes) = outgoing.recv().await {
        queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    drop(hang_up);
    // The other side sees the end either way.
    let _ = stream.shutdown(std::net::Shutdown::Both);
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
        let local = stream.local_addr().ok().map(|addr| network::canonical(addr).ip());
        self.executor.spawn(read(connection, stream.clone(), self.events.clone(), hung_up)).detach();
        self.executor.spawn(write(stream, queue, queued_bytes.clone(), hang_up)).detach();
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
                    let (socket, is_v6) = socket_of(&self.sockets, port);
                    let addr = network::for_socket(is_v6, to);
                    // Datagrams get lost; a network that takes none now must not stop the loop.
                    if let Some(Err(error)) = future::poll_once(socket.send_to(&bytes, addr)).await {
                        log::debug!("sending to {to}: {error}");
                    }
                }
                // A line that is slower than what it is to carry loses some, which is sent again.
                Output::Serial(frame) => drop(self.frames.try_send(frame)),
                Output::Resolve(names) => network::resolve(names, self.events.clone()),
                Output::Connect(connection, addr) => {
                    self.executor.spawn(connect(connection, addr, self.events.clone())).detach();
                }
                Output::Write(connection, bytes) => self.write(connection, bytes),
                Output::Close(connection) => {
                    self.connections.remove(&connection);
                }
                Output::Web { id, bytes, content, is_last } => {
                    // A browser that does not keep up misses what it would have been shown.
                    if let Some(answers) = self.browsers.get(&id) {
                        let _ = answers.try_send(web::Answer { bytes, content, is_last });
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

    /// Examining a large package takes a small board seconds, and seldom happens: it has a thread of its own.
    fn examine(&mut self, examination: Examination) {
        let (events, publishers) = (self.events.clone(), self.publishers.clone());
        let ticket = examination.ticket();
        let (inbox, lost) = (self.events.clone(), ticket.clone());
        let lost = move |error: &str| {
            let reason =
                format!("examining it failed ({error}), which is a fault of zhost; its log says where");
            inbox.try_send(Event::Node(Input::Examined(lost.give_up(&reason)))).is_ok()
        };
        let work = move |thread: &Run| {
            let findings = examination.perform(&publishers, |package| examine(package, &Wasmi));
            if thread.goes_on() {
                // The loop has ended when nobody listens.
                let _ = events.send_blocking(Event::Node(Input::Examined(findings)));
            }
        };
        if let Err(error) = once("examination", EXAMINED_WITHIN, work, lost) {
            log::error!("no thread to examine what was sent: {error}");
            let reason = "this zhost has no room for a thread to examine it; try again";
            self.tell(Input::Examined(ticket.give_up(reason)));
        }
    }

    /// The flash may take its time: a recording is read beside the loop.
    fn record(&mut self, session: SessionId, message: u32, order: RecordingOrder) {
        let (events, inbox, data_dir) = (self.events.clone(), self.events.clone(), self.data_dir.clone());
        let failed = |error: &str| Reply::Refused(format!("the recording: {error}; try again"));
        let lost =
            move |error: &str| inbox.try_send(Event::Recorded(session, message, failed(error))).is_ok();
        let work = move |thread: &Run| {
            let reply = recording::carry_out(&data_dir, order);
            if thread.goes_on() {
                // The loop has ended when nobody listens.
                let _ = events.send_blocking(Event::Recorded(session, message, reply));
            }
        };
        if let Err(error) = once("recording", RECORDED_WITHIN, work, lost) {
            let reply = failed(&error.to_string());
            self.agent.handle_recorded(self.clock.now(), session, message, &reply);
        }
    }

    /// Writing to a slot takes a while, and seldom happens: it has a thread of its own.
    fn carry_out(&mut self, order: FirmwareOrder) {
        let (store, publishers) = (self.store.clone(), self.publishers.clone());
        let (events, asked) = (self.events.clone(), order.clone());
        let (inbox, given_up) = (self.events.clone(), order.clone());
        let lost = move |error: &str| {
            inbox.try_send(Event::Node(Input::Firmware(given_up.clone(), Err(error.to_owned())))).is_ok()
        };
        let work = move |thread: &Run| {
            let result = firmware::carry_out(&asked, store.as_ref(), &publishers, thread);
            if thread.goes_on() {
                // The loop has ended when nobody listens.
                let _ = events.send_blocking(Event::Node(Input::Firmware(asked, result)));
            }
        };
        if let Err(error) = once("firmware", INSTALLATION_STEP_WITHIN, work, lost) {
            self.tell(Input::Firmware(order, Err(error.to_string())));
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
