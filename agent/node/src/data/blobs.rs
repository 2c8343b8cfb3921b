//! Packages as blobs: who keeps them, pulling them by digest, and letting go of those nobody needs.

use crate::{
    disk::{DiskReply, DiskRequest, Purpose, blob_index_read, blob_index_write, blob_piece_write, blobs_in},
    effects::Effects,
    facts::Facts,
    output::Level,
    wire::Frame,
};
use litemap::LiteMap;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{
    BlobDigest, Instant, Rng, TopologyId, ZhostId,
    id::rendezvous,
    limits::{BLOB_CHUNK_SIZE_BYTES, COPIES, MEX_SIZE_MAX_BYTES},
    planted::{self, Bug},
};
use zhost_exchange::{StoreError, table};
use zhost_gossip::{
    document::{Home, TopologyDocument, Wanted},
    row::{Row, RowKey},
};

/// Pieces asked for and not yet on our flash.
const PULL_WINDOW: u32 = 4;
/// How long a holder may be silent before another is asked.
const PULL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait after a holder could not give a blob, or the flash refused it; doubles with every failure in a row, but
/// not while nobody holds it.
const PULL_RETRY: Duration = Duration::from_secs(2);
const PULL_RETRY_MAX: Duration = Duration::from_secs(30);
/// Blobs pulled at once; further ones wait.
const PULLS_MAX: usize = 2;

struct Pull {
    size_bytes: u32,
    holder: ZhostId,
    hash: Sha256,
    next: u32,
    asked: u32,
    written: u32,
    deadline: Instant,
}

/// What is needed here beside what placements say, and how far others are.
pub(crate) struct Needs<'a> {
    /// The topologies of which spaces are to be spawned here.
    pub spawned: BTreeSet<TopologyId>,
    /// The agent that this board is to take up.
    pub firmware: Option<(BlobDigest, u32)>,
    /// Blobs that a command is about to refer to.
    pub submitted: BTreeSet<BlobDigest>,
    /// The round trip to a zhost, microseconds.
    pub distance_us: &'a dyn Fn(ZhostId) -> u64,
}

impl Needs<'_> {
    /// The blobs this zhost should have, with their sizes.
    fn all(&self, facts: &Facts) -> LiteMap<BlobDigest, u32> {
        let mut needed = LiteMap::new();
        for (id, topology) in facts.ledger.topologies() {
            let placement = facts.obeyed_placement(id);
            let runs_here = placement.is_some_and(|placement| placement.homes.contains(&Home::On(facts.id)));
            let is_kept_here = facts.keepers(topology.package).contains(&facts.id);
            if runs_here || self.spawned.contains(&id) || is_kept_here {
                needed.insert(topology.package, topology.package_bytes);
            }
        }
        let images = facts.ledger.firmware().into_iter().flat_map(|firmware| &firmware.images);
        let kept = images.filter(|image| facts.keepers(image.blob).contains(&facts.id));
        needed.extend(kept.map(|image| (image.blob, image.size_bytes)));
        needed.extend(self.firmware);
        needed
    }
}

/// The blobs of a zhost.
pub(crate) struct Blobs {
    rng: Rng,
    complete: LiteMap<BlobDigest, u32>,
    pulls: LiteMap<BlobDigest, Pull>,
    /// Received in full, the last piece on its way to flash.
    closing: LiteMap<BlobDigest, u32>,
    /// Those that could not be had lately.
    paused: LiteMap<BlobDigest, Pause>,
    /// While it is looked up what is on flash: what was taken off it meanwhile.
    dropped: Option<BTreeSet<BlobDigest>>,
    /// How often it was looked up, and when it is tried again, if the flash refused.
    lookups: u64,
    lookup_at: Option<Instant>,
}

/// A blob that could not be had: whatever happens meanwhile, it is not tried again before the end of the pause.
#[derive(Clone, Copy, Default)]
struct Pause {
    until: Instant,
    /// Failures in a row.
    failures: u32,
}

impl Pull {
    /// Whether the holder owes us something.
    fn waits(&self) -> bool {
        self.asked > self.next
    }
}

fn pieces(size_bytes: u32) -> u32 {
    size_bytes.div_ceil(BLOB_CHUNK_SIZE_BYTES as u32)
}

impl Blobs {
    pub fn new(complete: LiteMap<BlobDigest, u32>, rng: Rng) -> Self {
        Self {
            rng,
            complete,
            pulls: LiteMap::new(),
            closing: LiteMap::new(),
            paused: LiteMap::new(),
            dropped: None,
            lookups: 0,
            lookup_at: None,
        }
    }

    /// What was under way is lost. What came of it is on flash: that is looked up.
    pub fn begin_again(&mut self, effects: &mut Effects) {
        self.pulls.clear();
        self.closing.clear();
        self.paused.clear();
        self.announce(effects);
        self.look_up(effects);
    }

    fn look_up(&mut self, effects: &mut Effects) {
        self.lookups += 1;
        self.lookup_at = None;
        self.dropped = Some(BTreeSet::new());
        effects.disk(blob_index_read(Vec::new()), Purpose::BlobIndex(self.lookups));
    }

    /// A part of what is on flash, for one that began again; whether all is known now.
    pub fn handle_index(
        &mut self,
        now: Instant,
        lookup: u64,
        result: Result<DiskReply, StoreError>,
        effects: &mut Effects,
    ) -> bool {
        let Some(dropped) = self.dropped.as_ref().filter(|_| lookup == self.lookups) else { return false };
        let Ok(DiskReply::Entries(entries, next)) = result else {
            self.lookup_at = Some(now + PULL_RETRY);
            return false;
        };
        for (digest, size_bytes) in blobs_in(&entries).filter(|(digest, _)| !dropped.contains(digest)) {
            self.complete.insert(digest, size_bytes);
            effects.row(RowKey::Blob(digest), Row::Blob);
        }
        match next {
            Some(next) => effects.disk(blob_index_read(next), Purpose::BlobIndex(lookup)),
            None => self.dropped = None,
        }
        self.dropped.is_none()
    }

    fn is_under_way(&self, digest: BlobDigest) -> bool {
        self.pulls.contains_key(&digest) || self.closing.contains_key(&digest)
    }

    pub fn is_complete(&self, digest: BlobDigest) -> bool {
        self.complete.contains_key(&digest)
    }

    /// Those that are held.
    pub fn digests(&self) -> impl Iterator<Item = BlobDigest> {
        self.complete.keys().copied()
    }

    /// How many blobs are held.
    pub fn count(&self) -> usize {
        self.complete.len()
    }

    /// A holder died: another is asked at once.
    pub fn handle_holder_gone(&mut self, now: Instant, holder: ZhostId) {
        let pulls = self.pulls.iter().filter(|(_, pull)| pull.holder == holder);
        for digest in pulls.map(|(digest, _)| *digest).collect::<Vec<_>>() {
            self.pulls.remove(&digest);
            self.paused.entry(digest).or_default().until = now;
        }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let pulls = self.pulls.values().filter(|pull| pull.waits()).map(|pull| pull.deadline);
        let pauses = self.paused.iter().filter(|(digest, _)| !self.is_under_way(**digest));
        let pauses = pauses.map(|(_, pause)| pause.until);
        pulls.chain(pauses).chain(self.lookup_at).min().map(|at| (at, "blob pull"))
    }
}

impl Facts {
    /// The zhosts that keep a blob even if they do not run it: every zhost computes the same.
    fn keepers(&self, digest: BlobDigest) -> BTreeSet<ZhostId> {
        let mut order: Vec<ZhostId> = self.membership.peers().map(|peer| peer.id).chain([self.id]).collect();
        order.sort_by_key(|id| std::cmp::Reverse(rendezvous(digest.seed(), *id)));
        let copies = if planted::has(Bug::KeepOneCopy) { 1 } else { COPIES };
        order.into_iter().take(copies).collect()
    }
}

impl Blobs {
    /// Says in the registry which blobs are held.
    pub fn announce(&self, effects: &mut Effects) {
        self.digests().for_each(|digest| effects.row(RowKey::Blob(digest), Row::Blob));
    }

    /// Starts pulls for what is needed and missing, and drops what no topology refers to.
    pub fn refresh(&mut self, now: Instant, facts: &Facts, needs: &Needs<'_>, effects: &mut Effects) {
        if self.dropped.is_some() {
            return;
        }
        let needed = if facts.ready { needs.all(facts) } else { LiteMap::new() };
        self.pulls.retain(|digest, _| needed.contains_key(digest));
        self.paused.retain(|digest, _| needed.contains_key(digest));
        self.pull_missing(now, facts, needed, needs, effects);
        self.collect(facts, needs, effects);
    }

    fn pull_missing(
        &mut self,
        now: Instant,
        facts: &Facts,
        needed: LiteMap<BlobDigest, u32>,
        needs: &Needs<'_>,
        effects: &mut Effects,
    ) {
        for (digest, size_bytes) in needed {
            let is_paused = self.paused.get(&digest).is_some_and(|pause| pause.until > now);
            let waits = is_paused || self.is_under_way(digest);
            if !self.is_complete(digest) && !waits && self.pulls.len() < PULLS_MAX {
                self.start_pull(now, facts, (digest, size_bytes), needs, effects);
            }
        }
    }

    fn start_pull(
        &mut self,
        now: Instant,
        facts: &Facts,
        (digest, size_bytes): (BlobDigest, u32),
        needs: &Needs<'_>,
        effects: &mut Effects,
    ) {
        let rows = facts.registry.rows().filter(|(_, key, _)| **key == RowKey::Blob(digest));
        let holders: Vec<ZhostId> =
            rows.map(|(owner, _, _)| owner).filter(|holder| *holder != facts.id).collect();
        let nearest = holders.iter().min_by_key(|holder| (needs.distance_us)(**holder)).copied();
        // The nearest holder first; any, if that did not work the last time. If nobody has it, the next refresh looks again.
        let retried = self.paused.contains_key(&digest);
        let holder = if retried { self.rng.pick(&holders).copied() } else { nearest };
        let Some(holder) = holder else { return };
        if size_bytes == 0 || size_bytes as usize > MEX_SIZE_MAX_BYTES {
            return;
        }
        let pull =
            Pull { size_bytes, holder, hash: Sha256::new(), next: 0, asked: 0, written: 0, deadline: now };
        self.pulls.insert(digest, pull);
        self.ask_pieces(now, digest, effects);
    }

    fn ask_pieces(&mut self, now: Instant, digest: BlobDigest, effects: &mut Effects) {
        let Some(pull) = self.pulls.get_mut(&digest) else { return };
        if !pull.waits() {
            pull.deadline = now + PULL_TIMEOUT;
        }
        while pull.asked < pieces(pull.size_bytes).min(pull.written + PULL_WINDOW) {
            effects.send(pull.holder, Frame::BlobRequest { digest, index: pull.asked });
            pull.asked += 1;
        }
    }

    /// Another zhost wants a piece, which is read if the flash `may_read` one more for it.
    pub fn handle_request(
        &self,
        peer: ZhostId,
        digest: BlobDigest,
        index: u32,
        may_read: bool,
        effects: &mut Effects,
    ) {
        if self.is_complete(digest) && may_read {
            let request =
                DiskRequest::Read { table: table::BLOBS, key: zhost_exchange::blob_key(digest, index) };
            effects.disk(request, Purpose::BlobRead { digest, index, peer });
        } else {
            effects.send(peer, Frame::BlobPiece { digest, index, bytes: Vec::new() });
        }
    }

    /// A piece of a blob that is being pulled. What is no part of it ends the pull.
    pub fn handle_piece(
        &mut self,
        now: Instant,
        peer: ZhostId,
        digest: BlobDigest,
        (index, bytes): (u32, Vec<u8>),
        effects: &mut Effects,
    ) {
        let Some(pull) = self.pulls.get_mut(&digest) else { return };
        if pull.holder != peer || pull.next != index {
            return;
        }
        let left = pull.size_bytes as usize - index as usize * BLOB_CHUNK_SIZE_BYTES;
        if bytes.len() != left.min(BLOB_CHUNK_SIZE_BYTES) {
            self.give_up(now, digest);
            return;
        }
        pull.hash.update(&bytes);
        pull.next += 1;
        pull.deadline = now + PULL_TIMEOUT;
        let last = pull.next == pieces(pull.size_bytes);
        let size_bytes = pull.size_bytes;
        if last && <[u8; 32]>::from(pull.hash.clone().finalize()) != digest.0 {
            effects.log(Level::Warn, format!("zhost {peer} sent a blob that is not {digest}"));
            self.give_up(now, digest);
            return;
        }
        let mut writes = vec![blob_piece_write(digest, index, Some(bytes))];
        if last {
            writes.push(blob_index_write(digest, Some(size_bytes)));
            self.pulls.remove(&digest);
            self.closing.insert(digest, size_bytes);
        }
        effects.disk(DiskRequest::Commit(writes), Purpose::BlobPiece { digest, last });
        self.ask_pieces(now, digest, effects);
    }

    fn give_up(&mut self, now: Instant, digest: BlobDigest) {
        self.pulls.remove(&digest);
        let pause = self.paused.entry(digest).or_default();
        pause.until = now + (PULL_RETRY * 2_u32.pow(pause.failures.min(4))).min(PULL_RETRY_MAX);
        pause.failures = pause.failures.saturating_add(1);
    }

    /// A piece is on flash, or could not be written. Whether the blob is complete with it. If it `is_submitted`, a command
    /// is putting the same blob there.
    pub fn handle_piece_written(
        &mut self,
        now: Instant,
        (digest, last): (BlobDigest, bool),
        written: bool,
        is_submitted: bool,
        effects: &mut Effects,
    ) -> bool {
        if !written {
            // Later pieces, and the entry that says it is complete, may have been written all the same.
            self.closing.remove(&digest);
            if !self.is_complete(digest) && !is_submitted {
                self.drop_blob(digest, effects);
            }
            self.give_up(now, digest);
        } else if last && let Some(size_bytes) = self.closing.remove(&digest) {
            self.complete(digest, size_bytes, effects);
            return true;
        } else if let Some(pull) = self.pulls.get_mut(&digest) {
            // Of an earlier pull, perhaps.
            pull.written = (pull.written + 1).min(pull.next);
            self.ask_pieces(now, digest, effects);
        }
        false
    }

    /// A blob is on our flash in full.
    pub fn complete(&mut self, digest: BlobDigest, size_bytes: u32, effects: &mut Effects) {
        self.complete.insert(digest, size_bytes);
        self.pulls.remove(&digest);
        self.paused.remove(&digest);
        effects.row(RowKey::Blob(digest), Row::Blob);
    }

    /// Gives up holders that are silent, and tries again what could not be had.
    pub fn handle_timeout(&mut self, now: Instant, facts: &Facts, needs: &Needs<'_>, effects: &mut Effects) {
        if self.lookup_at.is_some_and(|at| at <= now) {
            self.look_up(effects);
        }
        let silent = |pull: &Pull| pull.waits() && pull.deadline <= now;
        let overdue: Vec<BlobDigest> =
            self.pulls.iter().filter(|(_, p)| silent(p)).map(|(d, _)| *d).collect();
        overdue.into_iter().for_each(|digest| self.give_up(now, digest));
        let is_due =
            |(digest, pause): (&BlobDigest, &Pause)| pause.until <= now && !self.is_under_way(*digest);
        if self.paused.iter().any(is_due) {
            let (needed, complete) = (needs.all(facts), &self.complete);
            self.paused.retain(|digest, _| needed.contains_key(digest) && !complete.contains_key(digest));
            self.pull_missing(now, facts, needed, needs, effects);
            let idle = self.paused.keys().copied().filter(|digest| !self.is_under_way(*digest));
            for digest in idle.collect::<Vec<_>>() {
                // Nobody has it at present, or others come first.
                let pause = self.paused.entry(digest).or_default();
                pause.until = pause.until.max(now + PULL_RETRY);
            }
        }
    }

    /// Deletes the blobs that nothing in the ledger refers to and no command is about to.
    fn collect(&mut self, facts: &Facts, needs: &Needs<'_>, effects: &mut Effects) {
        if !facts.ready {
            return;
        }
        let counts = |topology: &&TopologyDocument| {
            topology.wanted == Wanted::Running || !planted::has(Bug::DropStopped)
        };
        let topologies = facts.ledger.topologies().map(|(_, topology)| topology).filter(counts);
        let mut wanted: BTreeSet<BlobDigest> = topologies.map(|topology| topology.package).collect();
        wanted.extend(&needs.submitted);
        let images = facts.ledger.firmware().into_iter().flat_map(|firmware| &firmware.images);
        wanted.extend(images.map(|image| image.blob));
        let surplus: Vec<BlobDigest> = self.digests().filter(|digest| !wanted.contains(digest)).collect();
        for digest in surplus {
            self.drop_blob(digest, effects);
            effects.log(Level::Debug, format!("blob {digest} is not needed any more"));
        }
    }

    /// Takes a blob, or what there is of it, off our flash.
    fn drop_blob(&mut self, digest: BlobDigest, effects: &mut Effects) {
        self.dropped.as_mut().map(|dropped| dropped.insert(digest));
        effects.no_row(RowKey::Blob(digest));
        let size_bytes = self.complete.remove(&digest).unwrap_or(MEX_SIZE_MAX_BYTES as u32);
        let mut writes = vec![blob_index_write(digest, None)];
        writes.extend((0..pieces(size_bytes)).map(|index| blob_piece_write(digest, index, None)));
        effects.disk(DiskRequest::Commit(writes), Purpose::Nothing);
    }
}

/// A piece that a peer asked for was read, or is not there: then it is told so by an empty one.
pub(crate) fn piece_read(digest: BlobDigest, index: u32, result: Result<DiskReply, StoreError>) -> Frame {
    let bytes = match result {
        Ok(DiskReply::Value(Some(bytes))) => bytes,
        _ => Vec::new(),
    };
    Frame::BlobPiece { digest, index, bytes }
}

#[cfg(test)]
mod tests;
