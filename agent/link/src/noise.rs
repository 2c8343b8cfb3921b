//! Noise handshakes with injected randomness.

use crate::Identity;
use snow::{
    Builder, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use zhost_base::Rng;

const PATTERN: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";

/// Largest Noise message on the wire, by the specification.
pub const NOISE_MESSAGE_MAX_BYTES: usize = 65_535;
/// What encryption adds to a message.
pub const NOISE_TAG_BYTES: usize = 16;
/// Largest of the three handshake messages, which carry no payload.
pub const HANDSHAKE_MESSAGE_MAX_BYTES: usize = 96;

/// Which side of a handshake one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Speaks first.
    Initiator,
    /// Answers.
    Responder,
}

struct SeededResolver(Rng);

struct SeededRandom(Rng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl CryptoResolver for SeededResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom(self.0.clone())))
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Starts a handshake under the pre-shared key `psk`; `rng` must be used for this handshake alone.
pub fn handshake(
    role: Role,
    identity: &Identity,
    psk: &[u8; 32],
    prologue: &[u8],
    rng: Rng,
) -> Result<HandshakeState, snow::Error> {
    let builder = Builder::with_resolver(PATTERN.parse()?, Box::new(SeededResolver(rng)))
        .local_private_key(identity.private())?
        .psk(0, psk)?
        .prologue(prologue)?;
    match role {
        Role::Initiator => builder.build_initiator(),
        Role::Responder => builder.build_responder(),
    }
}

/// The public half of an X25519 private key.
pub(crate) fn public_key(private: &[u8; 32]) -> [u8; 32] {
    let mut public = [0; 32];
    if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
        dh.set(private);
        public.copy_from_slice(dh.pubkey());
    }
    public
}
