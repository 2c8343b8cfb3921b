//! The zhost's end: many sessions, none for strangers.

use crate::{
    Pace,
    packet::{self, Channel, Kind, Packet},
    transfer::{Received, Receiver, Sender},
};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use snow::HandshakeState;
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use zhost_base::{
    Instant, Rng,
    limits::{CONTROL_HANDSHAKES_BURST, CONTROL_HANDSHAKES_PER_SECOND, CONTROL_SESSIONS_MAX},
};
use zhost_link::{
    Identity,
    noise::{self, HANDSHAKE_MESSAGE_MAX_BYTES, Role},
};

/// Sessions nobody used for this long are forgotten.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Sessions remembered, so that a recorded hello gets no second answer.
const SESSIONS_REMEMBERED_MAX: usize = 4096;
/// Handshakes not finished by then are forgotten.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Where a session's datagrams come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The network.
    Network(SocketAddr),
    /// The serial line.
    Serial,
}

impl Caller {
    fn pace(self) -> Pace {
        match self {
            Self::Network(_) => Pace::NETWORK,
            Self::Serial => Pace::SERIAL,
        }
    }
}

/// Who may command, of those who prove the control secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whose public keys are these.
    Operators(Vec<[u8; 32]>),
    /// Everybody: a board that has no cluster yet.
    Anybody,
}

impl Trust {
    fn includes(&self, key: &[u8]) -> bool {
        match self {
            Self::Operators(operators) => operators.iter().any(|operator| operator == key),
            Self::Anybody => true,
        }
    }
}

/// A session, as its client named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct SessionId(u64);

enum State {
    Handshake { handshake: Option<Box<HandshakeState>>, answer: Vec<u8> },
    Open { channel: Channel, receiver: Receiver, senders: VecDeque<Sender> },
}

struct Session {
    caller: Caller,
    state: State,
    expires_at: Instant,
}

/// The control endpoint of a zhost.
pub struct Server {
    identity: Identity,
    key: [u8; 32],
    trust: Trust,
    sessions: LiteMap<SessionId, Session>,
    /// The sessions that began last.
    begun: VecDeque<SessionId>,
    tokens: u32,
    refilled_at: Instant,
    rng: Rng,
    requests: VecDeque<(SessionId, u32, Vec<u8>)>,
    outbox: VecDeque<(Caller, Vec<u8>)>,
}

impl Server {
    /// An endpoint under the control key.
    pub fn new(now: Instant, identity: Identity, key: [u8; 32], trust: Trust, rng: Rng) -> Self {
        Self {
            identity,
            key,
            trust,
            sessions: LiteMap::new(),
            begun: VecDeque::new(),
            tokens: CONTROL_HANDSHAKES_BURST,
            refilled_at: now,
            rng,
            requests: VecDeque::new(),
            outbox: VecDeque::new(),
        }
    }

    /// A datagram came. Whatever does not prove itself is dropped without an answer.
    pub fn handle_datagram(&mut self, now: Instant, from: Caller, datagram: &[u8]) {
        let Some((kind, session, body)) = packet::split(datagram) else { return };
        let id = SessionId(session);
        match kind {
            Kind::Hello => self.handle_hello(now, from, id, body),
            Kind::Finish => self.handle_finish(now, id, body),
            Kind::Sealed => self.handle_sealed(now, from, id, body),
            Kind::Answer => {}
        }
    }

    fn handle_hello(&mut self, now: Instant, from: Caller, id: SessionId, body: &[u8]) {
        match self.sessions.get(&id) {
            Some(Session { caller, state: State::Handshake { answer, .. }, .. }) if *caller == from => {
                self.outbox.push_back((from, answer.clone()));
                return;
            }
            Some(_) => return,
            None => {}
        }
        let rng = self.rng.fork();
        let prologue = packet::prologue(id.0);
        let Ok(mut handshake) = noise::handshake(Role::Responder, &self.identity, &self.key, &prologue, rng)
        else {
            return;
        };
        let mut buffer = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
        // Reading the first message costs two hashes and needs the secret; only what follows is worth limiting.
        let genuine = handshake.read_message(body, &mut buffer).is_ok() && !self.begun.contains(&id);
        if !genuine || !self.take_token(now) {
            return;
        }
        self.remember(id);
        let Ok(size) = handshake.write_message(&[], &mut buffer) else { return };
        let answer = packet::join(Kind::Answer, id.0, &buffer[..size]);
        self.outbox.push_back((from, answer.clone()));
        self.make_room();
        let state = State::Handshake { handshake: Some(Box::new(handshake)), answer };
        self.sessions.insert(id, Session { caller: from, state, expires_at: now + HANDSHAKE_MAX });
    }

    /// Notes that a session began: a hello is good for one session, whose number it is bound to.
    fn remember(&mut self, id: SessionId) {
        if self.begun.len() >= SESSIONS_REMEMBERED_MAX {
            self.begun.pop_front();
        }
        self.begun.push_back(id);
    }

    fn take_token(&mut self, now: Instant) -> bool {
        let refill =
            now.since(self.refilled_at).as_millis() as u64 * u64::from(CONTROL_HANDSHAKES_PER_SECOND) / 1000;
        if refill > 0 {
            self.tokens =
                self.tokens.saturating_add(refill.min(1 << 20) as u32).min(CONTROL_HANDSHAKES_BURST);
            self.refilled_at = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn make_room(&mut self) {
        if self.sessions.len() >= CONTROL_SESSIONS_MAX
            && let Some(id) =
                self.sessions.iter().min_by_key(|(_, session)| session.expires_at).map(|(id, _)| *id)
        {
            self.sessions.remove(&id);
        }
    }

    fn handle_finish(&mut self, now: Instant, id: SessionId, body: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let State::Handshake { handshake, .. } = &mut session.state else { return };
        let Some(mut handshake) = handshake.take() else { return };
        let mut buffer = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
        let finished = handshake.read_message(body, &mut buffer).is_ok();
        let known = handshake.get_remote_static().is_some_and(|key| self.trust.includes(key));
        match handshake.into_stateless_transport_mode() {
            Ok(transport) if finished && known => {
                let (channel, receiver) = (Channel::new(transport), Receiver::new(session.caller.pace()));
                session.state = State::Open { channel, receiver, senders: VecDeque::new() };
                session.expires_at = now + IDLE_MAX;
            }
            _ => {
                self.sessions.remove(&id);
            }
        }
    }

    fn handle_sealed(&mut self, now: Instant, from: Caller, id: SessionId, body: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let State::Open { channel, receiver, senders } = &mut session.state else { return };
        let Some(packet) = channel.open(body).filter(|_| from.pace() == session.caller.pace()) else {
            return;
        };
        session.caller = from;
        session.expires_at = now + IDLE_MAX;
        match packet {
            Packet::Fragment { message, index, count, bytes } => {
                let Some(Received { ack, whole }) = receiver.handle_fragment(message, index, count, bytes)
                else {
                    return;
                };
                self.outbox.push_back((from, channel.seal(id.0, &ack)));
                if let Some((message, bytes)) = whole {
                    self.requests.push_back((id, message, bytes));
                }
            }
            Packet::Ack { message, next, beyond } => {
                senders.iter_mut().for_each(|sender| sender.handle_ack(now, message, next, beyond));
                senders.retain(|sender| !sender.is_done());
            }
        }
        self.pump(now, id);
    }

    /// The next request, with the names under which it is answered.
    pub fn poll_request(&mut self) -> Option<(SessionId, u32, Vec<u8>)> {
        self.requests.pop_front()
    }

    /// Answers a request; nothing happens if its session is gone.
    pub fn reply(&mut self, now: Instant, id: SessionId, message: u32, bytes: Vec<u8>) {
        if let Some(Session { caller, state: State::Open { senders, .. }, .. }) = self.sessions.get_mut(&id) {
            senders.push_back(Sender::new(caller.pace(), message, bytes));
        }
        self.pump(now, id);
    }

    fn pump(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let State::Open { channel, senders, .. } = &mut session.state else { return };
        if let Some(sender) = senders.front_mut() {
            while let Some(packet) = sender.poll_packet(now) {
                self.outbox.push_back((session.caller, channel.seal(id.0, &packet)));
            }
        }
    }

    /// Repeats what got lost and forgets sessions that fell silent.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.sessions.retain(|_, session| session.expires_at > now);
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.pump(now, id));
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let resend = |session: &Session| match &session.state {
            State::Open { senders, .. } => senders.front().and_then(Sender::poll_timeout),
            State::Handshake { .. } => None,
        };
        let timers = self
            .sessions
            .values()
            .flat_map(|session| [resend(session), Some((session.expires_at, "idle session"))]);
        timers.flatten().min()
    }

    /// The next datagram to send.
    pub fn poll_datagram(&mut self) -> Option<(Caller, Vec<u8>)> {
        self.outbox.pop_front()
    }
}

#[cfg(test)]
mod tests;
