//! Ledger documents on their way: from peers, to flash, to the others, and back as acknowledgements.

use crate::{
    disk::{DiskRequest, Purpose, document_write},
    node::{Level, Node},
    wire::Frame,
};
use std::collections::{BTreeMap, BTreeSet};
use zhost_base::{
    Instant, ZhostId,
    planted::{self, Bug},
};
use zhost_gossip::{
    document::{Document, DocumentKey, RosterEntry},
    ledger::{LedgerMessage, Taken},
};

/// Who holds which document, as far as somebody here wants to know.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// Peers to be told when a document is on our flash.
    waiting: BTreeMap<(DocumentKey, u64), BTreeSet<ZhostId>>,
}

impl Node {
    /// Takes a document in, on its way to flash; tells `from` when it is there.
    pub(crate) fn take_document(
        &mut self,
        now: Instant,
        key: DocumentKey,
        document: Document,
        from: Option<ZhostId>,
    ) -> Taken {
        let fingerprint = document.fingerprint();
        let write = document_write(&key, &document);
        let taken = self.ledger.offer(key, document);
        match taken {
            Taken::New => {
                self.documents.waiting.retain(|(waiting, _), _| *waiting != key);
                if planted::has(Bug::AcknowledgeEarly)
                    && let Some(peer) = from
                {
                    self.send(now, peer, &Frame::Ledger(LedgerMessage::Stored(vec![(key, fingerprint)])));
                }
                self.documents.waiting.insert((key, fingerprint), from.into_iter().collect());
                self.disk(DiskRequest::Commit(vec![write]), Purpose::Document(key, fingerprint));
            }
            Taken::Pending => {
                if let Some(waiting) = self.documents.waiting.get_mut(&(key, fingerprint)) {
                    waiting.extend(from);
                }
            }
            Taken::Stored => {
                if let Some(peer) = from {
                    self.send(now, peer, &Frame::Ledger(LedgerMessage::Stored(vec![(key, fingerprint)])));
                }
            }
            Taken::Refused => {}
        }
        taken
    }

    pub(crate) fn handle_ledger(&mut self, now: Instant, peer: ZhostId, message: LedgerMessage) {
        match message {
            LedgerMessage::Digest(theirs) => {
                for message in self.ledger.documents_lacking(&theirs) {
                    self.send(now, peer, &Frame::Ledger(message));
                }
                let differs = |(key, fingerprint): &(DocumentKey, u64)| {
                    self.ledger.document(key).map(Document::fingerprint) != Some(*fingerprint)
                };
                if theirs.iter().any(differs) {
                    self.compare_ledger(now, peer);
                }
            }
            LedgerMessage::Documents(documents) => {
                for (key, document) in documents {
                    self.take_document(now, key, document, Some(peer));
                }
            }
            LedgerMessage::Stored(stored) => {
                for (key, fingerprint) in stored {
                    self.note_copy(now, peer, key, fingerprint);
                }
            }
        }
    }

    /// A document reached our flash, or could not: in that case what it replaced is back.
    pub(crate) fn handle_document_written(
        &mut self,
        now: Instant,
        key: DocumentKey,
        fingerprint: u64,
        written: bool,
    ) {
        let waiting = self.documents.waiting.remove(&(key, fingerprint)).unwrap_or_default();
        if !written {
            self.ledger.handle_failed(key, fingerprint);
            self.fail_command(now, key, fingerprint);
            return;
        }
        self.ledger.handle_stored(key, fingerprint);
        let Some(document) =
            self.ledger.document(&key).filter(|document| document.fingerprint() == fingerprint)
        else {
            return;
        };
        let document = document.clone();
        self.log(Level::Debug, format!("on flash: {}", document.describe()));
        for peer in &waiting {
            self.send(now, *peer, &Frame::Ledger(LedgerMessage::Stored(vec![(key, fingerprint)])));
        }
        // From neighbour to neighbour it reaches everybody; who was missed learns of it by comparison.
        let frame = Frame::Ledger(LedgerMessage::Documents(vec![(key, document)]));
        let peers: Vec<ZhostId> = self.links.peers().filter(|peer| !waiting.contains(peer)).collect();
        for peer in peers {
            self.send(now, peer, &frame);
        }
        self.note_copy(now, self.id, key, fingerprint);
    }

    /// Enters ourselves in the roster, once we know the cluster.
    pub(crate) fn join_roster(&mut self, now: Instant) {
        let key = DocumentKey::Roster(self.id);
        let present = matches!(
            self.ledger.document(&key),
            Some(Document::Roster(_, entry)) if !entry.removed && entry.name == self.config.name
        );
        if self.ready && !present && !self.is_shutting_down() {
            let entry = RosterEntry { name: self.config.name.clone(), removed: false };
            let stamp = self.ledger.next_stamp(&key, self.id);
            self.take_document(now, key, Document::Roster(stamp, entry), None);
        }
    }
}
