//! Identities: zhosts, their generations, topologies and blobs.

use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// A zhost: the first eight bytes of the SHA-256 of its static public key, so that a link proves it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ZhostId(pub u64);

/// How many times a zhost has started; two starts of one board are never confused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u32);

impl Generation {
    /// Where the numbers of questions begin in this start: an answer to a question of another start has a number that none
    /// of this one's has, unless a start asks 2^32 questions.
    pub fn first_serial(self) -> u64 {
        u64::from(self.0) << 32
    }
}

/// A topology: derived from its name, so that submitting a name again means a new version of the same topology.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopologyId(pub [u8; 16]);

/// The SHA-256 of a blob's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobDigest(pub [u8; 32]);

impl fmt::Display for ZhostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ZhostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "z{:04x}", self.0 >> 48)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl TopologyId {
    /// A topology id from a SHA-256 of the topology's name: a version 8 (custom) UUID of RFC 9562.
    pub fn from_name_hash(hash: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The first eight bytes, for rendezvous hashing.
    pub fn seed(&self) -> u64 {
        self.0.iter().take(8).fold(0, |acc, byte| acc << 8 | u64::from(*byte))
    }
}

impl fmt::Display for TopologyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopologyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{:02x}{:02x}", self.0[0], self.0[1])
    }
}

impl BlobDigest {
    /// The first eight bytes, for rendezvous hashing.
    pub fn seed(&self) -> u64 {
        self.0.iter().take(8).fold(0, |acc, byte| acc << 8 | u64::from(*byte))
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{:02x}{:02x}", self.0[0], self.0[1])
    }
}

/// The text is not the hexadecimal form of a zhost id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl FromStr for ZhostId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != 16 {
            return Err(NotAnId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAnId)
    }
}

/// Rendezvous (highest random weight) score of `id` for the key `seed`: every zhost computes the same order
/// (Thaler and Ravishankar, 1998; mixing steps of SplitMix64).
pub fn rendezvous(seed: u64, id: ZhostId) -> u64 {
    let mut z = seed ^ id.0.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
