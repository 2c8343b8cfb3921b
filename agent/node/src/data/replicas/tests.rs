//! The data of one space on several zhosts that have nothing else: primary and followers, a network in which they lose
//! each other, queues that are full, and flashes that refuse writes.

use super::*;
use crate::{
    data::{copies::Copies, disposal::Disposal},
    effects::Effect,
    facts::fixture,
    wire::{DataMessage, Frame},
};
use std::collections::{BTreeMap, VecDeque};
use zhost_base::{SpaceKind, SpaceSpec, TopologyId};
use zhost_exchange::Write;
use zhost_gossip::document::{Document, DocumentKey, Home, Placement, Slot, Wanted};

const ID: TopologyId = TopologyId([1; 16]);
const STEP: Duration = Duration::from_millis(50);

type Table = BTreeMap<Vec<u8>, Vec<u8>>;

struct Site {
    facts: Facts,
    host: Host,
    replicas: Replicas,
    copies: Copies,
    disposal: Disposal,
    /// The space's data on flash.
    flash: Table,
    disk: VecDeque<(DiskRequest, Purpose)>,
}

struct Cluster {
    now: Instant,
    rng: Rng,
    sites: Vec<Site>,
    streams: BTreeMap<(ZhostId, ZhostId), VecDeque<DataMessage>>,
    /// What the space has written and waits for.
    pending: Option<(u64, Table)>,
    commits: u64,
    acknowledged: Table,
    acknowledgements: u64,
    /// Whether the space's worker was asked which write it waits for.
    tells_write: bool,
    is_rough: bool,
}

fn key() -> SpaceKey {
    SpaceKey { topology: ID, space: "store".parse().unwrap() }
}

fn set(count: usize) -> ReplicaSet {
    let replicas: Vec<ZhostId> = (2..=count.min(3) as u64).map(ZhostId).collect();
    let joining = if count > 3 { vec![ZhostId(4)] } else { Vec::new() };
    ReplicaSet { space: key().space, primary: ZhostId(1), replicas, joining, confirmed: true }
}

impl Cluster {
    fn new(count: usize, seed: u64) -> Self {
        let ids: Vec<ZhostId> = (1..=count as u64).map(ZhostId).collect();
        let mut rng = Rng::from_number(seed);
        let mut topology = fixture::topology(Wanted::Running, 1, ZhostId(1));
        let Document::Topology(_, document) = &mut topology else { panic!("a topology") };
        let spec = SpaceSpec { replicas: 2, ..SpaceSpec::new(key().space, SpaceKind::Data) };
        document.spec.spaces.push(spec);
        let life = document.data_life(&key().space);
        let version = PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ZhostId(1) };
        let placement = Placement {
            version,
            revision: 1,
            homes: vec![Home::On(ZhostId(1))],
            settled: true,
            replica_sets: vec![set(count)],
        };
        let documents = [
            (DocumentKey::Topology(ID), topology),
            (DocumentKey::Placement(ID, Slot::Full), Document::Placement(placement)),
        ];
        let site = |index: usize| {
            let mut zhosts = ids.clone();
            zhosts.swap(0, index);
            Site {
                facts: fixture::facts(&zhosts, documents.clone()),
                host: Host::new(rng.fork()),
                replicas: Replicas::new(rng.fork()),
                copies: Copies::new(LiteMap::new()),
                disposal: Disposal::new([(key(), life)].into_iter().collect()),
                flash: Table::new(),
                disk: VecDeque::new(),
            }
        };
        let mut sites: Vec<Site> = (0..count).map(site).collect();
        let launch = fixture::launch(&key());
        sites[0].host.insert(Instant::ZERO, launch, version, 1, None);
        let Site { host, facts, .. } = &mut sites[0];
        host.launch(facts, &key()).unwrap();
        // What a follower has of earlier days may be anything.
        for site in &mut sites {
            let old =
                (0..rng.below(40)).map(|_| (vec![rng.below(200) as u8], vec![rng.below(4) as u8; 2000]));
            site.flash = old.collect();
        }
        let mut cluster = Self {
            now: Instant::ZERO,
            rng,
            acknowledged: sites[0].flash.clone(),
            sites,
            streams: BTreeMap::new(),
            pending: None,
            commits: 0,
            acknowledgements: 0,
            tells_write: false,
            is_rough: true,
        };
        cluster.run(0, |site, now, effects| {
            site.replicas.refresh(&mut Here { now, facts: &site.facts, host: &site.host, effects });
        });
        cluster
    }

    fn run(&mut self, index: usize, work: impl FnOnce(&mut Site, Instant, &mut Effects)) {
        let mut effects = Effects::default();
        work(&mut self.sites[index], self.now, &mut effects);
        for effect in effects {
            let me = self.sites[index].facts.id;
            match effect {
                Effect::Disk(request, purpose) => self.sites[index].disk.push_back((request, purpose)),
                Effect::Send(to, Frame::Data(_, message)) => {
                    self.streams.entry((me, to)).or_default().push_back(message);
                }
                // Of an order that does not fit, a part may be under way.
                Effect::Order(to, _, parts) => {
                    let taken =
                        if self.is_rough && self.rng.chance(30) { parts.len() / 2 } else { parts.len() };
                    if taken < parts.len() {
                        self.sites[index].replicas.handle_unsent(self.now, &key(), to);
                    }
                    self.streams.entry((me, to)).or_default().extend(parts.into_iter().take(taken));
                }
                Effect::Output(Output::Worker(WorkerCommand::Replicated { commit, .. })) => {
                    self.note_acknowledged(commit);
                }
                Effect::Output(Output::Worker(WorkerCommand::TellWrite { .. })) => self.tells_write = true,
                Effect::Log(..) | Effect::SpaceRow(_) => {}
                effect => panic!("data want {effect:?}"),
            }
        }
    }

    /// The space is told that what it wrote is where it has to be: whoever may succeed the primary has it on flash.
    fn note_acknowledged(&mut self, commit: u64) {
        let Some((written, data)) = self.pending.take() else { panic!("acknowledged twice") };
        assert_eq!(written, commit);
        self.acknowledged = data;
        self.acknowledgements += 1;
        for id in set(self.sites.len()).replicas {
            let site = &self.sites[id.0 as usize - 1];
            assert!(site.flash == self.acknowledged, "{id} lacks what was acknowledged");
        }
    }

    /// The space writes, if it does not wait: first on its own flash.
    fn write(&mut self) {
        if self.pending.is_some() {
            return;
        }
        let mut changes = Changes::new();
        for _ in 0..1 + self.rng.below(3) {
            let value = (!self.rng.chance(300)).then(|| vec![self.rng.below(4) as u8; 3000]);
            changes.insert(vec![self.rng.below(200) as u8], value);
        }
        for (key, value) in &changes {
            match value {
                Some(value) => self.sites[0].flash.insert(key.clone(), value.clone()),
                None => self.sites[0].flash.remove(key),
            };
        }
        self.commits += 1;
        let commit = self.commits;
        self.pending = Some((commit, self.sites[0].flash.clone()));
        self.run(0, |site, now, effects| {
            let mut here = Here { now, facts: &site.facts, host: &site.host, effects };
            site.replicas.handle_wrote(&mut here, &key(), (1, commit), changes);
        });
    }

    fn do_disk(&mut self, index: usize) {
        let Some((request, purpose)) = self.sites[index].disk.pop_front() else { return };
        let flash = &mut self.sites[index].flash;
        let is_refused = self.is_rough && self.rng.chance(30);
        let apply = |flash: &mut Table, writes: Vec<Write>| {
            for write in writes.into_iter().filter(|write| write.table == table::data(&key())) {
                match write.value {
                    Some(value) => flash.insert(write.key, value),
                    None => flash.remove(&write.key),
                };
            }
        };
        let result = match request {
            _ if is_refused => Err(StoreError::Busy),
            DiskRequest::Commit(writes) => {
                apply(flash, writes);
                Ok(DiskReply::Committed)
            }
            DiskRequest::Scan { from, to, size_bytes, .. } => {
                let within = |key: &Vec<u8>| to.as_ref().is_none_or(|to| key < to);
                let mut rest = flash.range(from..).filter(|(key, _)| within(key)).peekable();
                let (mut entries, mut bytes) = (Vec::new(), 0);
                while let Some((key, value)) = rest.next_if(|_| entries.is_empty() || bytes < size_bytes) {
                    bytes += key.len() + value.len();
                    entries.push((key.clone(), value.clone()));
                }
                Ok(DiskReply::Entries(entries, rest.next().map(|(key, _)| key.clone())))
            }
            DiskRequest::Replace { from, to, entries, .. } => {
                flash.retain(|key, _| *key < from || to.as_ref().is_some_and(|to| key >= to));
                flash.extend(entries);
                Ok(DiskReply::Committed)
            }
            request => panic!("data want {request:?}"),
        };
        self.run(index, |site, now, effects| {
            let mut here = Here { now, facts: &site.facts, host: &site.host, effects };
            match purpose {
                Purpose::DataScan { key, peer, session } => {
                    site.replicas.handle_scan(&mut here, (key, peer, session), result);
                }
                Purpose::DataOrder { key, session } => {
                    site.copies.handle_order_done(&mut here, &site.disposal, key, session, result);
                }
                purpose => panic!("data want {purpose:?}"),
            }
        });
    }

    fn deliver(&mut self, (from, to): (ZhostId, ZhostId)) {
        let Some(message) = self.streams.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return };
        self.run(to.0 as usize - 1, |site, now, effects| {
            let mut here = Here { now, facts: &site.facts, host: &site.host, effects };
            match message {
                DataMessage::Part { session, last, bytes } => {
                    site.copies.take_part(&mut here, &site.disposal, (from, key()), session, (last, bytes));
                }
                DataMessage::Done { session, order, same } => {
                    site.replicas.handle_done(&mut here, from, &key(), session, (order, same));
                }
                DataMessage::Refused { session } => {
                    site.replicas.handle_refused(&mut here, from, &key(), session);
                }
            }
        });
    }

    /// Two zhosts lose each other, and are back at once: what was under way is lost.
    fn lose(&mut self, a: ZhostId, b: ZhostId) {
        for (me, other) in [(a, b), (b, a)] {
            self.streams.remove(&(me, other));
            let site = &mut self.sites[me.0 as usize - 1];
            site.replicas.lose_zhost(self.now, other);
            site.copies.forget_primary(other);
        }
    }

    /// The part of a zhost that looks after data has panicked: what was under way in it is lost.
    fn begin_again(&mut self, index: usize) {
        self.run(index, |site, now, effects| {
            site.copies.begin_again(effects);
            let mut here = Here { now, facts: &site.facts, host: &site.host, effects };
            site.replicas.begin_again(&mut here);
            site.replicas.refresh(&mut here);
        });
        if std::mem::take(&mut self.tells_write)
            && let Some((commit, _)) = self.pending
        {
            self.run(0, |site, now, effects| {
                let mut here = Here { now, facts: &site.facts, host: &site.host, effects };
                site.replicas.handle_wrote(&mut here, &key(), (1, commit), Changes::new());
            });
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        if self.is_rough && self.rng.chance(3) {
            let index = self.rng.below(self.sites.len() as u64) as usize;
            self.begin_again(index);
        }
        if self.replicas_are_due() {
            self.run(0, |site, now, effects| {
                site.replicas.handle_timeout(&mut Here {
                    now,
                    facts: &site.facts,
                    host: &site.host,
                    effects,
                });
            });
        }
        for index in 0..self.sites.len() {
            (0..3).for_each(|_| self.do_disk(index));
        }
        let pairs: Vec<_> = self.streams.keys().copied().collect();
        for pair in pairs {
            (0..3).for_each(|_| self.deliver(pair));
            if self.is_rough && self.rng.chance(2) {
                self.lose(pair.0, pair.1);
            }
        }
    }

    fn replicas_are_due(&self) -> bool {
        self.sites[0].replicas.poll_timeout().is_some_and(|(at, _)| at <= self.now)
    }
}

#[test]
fn what_is_acknowledged_is_on_every_replica_and_in_the_end_all_are_alike() {
    for (count, seeds) in [(3, 6), (7, 6), (20, 3)] {
        for seed in 0..seeds {
            let mut cluster = Cluster::new(count, seed);
            for _ in 0..3000 {
                if cluster.rng.chance(100) {
                    cluster.write();
                }
                cluster.step();
            }
            cluster.is_rough = false;
            (0..2000).for_each(|_| cluster.step());
            assert!(cluster.pending.is_none(), "{count} zhosts, seed {seed}: it waits for ever");
            assert!(cluster.acknowledgements > 10, "{} acknowledged", cluster.acknowledgements);
            let ReplicaSet { replicas, joining, .. } = set(count);
            for id in replicas.iter().chain(&joining) {
                let is_alike = cluster.sites[id.0 as usize - 1].flash == cluster.sites[0].flash;
                assert!(is_alike, "{count} zhosts, seed {seed}: {id} has something else");
            }
            let all = replicas.len() + joining.len();
            assert_eq!(cluster.sites[0].replicas.copies(&key()), all);
            assert_eq!(cluster.sites[0].replicas.synced(&cluster.sites[0].facts, &key()).len(), all);
        }
    }
}

#[test]
fn who_is_not_the_primary_orders_nothing_and_its_space_is_stopped() {
    let mut cluster = Cluster::new(7, 1);
    cluster.is_rough = false;
    let session = 7;
    let life = cluster.sites[1].disposal.life(&key()).unwrap();
    let version = PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ZhostId(1) };
    let attach =
        |version| DataMessage::Part { session, last: true, bytes: DataOrder::Attach(version, life).encode() };
    let (false_primary, follower) = (ZhostId(5), ZhostId(2));
    // By the placement in force another is primary; by an older one nobody is any more.
    let older = PlacementVersion { counter: 0, ..version };
    for (peer, version) in [(false_primary, version), (false_primary, older), (ZhostId(1), older)] {
        cluster.streams.clear();
        cluster.streams.insert((peer, follower), VecDeque::from([attach(version)]));
        cluster.deliver((peer, follower));
        let answers: Vec<_> = cluster.streams[&(follower, peer)].iter().collect();
        assert!(matches!(answers[..], [DataMessage::Refused { session: 7 }]), "{answers:?}");
        assert!(cluster.sites[1].disk.is_empty());
    }
    // A part of a session that never began is no order.
    cluster.streams.clear();
    let write = DataOrder::Write(vec![]).encode();
    let part = DataMessage::Part { session: 9, last: true, bytes: write };
    cluster.streams.insert((ZhostId(1), follower), VecDeque::from([part]));
    cluster.deliver((ZhostId(1), follower));
    assert!(matches!(
        cluster.streams[&(follower, ZhostId(1))].back(),
        Some(DataMessage::Refused { session: 9 })
    ));
    // Whoever runs the space where another is primary is told to stop.
    let mut effects = Effects::default();
    let site = &mut cluster.sites[4];
    let launch = fixture::launch(&key());
    site.host.insert(cluster.now, launch, version, 1, None);
    site.host.launch(&site.facts, &key()).unwrap();
    let mut here = Here { now: cluster.now, facts: &site.facts, host: &site.host, effects: &mut effects };
    site.replicas.handle_wrote(&mut here, &key(), (1, 1), Changes::new());
    let told: Vec<_> = effects.into_iter().collect();
    let is_abandon =
        |effect: &Effect| matches!(effect, Effect::Output(Output::Worker(WorkerCommand::Abandon(_))));
    assert!(!told.is_empty() && told.iter().all(is_abandon), "{told:?}");
}
