//! Who a zhost or an operator is: a static X25519 key.

use crate::noise;
use sha2::{Digest, Sha256};
use std::fmt;
use zhost_base::ZhostId;

/// A static key pair. Its text forms never show the private half.
#[derive(Clone)]
pub struct Identity {
    private: [u8; 32],
    public: [u8; 32],
}

impl Identity {
    /// The identity with this private key: 32 random bytes.
    pub fn from_private(private: [u8; 32]) -> Self {
        Self { private, public: noise::public_key(&private) }
    }

    /// The private key, for storing it.
    pub fn private(&self) -> &[u8; 32] {
        &self.private
    }

    /// The public key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The zhost that has this identity.
    pub fn zhost_id(&self) -> ZhostId {
        zhost_id(&self.public)
    }
}

/// The zhost with this public key.
pub fn zhost_id(public: &[u8]) -> ZhostId {
    let hash = Sha256::digest(public);
    ZhostId(hash.iter().take(8).fold(0, |acc, byte| acc << 8 | u64::from(*byte)))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.zhost_id())
    }
}
