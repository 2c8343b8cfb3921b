//! What a node keeps on flash, and the requests by which it does.

use crate::data::disposal::Waste;
use litemap::LiteMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::net::SocketAddr;
use zhost_base::{
    BlobDigest, Generation, SpaceKey, TopologyId, ZhostId,
    limits::{MEMBERS_MAX, TOPOLOGIES_MAX},
    planted::{self, Bug},
};
use zhost_exchange::{Store, StoreError, Write, table};
use zhost_gossip::{
    document::{DataLife, Document, DocumentKey, PlacementVersion},
    election::Ballot,
};

const GENERATION: &[u8] = b"generation";
const BALLOT: &[u8] = b"ballot";
const PEERS: &[u8] = b"peers";
const HORIZON: &[u8] = b"horizon";
const LOST: &[u8] = b"lost";
const BLOB_INDEX: &str = "blob-index";
/// How much of the index of blobs is read at once.
const INDEX_BYTES: usize = 64 * 1024;
const DATA_VERSIONS: &str = "data-versions";
const PROMISES: &str = "promises";
const DATA_LIVES: &str = "data-lives";

/// What the shell is to do with the store. Requests are carried out in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskRequest {
    /// Make these writes durable together.
    Commit(Vec<Write>),
    /// Read a key.
    Read {
        /// Of this table.
        table: &'static str,
        /// This key.
        key: Vec<u8>,
    },
    /// Read entries in the order of their keys.
    Scan {
        /// Of this table.
        table: String,
        /// From this key on.
        from: Vec<u8>,
        /// Up to before this one.
        to: Option<Vec<u8>>,
        /// Until this many bytes are read, but at least one entry.
        size_bytes: usize,
    },
    /// Remove the tables whose names begin so.
    DropTables(String),
    /// Have exactly these entries in a part of a table.
    Replace {
        /// Of this table.
        table: String,
        /// From this key on.
        from: Vec<u8>,
        /// Up to before this one.
        to: Option<Vec<u8>>,
        /// The entries.
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    },
}

/// What came of a [`DiskRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskReply {
    /// The writes are durable.
    Committed,
    /// The value, if there is one.
    Value(Option<Vec<u8>>),
    /// The entries, and the key of the first one behind them.
    Entries(Vec<(Vec<u8>, Vec<u8>)>, Option<Vec<u8>>),
}

/// What a disk request was for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// Nobody waits for it.
    Nothing,
    Document(DocumentKey, u64),
    Ballot(Ballot),
    /// A piece of a blob that is being pulled; the last one comes with the index entry.
    BlobPiece {
        digest: BlobDigest,
        last: bool,
    },
    /// The blob of a submit; the number is the command's.
    SubmittedBlob {
        digest: BlobDigest,
        size_bytes: u32,
        command: u64,
    },
    /// Which blobs are there; the number is that of the lookup.
    BlobIndex(u64),
    /// A piece that a peer asked for.
    BlobRead {
        digest: BlobDigest,
        index: u32,
        peer: ZhostId,
    },
    /// That lower placements are refused.
    Promise(TopologyId, PlacementVersion),
    /// Data that nobody wants goes.
    Disposal(Waste),
    /// It is noted to which life data belongs.
    Life(Waste, Option<DataLife>),
    /// The next entries for a replica.
    DataScan {
        key: SpaceKey,
        peer: ZhostId,
        session: u64,
    },
    /// What a primary ordered.
    DataOrder {
        key: SpaceKey,
        session: u64,
    },
}

impl DiskRequest {
    /// Bytes of keys and values it writes.
    pub fn size_bytes(&self) -> usize {
        let size = |write: &Write| write.key.len() + write.value.as_ref().map_or(0, Vec::len);
        match self {
            Self::Commit(writes) => writes.iter().map(size).sum(),
            Self::Read { .. } | Self::Scan { .. } | Self::DropTables(_) => 0,
            Self::Replace { entries, .. } => entries.iter().map(|(key, value)| key.len() + value.len()).sum(),
        }
    }

    /// Performs the request on `store`, in the way every shell does.
    pub fn perform(&self, store: &dyn Store) -> Result<DiskReply, StoreError> {
        match self {
            Self::Commit(writes) => store.commit(writes).map(|()| DiskReply::Committed),
            Self::DropTables(prefix) => store.drop_tables(prefix).map(|()| DiskReply::Committed),
            Self::Read { table, key } => store.get(table, key).map(DiskReply::Value),
            Self::Scan { table, from, to, size_bytes } => {
                let (entries, next) = store.range(table, from, to.as_deref(), *size_bytes)?;
                Ok(DiskReply::Entries(entries, next))
            }
            Self::Replace { table, from, to, entries } => {
                let (old, _) = store.range(table, from, to.as_deref(), usize::MAX)?;
                let gone = old.into_iter().map(|(key, _)| write(table, key, None));
                let new = entries.iter().map(|(key, value)| write(table, key.clone(), Some(value.clone())));
                store.commit(&gone.chain(new).collect::<Vec<_>>()).map(|()| DiskReply::Committed)
            }
        }
    }
}

/// What this zhost had on flash and has no more, so that what follows from it must not be taken for granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    /// For whom it voted: until it knows which terms are past, it votes for nobody.
    pub votes: bool,
    /// The data of spaces: until the others have taken note, it counts as nobody who has any.
    pub data: bool,
}

/// What a node found on its flash when it started.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Recovered {
    pub(crate) lost: Lost,
    pub(crate) generation: Generation,
    pub(crate) ballot: Ballot,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) documents: Vec<(DocumentKey, Document)>,
    pub(crate) horizon: u64,
    pub(crate) blobs: LiteMap<BlobDigest, u32>,
    pub(crate) data_versions: LiteMap<SpaceKey, PlacementVersion>,
    pub(crate) data_lives: LiteMap<SpaceKey, DataLife>,
    pub(crate) promises: LiteMap<TopologyId, PlacementVersion>,
}

impl Recovered {
    /// Whether this zhost has lost what it had on flash, and not yet heard what it needs of others.
    pub fn has_lost(&self) -> bool {
        self.lost != Lost::default()
    }

    /// Reads the store and counts this start. An entry that cannot be read is skipped: the cluster has copies.
    ///
    /// `was_here` says that this zhost has run before: if its store knows nothing of that, it was lost.
    pub fn boot(store: &dyn Store, was_here: bool) -> Result<Self, StoreError> {
        let meta = |key: &[u8]| store.get(table::META, key);
        let generation = meta(GENERATION)?;
        let lost = match decode(meta(LOST)?.as_deref()) {
            Some(lost) => lost,
            None if was_here && generation.is_none() => Lost { votes: true, data: true },
            None => Lost::default(),
        };
        let generation: Generation = decode(generation.as_deref()).unwrap_or_default();
        let starts = if planted::has(Bug::ReuseGeneration) { 0 } else { 1 };
        let generation = Generation(generation.0.saturating_add(starts).max(1));
        store.commit(&[generation_write(generation), lost_write(lost)])?;
        let documents = store.scan(table::LEDGER, b"", 3 * TOPOLOGIES_MAX + MEMBERS_MAX)?;
        let documents =
            documents.iter().filter_map(|(key, value)| Some((decode(Some(key))?, decode(Some(value))?)));
        let blobs = store.scan(BLOB_INDEX, b"", usize::MAX)?;
        let versions = store.scan(DATA_VERSIONS, b"", usize::MAX)?;
        let versions =
            versions.iter().filter_map(|(key, value)| Some((decode(Some(key))?, decode(Some(value))?)));
        let lives = store.scan(DATA_LIVES, b"", usize::MAX)?;
        let lives = lives.iter().filter_map(|(key, value)| Some((decode(Some(key))?, decode(Some(value))?)));
        let promises = store.scan(PROMISES, b"", usize::MAX)?;
        let promises =
            promises.iter().filter_map(|(key, value)| Some((decode(Some(key))?, decode(Some(value))?)));
        Ok(Self {
            lost,
            promises: promises.collect(),
            data_lives: lives.collect(),
            data_versions: versions.collect(),
            generation,
            ballot: decode(meta(BALLOT)?.as_deref()).unwrap_or_default(),
            peers: decode(meta(PEERS)?.as_deref()).unwrap_or_default(),
            documents: documents.collect(),
            horizon: decode(meta(HORIZON)?.as_deref()).unwrap_or_default(),
            blobs: blobs_in(&blobs).collect(),
        })
    }
}

fn decode<T: DeserializeOwned>(bytes: Option<&[u8]>) -> Option<T> {
    postcard::from_bytes(bytes?).ok()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

fn write(table: &str, key: Vec<u8>, value: Option<Vec<u8>>) -> Write {
    Write { table: table.into(), key, value }
}

pub(crate) fn generation_write(generation: Generation) -> Write {
    write(table::META, GENERATION.to_vec(), Some(encode(&generation)))
}

pub(crate) fn lost_write(lost: Lost) -> Write {
    write(table::META, LOST.to_vec(), (lost != Lost::default()).then(|| encode(&lost)))
}

pub(crate) fn ballot_write(ballot: Ballot) -> Write {
    write(table::META, BALLOT.to_vec(), Some(encode(&ballot)))
}

pub(crate) fn peers_write(peers: &[SocketAddr]) -> Write {
    write(table::META, PEERS.to_vec(), Some(encode(&peers)))
}

pub(crate) fn horizon_write(horizon: u64) -> Write {
    write(table::META, HORIZON.to_vec(), Some(encode(&horizon)))
}

/// The placement under which the data of a space was last written by another zhost's order.
pub(crate) fn data_version_write(key: &SpaceKey, version: Option<PlacementVersion>) -> Write {
    write(DATA_VERSIONS, encode(key), version.map(|version| encode(&version)))
}

/// Placements below this version are refused.
pub(crate) fn promise_write(id: TopologyId, floor: Option<PlacementVersion>) -> Write {
    write(PROMISES, encode(&id), floor.map(|floor| encode(&floor)))
}

/// To which life of a space's data belongs what is here; to none: there is no such data.
pub(crate) fn data_life_write(key: &SpaceKey, life: Option<DataLife>) -> Write {
    write(DATA_LIVES, encode(key), life.map(|life| encode(&life)))
}

pub(crate) fn document_removal(key: &DocumentKey) -> Write {
    write(table::LEDGER, encode(key), None)
}

pub(crate) fn document_write(key: &DocumentKey, document: &Document) -> Write {
    write(table::LEDGER, encode(key), Some(encode(document)))
}

pub(crate) fn blob_index_write(digest: BlobDigest, size_bytes: Option<u32>) -> Write {
    write(BLOB_INDEX, encode(&digest), size_bytes.map(|size| encode(&size)))
}

/// Reads which blobs are there, of the index from that key on.
pub(crate) fn blob_index_read(from: Vec<u8>) -> DiskRequest {
    DiskRequest::Scan { table: BLOB_INDEX.into(), from, to: None, size_bytes: INDEX_BYTES }
}

/// The blobs in entries of the index, with their sizes.
pub(crate) fn blobs_in(entries: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = (BlobDigest, u32)> {
    entries.iter().filter_map(|(key, value)| Some((decode(Some(key))?, decode(Some(value))?)))
}

pub(crate) fn blob_piece_write(digest: BlobDigest, index: u32, bytes: Option<Vec<u8>>) -> Write {
    write(table::BLOBS, zhost_exchange::blob_key(digest, index), bytes)
}
