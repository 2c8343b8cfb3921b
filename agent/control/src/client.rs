//! The operator's end of a session.

use crate::{
    Pace,
    packet::{self, Channel, Kind, Packet},
    transfer::{Received, Receiver, Sender},
};
use snow::HandshakeState;
use std::{collections::VecDeque, fmt, time::Duration};
use zhost_base::{Instant, Rng, limits::CONTROL_MESSAGE_MAX_BYTES};
use zhost_link::{
    Identity,
    noise::{self, HANDSHAKE_MESSAGE_MAX_BYTES, Role},
};

/// How long a zhost may think about a request it has received.
const THINKING_MAX: Duration = Duration::from_secs(30);

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// Nothing came back: no zhost there, or one that has another control secret.
    Silent,
    /// A zhost with this control secret answered, but does not take this operator.
    Stranger,
    /// The zhost answered the handshake but then fell silent.
    Lost,
    /// The request is larger than a zhost takes.
    TooLarge,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "no answer: nobody is there, or a zhost that has another control secret",
            Self::Stranger => {
                "a zhost with this control secret answers, but does not take your operator key: it is not among its \
                 `operators`"
            }
            Self::Lost => "the zhost fell silent during the request; ask another zhost of the cluster",
            Self::TooLarge => "the request is larger than a zhost takes",
        })
    }
}

impl std::error::Error for ClientError {}

enum State {
    Hello { handshake: Option<Box<HandshakeState>>, hello: Vec<u8>, send_at: Instant },
    Open { channel: Channel, finish: Vec<u8>, heard: bool },
}

/// A session with one zhost; requests go one after the other.
pub struct Client {
    pace: Pace,
    session: u64,
    state: State,
    message: u32,
    sender: Option<Sender>,
    receiver: Receiver,
    reply: Option<Vec<u8>>,
    give_up_at: Instant,
    outbox: VecDeque<Vec<u8>>,
}

impl Client {
    /// Starts a session of the operator `identity` under the control key.
    pub fn new(
        now: Instant,
        pace: Pace,
        identity: &Identity,
        key: &[u8; 32],
        mut rng: Rng,
    ) -> Result<Self, snow::Error> {
        let session = rng.number();
        let mut handshake =
            noise::handshake(Role::Initiator, identity, key, &packet::prologue(session), rng)?;
        let mut message = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
        let size = handshake.write_message(&[], &mut message)?;
        let hello = packet::join(Kind::Hello, session, &message[..size]);
        Ok(Self {
            pace,
            session,
            state: State::Hello { handshake: Some(Box::new(handshake)), hello, send_at: now },
            message: 0,
            sender: None,
            receiver: Receiver::new(pace),
            reply: None,
            give_up_at: now + pace.answer_within,
            outbox: VecDeque::new(),
        })
    }

    /// Sends a request; the reply comes from [`Self::poll_reply`].
    pub fn request(&mut self, now: Instant, bytes: Vec<u8>) -> Result<(), ClientError> {
        if bytes.len() > CONTROL_MESSAGE_MAX_BYTES {
            return Err(ClientError::TooLarge);
        }
        self.message += 1;
        self.sender = Some(Sender::new(self.pace, self.message, bytes));
        if let State::Open { heard, .. } = self.state {
            self.give_up_at = now + if heard { self.pace.silence_max } else { self.pace.heard_within };
        }
        self.pump(now);
        Ok(())
    }

    /// Sends what the request's sender has to send, once the session is open.
    fn pump(&mut self, now: Instant) {
        let State::Open { channel, finish, heard } = &mut self.state else { return };
        let Some(sender) = &mut self.sender else { return };
        // Until the zhost is heard, the end of the handshake may be what got lost.
        if !*heard && sender.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.outbox.push_back(finish.clone());
        }
        while let Some(packet) = sender.poll_packet(now) {
            self.outbox.push_back(channel.seal(self.session, &packet));
        }
    }

    /// Bytes of the request that arrived, and bytes in all.
    pub fn progress(&self) -> Option<(usize, usize)> {
        self.sender.as_ref().map(Sender::progress)
    }

    /// A datagram came from the zhost.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let Some((kind, session, body)) = packet::split(datagram) else { return };
        if session != self.session {
            return;
        }
        match (&mut self.state, kind) {
            (State::Hello { .. }, Kind::Answer) => self.finish_handshake(now, body),
            (State::Open { channel, heard, .. }, Kind::Sealed) => {
                if let Some(packet) = channel.open(body) {
                    *heard = true;
                    self.handle_packet(now, packet);
                }
            }
            _ => {}
        }
    }

    fn finish_handshake(&mut self, now: Instant, body: &[u8]) {
        let State::Hello { handshake, .. } = &mut self.state else { return };
        // A forged answer spoils the handshake; the session then gives up, and the operator tries again.
        let Some(mut handshake) = handshake.take() else { return };
        let mut buffer = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
        let read = handshake.read_message(body, &mut buffer);
        let Ok(size) = read.and_then(|_| handshake.write_message(&[], &mut buffer)) else { return };
        if let Ok(transport) = handshake.into_stateless_transport_mode() {
            let finish = packet::join(Kind::Finish, self.session, &buffer[..size]);
            self.outbox.push_back(finish.clone());
            self.state = State::Open { channel: Channel::new(transport), finish, heard: false };
            self.give_up_at = now + self.pace.heard_within;
            self.pump(now);
        }
    }

    /// Whether a zhost answered that has the control secret.
    pub fn is_answered(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether the zhost takes the operator: it said something that only the two can read.
    pub fn is_heard(&self) -> bool {
        matches!(self.state, State::Open { heard: true, .. })
    }

    fn handle_packet(&mut self, now: Instant, packet: Packet) {
        self.give_up_at = self.give_up_at.max(now + self.pace.silence_max);
        match packet {
            Packet::Ack { message, next, beyond } => {
                if let Some(sender) = &mut self.sender {
                    sender.handle_ack(now, message, next, beyond);
                    if sender.is_done() {
                        self.sender = None;
                        self.give_up_at = now + THINKING_MAX;
                    }
                }
                self.pump(now);
            }
            Packet::Fragment { message, index, count, bytes } => {
                let Some(Received { ack, whole }) =
                    self.receiver.handle_fragment(message, index, count, bytes)
                else {
                    return;
                };
                if let State::Open { channel, .. } = &mut self.state {
                    self.outbox.push_back(channel.seal(self.session, &ack));
                }
                if let Some((message, bytes)) = whole
                    && message == self.message
                {
                    self.reply = Some(bytes);
                }
            }
        }
    }

    /// The line to the zhost is there again after a break, which does not count as silence.
    pub fn handle_line_back(&mut self, now: Instant) {
        self.give_up_at = self.give_up_at.max(now + self.pace.silence_max);
    }

    /// The reply to the last request, once.
    pub fn poll_reply(&mut self) -> Option<Vec<u8>> {
        self.reply.take()
    }

    /// Repeats what got lost; an error means that there is no use in waiting on.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.give_up_at <= now {
            return Err(match self.state {
                State::Open { heard: true, .. } => ClientError::Lost,
                State::Open { heard: false, .. } => ClientError::Stranger,
                State::Hello { .. } => ClientError::Silent,
            });
        }
        if let State::Hello { hello, send_at, .. } = &mut self.state
            && *send_at <= now
        {
            *send_at = now + self.pace.hello_period;
            self.outbox.push_back(hello.clone());
        }
        self.pump(now);
        Ok(())
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> (Instant, &'static str) {
        let other = match &self.state {
            State::Hello { send_at, .. } => Some((*send_at, "hello")),
            State::Open { .. } => self.sender.as_ref().and_then(Sender::poll_timeout),
        };
        let give_up = (self.give_up_at, "give up");
        other.map_or(give_up, |other| other.min(give_up))
    }

    /// The next datagram to send.
    pub fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }
}
