//! Ledger documents on their way: from peers, to flash, to the others, and back as acknowledgements.

use crate::{
    disk::{DiskRequest, Purpose, document_removal, document_write, horizon_write},
    node::Node,
    output::Level,
    wire::Frame,
};
use litemap::LiteMap;
use std::collections::BTreeSet;
use zhost_base::{
    Instant, ZhostId,
    planted::{self, Bug},
};
use zhost_gossip::{
    document::{Document, DocumentKey, RosterEntry, Slot},
    ledger::{LedgerMessage, Taken},
};

/// Who holds which document, as far as somebody here wants to know.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// Peers to be told when a document is on our flash.
    waiting: LiteMap<(DocumentKey, u64), BTreeSet<ZhostId>>,
    /// Documents that reached our flash and are to be passed on, with those who had them before us.
    fresh: LiteMap<DocumentKey, BTreeSet<ZhostId>>,
    /// What is to be acknowledged, by peer.
    stored: LiteMap<ZhostId, Vec<(DocumentKey, u64)>>,
    spread_at: Option<Instant>,
    /// Whether what we knew of topologies was dropped since we were taken off the roster.
    starts_over: bool,
}

impl Documents {
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.spread_at.map(|at| (at, "pass documents on"))
    }
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
        if let (DocumentKey::Placement(id, Slot::Full), Document::Placement(placement)) = (&key, &document)
            && self.quorum.refuses(*id, placement.version)
        {
            // We have told another coordinator what we know: it would not learn of this one.
            return Taken::Refused;
        }
        let fingerprint = document.fingerprint();
        let write = document_write(&key, &document);
        let horizon = self.facts.ledger.horizon();
        let taken = self.facts.ledger.offer(key, document);
        if self.facts.ledger.horizon() != horizon {
            self.keep_horizon();
        }
        match taken {
            Taken::New => {
                self.documents.waiting.retain(|(waiting, _), _| *waiting != key);
                self.documents.waiting.insert((key, fingerprint), from.into_iter().collect());
                let writes = if planted::has(Bug::ForgetFlash) { Vec::new() } else { vec![write] };
                self.disk(DiskRequest::Commit(writes), Purpose::Document(key, fingerprint));
            }
            Taken::Pending => {
                if let Some(waiting) = self.documents.waiting.get_mut(&(key, fingerprint)) {
                    waiting.extend(from);
                }
            }
            Taken::Stored => {
                if let Some(peer) = from {
                    self.acknowledge_document(now, peer, key, fingerprint);
                }
            }
            Taken::Refused => {}
        }
        taken
    }

    fn keep_horizon(&mut self) {
        let write = horizon_write(self.facts.ledger.horizon());
        self.disk(DiskRequest::Commit(vec![write]), Purpose::Nothing);
    }

    pub(crate) fn handle_ledger(&mut self, now: Instant, peer: ZhostId, message: LedgerMessage) {
        match message {
            LedgerMessage::Digest { documents: theirs, horizon } => {
                if self.facts.ledger.raise_horizon(horizon) {
                    self.keep_horizon();
                }
                for message in self.facts.ledger.documents_lacking(&theirs) {
                    self.send(now, peer, &Frame::Ledger(message));
                }
                let differs = |(key, fingerprint): &(DocumentKey, u64)| {
                    self.facts.ledger.document(key).map(Document::fingerprint) != Some(*fingerprint)
                };
                if theirs.iter().any(differs) {
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
            self.facts.ledger.handle_failed(key, fingerprint);
            self.fail_command(now, key, fingerprint);
            return;
        }
        self.facts.ledger.handle_stored(key, fingerprint);
        let Some(document) =
            self.facts.ledger.document(&key).filter(|document| document.fingerprint() == fingerprint)
        else {
            return;
        };
        let text = format!("on flash: {}", document.describe());
        self.log(Level::Debug, text);
        for peer in &waiting {
            self.acknowledge_document(now, *peer, key, fingerprint);
        }
        self.documents.fresh.insert(key, waiting);
        self.plan_spread(now);
        self.note_copy(now, self.facts.id, key, fingerprint);
    }

    fn acknowledge_document(&mut self, now: Instant, peer: ZhostId, key: DocumentKey, fingerprint: u64) {
        self.documents.stored.entry(peer).or_default().push((key, fingerprint));
        self.plan_spread(now);
    }

    /// Documents and acknowledgements gather for a while that grows with the cluster.
    fn plan_spread(&mut self, now: Instant) {
        let due = now + self.facts.gathering_time();
        self.documents.spread_at.get_or_insert(due);
    }

    /// Passes documents on. From neighbour to neighbour they reach everybody; who was missed learns of them by
    /// comparison.
    pub(crate) fn spread_documents(&mut self, now: Instant) {
        if self.documents.spread_at.is_none_or(|at| at > now) {
            return;
        }
        self.documents.spread_at = None;
        for (peer, stored) in std::mem::take(&mut self.documents.stored) {
            self.send(now, peer, &Frame::Ledger(LedgerMessage::Stored(stored)));
        }
        let fresh = std::mem::take(&mut self.documents.fresh);
        let peers: Vec<ZhostId> = self.mesh.links.peers().collect();
        for peer in peers {
            let news = fresh.iter().filter(|(_, had)| !had.contains(&peer)).map(|(key, _)| *key);
            for message in self.facts.ledger.documents_of(news) {
                self.send(now, peer, &Frame::Ledger(message));
            }
        }
    }

    /// If we were taken off the roster, learns of topologies anew: the others may have deleted and forgotten some since.
    pub(crate) fn start_over_if_removed(&mut self, now: Instant) {
        let is_removed = self.facts.ledger.was_removed(self.facts.id);
        if is_removed && !self.documents.starts_over {
            self.log(Level::Warn, "taken off the roster meanwhile: learning of topologies anew".into());
            let writes = self.facts.ledger.drop_topologies().iter().map(document_removal).collect();
            self.disk(DiskRequest::Commit(writes), Purpose::Nothing);
            self.wait_for_cluster(now);
        }
        self.documents.starts_over = is_removed;
    }

    /// Enters ourselves in the roster, once we know the cluster.
    pub(crate) fn join_roster(&mut self, now: Instant) {
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
