//! Control datagrams, outside and inside the encryption.

use serde::{Deserialize, Serialize};

/// Largest control datagram.
pub const DATAGRAM_MAX_BYTES: usize = 1200;
const HEADER_SIZE_BYTES: usize = 9;

/// What a datagram is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First handshake message.
    Hello = 1,
    /// Second handshake message, from the zhost.
    Answer = 2,
    /// Third handshake message.
    Finish = 3,
    /// A sealed [`Packet`] behind its nonce.
    Sealed = 4,
}

/// Splits a datagram into its kind, session and body.
pub fn split(datagram: &[u8]) -> Option<(Kind, u64, &[u8])> {
    let (header, body) = datagram.split_first_chunk::<HEADER_SIZE_BYTES>()?;
    let kind = match header[0] {
        1 => Kind::Hello,
        2 => Kind::Answer,
        3 => Kind::Finish,
        4 => Kind::Sealed,
        _ => return None,
    };
    let session = header[1..].iter().fold(0, |acc, byte| acc << 8 | u64::from(*byte));
    (datagram.len() <= DATAGRAM_MAX_BYTES).then_some((kind, session, body))
}

/// Puts a datagram together.
pub fn join(kind: Kind, session: u64, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(HEADER_SIZE_BYTES + body.len());
    datagram.push(kind as u8);
    datagram.extend_from_slice(&session.to_be_bytes());
    datagram.extend_from_slice(body);
    datagram
}

/// What both sides of a session's handshake mix in: a hello is good for its own session only.
pub fn prologue(session: u64) -> Vec<u8> {
    [b"zhost control v1".as_slice(), &session.to_be_bytes()].concat()
}

/// What is inside a sealed datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packet {
    /// A piece of a message.
    Fragment {
        /// Counts the messages of this direction, from 1.
        message: u32,
        /// Which piece.
        index: u32,
        /// How many pieces the message has.
        count: u32,
        /// As many as the line's [`crate::Pace`] says; the last one fewer.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Which pieces arrived.
    Ack {
        /// Of which message.
        message: u32,
        /// All pieces before this one.
        next: u32,
        /// And of the 64 behind it, those whose bits are set.
        beyond: u64,
    },
}

/// Seals and opens packets of one session, once its handshake is done.
pub struct Channel {
    transport: snow::StatelessTransportState,
    nonce: u64,
}

impl Channel {
    /// The channel of a finished handshake.
    pub fn new(transport: snow::StatelessTransportState) -> Self {
        Self { transport, nonce: 0 }
    }

    /// A datagram of `session` with this packet.
    pub fn seal(&mut self, session: u64, packet: &Packet) -> Vec<u8> {
        let plain = postcard::to_allocvec(packet).unwrap_or_default();
        let mut body = vec![0; 8 + plain.len() + zhost_link::noise::NOISE_TAG_BYTES];
        body[..8].copy_from_slice(&self.nonce.to_be_bytes());
        // Packets are far below the size limit of Noise, and nonces never run out.
        let _ = self.transport.write_message(self.nonce, &plain, &mut body[8..]);
        self.nonce += 1;
        join(Kind::Sealed, session, &body)
    }

    /// The packet in the body of a sealed datagram. A replayed one is harmless: messages and pieces are numbered.
    pub fn open(&self, body: &[u8]) -> Option<Packet> {
        let (nonce, sealed) = body.split_first_chunk::<8>()?;
        let mut plain = vec![0; sealed.len()];
        let size = self.transport.read_message(u64::from_be_bytes(*nonce), sealed, &mut plain).ok()?;
        postcard::from_bytes(&plain[..size]).ok()
    }
}
