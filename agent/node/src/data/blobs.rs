//! Packages as blobs: who keeps them, pulling them by digest, and letting go of those nobody needs.

use crate::{
    disk::{DiskReply, DiskRequest, Purpose, blob_index_write, blob_piece_write},
    facts::Facts,
    node::{Level, Node},
    wire::Frame,
};
use litemap::LiteMap;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{
    BlobDigest, Instant, ZhostId,
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
/// How long to wait when nobody holds a blob, or the flash refused it; doubles with every failure in a row.
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

/// The blobs of a zhost.
#[derive(Default)]
pub(crate) struct Blobs {
    complete: LiteMap<BlobDigest, u32>,
    pulls: LiteMap<BlobDigest, Pull>,
    /// Received in full, the last piece on its way to flash.
    closing: LiteMap<BlobDigest, u32>,
    /// When to look again for blobs that could not be had.
    retry_at: Option<Instant>,
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
    pub fn new(complete: LiteMap<BlobDigest, u32>) -> Self {
        Self { complete, ..Self::default() }
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

    pub fn handle_holder_gone(&mut self, now: Instant, holder: ZhostId) {
        for pull in self.pulls.iter_mut().map(|(_, value)| value).filter(|pull| pull.holder == holder) {
            pull.deadline = now;
        }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let pulls = self.pulls.values().filter(|pull| pull.waits()).map(|pull| pull.deadline);
        pulls.chain(self.retry_at).min().map(|at| (at, "blob pull"))
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

impl Node {
    pub(crate) fn write_blob_rows(&mut self, now: Instant) {
        let digests: Vec<BlobDigest> = self.blobs.complete.keys().copied().collect();
        digests.into_iter().for_each(|digest| self.set_row(now, RowKey::Blob(digest), Row::Blob));
    }

    /// The blobs this zhost should have, with their sizes.
    fn needed_blobs(&self) -> LiteMap<BlobDigest, u32> {
        let mut needed = LiteMap::new();
        for (id, topology) in self.facts.ledger.topologies() {
            let runs_here = self
                .facts
                .obeyed_placement(id)
                .is_some_and(|placement| placement.homes.contains(&Home::On(self.facts.id)));
            let is_spawned_here = self.actors.spawns.topologies_needed().any(|needed| needed == id);
            if runs_here || is_spawned_here || self.facts.keepers(topology.package).contains(&self.facts.id) {
                needed.insert(topology.package, topology.package_bytes);
            }
        }
        let images = self.facts.ledger.firmware().into_iter().flat_map(|firmware| &firmware.images);
        let kept = images.filter(|image| self.facts.keepers(image.blob).contains(&self.facts.id));
        needed.extend(kept.map(|image| (image.blob, image.size_bytes)));
        needed.extend(self.needed_firmware());
        needed
    }

    /// Starts pulls for what is needed and missing, and drops what no topology refers to.
    pub(crate) fn refresh_blobs(&mut self, now: Instant) {
        let needed = if self.facts.ready { self.needed_blobs() } else { LiteMap::new() };
        self.blobs.pulls.retain(|digest, _| needed.contains_key(digest));
        self.blobs.retry_at = None;
        for (digest, size_bytes) in needed {
            let under_way =
                self.blobs.pulls.contains_key(&digest) || self.blobs.closing.contains_key(&digest);
            if !self.blobs.is_complete(digest) && !under_way && self.blobs.pulls.len() < PULLS_MAX {
                self.start_pull(now, digest, size_bytes);
            }
        }
        self.collect_blobs(now);
    }

    fn start_pull(&mut self, now: Instant, digest: BlobDigest, size_bytes: u32) {
        let holders = self
            .facts
            .registry
            .rows()
            .filter(|(_, key, _)| **key == RowKey::Blob(digest))
            .map(|(owner, _, _)| owner);
        let holders: Vec<ZhostId> = holders.filter(|holder| *holder != self.facts.id).collect();
        let nearest = holders.iter().min_by_key(|holder| self.distance_us(**holder)).copied();
        // The nearest holder first; any other if that did not work the last time.
        let retried = self.blobs.retry_at.is_some();
        let Some(holder) = (if retried { self.rng.pick(&holders).copied() } else { nearest }) else {
            self.blobs.retry_at = Some(now + PULL_RETRY);
            return;
        };
        if size_bytes == 0 || size_bytes as usize > MEX_SIZE_MAX_BYTES {
            return;
        }
        let pull =
            Pull { size_bytes, holder, hash: Sha256::new(), next: 0, asked: 0, written: 0, deadline: now };
        self.blobs.pulls.insert(digest, pull);
        self.ask_pieces(now, digest);
    }

    fn ask_pieces(&mut self, now: Instant, digest: BlobDigest) {
        let Some(pull) = self.blobs.pulls.get_mut(&digest) else { return };
        let mut wanted = Vec::new();
        if !pull.waits() {
            pull.deadline = now + PULL_TIMEOUT;
        }
        while pull.asked < pieces(pull.size_bytes).min(pull.written + PULL_WINDOW) {
            let index = pull.asked;
            pull.asked += 1;
            wanted.push((pull.holder, Frame::BlobRequest { digest, index }));
        }
        for (holder, request) in wanted {
            self.send(now, holder, &request);
        }
    }

    pub(crate) fn handle_blob_request(
        &mut self,
        now: Instant,
        peer: ZhostId,
        digest: BlobDigest,
        index: u32,
    ) {
        if self.blobs.is_complete(digest) && self.flash.may_read_for(peer) {
            let request =
                DiskRequest::Read { table: table::BLOBS, key: zhost_exchange::blob_key(digest, index) };
            self.disk(request, Purpose::BlobRead { digest, index, peer });
        } else {
            self.send(now, peer, &Frame::BlobPiece { digest, index, bytes: Vec::new() });
        }
    }

    pub(crate) fn handle_blob_read(
        &mut self,
        now: Instant,
        digest: BlobDigest,
        index: u32,
        peer: ZhostId,
        result: Result<DiskReply, StoreError>,
    ) {
        let bytes = match result {
            Ok(DiskReply::Value(Some(bytes))) => bytes,
            _ => Vec::new(),
        };
        self.send(now, peer, &Frame::BlobPiece { digest, index, bytes });
    }

    pub(crate) fn handle_blob_piece(
        &mut self,
        now: Instant,
        peer: ZhostId,
        digest: BlobDigest,
        index: u32,
        bytes: Vec<u8>,
    ) {
        let Some(pull) = self.blobs.pulls.get_mut(&digest) else { return };
        if pull.holder != peer || pull.next != index {
            return;
        }
        let left = pull.size_bytes as usize - index as usize * BLOB_CHUNK_SIZE_BYTES;
        if bytes.len() != left.min(BLOB_CHUNK_SIZE_BYTES) {
            self.give_up_pull(now, digest);
            return;
        }
        pull.hash.update(&bytes);
        pull.next += 1;
        pull.deadline = now + PULL_TIMEOUT;
        let last = pull.next == pieces(pull.size_bytes);
        let size_bytes = pull.size_bytes;
        if last && <[u8; 32]>::from(pull.hash.clone().finalize()) != digest.0 {
            self.log(Level::Warn, format!("zhost {peer} sent a blob that is not {digest}"));
            self.give_up_pull(now, digest);
            return;
        }
        let mut writes = vec![blob_piece_write(digest, index, Some(bytes))];
        if last {
            writes.push(blob_index_write(digest, Some(size_bytes)));
            self.blobs.pulls.remove(&digest);
            self.blobs.closing.insert(digest, size_bytes);
        }
        self.disk(DiskRequest::Commit(writes), Purpose::BlobPiece { digest, last });
        self.ask_pieces(now, digest);
    }

    fn give_up_pull(&mut self, now: Instant, digest: BlobDigest) {
        self.blobs.pulls.remove(&digest);
        let cooldown = (PULL_RETRY * 2_u32.pow(self.blobs.failures.min(4))).min(PULL_RETRY_MAX);
        self.blobs.failures += 1;
        self.blobs.retry_at = Some(now + cooldown);
    }

    pub(crate) fn handle_blob_piece_written(
        &mut self,
        now: Instant,
        digest: BlobDigest,
        last: bool,
        written: bool,
    ) {
        if !written {
            // Later pieces, and the entry that says it is complete, may have been written all the same.
            self.blobs.closing.remove(&digest);
            let held =
                self.blobs.is_complete(digest) || self.commands.blobs().any(|submitted| submitted == digest);
            if !held {
                self.drop_blob(now, digest);
            }
            self.give_up_pull(now, digest);
        } else if last && let Some(size_bytes) = self.blobs.closing.remove(&digest) {
            self.complete_blob(now, digest, size_bytes);
        } else if let Some(pull) = self.blobs.pulls.get_mut(&digest) {
            // Of an earlier pull, perhaps.
            pull.written = (pull.written + 1).min(pull.next);
            self.ask_pieces(now, digest);
        }
    }

    /// A blob is on our flash in full.
    pub(crate) fn complete_blob(&mut self, now: Instant, digest: BlobDigest, size_bytes: u32) {
        self.blobs.complete.insert(digest, size_bytes);
        self.blobs.failures = 0;
        self.set_row(now, RowKey::Blob(digest), Row::Blob);
        self.resume_spawns(now);
    }

    pub(crate) fn blobs_timeout(&mut self, now: Instant) {
        let silent = |pull: &Pull| pull.waits() && pull.deadline <= now;
        let overdue: Vec<BlobDigest> =
            self.blobs.pulls.iter().filter(|(_, p)| silent(p)).map(|(d, _)| *d).collect();
        overdue.into_iter().for_each(|digest| self.give_up_pull(now, digest));
        if self.blobs.retry_at.is_some_and(|at| at <= now) {
            let needed = self.needed_blobs();
            for (digest, size_bytes) in needed {
                let idle =
                    !self.blobs.pulls.contains_key(&digest) && !self.blobs.closing.contains_key(&digest);
                if !self.blobs.is_complete(digest) && idle && self.blobs.pulls.len() < PULLS_MAX {
                    self.start_pull(now, digest, size_bytes);
                }
            }
            self.blobs.retry_at = self.blobs.retry_at.filter(|at| *at > now);
        }
    }

    /// Deletes the blobs that nothing in the ledger refers to and no command is about to.
    fn collect_blobs(&mut self, now: Instant) {
        if !self.facts.ready {
            return;
        }
        let counts = |topology: &&TopologyDocument| {
            topology.wanted == Wanted::Running || !planted::has(Bug::DropStopped)
        };
        let topologies = self.facts.ledger.topologies().map(|(_, topology)| topology).filter(counts);
        let mut wanted: BTreeSet<BlobDigest> = topologies.map(|topology| topology.package).collect();
        wanted.extend(self.commands.blobs());
        wanted.extend(
            self.facts.ledger.firmware().into_iter().flat_map(|firmware| &firmware.images).map(|i| i.blob),
        );
        let surplus: Vec<BlobDigest> =
            self.blobs.complete.keys().filter(|digest| !wanted.contains(digest)).copied().collect();
        for digest in surplus {
            self.drop_blob(now, digest);
            self.log(Level::Debug, format!("blob {digest} is not needed any more"));
        }
    }

    /// Takes a blob, or what there is of it, off our flash.
    fn drop_blob(&mut self, now: Instant, digest: BlobDigest) {
        self.facts.registry.remove(now, &RowKey::Blob(digest));
        let size_bytes = self.blobs.complete.remove(&digest).unwrap_or(MEX_SIZE_MAX_BYTES as u32);
        let mut writes = vec![blob_index_write(digest, None)];
        writes.extend((0..pieces(size_bytes)).map(|index| blob_piece_write(digest, index, None)));
        self.disk(DiskRequest::Commit(writes), Purpose::Nothing);
    }
}
