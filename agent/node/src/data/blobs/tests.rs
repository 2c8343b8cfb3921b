//! Blobs between zhosts that have nothing else, over a network that loses frames and with a flash that refuses writes.

use super::*;
use crate::{effects::Effect, facts::fixture};
use std::collections::{BTreeMap, VecDeque};
use zhost_exchange::Write;
use zhost_gossip::{
    document::{Document, DocumentKey},
    registry::Carrier,
};

const ID: TopologyId = TopologyId([1; 16]);
const STEP: Duration = Duration::from_millis(50);

struct Site {
    facts: Facts,
    blobs: Blobs,
    /// Pieces on flash.
    flash: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The index on flash.
    index: BTreeMap<Vec<u8>, Vec<u8>>,
    disk: VecDeque<(DiskRequest, Purpose)>,
    /// What it sends of blobs is wrong.
    lies: bool,
    warnings: usize,
}

impl Site {
    fn write(&mut self, write: Write) {
        let table = if write.table == table::BLOBS { &mut self.flash } else { &mut self.index };
        match write.value {
            Some(value) => table.insert(write.key, value),
            None => table.remove(&write.key),
        };
    }
}

struct Cluster {
    now: Instant,
    rng: Rng,
    sites: Vec<Site>,
    network: Vec<(ZhostId, ZhostId, Frame)>,
    content: Vec<u8>,
    digest: BlobDigest,
    is_rough: bool,
    sent: usize,
}

fn needs<'a>() -> Needs<'a> {
    Needs {
        spawned: BTreeSet::new(),
        firmware: None,
        submitted: BTreeSet::new(),
        distance_us: &|zhost| zhost.0,
    }
}

impl Cluster {
    /// Zhosts that know of a topology; the first has its package.
    fn new(count: usize, seed: u64) -> Self {
        let mut rng = Rng::from_number(seed);
        let content: Vec<u8> = (0..5 * BLOB_CHUNK_SIZE_BYTES + 77).map(|at| at as u8 ^ seed as u8).collect();
        let digest = zhost_mex::digest(&content);
        let ids: Vec<ZhostId> = (1..=count as u64).map(ZhostId).collect();
        let site = |index: usize| {
            let mut zhosts = ids.clone();
            zhosts.swap(0, index);
            let mut document = fixture::topology(Wanted::Running, 1, ZhostId(1));
            if let Document::Topology(_, topology) = &mut document {
                (topology.package, topology.package_bytes) = (digest, content.len() as u32);
            }
            Site {
                facts: fixture::facts(&zhosts, [(DocumentKey::Topology(ID), document)]),
                blobs: Blobs::new(LiteMap::new(), rng.fork()),
                flash: BTreeMap::new(),
                index: BTreeMap::new(),
                disk: VecDeque::new(),
                lies: false,
                warnings: 0,
            }
        };
        let sites = (0..count).map(site).collect();
        let (now, network) = (Instant::ZERO, Vec::new());
        let mut cluster = Self { now, rng, sites, network, content, digest, is_rough: true, sent: 0 };
        cluster.give(0);
        cluster
    }

    /// An operator brings the package here.
    fn give(&mut self, index: usize) {
        for (piece, number) in self.content.chunks(BLOB_CHUNK_SIZE_BYTES).zip(0..) {
            let key = zhost_exchange::blob_key(self.digest, number);
            self.sites[index].flash.insert(key, piece.to_vec());
        }
        let (digest, size_bytes) = (self.digest, self.content.len() as u32);
        self.sites[index].write(blob_index_write(digest, Some(size_bytes)));
        self.run(index, |site, effects| site.blobs.complete(digest, size_bytes, effects));
    }

    fn run(&mut self, index: usize, work: impl FnOnce(&mut Site, &mut Effects)) {
        let mut effects = Effects::default();
        work(&mut self.sites[index], &mut effects);
        for effect in effects {
            let from = self.sites[index].facts.id;
            match effect {
                Effect::Disk(request, purpose) => self.sites[index].disk.push_back((request, purpose)),
                Effect::Send(to, frame) => {
                    self.sent += 1;
                    self.network.push((from, to, frame));
                }
                Effect::Row(key, row) => self.sites[index].facts.registry.set(self.now, key, row).unwrap(),
                Effect::NoRow(key) => self.sites[index].facts.registry.remove(self.now, &key),
                Effect::Log(level, _) => self.sites[index].warnings += usize::from(level == Level::Warn),
                effect => panic!("blobs want {effect:?}"),
            }
        }
        // What is announced everybody hears at once.
        if let Some(delta) = self.sites[index].facts.registry.own_delta(0) {
            for site in &mut self.sites {
                site.facts
                    .registry
                    .handle_message(delta.clone(), Carrier::Link, |_| Some(site.facts.generation));
            }
        }
    }

    fn do_disk(&mut self, index: usize) {
        let Some((request, purpose)) = self.sites[index].disk.pop_front() else { return };
        let is_refused = self.is_rough && self.rng.chance(50);
        match (request, purpose) {
            (DiskRequest::Commit(writes), purpose) => {
                for write in writes.into_iter().filter(|_| !is_refused) {
                    self.sites[index].write(write);
                }
                if let Purpose::BlobPiece { digest, last } = purpose {
                    let now = self.now;
                    self.run(index, |site, effects| {
                        site.blobs.handle_piece_written(now, (digest, last), !is_refused, false, effects);
                    });
                }
            }
            (DiskRequest::Scan { from, .. }, Purpose::BlobIndex(lookup)) => {
                // One entry at a time.
                let mut entries = self.sites[index].index.range(from..);
                let first = entries.next().map(|(key, value)| (key.clone(), value.clone()));
                let next = entries.next().map(|(key, _)| key.clone());
                let reply = DiskReply::Entries(first.into_iter().collect(), next);
                let result = if is_refused { Err(StoreError::Busy) } else { Ok(reply) };
                let now = self.now;
                self.run(index, |site, effects| {
                    site.blobs.handle_index(now, lookup, result, effects);
                });
            }
            (DiskRequest::Read { key, .. }, Purpose::BlobRead { digest, index: number, peer }) => {
                let site = &self.sites[index];
                let mut value = site.flash.get(&key).cloned();
                if site.lies
                    && let Some(byte) = value.as_mut().and_then(|value| value.first_mut())
                {
                    *byte ^= 1;
                }
                let frame = piece_read(digest, number, Ok(DiskReply::Value(value)));
                self.network.push((site.facts.id, peer, frame));
            }
            (request, _) => panic!("blobs want {request:?}"),
        }
    }

    fn deliver(&mut self) {
        let (from, to, frame) = self.network.remove(0);
        if self.is_rough && self.rng.chance(150) {
            return;
        }
        let now = self.now;
        let index = to.0 as usize - 1;
        self.run(index, |site, effects| match frame {
            Frame::BlobRequest { digest, index } => {
                site.blobs.handle_request(from, digest, index, true, effects)
            }
            Frame::BlobPiece { digest, index, bytes } => {
                site.blobs.handle_piece(now, from, digest, (index, bytes), effects)
            }
            frame => panic!("blobs sent {frame:?}"),
        });
    }

    /// Time passes until nothing more is to be done, but no longer than this.
    fn pass(&mut self, steps: usize) {
        for step in 0..steps {
            self.now += STEP;
            let now = self.now;
            if self.is_rough && self.rng.chance(20) {
                let index = self.rng.below(self.sites.len() as u64) as usize;
                self.run(index, |site, effects| site.blobs.begin_again(effects));
            }
            for index in 0..self.sites.len() {
                let is_due = self.sites[index].blobs.poll_timeout().is_some_and(|(at, _)| at <= now);
                self.run(index, |site, effects| {
                    // News come at any time.
                    if step % 40 == index {
                        site.blobs.refresh(now, &site.facts, &needs(), effects);
                    }
                    if is_due {
                        site.blobs.handle_timeout(now, &site.facts, &needs(), effects);
                    }
                });
                self.do_disk(index);
            }
            for _ in 0..self.network.len() {
                self.deliver();
            }
        }
    }

    /// Who has all of it, as it is.
    fn holders(&self) -> BTreeSet<ZhostId> {
        let has = |site: &&Site| {
            let pieces: Vec<u8> = site.flash.values().flatten().copied().collect();
            site.blobs.is_complete(self.digest) && pieces == self.content
        };
        self.sites.iter().filter(has).map(|site| site.facts.id).collect()
    }

    fn keepers(&self) -> BTreeSet<ZhostId> {
        self.sites[0].facts.keepers(self.digest)
    }
}

#[test]
fn all_that_are_to_keep_a_blob_have_it_in_the_end_whatever_network_and_flash_do() {
    for (count, seed) in [3, 7, 20].into_iter().flat_map(|count| (0..8).map(move |seed| (count, seed))) {
        let mut cluster = Cluster::new(count, seed);
        cluster.pass(1200);
        cluster.is_rough = false;
        cluster.pass(1200);
        assert!(cluster.holders().is_superset(&cluster.keepers()), "{count} zhosts, seed {seed}");
        let sent = cluster.sent;
        cluster.pass(600);
        assert_eq!(cluster.sent, sent, "who has everything asks for nothing");
    }
}

#[test]
fn what_came_to_flash_unnoticed_is_found_there_and_what_went_meanwhile_stays_away() {
    let mut cluster = Cluster::new(3, 0);
    cluster.is_rough = false;
    let [unnoticed, gone] = [7, 8].map(|byte| BlobDigest([byte; 32]));
    for digest in [unnoticed, gone] {
        cluster.sites[0].write(blob_index_write(digest, Some(100)));
    }
    cluster.run(0, |site, effects| {
        site.blobs.complete(gone, 100, effects);
        site.blobs.begin_again(effects);
        site.blobs.drop_blob(gone, effects);
    });
    assert!(!cluster.sites[0].blobs.is_complete(unnoticed));
    for _ in 0..9 {
        cluster.do_disk(0);
    }
    let blobs = &cluster.sites[0].blobs;
    assert!(blobs.is_complete(unnoticed) && !blobs.is_complete(gone));
    assert!(cluster.sites[1].facts.registry.row(ZhostId(1), &RowKey::Blob(unnoticed)).is_some());
}

#[test]
fn what_is_not_the_blob_is_not_kept_and_another_holder_is_asked() {
    for count in [3, 7, 20] {
        let mut cluster = Cluster::new(count, 1);
        cluster.is_rough = false;
        cluster.sites[0].lies = true;
        cluster.pass(400);
        assert_eq!(cluster.holders(), BTreeSet::from([ZhostId(1)]), "nobody believes it");
        assert!(cluster.sites.iter().map(|site| site.warnings).sum::<usize>() > 0);
        let honest = cluster.keepers().into_iter().find(|id| *id != ZhostId(1)).unwrap();
        cluster.give(honest.0 as usize - 1);
        cluster.pass(4000);
        assert!(cluster.holders().is_superset(&cluster.keepers()), "{count} zhosts");
    }
}

#[test]
fn a_holder_that_says_nothing_costs_ever_longer_waits() {
    let mut cluster = Cluster::new(3, 1);
    cluster.is_rough = false;
    let (mut now, id) = (cluster.now, cluster.digest);
    let site = &mut cluster.sites[1];
    let mut asked = 0;
    for _ in 0..100_000 {
        now += STEP;
        let mut effects = Effects::default();
        if asked == 0 {
            site.blobs.refresh(now, &site.facts, &needs(), &mut effects);
        }
        site.blobs.handle_timeout(now, &site.facts, &needs(), &mut effects);
        asked += effects.into_iter().filter(|effect| matches!(effect, Effect::Send(..))).count();
    }
    let rounds = asked / PULL_WINDOW as usize;
    let longest = PULL_TIMEOUT + PULL_RETRY_MAX;
    let least = (STEP * 100_000).as_secs() / longest.as_secs();
    assert!((least as usize..2 * least as usize).contains(&rounds), "{rounds} rounds, {least} at least");
    assert!(!site.blobs.is_complete(id));
}

#[test]
fn what_nothing_refers_to_goes_but_not_what_a_command_brings() {
    let mut cluster = Cluster::new(3, 1);
    let (now, digest) = (cluster.now, cluster.digest);
    cluster.sites[0].facts = fixture::facts(&[ZhostId(1), ZhostId(2), ZhostId(3)], []);
    let submitted = || Needs { submitted: BTreeSet::from([digest]), ..needs() };
    cluster.run(0, |site, effects| site.blobs.refresh(now, &site.facts, &submitted(), effects));
    assert!(cluster.sites[0].blobs.is_complete(digest));
    cluster.run(0, |site, effects| site.blobs.refresh(now, &site.facts, &needs(), effects));
    assert_eq!(cluster.sites[0].blobs.count(), 0);
    cluster.is_rough = false;
    cluster.do_disk(0);
    assert!(cluster.sites[0].flash.is_empty(), "nor is a piece of it left");
}

#[test]
fn nobody_waits_for_what_is_complete_or_not_needed_any_more() {
    for is_complete in [true, false] {
        let mut cluster = Cluster::new(3, 1);
        cluster.is_rough = false;
        let (digest, size_bytes, now) = (cluster.digest, cluster.content.len() as u32, cluster.now);
        cluster.run(1, |site, effects| site.blobs.refresh(now, &site.facts, &needs(), effects));
        assert!(cluster.sites[1].blobs.is_under_way(digest));
        match is_complete {
            true => cluster.run(1, |site, effects| site.blobs.complete(digest, size_bytes, effects)),
            false => cluster.sites[1].facts = fixture::facts(&[ZhostId(2), ZhostId(1), ZhostId(3)], []),
        }
        cluster.sites[1].blobs.handle_holder_gone(now, ZhostId(1));
        let later = now + STEP;
        cluster.run(1, |site, effects| site.blobs.handle_timeout(later, &site.facts, &needs(), effects));
        assert_eq!(cluster.sites[1].blobs.poll_timeout(), None, "complete: {is_complete}");
    }
}
