//! The documents of the ledger: what the operator wants, and what the coordinators decided.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};
use zhost_base::{
    BlobDigest, Name, TopologyId, TopologySpec, ZhostId,
    limits::{FIRMWARE_TARGETS_MAX, NAME_SIZE_MAX_BYTES, SPACES_PER_TOPOLOGY_MAX},
    planted::{self, Bug},
};

/// Encoded size of one entry of [`TopologyDocument::drops`]: a name with its length, and a count.
const DROP_SIZE_MAX_BYTES: usize = 1 + NAME_SIZE_MAX_BYTES + 5;

/// Encoded size of everything else in the [`Document`] of a topology that changes without a submit.
const COUNTS_SIZE_MAX_BYTES: usize = 64;

/// Names a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DocumentKey {
    /// What the operator wants of a topology.
    Topology(TopologyId),
    /// That a zhost was admitted, or removed.
    Roster(ZhostId),
    /// Where a topology's spaces are to run, as decided under full terms, or under provisional ones. Two documents,
    /// since a provisional term must be able to re-place although every full term outranks it.
    Placement(TopologyId, Slot),
    /// Which agents the boards are to run.
    Firmware,
}

/// Which sort of term a placement was decided under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// A provisional term: obeyed only while one is in force.
    Provisional,
    /// A full term.
    Full,
}

/// A document's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Document {
    /// Under [`DocumentKey::Topology`].
    Topology(Stamp, TopologyDocument),
    /// Under [`DocumentKey::Roster`].
    Roster(Stamp, RosterEntry),
    /// Under [`DocumentKey::Placement`].
    Placement(Placement),
    /// Under [`DocumentKey::Firmware`].
    Firmware(Stamp, FirmwareDocument),
}

/// Orders the writes of one operator document: a Lamport counter, then the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Higher than the writer had seen on this document.
    pub counter: u64,
    /// Who wrote it.
    pub writer: ZhostId,
}

/// What the operator wants of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyDocument {
    /// What should become of it.
    pub wanted: Wanted,
    /// Counts the submits; spaces of an older revision are replaced.
    pub revision: u64,
    /// The package, by content.
    pub package: BlobDigest,
    /// Size of the package.
    pub package_bytes: u32,
    /// What the package's `topology.yaml` says.
    pub spec: TopologySpec,
    /// First submitted, milliseconds since 1970 by the clock of the zhost asked.
    pub created_unix_ms: u64,
    /// Last written, likewise.
    pub updated_unix_ms: u64,
    /// Greater than before whenever it was deleted.
    pub deletions: u32,
    /// How often the data of its spaces was dropped since, of those that it ever was.
    pub drops: Vec<(Name, u32)>,
}

/// How often the data of a space was forgotten: what belongs to an earlier life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataLife {
    /// As of [`TopologyDocument::deletions`].
    pub deletions: u32,
    /// As of [`TopologyDocument::drops`].
    pub drops: u32,
}

/// The operator's wish for a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Its spaces should run.
    Running,
    /// Nothing of it should run, but it stays listed.
    Stopped,
    /// It should be gone; the document stays as a tombstone until everybody holds it.
    Deleted,
    /// Everybody held the tombstone: whoever holds this may forget it.
    Forgotten,
}

impl Wanted {
    /// Of concurrent writes the one of higher rank wins: stop wins over run, and anything over forgetting.
    fn rank(self) -> u8 {
        match self {
            Self::Forgotten => 0,
            Self::Running => 1,
            Self::Stopped => 2,
            Self::Deleted => 3,
        }
    }
}

/// A zhost's place in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// What people call it.
    pub name: Name,
    /// Removed zhosts do not count for majorities.
    pub removed: bool,
}

/// Which agents the boards are to run, by target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareDocument {
    /// Counts the operator's pushes: what failed once is not tried again before the next one.
    pub revision: u64,
    /// Whether no further board takes one up.
    pub halted: bool,
    /// At most one for each target.
    pub images: Vec<FirmwareImage>,
}

/// The agent for one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareImage {
    /// As Rust calls it.
    pub target: Name,
    /// What its publisher calls it.
    pub version: Name,
    /// The signed file, by content.
    pub blob: BlobDigest,
    /// Its size.
    pub size_bytes: u32,
}

/// Where the spaces of a topology are to run; written only by its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Orders placements; a zhost obeys only the highest it has seen.
    pub version: PlacementVersion,
    /// The revision of the topology document it places.
    pub revision: u64,
    /// The zhost of each space, or why it has none; in the order of the spec's spaces.
    pub homes: Vec<Home>,
    /// Whether all spaces of this revision have been running at once.
    pub settled: bool,
    /// Who keeps the data of the spaces that have replicas.
    pub replica_sets: Vec<ReplicaSet>,
}

/// Who keeps the data of one space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaSet {
    /// Which space.
    pub space: Name,
    /// The zhost that writes.
    pub primary: ZhostId,
    /// Those that have everything that was acknowledged: nothing is acknowledged without them.
    pub replicas: Vec<ZhostId>,
    /// Those that are on the way there.
    pub joining: Vec<ZhostId>,
    /// Whether a majority of the roster has this on flash; before that, nothing is acknowledged.
    pub confirmed: bool,
}

/// Where one space is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    /// On this zhost.
    On(ZhostId),
    /// Nowhere, for this reason.
    Nowhere(FailureReason),
    /// Wherever other spaces spawn it.
    OnDemand,
}

/// Why a space could not be placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// No live zhost offers this capability.
    Capability(Name),
    /// No live zhost that could run it stands in this region.
    Region(Name),
    /// No live zhost that could run it is of this kind.
    Kind(Name),
    /// Those that could run it are full.
    Capacity,
    /// Those that have its data are not there.
    Data,
}

impl core::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Capability(name) => write!(f, "no zhost satisfies capability requirement '{name}'"),
            Self::Region(name) => write!(f, "no zhost with the required capabilities in region '{name}'"),
            Self::Kind(name) => write!(f, "no zhost with the required capabilities is of kind '{name}'"),
            Self::Capacity => f.write_str("insufficient capacity on remaining zhosts"),
            Self::Data => f.write_str(
                "the zhosts that keep its data are out of reach (`zctl cluster remove`, if for good)",
            ),
        }
    }
}

/// Orders placements: a full term beats a provisional one whatever the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlacementVersion {
    /// Whether the term was voted for by a majority of the roster.
    pub slot: Slot,
    /// The term.
    pub term: u64,
    /// Counts the placements of this topology, over all terms.
    pub counter: u64,
    /// Who coordinates.
    pub coordinator: ZhostId,
}

impl TopologyDocument {
    /// The life of a space's data.
    pub fn data_life(&self, space: &Name) -> DataLife {
        let drops = self.drops.iter().find(|(name, _)| name == space).map_or(0, |(_, drops)| *drops);
        DataLife { deletions: self.deletions, drops }
    }

    /// Begins the life of a space's data that comes after `last`, or after the one it is in.
    pub fn drop_data(&mut self, space: &Name, last: Option<DataLife>) {
        let life = last.filter(|last| last.deletions == self.deletions).max(Some(self.data_life(space)));
        let drops = life.map_or(0, |life| life.drops).saturating_add(1);
        self.drops.retain(|(name, _)| name != space);
        // Of spaces that the topology has no more, those that were dropped longest ago make room.
        let is_gone = |(name, _): &(Name, u32)| !self.spec.spaces.iter().any(|space| space.name == *name);
        if self.drops.len() >= SPACES_PER_TOPOLOGY_MAX
            && let Some(index) = self.drops.iter().position(is_gone)
        {
            self.drops.remove(index);
        }
        self.drops.push((space.clone(), drops));
    }

    /// Whether it is to be listed.
    pub fn is_listed(&self) -> bool {
        matches!(self.wanted, Wanted::Running | Wanted::Stopped)
    }

    /// Bytes of the document on the wire and on flash, at most: as it is, or as operators write it on without changing
    /// its spaces and paths.
    pub fn encoded_size_max(&self) -> usize {
        let growth = COUNTS_SIZE_MAX_BYTES + SPACES_PER_TOPOLOGY_MAX * DROP_SIZE_MAX_BYTES;
        postcard::to_allocvec(self).map_or(usize::MAX, |bytes| bytes.len() + growth)
    }
}

impl Document {
    /// Whether `self` replaces `other`, a document of the same key.
    pub fn beats(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Topology(a, x), Self::Topology(b, y)) => {
                let key = |stamp: &Stamp, topology: &TopologyDocument| {
                    (stamp.counter, topology.wanted.rank(), stamp.writer)
                };
                key(a, x) > key(b, y)
            }
            (Self::Roster(a, _), Self::Roster(b, _)) | (Self::Firmware(a, _), Self::Firmware(b, _)) => a > b,
            (Self::Placement(a), Self::Placement(b)) => a.version > b.version || planted::has(Bug::SkipFence),
            _ => false,
        }
    }

    /// Whether the content is of the kind that `key` names.
    pub fn fits(&self, key: &DocumentKey) -> bool {
        match (key, self) {
            (DocumentKey::Topology(_), Self::Topology(..)) | (DocumentKey::Roster(_), Self::Roster(..)) => {
                true
            }
            (DocumentKey::Firmware, Self::Firmware(_, firmware)) => {
                firmware.images.len() <= FIRMWARE_TARGETS_MAX
            }
            (DocumentKey::Placement(_, slot), Self::Placement(placement)) => *slot == placement.version.slot,
            _ => false,
        }
    }

    /// A number that differs whenever one document beats the other.
    pub fn fingerprint(&self) -> u64 {
        let mix = |a: u64, b: u64| zhost_base::id::rendezvous(a, ZhostId(b));
        match self {
            Self::Topology(stamp, topology) => {
                mix(stamp.counter << 2 | topology.wanted as u64, stamp.writer.0)
            }
            Self::Roster(stamp, _) | Self::Firmware(stamp, _) => mix(stamp.counter, stamp.writer.0),
            Self::Placement(placement) => {
                let v = placement.version;
                mix(mix(v.term, ZhostId(v.counter).0), v.coordinator.0)
            }
        }
    }

    /// The highest of the numbers that order it.
    pub fn highest_number(&self) -> u64 {
        match self {
            Self::Topology(stamp, topology) => stamp.counter.max(topology.revision),
            Self::Roster(stamp, _) => stamp.counter,
            Self::Placement(placement) => placement.version.counter,
            Self::Firmware(stamp, firmware) => stamp.counter.max(firmware.revision),
        }
    }

    /// The topology document, if it is one.
    pub fn topology(&self) -> Option<&TopologyDocument> {
        match self {
            Self::Topology(_, topology) => Some(topology),
            _ => None,
        }
    }

    /// One sentence for the log.
    pub fn describe(&self) -> String {
        match self {
            Self::Topology(_, t) => {
                alloc::format!("topology {} revision {} wanted {:?}", t.spec.name, t.revision, t.wanted)
            }
            Self::Roster(_, r) => {
                alloc::format!("roster entry of {}{}", r.name, if r.removed { ", removed" } else { "" })
            }
            Self::Placement(p) => alloc::format!(
                "placement {}.{} of revision {}",
                p.version.term,
                p.version.counter,
                p.revision
            ),
            Self::Firmware(_, f) => {
                alloc::format!("firmware revision {}{}", f.revision, if f.halted { ", halted" } else { "" })
            }
        }
    }
}
