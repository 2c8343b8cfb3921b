//! An address from a DHCP server (RFC 2131), as a state machine without sockets.
//!
//! Everything is broadcast, renewals too: a board asks seldom, and a server that moved is found.

use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};
use zhost_base::{Instant, Rng};

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Offset of the cookie, behind the fixed fields.
const OPTIONS_AT: usize = 236;
/// Packets are padded to the least that old relays pass on.
const PACKET_SIZE_MIN_BYTES: usize = 300;
const RESEND_MIN: Duration = Duration::from_secs(1);
const RESEND_MAX: Duration = Duration::from_secs(32);
/// Requests of an offer before another one is looked for.
const REQUESTS_MAX: u32 = 4;
const LEASE_MIN: Duration = Duration::from_secs(60);

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// An address, and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The board's address.
    pub addr: Ipv4Addr,
    /// Bits of its network.
    pub prefix: u8,
    /// The way to everywhere else.
    pub gateway: Option<Ipv4Addr>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Broadcast this from port 68 to port 67.
    Send(Vec<u8>),
    /// Use this address; it replaces an earlier one.
    Use(Lease),
    /// Use none.
    Drop,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Selecting,
    Requesting { offered: Ipv4Addr, server: Ipv4Addr, tries: u32 },
    Bound { addr: Ipv4Addr, expires_at: Instant, asks: bool },
}

/// A client of one network interface.
#[derive(Debug)]
pub struct Dhcp {
    mac: [u8; 6],
    name: String,
    transaction: u32,
    state: State,
    resend: Duration,
    due: Instant,
    rng: Rng,
    outputs: VecDeque<Output>,
}

/// What a server says.
struct Answer {
    kind: u8,
    addr: Ipv4Addr,
    mask: Option<Ipv4Addr>,
    gateway: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    lease: Option<Duration>,
}

impl Dhcp {
    /// A client that asks at once; the server may show `name` to people.
    pub fn new(now: Instant, mac: [u8; 6], name: &str, mut rng: Rng) -> Self {
        let transaction = rng.number() as u32;
        let name = name.to_owned();
        let (state, outputs) = (State::Selecting, VecDeque::new());
        Self { mac, name, transaction, state, resend: RESEND_MIN, due: now, rng, outputs }
    }

    /// A packet came to port 68; what is no answer to us changes nothing.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let Some(answer) = self.read(packet) else { return };
        match (self.state, answer.kind) {
            (State::Selecting, OFFER) => {
                let Some(server) = answer.server else { return };
                self.state = State::Requesting { offered: answer.addr, server, tries: 0 };
                self.resend = RESEND_MIN;
                self.ask(now);
            }
            (State::Requesting { offered, .. }, ACK) if answer.addr == offered => self.take(now, &answer),
            (State::Bound { addr, asks: true, .. }, ACK) if answer.addr == addr => self.take(now, &answer),
            (State::Requesting { .. } | State::Bound { asks: true, .. }, NAK) => self.start_over(now),
            _ => {}
        }
    }

    fn take(&mut self, now: Instant, answer: &Answer) {
        let lease = answer.lease.unwrap_or(LEASE_MIN).max(LEASE_MIN);
        self.state = State::Bound { addr: answer.addr, expires_at: now + lease, asks: false };
        self.due = now + lease / 2;
        let prefix = answer.mask.map_or(24, |mask| mask.to_bits().leading_ones() as u8);
        self.outputs.push_back(Output::Use(Lease { addr: answer.addr, prefix, gateway: answer.gateway }));
    }

    fn start_over(&mut self, now: Instant) {
        if let State::Bound { .. } = self.state {
            self.outputs.push_back(Output::Drop);
        }
        self.state = State::Selecting;
        self.transaction = self.rng.number() as u32;
        self.resend = RESEND_MIN;
        self.due = now;
    }

    /// Asks, or asks again.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.due > now {
            return;
        }
        match &mut self.state {
            State::Requesting { tries, .. } if *tries >= REQUESTS_MAX => self.start_over(now),
            State::Bound { expires_at, .. } if *expires_at <= now => self.start_over(now),
            State::Bound { asks, .. } if !*asks => {
                *asks = true;
                self.resend = RESEND_MIN;
            }
            _ => {}
        }
        self.ask(now);
    }

    /// The cable is back, perhaps at another network: asks at once whether the address is still right there.
    pub fn handle_carrier(&mut self, now: Instant) {
        if let State::Bound { asks, .. } = &mut self.state {
            *asks = true;
        }
        self.resend = RESEND_MIN;
        self.due = now;
    }

    fn ask(&mut self, now: Instant) {
        let packet = match &mut self.state {
            State::Selecting => self.packet(DISCOVER, Ipv4Addr::UNSPECIFIED, &[]),
            State::Requesting { offered, server, tries } => {
                *tries += 1;
                let (offered, server) = (offered.octets(), server.octets());
                self.packet(REQUEST, Ipv4Addr::UNSPECIFIED, &[(50, &offered), (54, &server)])
            }
            State::Bound { addr, .. } => {
                let addr = *addr;
                self.packet(REQUEST, addr, &[])
            }
        };
        self.outputs.push_back(Output::Send(packet));
        // Boards that got power together shall not ask together.
        self.due = now + self.resend + Duration::from_millis(self.rng.below(500));
        self.resend = (self.resend * 2).min(RESEND_MAX);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> (Instant, &'static str) {
        (self.due, "DHCP")
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn packet(&self, kind: u8, current: Ipv4Addr, more: &[(u8, &[u8])]) -> Vec<u8> {
        let mut packet = vec![0; OPTIONS_AT];
        packet[..3].copy_from_slice(&[1, 1, 6]);
        packet[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        // The answer is to be broadcast: there is no address yet that it could be sent to.
        packet[10] = 0x80;
        packet[12..16].copy_from_slice(&current.octets());
        packet[28..34].copy_from_slice(&self.mac);
        packet.extend_from_slice(&COOKIE);
        let name = &self.name.as_bytes()[..self.name.len().min(63)];
        let options: [(u8, &[u8]); 3] = [(53, &[kind]), (12, name), (55, &[1, 3, 51])];
        for (code, value) in options.iter().chain(more).filter(|(_, value)| !value.is_empty()) {
            packet.extend_from_slice(&[*code, value.len() as u8]);
            packet.extend_from_slice(value);
        }
        packet.push(255);
        packet.resize(packet.len().max(PACKET_SIZE_MIN_BYTES), 0);
        packet
    }

    fn read(&self, packet: &[u8]) -> Option<Answer> {
        let is_ours = *packet.first()? == 2
            && packet.get(4..8)? == self.transaction.to_be_bytes()
            && packet.get(28..34)? == self.mac;
        let mut rest = packet.get(OPTIONS_AT..)?.strip_prefix(&COOKIE)?;
        let mut answer = Answer {
            kind: 0,
            addr: addr(packet.get(16..20)?)?,
            mask: None,
            gateway: None,
            server: None,
            lease: None,
        };
        while let [code, tail @ ..] = rest {
            match code {
                0 => {
                    rest = tail;
                    continue;
                }
                255 => break,
                _ => {}
            }
            let (length, tail) = tail.split_first()?;
            let (value, tail) = tail.split_at_checked(usize::from(*length))?;
            match code {
                53 => answer.kind = *value.first()?,
                1 => answer.mask = addr(value),
                3 => answer.gateway = addr(value.get(..4)?),
                51 => {
                    let seconds = u32::from_be_bytes(*value.first_chunk()?);
                    answer.lease = Some(Duration::from_secs(seconds.into()));
                }
                54 => answer.server = addr(value),
                _ => {}
            }
            rest = tail;
        }
        is_ours.then_some(answer)
    }
}

fn addr(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

#[cfg(test)]
mod tests;
