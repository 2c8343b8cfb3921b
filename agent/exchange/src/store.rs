//! Durable tables of bytes, as the agent and its DATA spaces use them.

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::fmt;
use zhost_base::{BlobDigest, SpaceKey, TopologyId};

/// Why the store did not do it. After a failed commit nothing of it is visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreError {
    /// No room on the flash.
    Full,
    /// Too much waits for the flash already.
    Busy,
    /// The flash failed, for this reason.
    Failed(String),
    /// What is on the flash cannot be made sense of, for this reason: it is no store, or not a whole one.
    Damaged(String),
    /// Somebody else has it open.
    InUse,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("there is no room left on the flash"),
            Self::Busy => f.write_str("too much waits for the flash already; try again"),
            Self::Failed(reason) => write!(f, "the flash failed: {reason}"),
            Self::Damaged(reason) => write!(f, "what is on the flash is damaged: {reason}"),
            Self::InUse => f.write_str("somebody else has the store open"),
        }
    }
}

impl std::error::Error for StoreError {}

/// One change of a table; no value means delete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Which table.
    pub table: String,
    /// Which key.
    pub key: Vec<u8>,
    /// Its new value.
    pub value: Option<Vec<u8>>,
}

/// Keys and values as a scan gives them.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What one call wrote, by key; no value means delete.
pub type Changes = LiteMap<Vec<u8>, Option<Vec<u8>>>;

/// Durable tables.
pub trait Store: Send + Sync {
    /// The value of a key.
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The first `limit` entries whose keys start with `prefix`, in order of the keys.
    fn scan(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Entries, StoreError>;

    /// The first `limit` keys that start with `prefix`, in order.
    fn keys(&self, table: &str, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Entries from one key up to before another (or to the end), in order, until `size_bytes` are gathered, but at
    /// least one; and the key of the first entry of the range that was not.
    fn range(
        &self,
        table: &str,
        from: &[u8],
        to: Option<&[u8]>,
        size_bytes: usize,
    ) -> Result<(Entries, Option<Vec<u8>>), StoreError>;

    /// Bytes of all keys and values of a table.
    fn usage(&self, table: &str) -> Result<u64, StoreError>;

    /// Removes the tables whose names begin so.
    fn drop_tables(&self, prefix: &str) -> Result<(), StoreError>;

    /// Makes all of `writes` durable, or none.
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError>;
}

/// Names of the tables.
pub mod table {
    use super::{SpaceKey, TopologyId};

    /// Generation, votes and other facts about this zhost.
    pub const META: &str = "meta";
    /// The ledger's documents.
    pub const LEDGER: &str = "ledger";
    /// Blobs in pieces.
    pub const BLOBS: &str = "blobs";

    /// The data of a DATA space.
    pub fn data(key: &SpaceKey) -> String {
        data_of(key.topology) + key.space.as_str()
    }

    /// What the names of a topology's tables of data begin with.
    pub fn data_of(topology: TopologyId) -> String {
        format!("data/{topology}/")
    }
}

/// The key of the piece `index` of a blob.
pub fn blob_key(digest: BlobDigest, index: u32) -> Vec<u8> {
    [digest.0.as_slice(), &index.to_be_bytes()].concat()
}
