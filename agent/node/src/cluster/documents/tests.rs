//! Documents between zhosts that have nothing else: every two are neighbours, flashes refuse writes, and frames come
//! late.

use super::*;
use crate::{effects::Effect, facts::fixture};
use zhost_base::{Rng, TopologyId};
use zhost_gossip::document::Wanted;

struct Site {
    facts: Facts,
    documents: Documents,
    disk: Vec<(DiskRequest, Purpose)>,
    /// Who is known to have the document on flash.
    copies: BTreeSet<ZhostId>,
}

struct Cluster {
    rng: Rng,
    sites: Vec<Site>,
    network: Vec<(ZhostId, ZhostId, LedgerMessage)>,
    refused: BTreeSet<ZhostId>,
    sent: usize,
    /// That of the document which was offered last.
    fingerprint: u64,
}

const KEY: DocumentKey = DocumentKey::Topology(TopologyId([1; 16]));

impl Cluster {
    fn new(count: usize, seed: u64) -> Self {
        let ids: Vec<ZhostId> = (1..=count as u64).map(ZhostId).collect();
        let site = |index: usize| {
            let mut zhosts = ids.clone();
            zhosts.swap(0, index);
            let (facts, documents) = (fixture::facts(&zhosts, []), Documents::default());
            Site { facts, documents, disk: Vec::new(), copies: BTreeSet::new() }
        };
        let (sites, refused) = ((0..count).map(site).collect(), BTreeSet::new());
        Self { rng: Rng::from_number(seed), sites, network: Vec::new(), refused, sent: 0, fingerprint: 0 }
    }

    fn run(&mut self, index: usize, work: impl FnOnce(&mut Site, &mut Effects)) {
        let mut effects = Effects::default();
        let site = &mut self.sites[index];
        work(site, &mut effects);
        let (me, now) = (site.facts.id, Instant::ZERO);
        let others: Vec<ZhostId> = site.facts.membership.peers().map(|peer| peer.id).collect();
        site.documents.spread(now, &site.facts, others.into_iter(), &mut effects);
        for effect in effects {
            match effect {
                Effect::Disk(request, purpose) => self.sites[index].disk.push((request, purpose)),
                Effect::Send(to, Frame::Ledger(message)) => {
                    self.sent += 1;
                    self.network.push((me, to, message));
                }
                effect => panic!("documents want {effect:?}"),
            }
        }
    }

    fn offer(&mut self, index: usize, counter: u64) {
        let writer = self.sites[index].facts.id;
        let document = fixture::topology(Wanted::Running, counter, writer);
        self.fingerprint = document.fingerprint();
        self.sites.iter_mut().for_each(|site| site.copies.clear());
        self.run(index, |site, effects| {
            let taken = site.documents.take(Instant::ZERO, &mut site.facts, (KEY, document), None, effects);
            assert_eq!(taken, Taken::New);
        });
    }

    /// Does one thing that waits, if any does: a write, or a frame.
    fn step(&mut self) -> bool {
        let busy: Vec<usize> =
            (0..self.sites.len()).filter(|index| !self.sites[*index].disk.is_empty()).collect();
        if !busy.is_empty() && (self.network.is_empty() || self.rng.chance(500)) {
            let index = *self.rng.pick(&busy).unwrap();
            let (_, purpose) = self.sites[index].disk.remove(0);
            let Purpose::Document(key, fingerprint) = purpose else { return true };
            let (written, offered) = (!self.refused.contains(&self.sites[index].facts.id), self.fingerprint);
            self.run(index, |site, _| {
                let (documents, facts) = (&mut site.documents, &mut site.facts);
                let held = documents.handle_written(Instant::ZERO, facts, (key, fingerprint), written);
                let is_it = held.is_some() && fingerprint == offered;
                site.copies.extend(is_it.then_some(site.facts.id));
            });
            return true;
        }
        if self.network.is_empty() {
            return false;
        }
        let at = self.rng.below(self.network.len() as u64) as usize;
        let (from, to, message) = self.network.swap_remove(at);
        let offered = self.fingerprint;
        self.run(to.0 as usize - 1, |site, effects| match message {
            LedgerMessage::Documents(documents) => {
                for entry in documents {
                    site.documents.take(Instant::ZERO, &mut site.facts, entry, Some(from), effects);
                }
            }
            LedgerMessage::Stored(stored) => {
                site.copies.extend(stored.contains(&(KEY, offered)).then_some(from));
            }
            LedgerMessage::Digest { documents, horizon } => {
                site.documents.handle_digest(&mut site.facts, from, &documents, horizon, effects);
            }
        });
        true
    }

    fn rest(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it goes round for ever");
    }

    /// How many hold what was offered last.
    fn holders(&self) -> usize {
        let holds = |site: &&Site| {
            site.facts.ledger.document(&KEY).map(Document::fingerprint) == Some(self.fingerprint)
        };
        self.sites.iter().filter(holds).count()
    }
}

#[test]
fn a_document_reaches_everybody_and_who_wrote_it_hears_from_all_that_have_it_on_flash() {
    for (count, seed) in [3, 7, 20].into_iter().flat_map(|count| (0..10).map(move |seed| (count, seed))) {
        let mut cluster = Cluster::new(count, seed);
        cluster.offer(0, 1);
        cluster.rest();
        assert_eq!((cluster.holders(), cluster.sites[0].copies.len()), (count, count));
        // A later one replaces it everywhere, and what is passed on once rests.
        cluster.offer(count - 1, 2);
        cluster.rest();
        assert_eq!((cluster.holders(), cluster.sites[count - 1].copies.len()), (count, count));
        let sent = cluster.sent;
        (0..count).for_each(|index| cluster.run(index, |_, _| ()));
        cluster.rest();
        assert_eq!(cluster.sent, sent);
    }
}

#[test]
fn what_a_flash_refuses_is_neither_held_nor_acknowledged_nor_passed_on() {
    for count in [3, 7, 20] {
        let mut cluster = Cluster::new(count, 1);
        cluster.refused.insert(ZhostId(2));
        cluster.offer(0, 1);
        cluster.rest();
        assert_eq!((cluster.holders(), cluster.sites[0].copies.len()), (count - 1, count - 1));
        assert!(!cluster.sites[0].copies.contains(&ZhostId(2)));
        // When the flash works again, a comparison brings what is lacking.
        cluster.refused.clear();
        let LedgerMessage::Digest { documents, horizon } = cluster.sites[1].facts.ledger.digest() else {
            panic!("a digest")
        };
        cluster.run(0, |site, effects| {
            let (ledger, from) = (&mut site.facts, ZhostId(2));
            assert!(
                !site.documents.handle_digest(ledger, from, &documents, horizon, effects),
                "it has no more"
            );
        });
        cluster.rest();
        assert_eq!((cluster.holders(), cluster.sites[0].copies.len()), (count, count));
        // One whose own flash refuses what it writes tells nobody.
        let mut cluster = Cluster::new(count, 2);
        cluster.refused.insert(ZhostId(1));
        cluster.offer(0, 1);
        cluster.rest();
        assert_eq!((cluster.holders(), cluster.sent), (0, 0));
    }
}
