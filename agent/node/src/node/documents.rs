//! Documents of the ledger, and who is told what becomes of them.

use super::Node;
use crate::{
    disk::{DiskRequest, Purpose, document_removal},
    faults::Part,
    output::Level,
};
use zhost_base::{Instant, ZhostId};
use zhost_gossip::{
    document::{Document, DocumentKey, RosterEntry, Slot},
    ledger::{LedgerMessage, Taken},
};

impl Node {
    /// Takes a document in, on its way to flash; tells `from` when it is there.
    pub(crate) fn take_document(
        &mut self,
        now: Instant,
        key: DocumentKey,
        document: Document,
        from: Option<ZhostId>,
    ) -> Taken {
        if let (DocumentKey::Placement(id, Slot::Full), Document::Placement(placement)) = (&key, &document)
            && self.quorum.refuses(*id, placement.version)
        {
            // We have told another coordinator what we know: it would not learn of this one.
            return Taken::Refused;
        }
        self.run_cluster(now, |node, effects| {
            node.documents.take(now, &mut node.facts, (key, document), from, effects)
        })
    }

    pub(super) fn handle_ledger(&mut self, now: Instant, peer: ZhostId, message: LedgerMessage) {
        match message {
            LedgerMessage::Digest { documents: theirs, horizon } => {
                let differs = self.run_cluster(now, |node, effects| {
                    node.documents.handle_digest(&mut node.facts, peer, &theirs, horizon, effects)
                });
                if differs {
                    self.compare_ledger(now, peer);
                }
            }
            LedgerMessage::Documents(documents) => {
                for (key, document) in documents {
                    // What a zhost off the roster says of topologies may be of such as are forgotten.
                    if matches!(key, DocumentKey::Roster(_)) || !self.facts.ledger.was_removed(peer) {
                        self.take_document(now, key, document, Some(peer));
                    }
                }
            }
            LedgerMessage::Stored(stored) => {
                for (key, fingerprint) in stored {
                    self.run(now, Part::Operators, |node, _| node.note_copy(now, peer, key, fingerprint));
                }
            }
        }
    }

    /// A document reached our flash, or could not.
    pub(super) fn handle_document_written(
        &mut self,
        now: Instant,
        key: DocumentKey,
        fingerprint: u64,
        written: bool,
    ) {
        let held = self.documents.handle_written(now, &mut self.facts, (key, fingerprint), written);
        if !written {
            return self.run(now, Part::Operators, |node, _| node.fail_command(now, key, fingerprint));
        }
        if let Some(text) = held {
            self.log(Level::Debug, format!("on flash: {text}"));
            let me = self.facts.id;
            self.run(now, Part::Operators, |node, _| node.note_copy(now, me, key, fingerprint));
        }
    }

    /// If we were taken off the roster, learns of topologies anew: the others may have deleted and forgotten some since.
    pub(super) fn start_over_if_removed(&mut self, now: Instant) {
        let is_removed = self.facts.ledger.was_removed(self.facts.id);
        if is_removed && !self.starts_over {
            self.log(Level::Warn, "taken off the roster meanwhile: learning of topologies anew".into());
            let writes = self.facts.ledger.drop_topologies().iter().map(document_removal).collect();
            self.disk(DiskRequest::Commit(writes), Purpose::Nothing);
            self.wait_for_cluster(now);
        }
        self.starts_over = is_removed;
    }

    /// Enters ourselves in the roster, once we know the cluster.
    pub(super) fn join_roster(&mut self, now: Instant) {
        let key = DocumentKey::Roster(self.facts.id);
        let present = matches!(
            self.facts.ledger.document(&key),
            Some(Document::Roster(_, entry)) if !entry.removed && entry.name == self.config.name
        );
        if self.facts.ready && !present && !self.is_shutting_down() {
            let entry = RosterEntry { name: self.config.name.clone(), removed: false };
            let stamp = self.facts.ledger.next_stamp(&key, self.facts.id);
            self.take_document(now, key, Document::Roster(stamp, entry), None);
        }
    }
}
