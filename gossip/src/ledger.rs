//! The ledger: the replicated, durable record of what the operator wants and what was placed.
//!
//! Every zhost holds every document. A document is *taken in* when it beats the one held, and *durable* once the
//! shell says it is on flash; only durable documents are acknowledged or obeyed.
//!
//! A deleted topology stays as a tombstone until everybody in the roster holds it, which nobody ever loses again. Then
//! the tombstone is replaced by a last document that says so, and that document is forgotten after a while. The
//! *horizon* lies above the numbers of all that was forgotten, so that a new topology of the same name beats whatever
//! a zhost that was away still holds of the old one.

use crate::document::{
    Document, DocumentKey, FirmwareDocument, Placement, RosterEntry, Slot, Stamp, TopologyDocument, Wanted,
};
use alloc::vec::Vec;
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use zhost_base::{
    TopologyId, ZhostId,
    limits::{DOCUMENT_SIZE_MAX_BYTES, MEMBERS_MAX, TOPOLOGIES_MAX},
};

/// What one ledger tells another, over a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerMessage {
    /// Asks for what differs.
    Digest {
        /// Fingerprints of all the sender's documents.
        documents: Vec<(DocumentKey, u64)>,
        /// The sender's horizon.
        horizon: u64,
    },
    /// Documents the receiver may lack.
    Documents(Vec<(DocumentKey, Document)>),
    /// These documents of the receiver are on the sender's flash.
    Stored(Vec<(DocumentKey, u64)>),
}

/// What became of a document that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new: it must be written to flash.
    New,
    /// It is held already, and durable.
    Stored,
    /// It is held already, on its way to flash.
    Pending,
    /// A better one is held, or there is no room, or it makes no sense. Nothing changed.
    Refused,
}

#[derive(Debug)]
struct Entry {
    document: Document,
    durable: bool,
    /// What the document replaced, until it is durable.
    previous: Option<Document>,
}

/// One zhost's copy of the ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: LiteMap<DocumentKey, Entry>,
    revision: u64,
    horizon: u64,
}

impl Entry {
    /// What is on flash.
    fn kept(&self) -> Option<&Document> {
        if self.durable { Some(&self.document) } else { self.previous.as_ref() }
    }
}

impl Ledger {
    /// The ledger as it was found on flash.
    pub fn restore(documents: impl IntoIterator<Item = (DocumentKey, Document)>, horizon: u64) -> Self {
        let entries = documents
            .into_iter()
            .map(|(key, document)| (key, Entry { document, durable: true, previous: None }))
            .collect();
        Self { entries, revision: 1, horizon }
    }

    /// Counts every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Above the numbers of everything that was forgotten.
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Somebody has another horizon: the higher one counts. Gives whether that changes ours.
    pub fn raise_horizon(&mut self, horizon: u64) -> bool {
        let raised = horizon > self.horizon;
        self.horizon = self.horizon.max(horizon);
        raised
    }

    /// One number that two ledgers share exactly if they hold the same documents on flash, but for what may be
    /// forgotten.
    pub fn hash(&self) -> u64 {
        let kept = self.entries.iter().filter_map(|(key, entry)| Some((key, entry.kept()?)));
        kept.filter(|(key, _)| !self.may_be_forgotten(key)).fold(0, |acc, (key, document)| {
            let salt = match key {
                DocumentKey::Topology(id) => id.seed(),
                DocumentKey::Roster(id) => id.0.rotate_left(17),
                DocumentKey::Placement(id, slot) => id.seed().rotate_left(31 + *slot as u32),
                DocumentKey::Firmware => u64::MAX,
            };
            acc ^ zhost_base::id::rendezvous(salt, ZhostId(document.fingerprint()))
        })
    }

    /// Whether a document is of a topology that, by what is on flash, may be forgotten.
    fn may_be_forgotten(&self, key: &DocumentKey) -> bool {
        let id = match key {
            DocumentKey::Topology(id) | DocumentKey::Placement(id, _) => id,
            DocumentKey::Roster(_) | DocumentKey::Firmware => return false,
        };
        let kept = self.entries.get(&DocumentKey::Topology(*id)).and_then(Entry::kept);
        kept.and_then(Document::topology).is_some_and(|topology| topology.wanted == Wanted::Forgotten)
    }

    /// The fingerprints of everything held.
    pub fn digest(&self) -> LedgerMessage {
        let documents = self.entries.iter().map(|(key, entry)| (*key, entry.document.fingerprint()));
        LedgerMessage::Digest { documents: documents.collect(), horizon: self.horizon }
    }

    /// What a peer with this digest may lack, as by [`Self::documents_of`].
    pub fn documents_lacking(&self, digest: &[(DocumentKey, u64)]) -> Vec<LedgerMessage> {
        let theirs: LiteMap<_, _> = digest.iter().copied().collect();
        let differs =
            |(key, entry): &(&DocumentKey, &Entry)| theirs.get(*key) != Some(&entry.document.fingerprint());
        self.documents_of(self.entries.iter().filter(differs).map(|(key, _)| *key))
    }

    /// These documents, as far as they are on our flash, in messages of at most [`DOCUMENT_SIZE_MAX_BYTES`] or one
    /// document.
    pub fn documents_of(&self, keys: impl Iterator<Item = DocumentKey>) -> Vec<LedgerMessage> {
        let mut messages = Vec::new();
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for key in keys {
            // What is not on our flash yet may still fail to get there.
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.durable) else { continue };
            let size = encoded_size(&entry.document);
            if batch_bytes + size > DOCUMENT_SIZE_MAX_BYTES && !batch.is_empty() {
                messages.push(LedgerMessage::Documents(core::mem::take(&mut batch)));
                batch_bytes = 0;
            }
            batch_bytes += size;
            batch.push((key, entry.document.clone()));
        }
        if !batch.is_empty() {
            messages.push(LedgerMessage::Documents(batch));
        }
        messages
    }

    /// Offers a document, from a peer or of our own.
    pub fn offer(&mut self, key: DocumentKey, document: Document) -> Taken {
        if !document.fits(&key) || encoded_size(&document) > DOCUMENT_SIZE_MAX_BYTES {
            return Taken::Refused;
        }
        // What we never heard of is forgotten at once.
        if let Document::Topology(_, topology) = &document
            && topology.wanted == Wanted::Forgotten
            && !self.entries.contains_key(&key)
        {
            self.raise_horizon(document.highest_number());
            return Taken::Refused;
        }
        match self.entries.get(&key) {
            Some(held) if held.document == document => {
                return if held.durable { Taken::Stored } else { Taken::Pending };
            }
            Some(held) if !document.beats(&held.document) => return Taken::Refused,
            None if !self.has_room_for(&key) || !self.has_use_for(&key) => return Taken::Refused,
            _ => {}
        }
        let previous = self
            .entries
            .remove(&key)
            .and_then(|held| if held.durable { Some(held.document) } else { held.previous });
        self.entries.insert(key, Entry { document, durable: false, previous });
        self.revision += 1;
        Taken::New
    }

    /// Whether a new document of this kind may be added.
    pub fn has_room_for(&self, key: &DocumentKey) -> bool {
        let same_kind =
            |other: &&DocumentKey| core::mem::discriminant(*other) == core::mem::discriminant(key);
        let limit = match key {
            DocumentKey::Roster(_) => MEMBERS_MAX,
            DocumentKey::Topology(_) => TOPOLOGIES_MAX,
            DocumentKey::Placement(..) => 2 * TOPOLOGIES_MAX,
            DocumentKey::Firmware => 1,
        };
        self.entries.contains_key(key) || self.entries.keys().filter(same_kind).count() < limit
    }

    /// Whether an unknown document says anything: not a placement of what is not there or may be forgotten. A topology
    /// is always heard of before its placements.
    fn has_use_for(&self, key: &DocumentKey) -> bool {
        match key {
            DocumentKey::Placement(id, _) => {
                self.topology(*id).is_some_and(|topology| topology.wanted != Wanted::Forgotten)
            }
            _ => true,
        }
    }

    /// The documents of topologies that are deleted, or to be forgotten, as far as they are on flash.
    pub fn tombstones(&self) -> impl Iterator<Item = (TopologyId, &Document)> {
        self.entries.iter().filter_map(|(key, entry)| match (key, &entry.document) {
            (DocumentKey::Topology(id), Document::Topology(_, topology)) if entry.durable => {
                (!topology.is_listed()).then_some((*id, &entry.document))
            }
            _ => None,
        })
    }

    /// Drops a topology that may be forgotten, with its placements, and raises the horizon over them; gives the keys
    /// of what is to be removed from flash.
    pub fn forget(&mut self, id: TopologyId) -> Vec<DocumentKey> {
        if self.topology(id).is_none_or(|topology| topology.wanted != Wanted::Forgotten) {
            return Vec::new();
        }
        let placements = [Slot::Provisional, Slot::Full].map(|slot| DocumentKey::Placement(id, slot));
        let mut dropped = Vec::new();
        for key in [DocumentKey::Topology(id)].into_iter().chain(placements) {
            let Some(entry) = self.entries.remove(&key) else { continue };
            self.raise_horizon(entry.document.highest_number());
            dropped.push(key);
        }
        self.revision += 1;
        dropped
    }

    /// Drops all topologies with their placements; gives the keys of what is to be removed from flash. For a zhost that
    /// was taken off the roster: some of them the others may have deleted since, and forgotten.
    pub fn drop_topologies(&mut self) -> Vec<DocumentKey> {
        let is_of_topology =
            |key: &DocumentKey| matches!(key, DocumentKey::Topology(_) | DocumentKey::Placement(..));
        let dropped: Vec<_> = self.entries.keys().filter(|key| is_of_topology(key)).copied().collect();
        self.entries.retain(|key, _| !is_of_topology(key));
        self.revision += 1;
        dropped
    }

    /// The shell says the document with this fingerprint is on flash.
    pub fn handle_stored(&mut self, key: DocumentKey, fingerprint: u64) {
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.document.fingerprint() == fingerprint
            && !entry.durable
        {
            entry.durable = true;
            entry.previous = None;
            self.revision += 1;
        }
    }

    /// The shell says the document with this fingerprint could not be written: what it replaced is back.
    pub fn handle_failed(&mut self, key: DocumentKey, fingerprint: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.durable || entry.document.fingerprint() != fingerprint {
            return;
        }
        self.revision += 1;
        match entry.previous.take() {
            Some(document) => *entry = Entry { document, durable: true, previous: None },
            None => {
                self.entries.remove(&key);
            }
        }
    }

    /// The document held under `key`, durable or not.
    pub fn document(&self, key: &DocumentKey) -> Option<&Document> {
        self.entries.get(key).map(|entry| &entry.document)
    }

    /// The fingerprint of the newest document under `key` that is on flash.
    pub fn kept_fingerprint(&self, key: &DocumentKey) -> Option<u64> {
        self.entries.get(key)?.kept().map(Document::fingerprint)
    }

    /// All documents.
    pub fn documents(&self) -> impl Iterator<Item = (&DocumentKey, &Document)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.document))
    }

    /// The topologies that are listed.
    pub fn topologies(&self) -> impl Iterator<Item = (TopologyId, &TopologyDocument)> {
        self.entries.iter().filter_map(|(key, entry)| match (key, &entry.document) {
            (DocumentKey::Topology(id), Document::Topology(_, topology)) => {
                topology.is_listed().then_some((*id, topology))
            }
            _ => None,
        })
    }

    /// The topology of that id, even if deleted.
    pub fn topology(&self, id: TopologyId) -> Option<&TopologyDocument> {
        self.document(&DocumentKey::Topology(id))?.topology()
    }

    /// The placement of a topology in one slot, on flash or on its way there.
    pub fn placement(&self, id: TopologyId, slot: Slot) -> Option<&Placement> {
        match self.document(&DocumentKey::Placement(id, slot))? {
            Document::Placement(placement) => Some(placement),
            _ => None,
        }
    }

    /// The placement of a topology in one slot that may be obeyed: the newest on flash.
    pub fn durable_placement(&self, id: TopologyId, slot: Slot) -> Option<&Placement> {
        let entry = self.entries.get(&DocumentKey::Placement(id, slot))?;
        match entry.kept()? {
            Document::Placement(placement) => Some(placement),
            _ => None,
        }
    }

    /// The highest term of any placement.
    pub fn placed_term(&self) -> u64 {
        let terms = self.entries.values().filter_map(|entry| match &entry.document {
            Document::Placement(placement) => Some(placement.version.term),
            _ => None,
        });
        terms.max().unwrap_or(0)
    }

    /// The zhosts admitted and not removed.
    pub fn roster(&self) -> impl Iterator<Item = (ZhostId, &RosterEntry)> {
        self.entries.iter().filter_map(|(key, entry)| match (key, &entry.document) {
            (DocumentKey::Roster(id), Document::Roster(_, roster)) if !roster.removed => Some((*id, roster)),
            _ => None,
        })
    }

    /// Whether a zhost was taken off the roster, and has not come back since.
    pub fn was_removed(&self, id: ZhostId) -> bool {
        matches!(self.document(&DocumentKey::Roster(id)), Some(Document::Roster(_, roster)) if roster.removed)
    }

    /// Which agents the boards are to run, if anybody ever said.
    pub fn firmware(&self) -> Option<&FirmwareDocument> {
        match self.document(&DocumentKey::Firmware)? {
            Document::Firmware(_, firmware) => Some(firmware),
            _ => None,
        }
    }

    /// The stamp for the next write of an operator document by `writer`.
    pub fn next_stamp(&self, key: &DocumentKey, writer: ZhostId) -> Stamp {
        let counter = match self.document(key) {
            Some(
                Document::Topology(stamp, _) | Document::Roster(stamp, _) | Document::Firmware(stamp, _),
            ) => stamp.counter,
            Some(Document::Placement(_)) | None => 0,
        };
        Stamp { counter: counter.max(self.horizon).saturating_add(1), writer }
    }

    /// The revision of the next submit of a topology.
    pub fn next_revision(&self, id: TopologyId) -> u64 {
        let last = self.topology(id).map_or(0, |topology| topology.revision);
        last.max(self.horizon).saturating_add(1)
    }

    /// What the next submit of a topology says of [`TopologyDocument::deletions`]: one more if it is deleted, and if
    /// nothing is known of it, more than was ever said of a topology that is forgotten.
    pub fn next_deletions(&self, id: TopologyId) -> u32 {
        match self.topology(id) {
            Some(topology) if topology.is_listed() => topology.deletions,
            Some(topology) => topology.deletions.saturating_add(1),
            None => u32::try_from(self.horizon).unwrap_or(u32::MAX),
        }
    }
}

fn encoded_size(document: &Document) -> usize {
    postcard::to_allocvec(document).map_or(usize::MAX, |bytes| bytes.len())
}

#[cfg(test)]
mod tests;
