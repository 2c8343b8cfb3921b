//! Ledger documents on their way: from peers, to flash, to the others, and back as acknowledgements.

use crate::{
    disk::{DiskRequest, Purpose, document_write, horizon_write},
    effects::Effects,
    facts::Facts,
    wire::Frame,
};
use litemap::LiteMap;
use std::collections::BTreeSet;
use zhost_base::{
    Instant, ZhostId,
    planted::{self, Bug},
};
use zhost_gossip::{
    document::{Document, DocumentKey},
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
}

impl Documents {
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.spread_at.map(|at| (at, "pass documents on"))
    }

    /// Takes a document in, on its way to flash; tells `from` when it is there.
    pub fn take(
        &mut self,
        now: Instant,
        facts: &mut Facts,
        (key, document): (DocumentKey, Document),
        from: Option<ZhostId>,
        effects: &mut Effects,
    ) -> Taken {
        let fingerprint = document.fingerprint();
        let write = document_write(&key, &document);
        let horizon = facts.ledger.horizon();
        let taken = facts.ledger.offer(key, document);
        if facts.ledger.horizon() != horizon {
            keep_horizon(facts, effects);
        }
        match taken {
            Taken::New => {
                self.waiting.retain(|(waiting, _), _| *waiting != key);
                self.waiting.insert((key, fingerprint), from.into_iter().collect());
                let writes = if planted::has(Bug::ForgetFlash) { Vec::new() } else { vec![write] };
                effects.disk(DiskRequest::Commit(writes), Purpose::Document(key, fingerprint));
            }
            Taken::Pending => {
                if let Some(waiting) = self.waiting.get_mut(&(key, fingerprint)) {
                    waiting.extend(from);
                }
            }
            Taken::Stored => {
                if let Some(peer) = from {
                    self.acknowledge(now, facts, peer, (key, fingerprint));
                }
            }
            Taken::Refused => {}
        }
        taken
    }

    /// A peer says what it holds: it is sent what it may lack. Whether it has something that we may lack.
    pub fn handle_digest(
        &self,
        facts: &mut Facts,
        peer: ZhostId,
        theirs: &[(DocumentKey, u64)],
        horizon: u64,
        effects: &mut Effects,
    ) -> bool {
        if facts.ledger.raise_horizon(horizon) {
            keep_horizon(facts, effects);
        }
        for message in facts.ledger.documents_lacking(theirs) {
            effects.send(peer, Frame::Ledger(message));
        }
        let differs = |(key, fingerprint): &(DocumentKey, u64)| {
            facts.ledger.document(key).map(Document::fingerprint) != Some(*fingerprint)
        };
        theirs.iter().any(differs)
    }

    /// A document reached our flash, or could not: in that case what it replaced is back. What we hold now, in words, if it
    /// is that document.
    pub fn handle_written(
        &mut self,
        now: Instant,
        facts: &mut Facts,
        (key, fingerprint): (DocumentKey, u64),
        written: bool,
    ) -> Option<String> {
        let waiting = self.waiting.remove(&(key, fingerprint)).unwrap_or_default();
        if !written {
            facts.ledger.handle_failed(key, fingerprint);
            return None;
        }
        facts.ledger.handle_stored(key, fingerprint);
        let document =
            facts.ledger.document(&key).filter(|document| document.fingerprint() == fingerprint)?;
        let text = document.describe();
        for peer in &waiting {
            self.acknowledge(now, facts, *peer, (key, fingerprint));
        }
        self.fresh.insert(key, waiting);
        self.plan_spread(now, facts);
        Some(text)
    }

    fn acknowledge(&mut self, now: Instant, facts: &Facts, peer: ZhostId, stored: (DocumentKey, u64)) {
        self.stored.entry(peer).or_default().push(stored);
        self.plan_spread(now, facts);
    }

    /// Documents and acknowledgements gather for a while that grows with the cluster.
    fn plan_spread(&mut self, now: Instant, facts: &Facts) {
        let due = now + facts.gathering_time();
        self.spread_at.get_or_insert(due);
    }

    /// Passes documents on. From neighbour to neighbour they reach everybody; who was missed learns of them by
    /// comparison.
    pub fn spread(
        &mut self,
        now: Instant,
        facts: &Facts,
        neighbours: impl Iterator<Item = ZhostId>,
        effects: &mut Effects,
    ) {
        if self.spread_at.is_none_or(|at| at > now) {
            return;
        }
        self.spread_at = None;
        for (peer, stored) in std::mem::take(&mut self.stored) {
            effects.send(peer, Frame::Ledger(LedgerMessage::Stored(stored)));
        }
        let fresh = std::mem::take(&mut self.fresh);
        for peer in neighbours {
            let news = fresh.iter().filter(|(_, had)| !had.contains(&peer)).map(|(key, _)| *key);
            for message in facts.ledger.documents_of(news) {
                effects.send(peer, Frame::Ledger(message));
            }
        }
    }
}

fn keep_horizon(facts: &Facts, effects: &mut Effects) {
    let write = horizon_write(facts.ledger.horizon());
    effects.disk(DiskRequest::Commit(vec![write]), Purpose::Nothing);
}

#[cfg(test)]
mod tests;
