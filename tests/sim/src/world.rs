//! The world: one queue of events, one clock, and the boards, network and operators they happen to.

use crate::{
    machine::{Machine, Running},
    network::{End, Network, NetworkFaults},
    operator::Operator,
    referee,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};
use zhost_base::{Instant, Rng};
use zhost_control::protocol::{Reply, Request};
use zhost_node::{Inspection, Output, Port};

/// Lines of the trace that are kept.
const TRACE_LINES_MAX: usize = 4000;
/// A board that wants to be woken this often at one instant is spinning.
const WAKES_AT_ONCE_MAX: u32 = 200;
/// How long a board waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Slices of guests run at one event; more follow a millisecond later.
const SLICES_AT_ONCE: usize = 64;

#[derive(Debug)]
enum Event {
    Datagram { port: Port, to: usize, from: SocketAddr, bytes: Vec<u8> },
    OperatorDatagram { to: usize, bytes: Vec<u8> },
    Connect { from: End, life: u32, to: SocketAddr },
    Connected { end: End, life: u32 },
    Bytes { end: End, life: u32, bytes: Vec<u8> },
    Closed { end: End, life: u32, refused: bool },
    Disk { machine: usize, life: u32, token: u64 },
}

/// Shape of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Machines {
    /// How many boards.
    pub zhosts: usize,
    /// How many of them, the last ones, have a camera and cannot lead.
    pub cameras: usize,
}

/// A simulated site.
pub struct World {
    now: Instant,
    rng: Rng,
    serial: u64,
    events: BTreeMap<(Instant, u64), Event>,
    machines: Vec<Machine>,
    wake_at: Vec<Option<(Instant, &'static str)>>,
    wakes_at_once: u32,
    network: Network,
    /// Connections that lost bytes to a partition; they break when it heals.
    broken: BTreeSet<End>,
    /// Boards whose links carry nothing outwards.
    muted: BTreeSet<usize>,
    operators: Vec<Operator>,
    trace: VecDeque<String>,
    trace_hash: u64,
    referee: referee::Referee,
    /// Whether the trace is printed as it happens.
    pub verbose: bool,
}

impl World {
    /// A site without power, whose every chance event follows from `seed`.
    pub fn new(seed: u64, machines: Machines, faults: NetworkFaults) -> Self {
        let Machines { zhosts, cameras } = machines;
        Self {
            now: Instant::from_micros(1_000_000),
            rng: Rng::from_number(seed),
            serial: 0,
            events: BTreeMap::new(),
            machines: (0..zhosts).map(|index| Machine::new(index, index + cameras >= zhosts, seed)).collect(),
            wake_at: vec![None; zhosts],
            wakes_at_once: 0,
            network: Network::new(faults),
            broken: BTreeSet::new(),
            muted: BTreeSet::new(),
            operators: Vec::new(),
            trace: VecDeque::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            referee: referee::Referee::default(),
            verbose: false,
        }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Chance, for the scenario.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Boards with power.
    pub fn live(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|index| self.machines[*index].running.is_some()).collect()
    }

    /// What the nodes with power see.
    pub fn inspect(&self) -> BTreeMap<usize, Inspection> {
        let live = self
            .machines
            .iter()
            .enumerate()
            .filter_map(|(index, m)| Some((index, m.running.as_ref()?.node.inspect())));
        live.collect()
    }

    /// The last message along a path that the store space of a topology keeps on the disk of the board that runs it.
    pub fn stored_count(&self, topology: &str, path: &str) -> Option<u32> {
        let key = zhost_base::SpaceKey {
            topology: zhost_mex::topology_id(&topology.parse().ok()?),
            space: "store".parse().ok()?,
        };
        let live = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        let running = live.into_iter().find(|running| running.node.inspect().running.contains(&key))?;
        let value = running.store.get(&zhost_runtime::table::data(&key), path.as_bytes()).ok()??;
        Some(u32::from_le_bytes(value.try_into().ok()?))
    }

    /// Hash of everything that happened.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hash
    }

    /// The last lines of the trace.
    pub fn trace(&self) -> impl Iterator<Item = &String> {
        self.trace.iter()
    }

    /// What went against the rules so far.
    pub fn objections(&self) -> &[String] {
        self.referee.objections()
    }

    fn note(&mut self, line: String) {
        let line = format!("{} {line}", self.now);
        for byte in line.bytes() {
            self.trace_hash = (self.trace_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.verbose {
            println!("{line}");
        }
        if self.trace.len() >= TRACE_LINES_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.events.insert((at, self.serial), event);
    }

    /// Gives a board power.
    pub fn start(&mut self, index: usize) {
        self.note(format!("== start z{index}"));
        let rng = self.rng.fork();
        self.machines[index].start(self.now, rng);
        self.after(index);
    }

    /// Takes a board's power away, perhaps in the middle of a write.
    pub fn kill(&mut self, index: usize) {
        self.note(format!("== kill z{index}"));
        let mut rng = self.rng.fork();
        self.machines[index].kill(&mut rng);
        self.wake_at[index] = None;
        for end in self.network.ends_of(index) {
            self.hang_up(end);
        }
    }

    /// Cuts the network in two: the boards listed, and the rest.
    pub fn partition(&mut self, side: &[usize]) {
        self.note(format!("== partition {side:?}"));
        self.network.sides = side.iter().map(|index| (*index, 1)).collect();
    }

    /// Ends the partition; connections that lost bytes break now.
    pub fn heal(&mut self) {
        self.note("== heal".into());
        self.network.sides.clear();
        for end in std::mem::take(&mut self.broken) {
            let (life, now) = (self.machines[end.0].life, self.now);
            if self.network.disconnect(end).is_some_and(|other| {
                let life = self.machines[other.0].life;
                self.schedule(now, Event::Closed { end: other, life, refused: false });
                true
            }) {
                self.schedule(now, Event::Closed { end, life, refused: false });
            }
        }
    }

    /// Lets nothing out of a board's links any more (its datagrams still pass), or lets it out again.
    pub fn mute_links(&mut self, index: usize, mute: bool) {
        self.note(format!("== links of z{index} muted: {mute}"));
        if mute {
            self.muted.insert(index);
        } else {
            self.muted.remove(&index);
            // Streams that lost bytes cannot go on.
            for end in self.network.ends_of(index) {
                let (life, now) = (self.machines[index].life, self.now);
                self.hang_up(end);
                self.schedule(now, Event::Closed { end, life, refused: false });
            }
        }
    }

    /// Whether a board runs this space.
    pub fn runs(&self, index: usize, topology: &str, space: &str) -> bool {
        let view = self.machines[index].running.as_ref().map(|running| running.node.inspect());
        let (Ok(topology), Ok(space)) = (topology.parse(), space.parse::<zhost_base::Name>()) else {
            return false;
        };
        let topology = zhost_mex::topology_id(&topology);
        view.is_some_and(|view| view.running.iter().any(|key| key.topology == topology && key.space == space))
    }

    fn hang_up(&mut self, end: End) {
        if let Some(other) = self.network.disconnect(end) {
            let at = self.network.stream_arrival(self.now, other, &mut self.rng);
            let life = self.machines[other.0].life;
            self.schedule(at, Event::Closed { end: other, life, refused: false });
        }
    }

    /// Sends an operator's request to a board; gives its number.
    pub fn ask(&mut self, index: usize, request: &Request) -> usize {
        let number = self.operators.len();
        let rng = self.rng.fork();
        self.note(format!("== operator asks z{index}: {request:.60?}"));
        self.operators.push(Operator::new(self.now, number, index, request, rng));
        self.pump_operator(number);
        number
    }

    /// What came of an operator's request, once it is over: nothing if the board never answered.
    pub fn reply(&self, number: usize) -> Option<Option<&Reply>> {
        let operator = &self.operators[number];
        operator.is_done().then_some(operator.reply.as_ref())
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.run_until(end, |_| false);
    }

    /// Lets time pass until `done` says so, looked at every 100 ms, or `end`; whether it was done.
    pub fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        let mut look_at = self.now;
        loop {
            if look_at <= self.now {
                if done(self) {
                    return true;
                }
                look_at = self.now + Duration::from_millis(100);
            }
            let next = self.next_instant().unwrap_or(end).min(look_at).max(self.now);
            if next > end {
                self.now = end;
                return done(self);
            }
            if next > self.now {
                self.wakes_at_once = 0;
            }
            self.now = next;
            self.step();
            if next == end && self.next_instant().is_none_or(|next| next > end) {
                return done(self);
            }
        }
    }

    fn next_instant(&self) -> Option<Instant> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.wake_at.iter().flatten().map(|(at, _)| *at);
        let operators = self.operators.iter().filter(|o| !o.is_done()).map(|o| o.client.poll_timeout().0);
        event.into_iter().chain(wakes).chain(operators).min()
    }

    /// Does what is due now.
    fn step(&mut self) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= self.now
        {
            let event = entry.remove();
            self.happen(event);
        }
        for index in 0..self.machines.len() {
            if let Some((at, why)) = self.wake_at[index].filter(|(at, _)| *at <= self.now) {
                self.wakes_at_once += 1;
                assert!(self.wakes_at_once < WAKES_AT_ONCE_MAX, "z{index} spins at {at}: {why}");
                let now = self.now;
                if let Some(running) = &mut self.machines[index].running {
                    running.node.handle_timeout(now);
                    running.worker.handle_timeout(now);
                }
                self.after(index);
            }
        }
        for number in 0..self.operators.len() {
            if !self.operators[number].is_done() && self.operators[number].client.poll_timeout().0 <= self.now
            {
                self.operators[number].handle_timeout(self.now);
                self.pump_operator(number);
            }
        }
    }

    fn running(&mut self, index: usize, life: u32) -> Option<&mut Running> {
        let machine = &mut self.machines[index];
        (machine.life == life).then_some(machine.running.as_mut())?
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Datagram { port, to, from, bytes } => {
                if let Some(running) = &mut self.machines[to].running {
                    running.node.handle_datagram(now, port, from, &bytes);
                    self.after(to);
                }
            }
            Event::OperatorDatagram { to, bytes } => {
                self.operators[to].handle_datagram(now, &bytes);
                self.pump_operator(to);
            }
            Event::Connect { from, life, to } => self.happen_connect(from, life, to),
            Event::Connected { end, life } => {
                if let Some(running) = self.running(end.0, life) {
                    running.node.handle_connected(now, end.1);
                    self.after(end.0);
                }
            }
            Event::Bytes { end, life, bytes } => {
                if let Some(running) = self.running(end.0, life) {
                    running.node.handle_bytes(now, end.1, &bytes);
                    self.after(end.0);
                }
            }
            Event::Closed { end, life, refused } => {
                if let Some(running) = self.running(end.0, life) {
                    running.node.handle_closed(now, end.1, refused);
                    self.after(end.0);
                }
            }
            Event::Disk { machine, life, token } => {
                if let Some(running) = self.running(machine, life)
                    && let Some(request) = running.disk_queue.remove(&token)
                {
                    let reply = request.perform(running.store.as_ref());
                    running.node.handle_disk(now, token, reply);
                    self.after(machine);
                }
            }
        }
    }

    fn happen_connect(&mut self, from: End, life: u32, to: SocketAddr) {
        let target = self.machines.iter().position(|machine| machine.addr == to);
        let reached = target.filter(|to| !self.network.is_cut(from.0, *to));
        let open = reached.filter(|to| self.machines[*to].running.is_some());
        let Some((to, now)) = open.map(|to| (to, self.now)) else {
            // The kernel of a board that has power says at once that nobody listens; from others comes nothing.
            let refused = reached.is_some_and(|to| self.machines[to].has_power);
            let wait = if refused { Duration::from_millis(1) } else { CONNECT_TIMEOUT };
            self.schedule(self.now + wait, Event::Closed { end: from, life, refused });
            return;
        };
        let client_addr = self.machines[from.0].addr;
        let Some(running) = &mut self.machines[to].running else { return };
        let connection = running.accept();
        self.network.connect(from, (to, connection));
        running.node.handle_accepted(now, connection, client_addr);
        self.after(to);
        let at = self.network.stream_arrival(self.now, from, &mut self.rng);
        self.schedule(at, Event::Connected { end: from, life });
    }

    /// Works off what a board wants after something happened to it.
    fn after(&mut self, index: usize) {
        let now = self.now;
        for _ in 0..SLICES_AT_ONCE {
            let Some(running) = &mut self.machines[index].running else { return };
            let mut progress = false;
            if running.worker.is_busy() {
                running.worker.run_slice(now);
                progress = true;
            }
            while let Some(event) = running.worker.poll_event() {
                running.node.handle_worker(now, event);
                progress = true;
            }
            let outputs: Vec<Output> = std::iter::from_fn(|| running.node.poll_output()).collect();
            progress |= !outputs.is_empty();
            outputs.into_iter().for_each(|output| self.carry_out(index, output));
            if !progress {
                break;
            }
        }
        let Some(running) = &self.machines[index].running else { return };
        let busy = running.worker.is_busy().then_some((now + Duration::from_millis(1), "guests have work"));
        let wakes = [running.node.poll_timeout(), running.worker.poll_timeout(), busy];
        self.wake_at[index] = wakes.into_iter().flatten().min();
        let inspection = running.node.inspect_reign();
        self.referee.see_reign(index, inspection);
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let now = self.now;
        let life = self.machines[index].life;
        match output {
            Output::Datagram(port, to, bytes) => self.send_datagram(index, port, to, &bytes),
            Output::Connect(connection, to) => {
                let at = self.network.stream_arrival(now, (index, connection), &mut self.rng);
                self.schedule(at, Event::Connect { from: (index, connection), life, to });
            }
            Output::Write(connection, bytes) => self.send_bytes((index, connection), bytes),
            Output::Close(connection) => self.hang_up((index, connection)),
            Output::Disk(token, request) => {
                let delay = Duration::from_micros(500 + self.rng.below(4000));
                if let Some(running) = &mut self.machines[index].running {
                    running.disk_queue.insert(token, request);
                }
                self.schedule(now + delay, Event::Disk { machine: index, life, token });
            }
            Output::Worker(command) => {
                if let Some(running) = &mut self.machines[index].running {
                    running.worker.handle_command(now, command);
                }
            }
            Output::Log(level, text) => self.note(format!("z{index} {level:?}: {text}")),
            Output::Finished => self.note(format!("z{index} has finished")),
        }
    }

    fn send_datagram(&mut self, from: usize, port: Port, to: SocketAddr, bytes: &[u8]) {
        if let Some(operator) = self.operators.iter().position(|operator| operator.addr == to) {
            for at in self.network.datagram_arrivals(self.now, &mut self.rng) {
                self.schedule(at, Event::OperatorDatagram { to: operator, bytes: bytes.to_vec() });
            }
            return;
        }
        let Some(target) = self.machines.iter().position(|machine| machine.addr == to) else { return };
        if self.network.is_cut(from, target) {
            return;
        }
        let source = self.machines[from].addr;
        for at in self.network.datagram_arrivals(self.now, &mut self.rng) {
            self.schedule(at, Event::Datagram { port, to: target, from: source, bytes: bytes.to_vec() });
        }
    }

    fn send_bytes(&mut self, from: End, bytes: Vec<u8>) {
        let Some(to) = self.network.peers.get(&from).copied() else { return };
        if self.muted.contains(&from.0) {
            return;
        }
        if self.network.is_cut(from.0, to.0) || self.broken.contains(&from) || self.broken.contains(&to) {
            self.broken.insert(from);
            return;
        }
        let at = self.network.stream_arrival(self.now, to, &mut self.rng);
        let life = self.machines[to.0].life;
        self.schedule(at, Event::Bytes { end: to, life, bytes });
    }

    fn pump_operator(&mut self, number: usize) {
        let (machine, addr) = (self.operators[number].machine, self.operators[number].addr);
        while let Some(bytes) = self.operators[number].client.poll_datagram() {
            for at in self.network.datagram_arrivals(self.now, &mut self.rng) {
                let bytes = bytes.clone();
                self.schedule(at, Event::Datagram { port: Port::Control, to: machine, from: addr, bytes });
            }
        }
    }

    /// How many boards there are.
    pub fn size(&self) -> usize {
        self.machines.len()
    }

    /// Ids of the boards with power.
    pub fn live_ids(&self) -> BTreeSet<zhost_base::ZhostId> {
        self.machines.iter().filter_map(|machine| Some(machine.running.as_ref()?.node.id())).collect()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World at {} with {} boards", self.now, self.machines.len())
    }
}
