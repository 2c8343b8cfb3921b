//! The world: one queue of events, one clock, and the boards, network and operators they happen to.

mod faults;
mod view;

use crate::{
    machine::{Machine, Running, addrs},
    network::{End, Network, NetworkFaults},
    operator::Operator,
    panics::{Panics, is_planted},
    promise::Promise,
    referee,
    slots::SimSlots,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use zhost_base::{BlobDigest, Instant, Rng};
use zhost_control::protocol::{Reply, Request};
use zhost_exchange::WorkerCommand;
use zhost_node::{Ending, Examination, FirmwareOrder, Input, Output, Port};
use zhost_runtime::Slice;

/// Lines of the trace that are kept.
const TRACE_LINES_MAX: usize = 4000;
/// A board that wants to be woken this often at one instant is spinning.
const WAKES_AT_ONCE_MAX: u32 = 200;
/// A cluster to which more happens in a second, for each board, talks without end.
const EVENTS_PER_SECOND_MAX: u64 = 20_000;
/// IP and UDP around a datagram.
const DATAGRAM_HEADER_BYTES: usize = 28;
/// IP and TCP around a write, and the acknowledgement of it.
const SEGMENT_HEADER_BYTES: usize = 52;
/// Everybody on the network.
const BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);
/// How often it is looked whether something is done; less often where much is to be looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// How long a board waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a board takes from its end to its next start.
const BOOT_TIME: Duration = Duration::from_secs(5);
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
    Examined { machine: usize, life: u32, examination: Examination },
    Firmware { machine: usize, life: u32, order: FirmwareOrder },
    End { machine: usize, life: u32 },
    Boot { machine: usize, life: u32 },
}

/// Shape of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Machines {
    /// How many boards.
    pub zhosts: usize,
    /// How many of them, the last ones, have a camera and cannot lead.
    pub cameras: usize,
    /// They have the default periods and timeouts, and keep what they store in memory only: for boards that are measured
    /// and never start again.
    pub measured: bool,
}

/// A simulated site.
pub struct World {
    now: Instant,
    rng: Rng,
    serial: u64,
    /// The beginning of the present second, and how many events had been scheduled by then.
    second: (Instant, u64),
    events: BTreeMap<(Instant, u64), Event>,
    machines: Vec<Machine>,
    /// Boards by address, gossip and control alike.
    addresses: BTreeMap<SocketAddr, usize>,
    wake_at: Vec<Option<(Instant, &'static str)>>,
    wakes: BTreeSet<(Instant, usize)>,
    wakes_at_once: u32,
    network: Network,
    /// Ends whose other end vanished without a word, and the board it was on.
    orphans: BTreeMap<End, usize>,
    /// Agents with which a board has no network.
    bad_agents: BTreeSet<BlobDigest>,
    /// Boards whose links carry nothing outwards.
    muted: BTreeSet<usize>,
    operators: Vec<Operator>,
    /// What each board sent, headers included.
    sent_bytes: Vec<u64>,
    /// Datagrams and writes to streams that each board sent.
    sent_packets: Vec<u64>,
    /// What each board had written to its store.
    flash_bytes: Vec<u64>,
    trace: VecDeque<String>,
    trace_hash: u64,
    referee: referee::Referee,
    is_judged: bool,
    /// Whether a card was copied.
    has_copies: bool,
    /// Whether parts of boards panic now and then.
    panics: Option<Panics>,
    /// Whether the trace is printed as it happens.
    pub verbose: bool,
}

/// Which board is recorded, if one is: of every fourth seed.
fn recorded(seed: u64, zhosts: usize) -> Option<usize> {
    (seed % 4 == 1).then(|| (seed / 4) as usize % zhosts)
}

impl World {
    /// A site without power, whose every chance event follows from `seed`.
    pub fn new(seed: u64, machines: Machines, faults: NetworkFaults) -> Self {
        let Machines { zhosts, cameras, measured } = machines;
        let is_recorded = |index: usize| !measured && Some(index) == recorded(seed, zhosts);
        Self {
            now: Instant::from_micros(1_000_000),
            rng: Rng::from_number(seed),
            serial: 0,
            second: (Instant::ZERO, 0),
            events: BTreeMap::new(),
            machines: (0..zhosts)
                .map(|index| {
                    let mut machine = Machine::new(index, index + cameras >= zhosts, seed, measured);
                    machine.is_recorded = is_recorded(index);
                    machine
                })
                .collect(),
            addresses: (0..zhosts).map(|index| (addrs(index).0, index)).collect(),
            wake_at: vec![None; zhosts],
            wakes: BTreeSet::new(),
            wakes_at_once: 0,
            network: Network::new(faults),
            orphans: BTreeMap::new(),
            bad_agents: BTreeSet::new(),
            muted: BTreeSet::new(),
            operators: Vec::new(),
            sent_bytes: vec![0; zhosts],
            sent_packets: vec![0; zhosts],
            flash_bytes: vec![0; zhosts],
            trace: VecDeque::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            referee: referee::Referee::default(),
            is_judged: !measured,
            has_copies: false,
            panics: None,
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

    /// Says whether the network is whole, and has been for a while.
    pub fn set_calm(&mut self, is_calm: bool) {
        self.referee.cast.is_calm = is_calm;
    }

    /// Hash of everything that happened.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hash
    }

    /// The last lines of the trace.
    pub fn trace(&self) -> impl Iterator<Item = &String> {
        self.trace.iter()
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
        if self.now >= self.second.0 + Duration::from_secs(1) {
            self.second = (self.now, self.serial);
        }
        let events = self.serial - self.second.1;
        let most = EVENTS_PER_SECOND_MAX * self.machines.len() as u64;
        assert!(
            events < most,
            "a storm: {events} events in the second from {}, the last {event:.200?}",
            self.second.0
        );
        self.events.insert((at, self.serial), event);
    }

    /// Gives a board power.
    pub fn start(&mut self, index: usize) {
        self.note(format!("== start z{index}"));
        let rng = self.rng.fork();
        self.machines[index].start(self.now, rng);
        // Those that are measured keep nothing, and count from one.
        if let Some(running) = self.machines[index].running.as_ref().filter(|_| self.is_judged) {
            self.referee.see_start(index, running.agent.node().generation());
        }
        let agent = self.machines[index].slots.running();
        self.network.isolate(index, agent.is_some_and(|agent| self.bad_agents.contains(&agent)));
        self.note(format!("== z{index} has {}", self.machines[index].draws()));
        self.after(index);
    }

    fn hang_up(&mut self, end: End) {
        if let Some(other) = self.network.disconnect(end) {
            let at = self.network.stream_arrival(self.now, other, &mut self.rng);
            if self.network.is_cut(end.0, other.0) {
                // The word does not get through.
                self.orphans.insert(other, end.0);
            } else {
                self.schedule_closed(at, other, false);
            }
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

    /// Lets time pass until `done` says so, looked at now and then, or `end`; whether it was done.
    pub fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        let mut look_at = self.now;
        loop {
            if look_at <= self.now {
                if self.is_judged {
                    self.measure();
                }
                if done(self) {
                    return true;
                }
                look_at = self.now + LOOK_PERIOD * if self.is_judged { 1 } else { 5 };
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

    fn measure(&mut self) {
        for (index, machine) in self.machines.iter().enumerate() {
            if let Some(running) = &machine.running {
                self.referee.measure(index, &running.agent);
                for (part, _, text) in
                    running.agent.node().inspect_panics().filter(|(.., text)| !is_planted(text))
                {
                    let flaw = format!("{} of z{index} panicked: {text}", part.name());
                    self.referee.object(Promise::Sanity.broken(flaw));
                }
            }
            self.referee.see_slots(index, &machine.slots, &self.bad_agents);
        }
    }

    fn next_instant(&self) -> Option<Instant> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wakes.first().map(|(at, _)| *at);
        let operators = self.operators.iter().filter(|o| !o.is_done()).map(|o| o.client.poll_timeout().0);
        let panic = self.panics.as_ref().map(|panics| panics.due);
        event.into_iter().chain(wake).chain(operators).chain(panic).min()
    }

    fn set_wake(&mut self, index: usize, wake: Option<(Instant, &'static str)>) {
        if let Some((at, _)) = self.wake_at[index] {
            self.wakes.remove(&(at, index));
        }
        self.wake_at[index] = wake;
        self.wakes.extend(wake.map(|(at, _)| (at, index)));
    }

    /// Until when a board does nothing, if it is paused.
    fn paused(&self, index: usize) -> Option<Instant> {
        self.machines[index].paused_until.filter(|until| *until > self.now)
    }

    /// Does what is due now.
    fn step(&mut self) {
        self.panic_if_due();
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= self.now
        {
            let event = entry.remove();
            self.happen(event);
        }
        while let Some((at, index)) = self.wakes.first().copied().filter(|(at, _)| *at <= self.now) {
            let why = self.wake_at[index].map_or("", |(_, why)| why);
            if let Some(until) = self.paused(index) {
                self.set_wake(index, Some((until, why)));
                continue;
            }
            self.wakes_at_once += 1;
            assert!(self.wakes_at_once < WAKES_AT_ONCE_MAX, "z{index} spins at {at}: {why}");
            let now = self.machines[index].clock.show(self.now);
            self.set_wake(index, None);
            if let Some(running) = &mut self.machines[index].running {
                running.agent.handle(now, Input::Timeout);
                running.worker.handle_timeout(now);
            }
            self.after(index);
        }
        for number in 0..self.operators.len() {
            if !self.operators[number].is_done() && self.operators[number].client.poll_timeout().0 <= self.now
            {
                self.operators[number].handle_timeout(self.now);
                self.pump_operator(number);
            }
        }
    }

    fn panic_if_due(&mut self) {
        let live = self.live();
        let due = self.panics.as_mut().filter(|panics| panics.due <= self.now);
        if let Some((board, planted)) = due.and_then(|panics| panics.draw(self.now, &live)) {
            self.plant(board, Some(planted));
        }
    }

    fn running(&mut self, index: usize, life: u32) -> Option<&mut Running> {
        let machine = &mut self.machines[index];
        (machine.life == life).then_some(machine.running.as_mut())?
    }

    fn happen(&mut self, event: Event) {
        let on = match &event {
            Event::Datagram { to, .. } => Some(*to),
            Event::OperatorDatagram { .. } => None,
            Event::Connect { to, .. } => self.addresses.get(to).copied(),
            Event::Connected { end, .. } | Event::Bytes { end, .. } | Event::Closed { end, .. } => {
                Some(end.0)
            }
            Event::Disk { machine, .. }
            | Event::Examined { machine, .. }
            | Event::Firmware { machine, .. }
            | Event::End { machine, .. }
            | Event::Boot { machine, .. } => Some(*machine),
        };
        // What happens to a stopped process waits for it, in order.
        if let Some(until) = on.and_then(|index| self.paused(index)) {
            return self.schedule(until, event);
        }
        let now = on.map_or(self.now, |index| self.machines[index].clock.show(self.now));
        match event {
            Event::Datagram { port, to, from, bytes } => {
                if let Some(running) = &mut self.machines[to].running {
                    running.agent.handle_datagram(now, port, from, &bytes);
                    self.after(to);
                }
            }
            Event::OperatorDatagram { to, bytes } => {
                self.operators[to].handle_datagram(self.now, &bytes);
                self.pump_operator(to);
            }
            Event::Connect { from, life, to } => self.happen_connect(from, life, to),
            Event::Connected { end, life } => {
                if let Some(running) = self.running(end.0, life) {
                    running.agent.handle(now, Input::Connected(end.1));
                    self.after(end.0);
                }
            }
            Event::Bytes { end, life, bytes } => {
                if let Some(running) = self.running(end.0, life) {
                    running.agent.handle_bytes(now, end.1, &bytes);
                    self.after(end.0);
                }
            }
            Event::Closed { end, life, refused } => {
                if let Some(running) = self.running(end.0, life) {
                    running.agent.handle(now, Input::Closed { connection: end.1, refused });
                    self.after(end.0);
                }
            }
            Event::Disk { machine, life, token } => {
                if let Some(running) = self.running(machine, life)
                    && let Some(request) = running.disk_queue.remove(&token)
                {
                    let reply = request.perform(running.store.as_ref());
                    running.agent.handle(now, Input::Disk(token, reply));
                    self.after(machine);
                }
            }
            Event::Examined { machine, life, examination } => {
                let findings = self.machines[machine].examine(examination);
                if let Some(running) = self.running(machine, life) {
                    running.agent.handle(now, Input::Examined(findings));
                    self.after(machine);
                }
            }
            Event::Firmware { machine, life, order } => {
                if self.running(machine, life).is_some() && !self.machines[machine].slots.hangs {
                    let result = self.machines[machine].slots.carry_out(&order);
                    if let Some(running) = &mut self.machines[machine].running {
                        running.agent.handle(now, Input::Firmware(order, result));
                    }
                    self.after(machine);
                }
            }
            Event::End { machine, life } => {
                if self.running(machine, life).is_some() {
                    self.kill(machine);
                }
            }
            Event::Boot { machine, life } => {
                let is_off = self.machines[machine].running.is_none() && self.machines[machine].has_power;
                if self.machines[machine].life == life && is_off {
                    self.start(machine);
                }
            }
        }
    }

    fn happen_connect(&mut self, from: End, life: u32, to: SocketAddr) {
        let target = self.addresses.get(&to).copied();
        let reached = target.filter(|to| !self.network.is_severed(from.0, *to));
        let reached = reached.filter(|to| self.network.gets_through(from.0, *to, &mut self.rng));
        let open = reached.filter(|to| self.machines[*to].running.is_some());
        let Some(to) = open else {
            // The kernel of a board that has power says at once that nobody listens; from others comes nothing.
            let refused = reached.is_some_and(|to| self.machines[to].has_power);
            let wait = if refused { Duration::from_millis(1) } else { CONNECT_TIMEOUT };
            self.schedule(self.now + wait, Event::Closed { end: from, life, refused });
            return;
        };
        let now = self.machines[to].clock.show(self.now);
        let client_addr = self.machines[from.0].addr;
        let Some(running) = &mut self.machines[to].running else { return };
        let connection = running.accept();
        self.network.connect(from, (to, connection));
        running.agent.handle_accepted(now, connection, client_addr);
        self.after(to);
        let at = self.network.stream_arrival(self.now, from, &mut self.rng);
        self.schedule(at, Event::Connected { end: from, life });
    }

    /// Works off what a board wants after something happened to it.
    fn after(&mut self, index: usize) {
        let now = self.machines[index].clock.show(self.now);
        for _ in 0..SLICES_AT_ONCE {
            let Some(running) = &mut self.machines[index].running else { return };
            let mut progress = false;
            if running.worker.is_ready(Slice::Long) {
                running.worker.run_slice(now, Slice::Long);
                progress = true;
            }
            while let Some(event) = running.worker.poll_event() {
                self.referee.cast.see_event(self.now, index, &event);
                running.agent.handle(now, Input::Worker(event));
                progress = true;
            }
            let outputs: Vec<Output> = std::iter::from_fn(|| running.agent.poll_output()).collect();
            progress |= !outputs.is_empty();
            outputs.into_iter().for_each(|output| self.carry_out(index, output));
            if !progress {
                break;
            }
        }
        let machine = &self.machines[index];
        let Some(running) = &machine.running else { return };
        let busy = running
            .worker
            .is_ready(Slice::Long)
            .then_some((now + Duration::from_millis(1), "guests have work"));
        let wakes = [running.agent.poll_timeout(), running.worker.poll_timeout(), busy];
        let wake = wakes.into_iter().flatten().min().map(|(at, why)| (machine.clock.when(at), why));
        self.referee.see(index, running.agent.node());
        self.set_wake(index, wake);
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let (now, local) = (self.now, self.machines[index].clock.show(self.now));
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
                let slowness = self.machines[index].disk_slowness;
                let delay = Duration::from_micros(500 + self.rng.below(4000)) * slowness;
                self.flash_bytes[index] += request.size_bytes() as u64;
                if let Some(running) = &mut self.machines[index].running {
                    running.disk_queue.insert(token, request);
                }
                // One after the other, as the agent's disk thread does.
                let done = self.machines[index].disk_free_at.max(now) + delay;
                self.machines[index].disk_free_at = done;
                self.schedule(done, Event::Disk { machine: index, life, token });
            }
            Output::Worker(command) => {
                self.referee.see_command(now, index, &command);
                if let WorkerCommand::Deliver { payloads, .. } = &command {
                    payloads.iter().for_each(|payload| self.referee.see_message((index, life), payload));
                }
                if let Some(running) = &mut self.machines[index].running {
                    running.worker.handle_command(local, command);
                }
            }
            Output::Log(level, text) => {
                if text.contains("runs twice") && !self.has_copies {
                    let text = format!("z{index} sees a copied card where there is none");
                    self.referee.object(Promise::Stability.broken(text));
                }
                self.note(format!("z{index} {level:?}: {text}"));
            }
            // There are no names here.
            Output::Resolve(_) => {}
            // There are no browsers here.
            Output::Web { .. } => {}
            // Simulated boards have no serial line.
            Output::Serial(_) | Output::Recording(..) => {}
            Output::Examine(examination) => {
                let kib = examination.size_bytes().div_ceil(1024) as u32;
                let delay = self.machines[index].examination_per_kib * kib;
                self.schedule(now + delay, Event::Examined { machine: index, life, examination });
            }
            Output::Firmware(order) => {
                self.note(format!("z{index} {order:?}"));
                let delay = Duration::from_millis(200 + self.rng.below(2000));
                self.schedule(now + delay, Event::Firmware { machine: index, life, order });
            }
            Output::SetClock(unix_ms) => {
                let origin = unix_ms.saturating_sub(local.as_millis());
                if let Some(running) = &mut self.machines[index].running {
                    running.agent.handle(local, Input::Clock(origin));
                    running.worker.handle_clock(origin);
                }
            }
            Output::Finished(ending) => {
                self.note(format!("z{index} has finished"));
                if ending == Ending::Restart && self.machines[index].slots.is_board() {
                    self.schedule(now, Event::End { machine: index, life });
                    self.schedule(now + BOOT_TIME, Event::Boot { machine: index, life });
                }
            }
        }
    }

    fn send_datagram(&mut self, from: usize, port: Port, to: SocketAddr, bytes: &[u8]) {
        self.sent_bytes[from] += (bytes.len() + DATAGRAM_HEADER_BYTES) as u64;
        self.sent_packets[from] += 1;
        if let Some(operator) = self.operators.iter().position(|operator| operator.addr == to) {
            for at in self.network.datagram_arrivals(self.now, from, from, &mut self.rng) {
                self.schedule(at, Event::OperatorDatagram { to: operator, bytes: bytes.to_vec() });
            }
            return;
        }
        let source = self.machines[from].addr;
        let targets: Vec<usize> = if to.ip() == BROADCAST {
            (0..self.machines.len()).filter(|index| *index != from).collect()
        } else {
            self.addresses.get(&to).copied().into_iter().collect()
        };
        for target in targets {
            for at in self.network.datagram_arrivals(self.now, from, target, &mut self.rng) {
                self.schedule(at, Event::Datagram { port, to: target, from: source, bytes: bytes.to_vec() });
            }
        }
    }

    fn send_bytes(&mut self, from: End, bytes: Vec<u8>) {
        self.sent_bytes[from.0] += (bytes.len() + SEGMENT_HEADER_BYTES) as u64;
        self.sent_packets[from.0] += 1;
        if self.muted.contains(&from.0) {
            return;
        }
        let Some(to) = self.network.peer(from) else {
            // The kernel of a board that has come back knows nothing of the connection.
            let back = self
                .orphans
                .get(&from)
                .is_some_and(|to| self.machines[*to].has_power && !self.network.is_severed(from.0, *to));
            if back {
                self.orphans.remove(&from);
                let at = self.now + Duration::from_millis(1);
                self.schedule_closed(at, from, false);
            }
            return;
        };
        if let Some(bytes) = self.network.hold_up(from, to.0, bytes) {
            self.sent_bytes[to.0] += SEGMENT_HEADER_BYTES as u64;
            let at = self.network.stream_arrival(self.now, to, &mut self.rng);
            let life = self.machines[to.0].life;
            self.schedule(at, Event::Bytes { end: to, life, bytes });
        }
    }

    fn pump_operator(&mut self, number: usize) {
        let (machine, addr) = (self.operators[number].machine, self.operators[number].addr);
        while let Some(bytes) = self.operators[number].client.poll_datagram() {
            for at in self.network.datagram_arrivals(self.now, machine, machine, &mut self.rng) {
                let bytes = bytes.clone();
                self.schedule(at, Event::Datagram { port: Port::Control, to: machine, from: addr, bytes });
            }
        }
    }

    /// The slots for agents of a board.
    pub fn slots(&mut self, index: usize) -> &mut SimSlots {
        &mut self.machines[index].slots
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World at {} with {} boards", self.now, self.machines.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule_many(count: u64, over: Duration) {
        let machines = Machines { zhosts: 2, cameras: 0, measured: false };
        let mut world = World::new(1, machines, NetworkFaults::default());
        for _ in 0..count {
            world.now += over / count as u32;
            world.schedule(world.now, Event::Boot { machine: 0, life: 0 });
        }
    }

    #[test]
    #[should_panic(expected = "a storm")]
    fn a_cluster_that_talks_without_end_is_stopped() {
        schedule_many(2 * EVENTS_PER_SECOND_MAX + 2, Duration::from_millis(900));
    }

    #[test]
    fn as_many_events_over_seconds_are_no_storm() {
        schedule_many(4 * EVENTS_PER_SECOND_MAX, Duration::from_secs(4));
    }
}
