use super::*;
use crate::{effects::Effect, facts::fixture};
use std::collections::{BTreeSet, VecDeque};
use zhost_base::Rng;
use zhost_gossip::{
    document::{Home, Placement, Wanted},
    ledger::Taken,
};

const ID: TopologyId = TopologyId([1; 16]);
/// Steps of a run for each zhost: enough for some rounds of several coordinators.
const STEPS_EACH: usize = 1000;
/// Those that think at once that they coordinate.
const COORDINATORS: usize = 2;

/// A zhost with nothing but quorum rounds: what is under way to its flash, and what it has decided.
struct Site {
    facts: Facts,
    quorum: Quorum,
    disk: VecDeque<Write>,
}

enum Write {
    Promise(PlacementVersion),
    Placement(u64),
}

/// A decision, and the newest placement that whoever took it knew of.
struct Decision {
    version: PlacementVersion,
    fingerprint: u64,
    knew: Option<PlacementVersion>,
}

struct Cluster {
    sites: Vec<Site>,
    network: Vec<(usize, ZhostId, Frame)>,
    decisions: Vec<Decision>,
    /// The revisions of what ever reached a flash. Only that is sent on.
    stored: BTreeSet<u64>,
    /// Whether the network loses frames and the flash refuses writes.
    is_rough: bool,
    now: Instant,
    rng: Rng,
}

fn zhosts(count: usize) -> Vec<ZhostId> {
    (1..=count as u64).map(ZhostId).collect()
}

impl Cluster {
    fn new(count: usize, seed: u64) -> Self {
        let site = |first: usize| {
            let mut zhosts = zhosts(count);
            zhosts.swap(0, first);
            let topology = fixture::topology(Wanted::Running, 1, ZhostId(1));
            let facts = fixture::facts(&zhosts, [(DocumentKey::Topology(ID), topology)]);
            Site { facts, quorum: Quorum::new(LiteMap::new()), disk: VecDeque::new() }
        };
        Self {
            sites: (0..count).map(site).collect(),
            network: Vec::new(),
            decisions: Vec::new(),
            stored: BTreeSet::new(),
            is_rough: false,
            now: Instant::ZERO,
            rng: Rng::from_number(seed),
        }
    }

    /// Has a zhost take something in, and does what follows.
    fn run<T>(&mut self, index: usize, work: impl FnOnce(&mut Quorum, &Facts, &mut Effects) -> T) -> T {
        let site = &mut self.sites[index];
        let mut effects = Effects::default();
        let outcome = work(&mut site.quorum, &site.facts, &mut effects);
        let mut refused = Vec::new();
        for effect in effects {
            match effect {
                // A queue that is full refuses at once, before what is in it is done.
                Effect::Disk(_, Purpose::Promise(_, floor)) if self.is_rough && self.rng.chance(50) => {
                    refused.push(floor);
                }
                Effect::Disk(_, Purpose::Promise(_, floor)) => site.disk.push_back(Write::Promise(floor)),
                Effect::Send(to, frame) => self.network.push((index, to, frame)),
                effect => panic!("a quorum round wants {effect:?}"),
            }
        }
        for floor in refused {
            let mut nothing = Effects::default();
            site.quorum.handle_stored(&site.facts, ID, floor, false, &mut nothing);
            assert_eq!(nothing.into_iter().count(), 0);
        }
        outcome
    }

    /// A zhost that thinks it coordinates decides, if it may.
    fn coordinate(&mut self, index: usize, term: u64) {
        let now = self.now;
        let site = &self.sites[index];
        let known = [site.facts.ledger.placement(ID, Slot::Full), site.quorum.learned(ID)];
        let knew = known.into_iter().flatten().map(|placement| placement.version).max();
        let granted =
            self.run(index, |quorum, facts, effects| quorum.granted_version(now, facts, ID, term, effects));
        let Some(version) = granted else { return };
        // No two decisions say the same.
        let (homes, revision) = (vec![Home::OnDemand], self.decisions.len() as u64);
        let placement = Placement { version, revision, homes, settled: false, replica_sets: Vec::new() };
        let document = Document::Placement(placement);
        let decision = Decision { version, fingerprint: document.fingerprint(), knew };
        if self.take(index, document) {
            self.decisions.push(decision);
            self.run(index, |quorum, facts, effects| quorum.ask(facts, ID, effects));
        }
    }

    /// As documents are taken in: not below what was promised.
    fn take(&mut self, index: usize, document: Document) -> bool {
        let Document::Placement(placement) = &document else { return false };
        let site = &mut self.sites[index];
        if site.quorum.refuses(ID, placement.version) {
            return false;
        }
        let fingerprint = document.fingerprint();
        let is_new = site.facts.ledger.offer(key(ID), document) == Taken::New;
        if is_new {
            site.disk.push_back(Write::Placement(fingerprint));
        }
        is_new
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = self.rng.below(self.network.len() as u64) as usize;
        let (from, to, frame) = self.network.swap_remove(at);
        let Some(to) = self.sites.iter().position(|site| site.facts.id == to) else { return };
        let from = self.sites[from].facts.id;
        if self.is_rough && self.rng.chance(200) {
            return;
        }
        match frame {
            Frame::Prepare { serial, topology, floor } => self.run(to, |quorum, facts, effects| {
                quorum.handle_prepare(facts, from, serial, topology, floor, effects);
            }),
            Frame::Promise { serial, kept, floor } => self.run(to, |quorum, facts, effects| {
                quorum.handle_promise(facts, from, serial, kept, floor, effects);
            }),
            Frame::Ledger(LedgerMessage::Documents(documents)) => {
                for (_, document) in documents {
                    self.take(to, document);
                }
            }
            other => panic!("a quorum round sent {other:?}"),
        }
    }

    fn time_out(&mut self, index: usize) {
        let now = self.now;
        self.run(index, |quorum, facts, effects| quorum.handle_timeout(now, facts, effects));
    }

    fn write(&mut self, index: usize) {
        let fails = self.is_rough && self.rng.chance(100);
        let site = &mut self.sites[index];
        match site.disk.pop_front() {
            Some(Write::Promise(floor)) => self.run(index, |quorum, facts, effects| {
                quorum.handle_stored(facts, ID, floor, !fails, effects);
            }),
            Some(Write::Placement(fingerprint)) if fails => {
                site.facts.ledger.handle_failed(key(ID), fingerprint);
            }
            Some(Write::Placement(fingerprint)) => {
                site.facts.ledger.handle_stored(key(ID), fingerprint);
                let kept = site.facts.ledger.durable_placement(ID, Slot::Full);
                self.stored.extend(kept.map(|kept| kept.revision));
            }
            None => {}
        }
    }

    /// The power fails: what is on flash stays.
    fn restart(&mut self, index: usize) {
        let site = &mut self.sites[index];
        site.quorum = Quorum::new(site.quorum.kept.clone());
        for write in std::mem::take(&mut site.disk) {
            if let Write::Placement(fingerprint) = write {
                site.facts.ledger.handle_failed(key(ID), fingerprint);
            }
        }
    }

    /// Decisions that a majority has on flash at this moment.
    fn chosen(&self) -> impl Iterator<Item = PlacementVersion> {
        self.decisions
            .iter()
            .filter(|decision| self.holders(decision.fingerprint) * 2 > self.sites.len())
            .map(|decision| decision.version)
    }

    fn holders(&self, fingerprint: u64) -> usize {
        let kept = self.sites.iter().map(|site| site.facts.ledger.kept_fingerprint(&key(ID)));
        kept.filter(|kept| *kept == Some(fingerprint)).count()
    }
}

/// A version as it is ordered.
fn rank(version: PlacementVersion) -> (u64, u64, ZhostId) {
    (version.term, version.counter, version.coordinator)
}

/// Two coordinate at once, in terms of which neither knows the other's; the decisions that a majority had.
fn storm(cluster: &mut Cluster) -> BTreeSet<(u64, u64, ZhostId)> {
    let count = cluster.sites.len();
    let mut chosen = BTreeSet::new();
    cluster.is_rough = true;
    for step in 0..STEPS_EACH * count {
        cluster.now += Duration::from_millis(1);
        let index = cluster.rng.below(count as u64) as usize;
        match cluster.rng.below(1000) {
            0..2 => cluster.restart(index),
            2..4 => cluster.sites[index].quorum.begin_again(),
            4..20 => {
                let coordinator = cluster.rng.below(COORDINATORS as u64) as usize;
                let term = (1 + step / (300 * count)) * COORDINATORS + coordinator;
                cluster.coordinate(coordinator, term as u64);
            }
            20..350 => cluster.write(index),
            350..380 => cluster.time_out(index),
            _ => cluster.deliver(),
        }
        chosen.extend(cluster.chosen().map(rank));
    }
    cluster.is_rough = false;
    chosen
}

/// Nothing goes wrong any more, and one coordinates: whether a majority has a decision of its, and it hears of that.
fn comes_to_rest(cluster: &mut Cluster, coordinator: usize) -> bool {
    let (term, before) = (1000, cluster.decisions.len());
    for _ in 0..10 {
        cluster.now += ASK_PERIOD;
        // What it has decided it decides no second time.
        if cluster.decisions.len() == before {
            cluster.coordinate(coordinator, term);
        }
        cluster.time_out(coordinator);
        while !cluster.network.is_empty() || cluster.sites.iter().any(|site| !site.disk.is_empty()) {
            cluster.deliver();
            (0..cluster.sites.len()).for_each(|index| cluster.write(index));
        }
        let site = &cluster.sites[coordinator];
        if cluster.chosen().any(|version| version.term == term)
            && site.quorum.is_with_majority(&site.facts, ID)
        {
            return true;
        }
    }
    false
}

fn run(count: usize, seed: u64) -> usize {
    let mut cluster = Cluster::new(count, seed);
    let chosen = storm(&mut cluster);
    let mut versions = BTreeSet::new();
    for (revision, decision) in cluster.decisions.iter().enumerate() {
        let version = rank(decision.version);
        let earlier = chosen.iter().filter(|earlier| **earlier < version).max().copied();
        let knew = decision.knew.map(rank);
        assert!(
            knew >= earlier,
            "seed {seed} of {count}: {version:?} was decided by one that knew {knew:?}, and a majority had {earlier:?}"
        );
        let is_new = !cluster.stored.contains(&(revision as u64)) || versions.insert(version);
        assert!(is_new, "seed {seed} of {count}: {version:?} says two things");
    }
    let coordinator = cluster.rng.below(count as u64) as usize;
    assert!(
        comes_to_rest(&mut cluster, coordinator),
        "seed {seed} of {count}: nothing is decided in the end"
    );
    chosen.len()
}

#[test]
fn whoever_decides_knows_what_a_majority_has() {
    for (count, seeds) in [(3, 100), (7, 40), (20, 10)] {
        let chosen: usize = (0..seeds).map(|seed| run(count, seed)).sum();
        assert!(chosen > seeds as usize, "of {count} zhosts' decisions, {chosen} found a majority");
    }
}

#[test]
fn a_coordinator_whose_round_is_lost_hears_all_the_same_that_a_majority_has_its_decision() {
    for (count, seed) in [(3, 1), (7, 2), (20, 3)] {
        let mut cluster = Cluster::new(count, seed);
        assert!(comes_to_rest(&mut cluster, 0));
        cluster.sites[0].quorum.begin_again();
        let site = &cluster.sites[0];
        assert!(!site.quorum.has_round(ID) && !site.quorum.is_with_majority(&site.facts, ID));
        let now = cluster.now;
        let granted =
            cluster.run(0, |quorum, facts, effects| quorum.granted_version(now, facts, ID, 1000, effects));
        assert_eq!(granted, None, "a majority has to be asked");
        for _ in 0..100 * count {
            cluster.deliver();
            (0..count).for_each(|index| cluster.write(index));
        }
        let site = &cluster.sites[0];
        assert!(site.quorum.has_round(ID) && site.quorum.is_with_majority(&site.facts, ID), "{count} zhosts");
    }
}

#[test]
fn a_promise_counts_when_it_is_on_flash_and_one_that_does_not_get_there_is_none() {
    let mut cluster = Cluster::new(3, 0);
    let floor = PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ZhostId(1) };
    let ask = |quorum: &mut Quorum, facts: &Facts, effects: &mut Effects| {
        quorum.handle_prepare(facts, ZhostId(1), 7, ID, floor, effects);
    };
    cluster.run(1, ask);
    assert!(cluster.network.is_empty());
    cluster.run(1, |quorum, facts, effects| quorum.handle_stored(facts, ID, floor, false, effects));
    assert!(cluster.network.is_empty());
    cluster.run(1, ask);
    assert_eq!(cluster.sites[1].disk.len(), 2, "it is tried again");
    cluster.run(1, |quorum, facts, effects| quorum.handle_stored(facts, ID, floor, true, effects));
    let promise = Frame::Promise { serial: 7, kept: None, floor };
    assert_eq!(cluster.network, [(1, ZhostId(1), promise)]);
}

#[test]
fn one_that_may_have_forgotten_promises_makes_none() {
    let mut cluster = Cluster::new(3, 0);
    cluster.sites[1].facts.lost.votes = true;
    let floor = PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ZhostId(1) };
    cluster.run(1, |quorum, facts, effects| {
        quorum.handle_prepare(facts, ZhostId(1), 1, ID, floor, effects);
    });
    assert!(cluster.sites[1].disk.is_empty() && cluster.network.is_empty());
}

#[test]
fn a_promise_that_does_not_get_to_the_flash_takes_back_none_that_is_there() {
    let mut cluster = Cluster::new(3, 0);
    let floor = |counter| PlacementVersion { slot: Slot::Full, term: 1, counter, coordinator: ZhostId(1) };
    for (counter, is_kept) in [(5, true), (7, false)] {
        cluster.run(1, |quorum, facts, effects| {
            quorum.handle_prepare(facts, ZhostId(1), counter, ID, floor(counter), effects);
            quorum.handle_stored(facts, ID, floor(counter), is_kept, effects);
        });
    }
    assert!(cluster.sites[1].quorum.refuses(ID, floor(4)));
}

#[test]
fn promises_of_strangers_and_such_as_another_start_was_given_count_nothing() {
    let mut cluster = Cluster::new(3, 0);
    cluster.run(0, |quorum, facts, effects| quorum.granted_version(Instant::ZERO, facts, ID, 1, effects));
    let floor = cluster.sites[0].quorum.rounds[&ID].floor;
    let lower = PlacementVersion { term: 0, ..floor };
    for (zhost, floor) in [(ZhostId(8), floor), (ZhostId(9), floor), (ZhostId(2), lower), (ZhostId(3), lower)]
    {
        cluster.run(0, |quorum, facts, effects| {
            quorum.handle_promise(facts, zhost, 1, None, floor, effects);
        });
    }
    assert!(cluster.sites[0].quorum.rounds[&ID].promises.is_empty());
}

#[test]
fn a_coordinator_whose_own_promise_the_flash_refused_tries_again() {
    let mut cluster = Cluster::new(3, 0);
    cluster.run(0, |quorum, facts, effects| quorum.granted_version(Instant::ZERO, facts, ID, 1, effects));
    let floor = cluster.sites[0].quorum.rounds[&ID].floor;
    cluster.run(0, |quorum, facts, effects| quorum.handle_stored(facts, ID, floor, false, effects));
    let later = Instant::ZERO + ASK_PERIOD;
    cluster.run(0, |quorum, facts, effects| quorum.handle_timeout(later, facts, effects));
    assert_eq!(cluster.sites[0].disk.len(), 2);
    cluster.run(0, |quorum, facts, effects| {
        quorum.handle_stored(facts, ID, floor, true, effects);
        quorum.handle_promise(facts, ZhostId(2), 1, None, floor, effects);
    });
    let granted =
        cluster.run(0, |quorum, facts, effects| quorum.granted_version(later, facts, ID, 1, effects));
    assert_eq!(granted, Some(floor), "with the promise of one other");
}

#[test]
fn what_a_coordinator_has_promised_to_refuse_it_learns_all_the_same() {
    let mut cluster = Cluster::new(3, 0);
    let version = PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ZhostId(3) };
    let homes = vec![Home::OnDemand];
    let before = Placement { version, revision: 1, homes, settled: false, replica_sets: Vec::new() };
    assert!(cluster.take(1, Document::Placement(before.clone())));
    cluster.write(1);
    cluster.coordinate(0, 2);
    while !cluster.network.is_empty() || cluster.sites.iter().any(|site| !site.disk.is_empty()) {
        cluster.deliver();
        (0..3).for_each(|index| cluster.write(index));
    }
    assert_eq!(cluster.sites[0].facts.ledger.placement(ID, Slot::Full), None, "it is below its own floor");
    assert_eq!(cluster.sites[0].quorum.learned(ID), Some(&before));
    cluster.coordinate(0, 2);
    assert_eq!(cluster.decisions[0].knew, Some(version));
}

#[test]
fn a_coordinator_that_has_forgotten_its_promises_needs_those_of_a_majority_of_others() {
    let mut cluster = Cluster::new(3, 0);
    cluster.sites[0].facts.lost.votes = true;
    let ask = |quorum: &mut Quorum, facts: &Facts, effects: &mut Effects| {
        quorum.granted_version(Instant::ZERO, facts, ID, 1, effects)
    };
    cluster.run(0, ask);
    let floor = cluster.sites[0].quorum.rounds[&ID].floor;
    cluster.run(0, |quorum, facts, effects| quorum.handle_stored(facts, ID, floor, true, effects));
    for (other, granted) in [(ZhostId(2), None), (ZhostId(3), Some(floor))] {
        cluster.run(0, |quorum, facts, effects| quorum.handle_promise(facts, other, 1, None, floor, effects));
        assert_eq!(cluster.run(0, ask), granted);
    }
}

#[test]
fn whoever_left_the_roster_since_counts_no_more_and_a_provisional_placement_never() {
    let mut cluster = Cluster::new(5, 0);
    let ask = |quorum: &mut Quorum, facts: &Facts, effects: &mut Effects| {
        quorum.granted_version(Instant::ZERO, facts, ID, 1, effects)
    };
    cluster.run(0, ask);
    let floor = cluster.sites[0].quorum.rounds[&ID].floor;
    let version = PlacementVersion { slot: Slot::Provisional, ..floor };
    let homes = vec![Home::OnDemand];
    let provisional = Placement { version, revision: 1, homes, settled: false, replica_sets: Vec::new() };
    cluster.run(0, |quorum, facts, effects| {
        quorum.handle_stored(facts, ID, floor, true, effects);
        quorum.handle_promise(facts, ZhostId(2), 1, None, floor, effects);
        quorum.handle_promise(facts, ZhostId(3), 1, Some(provisional), floor, effects);
    });
    assert_eq!(cluster.run(0, ask), None, "two of five");
    cluster
        .run(0, |quorum, facts, effects| quorum.handle_promise(facts, ZhostId(3), 1, None, floor, effects));
    assert_eq!(cluster.run(0, ask), Some(floor), "three of five");
    for gone in [ZhostId(2), ZhostId(3)] {
        let (key, document) = fixture::removed(gone);
        cluster.sites[0].facts.ledger.offer(key, document);
    }
    assert_eq!(cluster.run(0, ask), None, "one of three");
}
