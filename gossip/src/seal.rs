//! Sealed datagrams: XChaCha20-Poly1305 under a key derived from the cluster secret.
//!
//! Layout: version (1 byte), key id (1 byte), nonce (24 random bytes), ciphertext, tag (16 bytes). The first two
//! bytes are authenticated. A replayed datagram is harmless: everything inside is ordered by generations,
//! incarnations, versions or terms of its own, and answers name whom they answer.

use alloc::vec::Vec;
use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zhost_base::{Name, Rng};

const VERSION: u8 = 1;
const HEADER_SIZE_BYTES: usize = 2;
const NONCE_SIZE_BYTES: usize = 24;
const TAG_SIZE_BYTES: usize = 16;

/// What sealing adds to a datagram.
pub const SEAL_OVERHEAD_BYTES: usize = HEADER_SIZE_BYTES + NONCE_SIZE_BYTES + TAG_SIZE_BYTES;

/// The secret all zhosts of a cluster share, bound to the cluster's name; keys derive from both.
#[derive(Clone)]
pub struct ClusterSecret {
    secret: [u8; 32],
    cluster: Name,
}

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Not a sealed datagram of this version.
    Malformed,
    /// Sealed with another key: another cluster, or a stranger.
    WrongSecret,
}

impl ClusterSecret {
    /// The secret as it stands in the secret file, for the cluster of this name.
    pub fn new(secret: [u8; 32], cluster: Name) -> Self {
        Self { secret, cluster }
    }

    /// A key for one purpose (HKDF-SHA256, RFC 5869, salted with the cluster's name).
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut key = [0; 32];
        let hkdf = Hkdf::<Sha256>::new(Some(self.cluster.as_str().as_bytes()), &self.secret);
        // Expanding to 32 bytes is always within HKDF's limit of 255 hashes.
        let _ = hkdf.expand(purpose.as_bytes(), &mut key);
        key
    }
}

impl core::fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ClusterSecret")
    }
}

/// Seals and opens datagrams.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    key_id: u8,
}

impl Sealer {
    /// The sealer of the cluster with this secret.
    pub fn new(secret: &ClusterSecret) -> Self {
        let key = secret.derive("zhost gossip datagram v1");
        let key_id = secret.derive("zhost gossip key id v1")[0];
        Self { cipher: XChaCha20Poly1305::new(&key.into()), key_id }
    }

    /// Seals `plain`.
    pub fn seal(&self, rng: &mut Rng, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_SIZE_BYTES];
        rng.fill(&mut nonce);
        let mut sealed = Vec::with_capacity(SEAL_OVERHEAD_BYTES + plain.len());
        sealed.extend_from_slice(&[VERSION, self.key_id]);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (head, body) = sealed.split_at_mut(HEADER_SIZE_BYTES + NONCE_SIZE_BYTES);
        match self.cipher.encrypt_in_place_detached(
            XNonce::from_slice(&nonce),
            &head[..HEADER_SIZE_BYTES],
            body,
        ) {
            Ok(tag) => sealed.extend_from_slice(&tag),
            // Only a plaintext of 256 GiB is refused; an empty datagram is dropped by everybody.
            Err(_) => sealed.clear(),
        }
        sealed
    }

    /// Opens a sealed datagram.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (header, rest) = sealed.split_at_checked(HEADER_SIZE_BYTES).ok_or(OpenError::Malformed)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_SIZE_BYTES).ok_or(OpenError::Malformed)?;
        let split = rest.len().checked_sub(TAG_SIZE_BYTES).ok_or(OpenError::Malformed)?;
        let (body, tag) = rest.split_at(split);
        match header {
            [VERSION, key_id] if *key_id == self.key_id => {}
            [VERSION, _] => return Err(OpenError::WrongSecret),
            _ => return Err(OpenError::Malformed),
        }
        let mut plain = body.to_vec();
        self.cipher
            .decrypt_in_place_detached(XNonce::from_slice(nonce), header, &mut plain, Tag::from_slice(tag))
            .map_err(|_| OpenError::WrongSecret)?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8, cluster: &str) -> ClusterSecret {
        ClusterSecret::new([byte; 32], cluster.parse().unwrap())
    }

    #[test]
    fn two_clusters_with_one_secret_do_not_hear_each_other() {
        let sealed = Sealer::new(&secret(1, "north")).seal(&mut Rng::from_number(1), b"x");
        assert_eq!(Sealer::new(&secret(1, "south")).open(&sealed), Err(OpenError::WrongSecret));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let sealer = Sealer::new(&secret(1, "c"));
        let sealed = sealer.seal(&mut Rng::from_number(1), b"hello");
        assert_eq!(sealer.open(&sealed).unwrap(), b"hello");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(sealer.open(&sealed[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn another_secret_is_told_apart_from_garbage() {
        let ours = Sealer::new(&secret(1, "c"));
        let theirs = Sealer::new(&secret(2, "c")).seal(&mut Rng::from_number(1), b"x");
        assert_eq!(ours.open(&theirs), Err(OpenError::WrongSecret));
        assert_eq!(
            ours.open(b"GET / HTTP/1.1 and then something longer than a header"),
            Err(OpenError::Malformed)
        );
    }
}
