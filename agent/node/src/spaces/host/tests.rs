//! The spaces of one zhost that has nothing else: a topology of so many is placed on it.

use super::*;
use crate::{
    data::{blobs::Blobs, disposal::Disposal},
    effects::Effect,
    facts::fixture,
    faults::{Faults, Part},
};
use zhost_base::{BlobDigest, Name, SpaceKind, Start, TopologyId, ZhostId};
use zhost_gossip::document::{Document, DocumentKey, Home, Placement, Slot, Wanted};

const ID: TopologyId = TopologyId([1; 16]);
const ME: ZhostId = ZhostId(1);
const VERSION: PlacementVersion = PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ME };

struct Site {
    now: Instant,
    facts: Facts,
    host: Host,
    blobs: Blobs,
    disposal: Disposal,
    faults: Faults,
    is_leaving: bool,
    /// The starts under way, and what workers were told to stop.
    started: Vec<Launch>,
    stopped: Vec<SpaceKey>,
    /// What followed since it was last asked for, in words.
    told: Vec<String>,
}

fn space(index: usize) -> SpaceSpec {
    SpaceSpec::new(name(index), SpaceKind::Data)
}

fn name(index: usize) -> Name {
    format!("s{index}").parse().unwrap()
}

fn key(index: usize) -> SpaceKey {
    SpaceKey { topology: ID, space: name(index) }
}

/// What is written of a topology of these spaces, and that all of them are placed here.
fn documents(revision: u64, placed: u64, spaces: Vec<SpaceSpec>) -> [(DocumentKey, Document); 2] {
    let homes = spaces.iter().map(|space| match space.start {
        Start::Spawned => Home::OnDemand,
        _ => Home::On(ME),
    });
    let placement = Placement {
        version: PlacementVersion { counter: placed, ..VERSION },
        revision: placed,
        homes: homes.collect(),
        settled: true,
        replica_sets: Vec::new(),
    };
    let mut topology = fixture::topology(Wanted::Running, revision, ME);
    if let Document::Topology(_, document) = &mut topology {
        (document.spec.spaces, document.revision) = (spaces, revision);
        document.package = BlobDigest([revision as u8; 32]);
    }
    [
        (DocumentKey::Topology(ID), topology),
        (DocumentKey::Placement(ID, Slot::Full), Document::Placement(placement)),
    ]
}

impl Site {
    fn new(spaces: Vec<SpaceSpec>) -> Self {
        let packages = (1..3).map(|revision| (BlobDigest([revision; 32]), 1)).collect();
        Self {
            now: Instant::ZERO,
            facts: fixture::facts(&[ME, ZhostId(2)], documents(1, 1, spaces)),
            host: Host::new(Rng::from_number(1)),
            blobs: Blobs::new(packages, Rng::from_number(1)),
            disposal: Disposal::new(LiteMap::new()),
            faults: Faults::default(),
            is_leaving: false,
            started: Vec::new(),
            stopped: Vec::new(),
            told: Vec::new(),
        }
    }

    fn know(&mut self, documents: [(DocumentKey, Document); 2]) {
        self.facts = fixture::facts(&[ME, ZhostId(2)], documents);
    }

    fn run<T>(&mut self, work: impl FnOnce(&mut Host, &Situation<'_>, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let situation = Situation {
            now: self.now,
            unix_ms: 7,
            facts: &self.facts,
            blobs: &self.blobs,
            disposal: &self.disposal,
            faults: &self.faults,
            is_leaving: self.is_leaving,
        };
        let outcome = work(&mut self.host, &situation, &mut effects);
        for effect in effects {
            match effect {
                Effect::Output(Output::Worker(WorkerCommand::Start(launch))) => self.started.push(launch),
                Effect::Output(Output::Worker(WorkerCommand::Stop(key))) => self.stopped.push(key),
                Effect::Output(Output::Worker(WorkerCommand::Resume { key, number })) => {
                    self.told.push(format!("{} {number}?", key.space));
                }
                Effect::SpaceEnded(key, number, _) => self.told.push(format!("{} {number} ended", key.space)),
                Effect::SpaceGone(key) => self.told.push(format!("{} gone", key.space)),
                _ => {}
            }
        }
        outcome
    }

    fn reconcile(&mut self) {
        self.run(|host, at, effects| host.reconcile(at, effects));
    }

    /// Those that are being started run.
    fn started(&mut self) -> usize {
        let started = std::mem::take(&mut self.started);
        for launch in &started {
            let start = (&launch.key, launch.pid.number);
            let is_spawned = self.run(|host, at, effects| host.handle_started(at, start, effects));
            assert!(!is_spawned);
        }
        started.len()
    }

    fn exit(&mut self, index: usize, exit: Exit) {
        let number = self.host.space(&key(index)).expect("it is here").launch.pid.number;
        self.run(|host, at, effects| host.handle_exit(at, (&key(index), number), exit, effects));
    }

    fn state(&self, index: usize) -> Option<SpaceState> {
        self.host.space(&key(index)).map(|space| space.state)
    }

    /// Time passes until something is due, and that is done.
    fn wait(&mut self) -> Duration {
        let (due, _) = self.host.poll_timeout().expect("something is due");
        let waited = due.since(self.now);
        self.now = due;
        self.run(|host, at, effects| host.handle_timeout(at.now, at.facts, effects));
        waited
    }
}

#[test]
fn spaces_are_started_so_many_at_a_time_until_all_run() {
    for count in [3, 7, 20] {
        let mut site = Site::new((0..count).map(space).collect());
        site.reconcile();
        assert_eq!(site.started.len(), count.min(STARTS_AT_ONCE));
        let mut all = 0;
        while !site.started.is_empty() {
            assert!(site.host.starting() <= STARTS_AT_ONCE);
            all += site.started();
        }
        assert_eq!((all, site.host.running().count(), site.host.starts()), (count, count, count as u32));
        site.reconcile();
        assert!(site.started.is_empty() && site.stopped.is_empty(), "what runs as it should is left alone");
    }
}

#[test]
fn a_new_revision_waits_for_its_placement_and_then_replaces_the_old_one() {
    for count in [3, 7, 20] {
        let spaces = || (0..count).map(space).collect::<Vec<_>>();
        let mut site = Site::new(spaces());
        site.reconcile();
        while site.started() > 0 {}
        site.know(documents(2, 1, spaces()));
        site.reconcile();
        assert!(site.stopped.is_empty(), "the old one goes on");
        site.know(documents(2, 2, spaces()));
        site.reconcile();
        assert_eq!(site.stopped.len(), count);
        for index in 0..count {
            site.exit(index, Exit::Closed);
            site.started();
        }
        while site.started() > 0 {}
        let revisions: Vec<u64> = site.host.running().map(|(_, space)| space.revision).collect();
        assert_eq!(revisions, vec![2; count]);
        assert!(site.told.contains(&"s0 1 ended".into()) && site.told.contains(&"s0 gone".into()));
    }
}

#[test]
fn a_crash_is_followed_by_ever_longer_waits_and_at_last_by_a_hold_that_an_operator_ends() {
    let mut site = Site::new(vec![space(0), space(1)]);
    site.reconcile();
    site.started();
    let mut last = Duration::ZERO;
    let mut crashes = 0;
    loop {
        site.exit(0, Exit::Crashed("trap".into()));
        crashes += 1;
        if site.state(0) == Some(SpaceState::Held) {
            break;
        }
        assert_eq!(site.state(0), Some(SpaceState::Backoff));
        let waited = site.wait();
        assert!(waited > last, "{waited:?} after {last:?}");
        last = waited;
        assert_eq!(site.started(), 1);
    }
    assert_eq!((crashes, site.state(1)), (5, Some(SpaceState::Running)), "the other runs on");
    assert_eq!(site.host.endings(&key(0)).count(), 5);
    assert_eq!(site.host.poll_timeout(), None);
    site.run(|host, at, effects| host.restart(at, &key(0), effects));
    assert_eq!((site.started(), site.state(0)), (1, Some(SpaceState::Running)));
}

#[test]
fn whoever_asks_to_be_stopped_is_unless_it_is_to_run_always() {
    let always = SpaceSpec { restart: Restart::Always, ..space(1) };
    let never = SpaceSpec { restart: Restart::Never, ..space(2) };
    let mut site = Site::new(vec![space(0), always, never]);
    site.reconcile();
    site.started();
    site.exit(0, Exit::Ended(0));
    site.exit(1, Exit::Ended(0));
    site.exit(2, Exit::Crashed("trap".into()));
    let states = [0, 1, 2].map(|index| site.state(index));
    assert_eq!(states, [SpaceState::Ended, SpaceState::Backoff, SpaceState::Held].map(Some));
    assert_eq!(site.wait(), RESTART_PAUSE);
    assert_eq!(site.started(), 1);
    // News of a start that is past change nothing.
    site.run(|host, at, effects| host.handle_exit(at, (&key(1), 2), Exit::Closed, effects));
    assert_eq!(site.state(1), Some(SpaceState::Running));
}

#[test]
fn who_leaves_closes_everything_and_starts_nothing() {
    let mut site = Site::new((0..7).map(space).collect());
    site.reconcile();
    site.started();
    site.is_leaving = true;
    site.reconcile();
    assert_eq!(site.stopped.len(), 7);
    for index in 0..7 {
        site.exit(index, Exit::Closed);
    }
    assert!(site.host.is_empty() && site.started.is_empty());
}

#[test]
fn a_space_with_data_waits_until_there_is_a_place_for_it() {
    let keeps = SpaceSpec { capabilities: vec!["data.write".parse().unwrap()], ..space(0) };
    let mut site = Site::new(vec![keeps, space(1)]);
    site.reconcile();
    assert_eq!(site.started(), 1, "the other");
    assert_eq!(site.state(0), None);
    let Some(topology) = site.facts.ledger.topology(ID) else { panic!("it is known") };
    let life = topology.data_life(&name(0));
    site.disposal = Disposal::new([(key(0), life)].into_iter().collect());
    site.reconcile();
    assert_eq!((site.started(), site.state(0)), (1, Some(SpaceState::Running)));
}

#[test]
fn after_a_panic_workers_are_asked_how_spaces_are_and_they_run_on() {
    let mut site = Site::new((0..5).map(space).collect());
    site.reconcile();
    site.started();
    // The first is being started, the second closes, the third has ended unnoticed, the fourth pauses.
    site.host.space_mut(&key(0)).unwrap().state = SpaceState::Starting;
    site.run(|host, at, effects| host.close(at.facts, &key(1), effects));
    site.exit(3, Exit::Crashed("trap".into()));
    (site.told, site.stopped) = (Vec::new(), Vec::new());
    site.run(|host, at, effects| host.begin_again(at.facts, effects));
    assert_eq!(site.told, ["s0 1?", "s1 2?", "s2 3?", "s4 5?"]);
    site.told.clear();
    let mut resume = |index: usize, number: u32, presence: Presence| {
        site.run(|host, at, effects| host.handle_resumed(at, (&key(index), number), presence, effects))
    };
    assert!(!resume(0, 1, Presence::Running(3)) && !resume(1, 2, Presence::Running(0)));
    assert!(!resume(2, 3, Presence::Gone) && !resume(4, 5, Presence::Running(u32::MAX)));
    assert!(!resume(4, 4, Presence::Gone), "another start of it");
    let states = [0, 1, 2, 3, 4].map(|index| site.state(index).unwrap());
    let (running, paused) = (SpaceState::Running, SpaceState::Backoff);
    assert_eq!(states, [running, SpaceState::Closing, paused, paused, running]);
    assert_eq!((site.stopped.len(), site.told.as_slice()), (1, &["s2 3 ended".to_owned()][..]));
    let unread = [0, 4].map(|index| site.host.space(&key(index)).unwrap().mailbox);
    assert_eq!(unread, [3, MAILBOX_MAX_MESSAGES]);
}

#[test]
fn a_topology_that_is_left_alone_is_closed_and_not_started() {
    let mut site = Site::new(vec![space(0), space(1)]);
    site.reconcile();
    site.started();
    for _ in 0..3 {
        site.faults.handle_panic(site.now, (Part::Spaces, Some(ID)), "boom");
    }
    site.reconcile();
    assert_eq!(site.stopped, [key(0), key(1)]);
    site.exit(0, Exit::Closed);
    site.exit(1, Exit::Closed);
    assert!(site.host.is_empty() && site.started.is_empty());
    let (due, _) = site.faults.poll_timeout().unwrap();
    site.faults.handle_timeout(due);
    site.reconcile();
    assert_eq!(site.started(), 2, "it is tried again");
}

#[test]
fn a_spawned_space_is_not_started_again_and_goes_with_its_version() {
    let kind = SpaceSpec { start: Start::Spawned, ..space(0) };
    let mut site = Site::new(vec![kind.clone()]);
    let spawn = |site: &mut Site| {
        let key = SpaceKey { topology: ID, space: "s0.1".parse().unwrap() };
        let launch = Launch { space: name(0), package: BlobDigest([1; 32]), ..fixture::launch(&key) };
        let spawner = Spawner { parent: Pid::default(), serial: 1 };
        site.run(|host, at, effects| host.take_in_spawned(at.now, at.facts, (launch, 1), spawner, effects));
        let launch = site.started.pop().expect("it starts");
        let start = (&key, launch.pid.number);
        assert!(
            site.run(|host, at, effects| host.handle_started(at, start, effects)),
            "who spawned it is told"
        );
        assert_eq!(
            (site.host.spawned(), site.host.spawned_of(&SpaceKey { space: name(0), ..key.clone() })),
            (1, 1)
        );
        (key, launch.pid.number)
    };
    let (key, number) = spawn(&mut site);
    site.reconcile();
    assert!(site.stopped.is_empty());
    let crash = Exit::Crashed("trap".into());
    site.run(|host, at, effects| host.handle_exit(at, (&key, number), crash, effects));
    assert!(site.host.is_empty() && site.started.is_empty());
    assert_eq!(site.host.endings(&self::key(0)).count(), 1, "kept under the name of its kind");
    spawn(&mut site);
    site.know(documents(2, 2, vec![kind]));
    site.reconcile();
    assert_eq!(site.stopped.len(), 1);
}
