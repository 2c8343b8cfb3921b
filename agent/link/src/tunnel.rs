//! Sealed packets between two zhosts that have no link, through relays that cannot read them.
//!
//! A [`Tunnel`] carries packets one way: from the zhost that opened it. It is the handshake of a link
//! (`Noise_XXpsk0`), then packets with explicit nonces, since relays may lose and reorder them. The last message of the
//! handshake travels with every packet until the other side is known to have it.

use crate::{
    Identity,
    identity::zhost_id,
    noise::{self, HANDSHAKE_MESSAGE_MAX_BYTES, NOISE_TAG_BYTES, Role},
};
use serde::{Deserialize, Serialize};
use snow::{HandshakeState, StatelessTransportState};
use std::collections::VecDeque;
use zhost_base::{Rng, ZhostId, limits::TUNNELS_MAX};

const PROLOGUE: &[u8] = b"zhost tunnel v1";

/// What travels through relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub enum Envelope {
    /// Opens a tunnel: the first message of the handshake.
    Open(u64, #[serde(with = "serde_bytes")] Vec<u8>),
    /// The second, from the other side.
    Accept(u64, #[serde(with = "serde_bytes")] Vec<u8>),
    /// A packet.
    Sealed {
        /// Of this tunnel.
        tunnel: u64,
        /// The third message of the handshake, until it is known to have arrived.
        #[serde(with = "serde_bytes")]
        finish: Option<Vec<u8>>,
        /// Never used twice.
        nonce: u64,
        /// The sealed packet.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
}

enum State {
    Opening(Box<HandshakeState>),
    Open { transport: Box<StatelessTransportState>, finish: Option<Vec<u8>>, next_nonce: u64 },
    Dead,
}

/// The sending end of a tunnel.
pub struct Tunnel {
    number: u64,
    to: ZhostId,
    state: State,
}

impl Tunnel {
    /// Opens a tunnel to a zhost; the envelope goes there.
    pub fn open(to: ZhostId, identity: &Identity, key: &[u8; 32], mut rng: Rng) -> Option<(Self, Envelope)> {
        let number = rng.number();
        let mut handshake = noise::handshake(Role::Initiator, identity, key, PROLOGUE, rng).ok()?;
        let message = write_handshake(&mut handshake)?;
        let state = State::Opening(Box::new(handshake));
        Some((Self { number, to, state }, Envelope::Open(number, message)))
    }

    /// Whether packets can be sealed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// The other side answers the handshake. What is not its answer, or not from it, ends the tunnel.
    pub fn handle_accept(&mut self, number: u64, message: &[u8]) {
        if number == self.number
            && let State::Opening(handshake) = std::mem::replace(&mut self.state, State::Dead)
        {
            self.state = finish_handshake(*handshake, self.to, message).unwrap_or(State::Dead);
        }
    }

    /// Seals a packet; nothing while the tunnel is not open, or for a packet over the limit.
    pub fn seal(&mut self, packet: &[u8]) -> Option<Envelope> {
        let State::Open { transport, finish, next_nonce } = &mut self.state else { return None };
        let mut bytes = vec![0; packet.len() + NOISE_TAG_BYTES];
        let size = transport.write_message(*next_nonce, packet, &mut bytes).ok()?;
        bytes.truncate(size);
        let nonce = *next_nonce;
        *next_nonce += 1;
        Some(Envelope::Sealed { tunnel: self.number, finish: finish.clone(), nonce, bytes })
    }

    /// The other side has shown that it can open our packets.
    pub fn confirm(&mut self) {
        if let State::Open { finish, .. } = &mut self.state {
            *finish = None;
        }
    }
}

fn write_handshake(handshake: &mut HandshakeState) -> Option<Vec<u8>> {
    let mut message = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
    let size = handshake.write_message(&[], &mut message).ok()?;
    Some(message[..size].to_vec())
}

fn finish_handshake(mut handshake: HandshakeState, to: ZhostId, message: &[u8]) -> Option<State> {
    let mut payload = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
    handshake.read_message(message, &mut payload).ok()?;
    // Relays are not trusted to say who is at the other end.
    if handshake.get_remote_static().map(zhost_id) != Some(to) {
        return None;
    }
    let finish = Some(write_handshake(&mut handshake)?);
    let transport = Box::new(handshake.into_stateless_transport_mode().ok()?);
    Some(State::Open { transport, finish, next_nonce: 0 })
}

enum Arrival {
    Opening(Box<HandshakeState>),
    Open(ZhostId, Box<StatelessTransportState>),
}

/// The receiving ends of the tunnels that others opened to us.
#[derive(Default)]
pub struct Arrivals {
    /// Oldest first, at most [`TUNNELS_MAX`].
    tunnels: VecDeque<(u64, Arrival)>,
}

impl Arrivals {
    /// Somebody opens a tunnel; gives the answer.
    pub fn handle_open(
        &mut self,
        number: u64,
        message: &[u8],
        identity: &Identity,
        key: &[u8; 32],
        rng: Rng,
    ) -> Option<Envelope> {
        let mut handshake = noise::handshake(Role::Responder, identity, key, PROLOGUE, rng).ok()?;
        let mut payload = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
        handshake.read_message(message, &mut payload).ok()?;
        let answer = write_handshake(&mut handshake)?;
        // A repeated opening must not end a tunnel that is in use.
        if self.tunnels.iter().any(|(known, _)| *known == number) {
            return None;
        }
        if self.tunnels.len() >= TUNNELS_MAX {
            self.tunnels.pop_front();
        }
        self.tunnels.push_back((number, Arrival::Opening(Box::new(handshake))));
        Some(Envelope::Accept(number, answer))
    }

    /// A sealed packet arrived; gives who sealed it and what it says.
    pub fn handle_sealed(
        &mut self,
        number: u64,
        finish: Option<&[u8]>,
        nonce: u64,
        sealed: &[u8],
    ) -> Option<(ZhostId, Vec<u8>)> {
        let index = self.tunnels.iter().position(|(known, _)| *known == number)?;
        if matches!(self.tunnels[index].1, Arrival::Opening(_)) {
            let message = finish?;
            let (_, arrival) = self.tunnels.remove(index)?;
            self.tunnels.push_back((number, finish_arrival(arrival, message)?));
        }
        let (_, arrival) = self.tunnels.iter().find(|(known, _)| *known == number)?;
        let Arrival::Open(from, transport) = arrival else { return None };
        let mut packet = vec![0; sealed.len()];
        let size = transport.read_message(nonce, sealed, &mut packet).ok()?;
        packet.truncate(size);
        Some((*from, packet))
    }
}

fn finish_arrival(arrival: Arrival, message: &[u8]) -> Option<Arrival> {
    let Arrival::Opening(mut handshake) = arrival else { return None };
    let mut payload = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
    handshake.read_message(message, &mut payload).ok()?;
    let from = handshake.get_remote_static().map(zhost_id)?;
    Some(Arrival::Open(from, Box::new(handshake.into_stateless_transport_mode().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [9; 32];

    fn identity(seed: u8) -> Identity {
        Identity::from_private([seed; 32])
    }

    fn open(key: &[u8; 32], to: &Identity) -> (Tunnel, u64, Vec<u8>) {
        let rng = Rng::from_number(1);
        let (tunnel, envelope) = Tunnel::open(to.zhost_id(), &identity(1), key, rng).unwrap();
        let Envelope::Open(number, message) = envelope else { panic!("not an opening") };
        (tunnel, number, message)
    }

    fn opened() -> (Tunnel, Arrivals) {
        let (mut tunnel, number, message) = open(&KEY, &identity(2));
        let mut arrivals = Arrivals::default();
        let answer = arrivals.handle_open(number, &message, &identity(2), &KEY, Rng::from_number(2));
        let Some(Envelope::Accept(number, answer)) = answer else { panic!("no answer") };
        tunnel.handle_accept(number, &answer);
        (tunnel, arrivals)
    }

    fn receive(arrivals: &mut Arrivals, envelope: &Envelope) -> Option<(ZhostId, Vec<u8>)> {
        let Envelope::Sealed { tunnel, finish, nonce, bytes } = envelope else { return None };
        arrivals.handle_sealed(*tunnel, finish.as_deref(), *nonce, bytes)
    }

    #[test]
    fn packets_arrive_in_any_order_with_proof_of_who_sent_them() {
        let (mut tunnel, mut arrivals) = opened();
        let sealed: Vec<Envelope> = (0..3).map(|i| tunnel.seal(&[i]).unwrap()).collect();
        for index in [2, 0, 1] {
            let (from, packet) = receive(&mut arrivals, &sealed[index]).unwrap();
            assert_eq!((from, packet), (identity(1).zhost_id(), vec![index as u8]));
        }
        tunnel.confirm();
        let later = tunnel.seal(b"x").unwrap();
        assert!(matches!(later, Envelope::Sealed { finish: None, .. }));
        assert!(receive(&mut arrivals, &later).is_some());
    }

    #[test]
    fn relays_cannot_read_change_or_pretend() {
        let (mut tunnel, mut arrivals) = opened();
        let secret = b"nobody else reads this";
        let sealed = tunnel.seal(secret).unwrap();
        let Envelope::Sealed { bytes, .. } = &sealed else { panic!("not sealed") };
        assert!(!bytes.windows(6).any(|window| window == &secret[..6]));
        let mut changed = sealed.clone();
        if let Envelope::Sealed { bytes, .. } = &mut changed {
            bytes[3] ^= 1;
        }
        assert_eq!(receive(&mut arrivals, &changed), None);
        assert!(receive(&mut arrivals, &sealed).is_some());
        // A relay that answers in place of the zhost that was meant.
        let (mut tunnel, number, message) = open(&KEY, &identity(2));
        let mut relay = Arrivals::default();
        let answer = relay.handle_open(number, &message, &identity(3), &KEY, Rng::from_number(3)).unwrap();
        if let Envelope::Accept(number, answer) = answer {
            tunnel.handle_accept(number, &answer);
        }
        assert!(!tunnel.is_open() && tunnel.seal(b"x").is_none());
    }

    #[test]
    fn strangers_open_nothing_and_the_table_is_bounded() {
        let (_, number, message) = open(&[1; 32], &identity(2));
        let mut arrivals = Arrivals::default();
        assert!(arrivals.handle_open(number, &message, &identity(2), &KEY, Rng::from_number(2)).is_none());
        for seed in 0..TUNNELS_MAX as u64 + 10 {
            let rng = Rng::from_number(seed);
            let (_, envelope) = Tunnel::open(identity(2).zhost_id(), &identity(1), &KEY, rng).unwrap();
            if let Envelope::Open(number, message) = envelope {
                arrivals.handle_open(number, &message, &identity(2), &KEY, Rng::from_number(seed));
            }
        }
        assert_eq!(arrivals.tunnels.len(), TUNNELS_MAX);
    }
}
