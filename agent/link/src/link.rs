//! One link as a state machine: bytes in, frames out, and back.

use crate::{
    Identity,
    identity::zhost_id,
    noise::{self, HANDSHAKE_MESSAGE_MAX_BYTES, NOISE_MESSAGE_MAX_BYTES, NOISE_TAG_BYTES, Role},
};
use serde::{Deserialize, Serialize};
use snow::{HandshakeState, TransportState};
use std::{collections::VecDeque, fmt};
use zhost_base::{Rng, ZhostId, limits::LINK_QUEUE_MAX_BYTES};

/// Size of one frame; a peer that announces a larger one is cut off.
pub const FRAME_SIZE_MAX_BYTES: usize = 256 * 1024;

const LENGTH_SIZE_BYTES: usize = 2;
const FRAME_LENGTH_SIZE_BYTES: usize = 4;
const PLAIN_MAX_BYTES: usize = NOISE_MESSAGE_MAX_BYTES - NOISE_TAG_BYTES;
/// Both sides change keys after this many messages in each direction.
const REKEY_AFTER_MESSAGES: u64 = 1 << 16;
const PROLOGUE: &[u8] = b"zhost link v1";

/// Why a link has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkError {
    /// The other side does not have the cluster's secret.
    WrongSecret,
    /// Bytes arrived that the other side's key did not seal.
    Forged,
    /// A frame or message larger than allowed.
    TooLarge,
    /// More is queued than the other side takes.
    Congested,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongSecret => "the other side does not have this cluster's secret",
            Self::Forged => "the other side sent bytes its key did not seal",
            Self::TooLarge => "the other side announced more than a frame may have",
            Self::Congested => "the other side does not take what is sent",
        })
    }
}

enum Session {
    Handshake(Box<HandshakeState>),
    Open(Box<TransportState>),
    Dead,
}

/// One end of a link.
pub struct Link {
    session: Session,
    remote: Option<ZhostId>,
    /// Received and not yet decrypted.
    sealed_in: Vec<u8>,
    /// Decrypted and not yet cut into frames.
    plain_in: Vec<u8>,
    frames_in: VecDeque<Vec<u8>>,
    sealed_out: Vec<u8>,
}

impl Link {
    /// A new link of the zhost with this identity in the cluster with this link key.
    pub fn new(role: Role, identity: &Identity, key: &[u8; 32], rng: Rng) -> Self {
        let session = match noise::handshake(role, identity, key, PROLOGUE, rng) {
            Ok(handshake) => Session::Handshake(Box::new(handshake)),
            Err(_) => Session::Dead,
        };
        let mut link = Self {
            session,
            remote: None,
            sealed_in: Vec::new(),
            plain_in: Vec::new(),
            frames_in: VecDeque::new(),
            sealed_out: Vec::new(),
        };
        if role == Role::Initiator {
            // The first message of a fresh handshake cannot fail.
            let _ = link.write_handshake();
        }
        link
    }

    /// Who is at the other end, once that is proved.
    pub fn remote(&self) -> Option<ZhostId> {
        self.remote
    }

    /// Bytes arrived. After an error the link is dead and its connection must be closed.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.sealed_in.extend_from_slice(bytes);
        let mut consumed = 0;
        let sealed = std::mem::take(&mut self.sealed_in);
        let result = loop {
            let rest = &sealed[consumed..];
            let Some((length, rest)) = rest.split_first_chunk::<LENGTH_SIZE_BYTES>() else { break Ok(()) };
            let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length))) else { break Ok(()) };
            consumed += LENGTH_SIZE_BYTES + message.len();
            if let Err(error) = self.handle_message(message) {
                break Err(error);
            }
        };
        self.sealed_in = sealed[consumed..].to_vec();
        if result.is_err() {
            self.session = Session::Dead;
        }
        result
    }

    fn handle_message(&mut self, message: &[u8]) -> Result<(), LinkError> {
        match &mut self.session {
            Session::Handshake(handshake) => {
                let mut payload = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
                handshake.read_message(message, &mut payload).map_err(|_| LinkError::WrongSecret)?;
                if !handshake.is_handshake_finished() {
                    self.write_handshake()?;
                }
                self.finish_handshake()
            }
            Session::Open(transport) => {
                let start = self.plain_in.len();
                self.plain_in.resize(start + message.len(), 0);
                let size = transport
                    .read_message(message, &mut self.plain_in[start..])
                    .map_err(|_| LinkError::Forged)?;
                if transport.receiving_nonce() % REKEY_AFTER_MESSAGES == 0 {
                    transport.rekey_incoming();
                }
                self.plain_in.truncate(start + size);
                self.cut_frames()
            }
            Session::Dead => Err(LinkError::Forged),
        }
    }

    fn write_handshake(&mut self) -> Result<(), LinkError> {
        let Session::Handshake(handshake) = &mut self.session else { return Ok(()) };
        let mut message = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
        let size = handshake.write_message(&[], &mut message).map_err(|_| LinkError::WrongSecret)?;
        push_message(&mut self.sealed_out, &message[..size]);
        Ok(())
    }

    fn finish_handshake(&mut self) -> Result<(), LinkError> {
        if !matches!(&self.session, Session::Handshake(handshake) if handshake.is_handshake_finished()) {
            return Ok(());
        }
        if let Session::Handshake(handshake) = std::mem::replace(&mut self.session, Session::Dead) {
            self.remote = handshake.get_remote_static().map(zhost_id);
            let transport = handshake.into_transport_mode().map_err(|_| LinkError::WrongSecret)?;
            self.session = Session::Open(Box::new(transport));
        }
        Ok(())
    }

    fn cut_frames(&mut self) -> Result<(), LinkError> {
        let mut consumed = 0;
        while let Some((length, rest)) =
            self.plain_in[consumed..].split_first_chunk::<FRAME_LENGTH_SIZE_BYTES>()
        {
            let length = u32::from_be_bytes(*length) as usize;
            if length > FRAME_SIZE_MAX_BYTES {
                return Err(LinkError::TooLarge);
            }
            let Some(frame) = rest.get(..length) else { break };
            self.frames_in.push_back(frame.to_vec());
            consumed += FRAME_LENGTH_SIZE_BYTES + length;
        }
        self.plain_in.drain(..consumed);
        Ok(())
    }

    /// The next frame that arrived.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames_in.pop_front()
    }

    /// Seals frames, each as [`push_frame`] has put it there; before the handshake is finished they are dropped.
    pub fn seal(&mut self, frames: &[u8]) {
        let Session::Open(transport) = &mut self.session else { return };
        for plain in frames.chunks(PLAIN_MAX_BYTES) {
            let mut message = vec![0; plain.len() + NOISE_TAG_BYTES];
            // Fails only for messages over the limit or after 2^64 of them.
            if transport.write_message(plain, &mut message).is_ok() {
                push_message(&mut self.sealed_out, &message);
            }
            if transport.sending_nonce() % REKEY_AFTER_MESSAGES == 0 {
                transport.rekey_outgoing();
            }
        }
    }

    /// Everything that is to be written to the connection now.
    pub fn poll_bytes(&mut self) -> Option<Vec<u8>> {
        (!self.sealed_out.is_empty()).then(|| std::mem::take(&mut self.sealed_out))
    }
}

/// Puts a frame behind those that are to be sealed together. Refused without change when it is larger than
/// [`FRAME_SIZE_MAX_BYTES`] or too much is there already.
pub fn push_frame(frames: &mut Vec<u8>, frame: &[u8]) -> Result<(), LinkError> {
    if frame.len() > FRAME_SIZE_MAX_BYTES {
        return Err(LinkError::TooLarge);
    }
    if frames.len() + frame.len() > LINK_QUEUE_MAX_BYTES {
        return Err(LinkError::Congested);
    }
    frames.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    frames.extend_from_slice(frame);
    Ok(())
}

fn push_message(out: &mut Vec<u8>, message: &[u8]) {
    // Messages are at most 65,535 bytes by construction.
    out.extend_from_slice(&(message.len() as u16).to_be_bytes());
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [9; 32];

    fn link(role: Role, seed: u8, key: &[u8; 32]) -> Link {
        let identity = Identity::from_private([seed; 32]);
        Link::new(role, &identity, key, Rng::from_number(u64::from(seed)))
    }

    fn pump(a: &mut Link, b: &mut Link, chunk: usize) -> Result<(), LinkError> {
        loop {
            let (from_a, from_b) = (a.poll_bytes(), b.poll_bytes());
            if from_a.is_none() && from_b.is_none() {
                return Ok(());
            }
            from_a
                .iter()
                .flat_map(|bytes| bytes.chunks(chunk))
                .try_for_each(|bytes| b.handle_bytes(bytes))?;
            from_b
                .iter()
                .flat_map(|bytes| bytes.chunks(chunk))
                .try_for_each(|bytes| a.handle_bytes(bytes))?;
        }
    }

    fn send(link: &mut Link, frame: &[u8]) {
        let mut frames = Vec::new();
        push_frame(&mut frames, frame).unwrap();
        link.seal(&frames);
    }

    #[test]
    fn frames_cross_in_order_however_the_bytes_are_cut() {
        for chunk in [1, 7, 65_537, usize::MAX] {
            let (mut a, mut b) = (link(Role::Initiator, 1, &KEY), link(Role::Responder, 2, &KEY));
            send(&mut a, b"before the handshake nobody may read this");
            pump(&mut a, &mut b, chunk).unwrap();
            let frames: Vec<Vec<u8>> = (0..40).map(|i| vec![i as u8; i * i * 60]).collect();
            let mut together = Vec::new();
            frames.iter().for_each(|frame| push_frame(&mut together, frame).unwrap());
            a.seal(&together);
            pump(&mut a, &mut b, chunk).unwrap();
            let got: Vec<_> = std::iter::from_fn(|| b.poll_frame()).collect();
            assert!(got == frames, "chunk {chunk}");
            assert_eq!(b.remote(), Some(Identity::from_private([1; 32]).zhost_id()));
        }
    }

    #[test]
    fn a_stranger_gets_silence() {
        let (mut a, mut b) = (link(Role::Initiator, 1, &[1; 32]), link(Role::Responder, 2, &KEY));
        assert_eq!(pump(&mut a, &mut b, 1000), Err(LinkError::WrongSecret));
        assert_eq!(b.poll_bytes(), None);
    }

    #[test]
    fn a_flipped_byte_ends_the_link() {
        let (mut a, mut b) = (link(Role::Initiator, 1, &KEY), link(Role::Responder, 2, &KEY));
        pump(&mut a, &mut b, 1000).unwrap();
        send(&mut a, b"hello");
        let mut bytes = a.poll_bytes().unwrap();
        bytes[5] ^= 1;
        assert_eq!(b.handle_bytes(&bytes), Err(LinkError::Forged));
        assert_eq!(b.handle_bytes(&bytes), Err(LinkError::Forged));
    }

    #[test]
    fn queues_are_bounded() {
        let mut frames = Vec::new();
        assert_eq!(push_frame(&mut frames, &vec![0; FRAME_SIZE_MAX_BYTES + 1]), Err(LinkError::TooLarge));
        let frame = vec![0; FRAME_SIZE_MAX_BYTES];
        let refused = (0..100).find_map(|_| push_frame(&mut frames, &frame).err());
        assert_eq!(refused, Some(LinkError::Congested));
        assert!(frames.len() <= LINK_QUEUE_MAX_BYTES + 100);
    }

    #[test]
    fn keys_change_with_use_and_frames_still_cross() {
        let (mut a, mut b) = (link(Role::Initiator, 1, &KEY), link(Role::Responder, 2, &KEY));
        pump(&mut a, &mut b, 1000).unwrap();
        for i in 0..REKEY_AFTER_MESSAGES + 10 {
            send(&mut a, &i.to_be_bytes());
            b.handle_bytes(&a.poll_bytes().unwrap()).unwrap();
            assert_eq!(b.poll_frame().unwrap(), i.to_be_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000)) {
            let _ = link(Role::Responder, 1, &KEY).handle_bytes(&bytes);
            let _ = link(Role::Initiator, 1, &KEY).handle_bytes(&bytes);
        }
    }
}
