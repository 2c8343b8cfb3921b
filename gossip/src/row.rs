//! The rows of the registry: what a zhost says about itself.

use crate::document::PlacementVersion;
use alloc::{string::String, vec::Vec};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};
use tinyvec::ArrayVec;
use zhost_base::{BlobDigest, Generation, Name, SpaceKey, TopologyId, ZhostId, limits::SUPERS_MAX};

/// What a row is about; one owner has at most one row per key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RowKey {
    /// Who the owner is and what it offers: [`Row::Profile`].
    Profile,
    /// How loaded it is: [`Row::Load`].
    Load,
    /// The term it leads, if any: [`Row::Leadership`].
    Leadership,
    /// The super it reports to: [`Row::Super`].
    Super,
    /// The zhosts it is linked with: [`Row::Links`].
    Links,
    /// Its verdict, as super, that a zhost has failed: [`Row::Verdict`].
    Verdict(ZhostId),
    /// A space it runs: [`Row::Space`].
    Space(SpaceKey),
    /// A blob on its flash: [`Row::Blob`].
    Blob(BlobDigest),
    /// A global name of a topology that one of its spaces holds: [`Row::Name`].
    Name(TopologyId, Name),
    /// Which agent it runs, and what came of the one it was to take up: [`Row::Firmware`].
    Firmware,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// Under [`RowKey::Profile`].
    Profile(Profile),
    /// Under [`RowKey::Load`].
    Load(LoadBand),
    /// Under [`RowKey::Leadership`].
    Leadership(Leadership),
    /// Under [`RowKey::Super`].
    Super(ZhostId),
    /// Under [`RowKey::Links`]: with whom, and the round trip as a power of two of microseconds.
    Links(Vec<(ZhostId, u8)>),
    /// Under [`RowKey::Verdict`]: that start of the zhost sent no heartbeat for too long.
    Verdict(Generation),
    /// Under [`RowKey::Space`].
    Space(SpaceRow),
    /// Under [`RowKey::Blob`].
    Blob,
    /// Under [`RowKey::Name`].
    Name {
        /// Which of the owner's spaces holds it.
        number: u32,
        /// The grant; of two, the higher one counts.
        grant: PlacementVersion,
    },
    /// Under [`RowKey::Firmware`]; zhosts without slots for agents have none.
    Firmware(FirmwareRow),
}

/// The agent of a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareRow {
    /// Which agents it can run, as Rust calls it.
    pub target: Name,
    /// The one it runs; none is that of its image.
    pub running: Option<BlobDigest>,
    /// What that is called.
    pub version: Name,
    /// What became of the last one it took up.
    pub attempt: Attempt,
}

/// What became of the last agent that a board took up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// It runs for good, or there was none.
    Settled,
    /// It is being written to a slot.
    Installing,
    /// It runs, and goes again if it does not find the cluster in time.
    Trying,
    /// It was given up.
    Failed {
        /// The operator's push it came with.
        revision: u64,
        /// Why, cut at [`zhost_base::limits::FIRMWARE_REASON_MAX_BYTES`].
        reason: String,
    },
}

/// Who a zhost is and what it offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// What people call it.
    pub name: Name,
    /// Where it stands.
    pub region: Name,
    /// What sort of machine it is.
    pub kind: Name,
    /// Where it answers `zctl`, if not only on a serial line; no address stands for all that it has.
    pub control_addr: Option<SocketAddr>,
    /// Where it answers browsers, if it does, likewise.
    pub web_addr: Option<SocketAddr>,
    /// Whether it may become a super node.
    pub eligible: bool,
    /// Whether it runs spaces.
    pub runs_spaces: bool,
    /// Whether it has lost what it had on flash: it is no place for replicated data until everybody has taken note.
    pub blank: bool,
    /// Where another zhost with its identity runs and stands aside for it, if one does.
    pub rival_addr: Option<SocketAddr>,
    /// Linear memory it gives to spaces.
    pub memory_bytes: u32,
    /// When it started, milliseconds since 1970 by its own clock.
    pub started_unix_ms: u64,
    /// The agent's version.
    pub agent: Name,
    /// The capabilities it offers, sorted.
    pub capabilities: Vec<Name>,
}

/// Load in coarse steps, so that the row changes rarely; exact load travels only in heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBand {
    /// Quarters of the processors in use, 0 to 4.
    pub cpu: u8,
    /// Quarters of the memory in use, 0 to 4.
    pub memory: u8,
}

/// The supers of a term, in the order of their candidacy.
pub type Supers = ArrayVec<[ZhostId; SUPERS_MAX]>;

/// A term, as announced by the super that proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leadership {
    /// Whether a majority of the roster voted for it.
    pub full: bool,
    /// Its number.
    pub term: u64,
    /// The supers; the owner of the row is the first.
    pub supers: Supers,
}

/// A space on its zhost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceRow {
    /// What it is doing.
    pub state: SpaceState,
    /// The placement that put it there.
    pub placement: PlacementVersion,
    /// The topology's version it runs, as the ledger counts them.
    pub revision: u64,
    /// Distinguishes successive starts on this zhost.
    pub incarnation: u32,
    /// How often it was restarted after a crash.
    pub restarts: u32,
    /// The replicas without which it acknowledges nothing any more.
    pub synced: Vec<ZhostId>,
}

/// The life of a space on a zhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpaceState {
    /// Being fetched, instantiated or initialised.
    Starting,
    /// `on_init` succeeded.
    Running,
    /// Crashed; waits for its restart.
    Backoff,
    /// Crashed too often; waits for the operator or a new version.
    Held,
    /// `on_process` asked to be stopped, and it was.
    Ended,
    /// `on_close` is running.
    Closing,
}

impl SpaceState {
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Held => "held",
            Self::Ended => "ended",
            Self::Closing => "closing",
        }
    }
}

impl RowKey {
    /// Bytes of the key on the wire.
    pub fn encoded_size(&self) -> usize {
        match self {
            Self::Profile | Self::Load | Self::Leadership | Self::Super | Self::Links | Self::Firmware => 1,
            Self::Verdict(_) => 11,
            Self::Space(key) => 18 + key.space.as_str().len(),
            Self::Blob(_) => 33,
            Self::Name(_, name) => 18 + name.as_str().len(),
        }
    }
}
