//! The registry: rows that each zhost alone writes about itself, and everybody holds.
//!
//! Rows are versioned per owner and generation and reconciled by anti-entropy as in Scuttlebutt (van Renesse,
//! Dumitriu, Gough and Thomas, "Efficient Reconciliation and Flow Control for Anti-Entropy Protocols", 2008).
//! A round opens with one hash; only when it differs do digests and deltas follow, each within a datagram.
//! Deleted rows leave tombstones until the owner raises its `floor`; a peer that is behind the floor starts that
//! owner afresh, so that a collected deletion is never undone.

use crate::row::{Row, RowKey};
use alloc::{collections::VecDeque, vec::Vec};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use zhost_base::{
    Generation, Instant, ZhostId,
    limits::{
        DATAGRAM_SIZE_MAX_BYTES, MEMBERS_MAX, ROW_SIZE_MAX_BYTES, ROW_TOMBSTONE_TTL, ROWS_PER_OWNER_MAX,
    },
    planted::{self, Bug},
};

/// What an encoded owner header or row takes at most beside the row's own value.
const DELTA_ENTRY_OVERHEAD_BYTES: usize = 32;

/// What a message travels in, which bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram.
    Datagram,
    /// A link, for bulk.
    Link,
}

impl Carrier {
    /// Owners named in one digest; with more, successive digests go through them by id.
    fn digest_owners_max(self) -> usize {
        match self {
            Self::Datagram => 48,
            Self::Link => MEMBERS_MAX,
        }
    }

    /// Encoded bytes of rows in one delta.
    fn delta_size_max_bytes(self) -> usize {
        match self {
            // So that it fits a sealed datagram with its headers.
            Self::Datagram => DATAGRAM_SIZE_MAX_BYTES - 150,
            Self::Link => 64 * 1024,
        }
    }

    /// Deltas sent in answer to one digest.
    fn deltas_max(self) -> usize {
        match self {
            Self::Datagram => 1,
            Self::Link => 32,
        }
    }
}

/// What one registry tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryMessage {
    /// How far the sender is with some owners; `answer` asks for the receiver's own digest where it is behind.
    Digest {
        /// Who sends it.
        from: ZhostId,
        /// The owners spoken of are those from this id …
        low: ZhostId,
        /// … to this one; one that is not listed is not known to the sender.
        high: ZhostId,
        /// As many as the carrier takes.
        owners: Vec<DigestEntry>,
        /// Whether the receiver should ask back for what it lacks.
        answer: bool,
    },
    /// Rows the receiver lacks.
    Delta(Vec<OwnerDelta>),
}

/// How far one copy of an owner's rows has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestEntry {
    /// Whose rows.
    pub owner: ZhostId,
    /// Of which start.
    pub generation: Generation,
    /// Every row up to this version is known.
    pub version: u64,
    /// Tombstones up to this version are gone.
    pub floor: u64,
}

/// Consecutive changes of one owner's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerDelta {
    owner: ZhostId,
    generation: Generation,
    /// The changes follow on this version; 0 means from the beginning, replacing what the receiver holds.
    after: u64,
    /// With these rows the receiver knows everything up to this version.
    upto: u64,
    floor: u64,
    rows: Vec<(u64, RowKey, Option<Row>)>,
}

#[derive(Clone, Debug)]
struct Cell {
    version: u64,
    /// `None` is a tombstone.
    row: Option<Row>,
}

#[derive(Clone, Debug, Default)]
struct Owner {
    generation: Generation,
    version: u64,
    floor: u64,
    rows: LiteMap<RowKey, Cell>,
}

/// Why a row was not written. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowRefused {
    /// This zhost already has [`ROWS_PER_OWNER_MAX`] rows.
    TooManyRows,
    /// The row is larger than [`ROW_SIZE_MAX_BYTES`].
    TooLarge,
}

/// One zhost's copy of everybody's rows.
#[derive(Debug)]
pub struct Registry {
    me: ZhostId,
    owners: LiteMap<ZhostId, Owner>,
    /// Tombstones of our own rows and when they may go, oldest first.
    graves: Vec<(Instant, u64)>,
    revision: u64,
    digest_cursor: ZhostId,
}

impl Registry {
    /// An empty registry of the zhost `me` in its start `generation`.
    pub fn new(me: ZhostId, generation: Generation) -> Self {
        let own = Owner { generation, ..Owner::default() };
        Self {
            me,
            owners: LiteMap::from_iter([(me, own)]),
            graves: Vec::new(),
            revision: 1,
            digest_cursor: ZhostId(0),
        }
    }

    /// Counts every change, so that callers recompute only after one.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Owners of which anything is held, this zhost included.
    pub fn owners(&self) -> impl Iterator<Item = (ZhostId, Generation)> {
        self.owners.iter().map(|(id, owner)| (*id, owner.generation))
    }

    /// The row `key` of `owner`.
    pub fn row(&self, owner: ZhostId, key: &RowKey) -> Option<&Row> {
        self.owners.get(&owner)?.rows.get(key)?.row.as_ref()
    }

    /// All rows of `owner`.
    pub fn rows_of(&self, owner: ZhostId) -> impl Iterator<Item = (&RowKey, &Row)> {
        self.owners
            .get(&owner)
            .into_iter()
            .flat_map(|owner| &owner.rows)
            .filter_map(|(key, cell)| Some((key, cell.row.as_ref()?)))
    }

    /// All rows with their owners.
    pub fn rows(&self) -> impl Iterator<Item = (ZhostId, &RowKey, &Row)> {
        self.owners.keys().flat_map(|id| self.rows_of(*id).map(|(key, row)| (*id, key, row)))
    }

    /// Writes a row of our own; writing what already stands there changes nothing.
    pub fn set(&mut self, now: Instant, key: RowKey, row: Row) -> Result<(), RowRefused> {
        if encoded_size(&row) > ROW_SIZE_MAX_BYTES {
            return Err(RowRefused::TooLarge);
        }
        self.write(now, key, Some(row))
    }

    /// Deletes a row of our own.
    pub fn remove(&mut self, now: Instant, key: &RowKey) {
        let own = self.owners.get(&self.me);
        if own.and_then(|own| own.rows.get(key)).is_some_and(|cell| cell.row.is_some()) {
            // A tombstone takes the place of its row, so the row limit cannot refuse it.
            let _ = self.write(now, key.clone(), None);
        }
    }

    fn write(&mut self, now: Instant, key: RowKey, row: Option<Row>) -> Result<(), RowRefused> {
        let own = self.owners.entry(self.me).or_default();
        match own.rows.get(&key) {
            Some(cell) if cell.row == row => return Ok(()),
            None if own.rows.len() >= ROWS_PER_OWNER_MAX => return Err(RowRefused::TooManyRows),
            _ => {}
        }
        own.version += 1;
        if row.is_none() {
            self.graves.push((now + ROW_TOMBSTONE_TTL, own.version));
        }
        if row.is_none() && planted::has(Bug::ForgetTombstone) {
            own.rows.remove(&key);
        } else {
            own.rows.insert(key, Cell { version: own.version, row });
        }
        self.revision += 1;
        Ok(())
    }

    /// Raises our floor over tombstones that are old enough.
    pub fn collect_tombstones(&mut self, now: Instant) {
        let ripe = self.graves.iter().take_while(|(due, _)| *due <= now).count();
        if let Some((_, floor)) = self.graves.drain(..ripe).next_back() {
            let own = self.owners.entry(self.me).or_default();
            own.floor = own.floor.max(floor);
            own.drop_tombstones();
        }
    }

    /// When [`Self::collect_tombstones`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.graves.first().map(|(due, _)| (*due, "registry tombstones"))
    }

    /// Forgets the rows of everybody for whom `alive` names no generation, or another one.
    pub fn retain(&mut self, alive: impl Fn(ZhostId) -> Option<Generation>) {
        let me = self.me;
        let before = self.owners.len();
        self.owners.retain(|id, owner| *id == me || alive(*id) == Some(owner.generation));
        if self.owners.len() != before {
            self.revision += 1;
        }
    }

    /// One number that two registries share exactly if they are equally far with every owner.
    pub fn hash(&self) -> u64 {
        self.owners.iter().filter(|(_, owner)| owner.version > 0).fold(0, |acc, (id, owner)| {
            let seed = owner.version.wrapping_mul(31).wrapping_add(u64::from(owner.generation.0));
            acc ^ zhost_base::id::rendezvous(seed, *id)
        })
    }

    /// The next digest to send; with many owners, successive ones go through them by id.
    pub fn digest(&mut self, carrier: Carrier, answer: bool) -> RegistryMessage {
        let low = if carrier == Carrier::Link { ZhostId(0) } else { self.digest_cursor };
        let message = self.digest_of(carrier, low, ZhostId(u64::MAX), answer);
        if carrier == Carrier::Datagram
            && let RegistryMessage::Digest { high, .. } = &message
        {
            self.digest_cursor = ZhostId(high.0.wrapping_add(1));
        }
        message
    }

    fn owners_between(&self, low: ZhostId, high: ZhostId) -> impl Iterator<Item = (&ZhostId, &Owner)> {
        self.owners.iter().filter(move |(id, _)| (low..=high).contains(*id))
    }

    /// A digest of the owners from `low` to at most `high`.
    fn digest_of(&self, carrier: Carrier, low: ZhostId, high: ZhostId, answer: bool) -> RegistryMessage {
        let mut range = self.owners_between(low, high.max(low)).map(|(id, owner)| owner.digest_entry(*id));
        let owners: Vec<DigestEntry> = range.by_ref().take(carrier.digest_owners_max()).collect();
        let high = match (range.next(), owners.last()) {
            (Some(_), Some(last)) => last.owner,
            _ => high,
        };
        RegistryMessage::Digest { from: self.me, low, high, owners, answer }
    }

    /// How far our own rows have come.
    pub fn own_version(&self) -> u64 {
        self.owners.get(&self.me).map_or(0, |own| own.version)
    }

    /// Our own changes after `version`, to be told without being asked.
    pub fn own_delta(&self, version: u64) -> Option<RegistryMessage> {
        let own = self.owners.get(&self.me)?;
        let entry = DigestEntry { version, ..own.digest_entry(self.me) };
        let lacking = [(self.me, Some(entry))];
        self.deltas(Carrier::Datagram, lacking.into()).pop().map(RegistryMessage::Delta)
    }

    /// Moves our own rows to another generation, see [`crate::membership::MembershipEvent::Regenerated`].
    pub fn regenerate(&mut self, generation: Generation) {
        self.owners.entry(self.me).or_default().generation = generation;
        self.revision += 1;
    }

    /// Takes in what a peer's registry says; `alive` is the membership's word on who may own rows.
    /// Returns the answers to send back, each of which fits the carrier.
    pub fn handle_message(
        &mut self,
        message: RegistryMessage,
        carrier: Carrier,
        alive: impl Fn(ZhostId) -> Option<Generation>,
    ) -> Vec<RegistryMessage> {
        match message {
            RegistryMessage::Digest { low, high, owners, answer, .. } => {
                self.answer_digest(carrier, (low, high.max(low)), &owners, answer, alive)
            }
            RegistryMessage::Delta(deltas) => {
                for delta in deltas {
                    if delta.owner != self.me && alive(delta.owner) == Some(delta.generation) {
                        self.apply(delta);
                    }
                }
                Vec::new()
            }
        }
    }

    fn answer_digest(
        &self,
        carrier: Carrier,
        (low, high): (ZhostId, ZhostId),
        theirs: &[DigestEntry],
        answer: bool,
        alive: impl Fn(ZhostId) -> Option<Generation>,
    ) -> Vec<RegistryMessage> {
        let mut answers = Vec::new();
        let by_owner: LiteMap<ZhostId, &DigestEntry> =
            theirs.iter().map(|entry| (entry.owner, entry)).collect();
        let their = |id: ZhostId| by_owner.get(&id).copied();
        let lacking = self.owners_between(low, high).filter_map(|(id, owner)| match their(*id) {
            Some(entry) => owner.newer_than(entry).then_some((*id, Some(*entry))),
            None => (owner.version > 0).then_some((*id, None)),
        });
        answers.extend(self.deltas(carrier, lacking.collect()).into_iter().map(RegistryMessage::Delta));
        let behind = theirs.iter().find(|entry| {
            entry.owner != self.me
                && alive(entry.owner) == Some(entry.generation)
                && self
                    .owners
                    .get(&entry.owner)
                    .is_none_or(|own| (own.generation, own.version) < (entry.generation, entry.version))
        });
        if let Some(first) = behind.filter(|_| answer) {
            answers.push(self.digest_of(carrier, first.owner, high, false));
        }
        answers
    }

    /// The changes `owners` lack, as far as the carrier takes them.
    fn deltas(
        &self,
        carrier: Carrier,
        owners: VecDeque<(ZhostId, Option<DigestEntry>)>,
    ) -> Vec<Vec<OwnerDelta>> {
        let mut owners = owners;
        let mut messages = Vec::new();
        while !owners.is_empty() && messages.len() < carrier.deltas_max() {
            let message = self.delta(carrier.delta_size_max_bytes(), &mut owners);
            if message.is_empty() {
                break;
            }
            messages.push(message);
        }
        messages
    }

    /// One message of changes that `owners` lack; those that are told everything are taken off the list.
    fn delta(
        &self,
        mut room: usize,
        owners: &mut VecDeque<(ZhostId, Option<DigestEntry>)>,
    ) -> Vec<OwnerDelta> {
        let mut deltas = Vec::new();
        while let Some((id, entry)) = owners.pop_front() {
            let Some(owner) = self.owners.get(&id) else { continue };
            let Some(left) = room.checked_sub(DELTA_ENTRY_OVERHEAD_BYTES) else {
                owners.push_front((id, entry));
                break;
            };
            room = left;
            let delta = owner.delta(id, entry, &mut room);
            let (upto, generation, floor) = (delta.upto, delta.generation, delta.floor);
            if delta.upto > delta.after {
                deltas.push(delta);
            }
            if upto < owner.version {
                owners.push_front((id, Some(DigestEntry { owner: id, generation, version: upto, floor })));
                break;
            }
        }
        deltas
    }

    fn apply(&mut self, delta: OwnerDelta) {
        let owner = self.owners.entry(delta.owner).or_default();
        if delta.generation > owner.generation
            || (delta.after == 0 && delta.floor > owner.floor.max(owner.version))
        {
            *owner = Owner { generation: delta.generation, floor: delta.floor, ..Owner::default() };
            self.revision += 1;
        }
        let follows = delta.generation == owner.generation && delta.after <= owner.version;
        if !follows || delta.upto <= owner.version {
            return;
        }
        for (version, key, row) in delta.rows {
            let fits = owner.rows.len() < ROWS_PER_OWNER_MAX || owner.rows.contains_key(&key);
            let newer = owner.rows.get(&key).is_none_or(|cell| cell.version < version);
            if fits && newer && version <= delta.upto {
                owner.rows.insert(key, Cell { version, row });
            }
        }
        owner.version = delta.upto;
        owner.floor = owner.floor.max(delta.floor);
        owner.drop_tombstones();
        self.revision += 1;
    }
}

impl Owner {
    fn digest_entry(&self, owner: ZhostId) -> DigestEntry {
        DigestEntry { owner, generation: self.generation, version: self.version, floor: self.floor }
    }

    fn newer_than(&self, entry: &DigestEntry) -> bool {
        (self.generation, self.version) > (entry.generation, entry.version)
    }

    fn drop_tombstones(&mut self) {
        let floor = self.floor;
        self.rows.retain(|_, cell| cell.row.is_some() || cell.version > floor);
    }

    /// What a copy that is as far as `entry` lacks, oldest change first, while `room` bytes last.
    fn delta(&self, id: ZhostId, entry: Option<DigestEntry>, room: &mut usize) -> OwnerDelta {
        let same_start = entry.filter(|entry| entry.generation == self.generation);
        // Behind the floor a copy may hold rows whose tombstones are gone: it must start afresh.
        let after = same_start
            .filter(|entry| entry.version.max(entry.floor) >= self.floor)
            .map_or(0, |entry| entry.version);
        let mut changes: Vec<_> = self.rows.iter().filter(|(_, cell)| cell.version > after).collect();
        changes.sort_unstable_by_key(|(_, cell)| cell.version);
        let mut delta = OwnerDelta {
            owner: id,
            generation: self.generation,
            after,
            upto: self.version,
            floor: self.floor,
            rows: Vec::new(),
        };
        let mut reached = after;
        for (key, cell) in changes {
            let size = cell.row.as_ref().map_or(0, encoded_size)
                + key.encoded_size()
                + DELTA_ENTRY_OVERHEAD_BYTES / 2;
            match room.checked_sub(size) {
                Some(left) => *room = left,
                None => {
                    delta.upto = reached;
                    return delta;
                }
            }
            reached = cell.version;
            delta.rows.push((cell.version, key.clone(), cell.row.clone()));
        }
        delta
    }
}

fn encoded_size(row: &Row) -> usize {
    postcard::to_allocvec(row).map_or(usize::MAX, |bytes| bytes.len())
}

#[cfg(test)]
mod tests;
