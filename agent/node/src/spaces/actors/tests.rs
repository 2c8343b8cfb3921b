//! Spaces of several zhosts that call, bind, name and end each other, over a network in which zhosts lose each other.

use super::*;
use crate::{
    data::blobs::Blobs,
    effects::Effect,
    facts::fixture,
    spaces::{
        host::Host,
        mail::{CALLS_PER_SPACE_MAX, DIRECT_PER_SPACE_MAX},
        messages::Messages,
        web::Web,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    time::Duration,
};
use zhost_base::{Batch, Instant, Name};
use zhost_exchange::{Consumed, Origin, Signal};
use zhost_gossip::{
    document::{DocumentKey, PlacementVersion, Slot, Wanted},
    election::View,
    registry::{Carrier, RegistryMessage},
    row::Leadership,
};

const ID: TopologyId = TopologyId([1; 16]);
const SPACES_EACH: usize = 2;
const NAMES: [&str; 3] = ["ear", "eye", "nose"];

/// A zhost with actors only.
struct Site {
    facts: Facts,
    host: Host,
    actors: Actors,
    /// What its workers were told.
    told: VecDeque<WorkerCommand>,
}

/// What a space knows of itself.
#[derive(Default)]
struct Space {
    /// The question it waits for.
    asking: Option<u32>,
    serial: u32,
    /// Calls it has to reply to, the one that it has taken first.
    calls: VecDeque<(Pid, u32)>,
    /// Of whom it wants to hear the end.
    bonds: BTreeMap<Pid, Bond>,
    /// Messages that it sent and heard nothing of.
    under_way: i64,
}

struct Cluster {
    now: Instant,
    rng: Rng,
    sites: Vec<Site>,
    spaces: BTreeMap<Pid, Space>,
    /// Streams: in order between any two.
    streams: BTreeMap<(ZhostId, ZhostId), VecDeque<(TopologyId, ActorMessage)>>,
    /// Registries on their way to everybody.
    news: Vec<(usize, RegistryMessage)>,
    /// Pairs that have lost each other.
    apart: BTreeSet<(ZhostId, ZhostId)>,
    is_rough: bool,
    ended: BTreeSet<Pid>,
}

fn key(zhost: ZhostId, index: usize) -> SpaceKey {
    SpaceKey { topology: ID, space: format!("s{}-{index}", zhost.0).parse().unwrap() }
}

impl Cluster {
    fn new(count: usize, seed: u64) -> Self {
        let ids: Vec<ZhostId> = (1..=count as u64).map(ZhostId).collect();
        let mut rng = Rng::from_number(seed);
        let site = |index: usize| {
            let mut zhosts = ids.clone();
            zhosts.swap(0, index);
            let topology = fixture::topology(Wanted::Running, 1, ZhostId(1));
            let mut facts = fixture::facts(&zhosts, [(DocumentKey::Topology(ID), topology)]);
            let supers = ids.iter().copied().take(2).collect();
            let view = View {
                candidates: Vec::new(),
                roster: ids.clone(),
                leaderships: vec![(ZhostId(99), Leadership { full: true, term: 1, supers })],
                ready: true,
                placed_term: 0,
            };
            facts.election.handle_view(Instant::ZERO, view);
            let actors = Actors::new(rng.fork());
            Site { facts, host: Host::new(rng.fork()), actors, told: VecDeque::new() }
        };
        let sites: Vec<Site> = (0..count).map(site).collect();
        let mut cluster = Self {
            now: Instant::ZERO,
            rng,
            sites,
            spaces: BTreeMap::new(),
            streams: BTreeMap::new(),
            news: Vec::new(),
            apart: BTreeSet::new(),
            is_rough: true,
            ended: BTreeSet::new(),
        };
        for index in 0..count {
            (0..SPACES_EACH).for_each(|space| cluster.start(index, space));
        }
        cluster
    }

    fn start(&mut self, index: usize, space: usize) {
        let site = &mut self.sites[index];
        let key = key(site.facts.id, space);
        let launch = fixture::launch(&key);
        let placement = PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ZhostId(1) };
        site.host.insert(self.now, launch, placement, 1, None);
        let launch = site.host.launch(&site.facts, &key).unwrap();
        self.spaces.insert(launch.pid, Space::default());
    }

    fn index_of(&self, zhost: ZhostId) -> usize {
        zhost.0 as usize - 1
    }

    /// Has a zhost's actors take something in, and does what follows.
    fn run(&mut self, index: usize, work: impl FnOnce(&mut Actors, &Context<'_>, &mut Effects)) {
        let (web, messages) = (Web::default(), Messages::default());
        let blobs = Blobs::new(LiteMap::new(), Rng::from_number(1));
        let mut effects = Effects::default();
        let site = &mut self.sites[index];
        let context = Context {
            now: self.now,
            facts: &site.facts,
            host: &site.host,
            web: &web,
            messages: &messages,
            blobs: &blobs,
            takes_spawns: true,
            memory_bytes: 1 << 20,
        };
        work(&mut site.actors, &context, &mut effects);
        for effect in effects {
            self.carry_out(index, effect);
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        let site = &mut self.sites[index];
        let me = site.facts.id;
        match effect {
            Effect::Output(Output::Worker(command)) => site.told.push_back(command),
            Effect::Row(key, row) => {
                site.facts.registry.set(self.now, key, row).unwrap();
                self.tell_news(index);
            }
            Effect::NoRow(key) => {
                site.facts.registry.remove(self.now, &key);
                self.tell_news(index);
            }
            Effect::Log(..) => {}
            Effect::Actor(to, topology, message) if to == me => {
                self.run(index, |actors, cx, effects| {
                    actors.handle_message(cx, me, topology, message, effects)
                });
            }
            // Too much waits, or it is dead; what nobody would say again has a reserve.
            Effect::Actor(to, _, message)
                if self.apart.contains(&(me, to))
                    || (self.is_rough && !message.is_last_word() && self.rng.chance(30)) =>
            {
                self.run(index, |actors, cx, effects| actors.handle_unsent(cx, to, message, effects));
            }
            Effect::Actor(to, topology, message) => {
                self.streams.entry((me, to)).or_default().push_back((topology, message));
            }
            effect => panic!("actors want {effect:?}"),
        }
    }

    fn tell_news(&mut self, index: usize) {
        let delta = self.sites[index].facts.registry.own_delta(0);
        let all = 0..self.sites.len();
        self.news.extend(delta.into_iter().flat_map(|delta| all.clone().map(move |to| (to, delta.clone()))));
    }

    /// Two zhosts lose each other: streams end, and each hears of it.
    fn part(&mut self, a: ZhostId, b: ZhostId) {
        for (me, other) in [(a, b), (b, a)] {
            self.apart.insert((me, other));
            self.streams.remove(&(me, other));
            let index = self.index_of(me);
            self.run(index, |actors, cx, effects| actors.lose_zhost(cx, other, None, true, effects));
        }
    }

    fn meet(&mut self, a: ZhostId, b: ZhostId) {
        for (me, other) in [(a, b), (b, a)] {
            self.apart.remove(&(me, other));
            let index = self.index_of(me);
            self.run(index, |actors, cx, effects| {
                // The other's stream begins anew, and it is up.
                actors.lose_zhost(cx, other, None, false, effects);
                actors.lose_zhost(cx, other, Some(Generation(1)), false, effects);
                actors.bonds.handle_zhost_back(other, Generation(1), effects);
            });
        }
    }

    fn end(&mut self, pid: Pid) {
        let index = self.index_of(pid.zhost);
        let Some(key) = self.sites[index].host.key_of(pid.number).cloned() else { return };
        let reason = ExitReason { normal: false, reason: "gone".into() };
        self.run(index, |actors, cx, effects| {
            actors.handle_space_ended(cx, (&key, pid.number), &reason, effects);
        });
        self.sites[index].host.remove(&key);
        self.spaces.remove(&pid);
        self.ended.insert(pid);
        let space = usize::from(key.space.as_str().ends_with('1'));
        self.start(index, space);
    }

    fn act(&mut self, pid: Pid, act: Act) {
        let index = self.index_of(pid.zhost);
        let Some(key) = self.sites[index].host.key_of(pid.number).cloned() else { return };
        self.run(index, |actors, cx, effects| actors.handle_act(cx, (&key, pid.number), act, effects));
    }

    fn consume(&mut self, pid: Pid, origin: Origin, messages: u32, bytes: u32) {
        let index = self.index_of(pid.zhost);
        let Some(key) = self.sites[index].host.key_of(pid.number).cloned() else { return };
        let consumed = Consumed { origin, path: None, messages, bytes };
        self.run(index, |actors, cx, effects| actors.mail.handle_consumed(cx, &key, &consumed, effects));
    }

    /// A space hears what its zhost's worker was told.
    fn hear(&mut self, index: usize) {
        let Some(command) = self.sites[index].told.pop_front() else { return };
        let site = &self.sites[index];
        let (WorkerCommand::Signal { number, .. } | WorkerCommand::Answer { number, .. }) = &command else {
            panic!("workers are told {command:?}")
        };
        let pid = site.facts.pid(*number);
        let Some(space) = self.spaces.get_mut(&pid) else { return };
        match command {
            WorkerCommand::Answer { serial, .. } => {
                assert_eq!(space.asking.take(), Some(serial), "{pid} is answered once");
            }
            WorkerCommand::Signal { signal: Signal::Call(from, serial, ..), .. } => {
                space.calls.push_back((from, serial));
            }
            WorkerCommand::Signal { signal: Signal::Down(other, _), .. } => {
                assert_eq!(space.bonds.remove(&other), Some(Bond::Monitor), "{pid} hears of {other} once");
            }
            // The other may have made the link.
            WorkerCommand::Signal { signal: Signal::Exit(other, _), .. }
                if space.bonds.get(&other) == Some(&Bond::Link) =>
            {
                space.bonds.remove(&other);
            }
            WorkerCommand::Signal { signal: Signal::Message(from, payloads), .. } => {
                let (messages, bytes) = (payloads.len() as u32, payloads.content_bytes() as u32);
                self.consume(pid, Origin::Direct(from), messages, bytes);
            }
            WorkerCommand::Signal { signal: Signal::Credit(_, messages, _), .. } => {
                space.under_way -= i64::from(messages);
                assert!(space.under_way >= 0, "{pid} gets back what it sent");
            }
            _ => {}
        }
    }

    /// A space does something.
    fn live(&mut self) {
        let pids: Vec<Pid> = self.spaces.keys().copied().collect();
        let pid = *self.rng.pick(&pids).unwrap();
        // Some speak to those that have ended.
        let ended: Vec<Pid> = self.ended.iter().copied().collect();
        let others = if self.rng.chance(100) && !ended.is_empty() { &ended } else { &pids };
        let other = *self.rng.pick(others).unwrap();
        let name = || NAMES.map(|name| name.parse::<Name>().unwrap());
        let space = self.spaces.get_mut(&pid).unwrap();
        let idle = space.asking.is_none();
        space.serial += u32::from(idle);
        let serial = space.serial;
        let what = self.rng.below(100);
        let ask = match what {
            0..20 if other != pid => Some(Ask::CallPid(other, vec![1])),
            20..25 => Some(Ask::Register(self.rng.pick(&name()).unwrap().clone())),
            25..27 => Some(Ask::Whereis(self.rng.pick(&name()).unwrap().clone())),
            _ => None,
        };
        match ask {
            Some(ask) if idle => {
                self.spaces.get_mut(&pid).unwrap().asking = Some(serial);
                self.act(pid, Act::Ask(serial, ask));
            }
            Some(_) => {}
            None => match what {
                27..45 => self.reply(pid),
                45..60 if other != pid => {
                    let bond = if what < 52 { Bond::Link } else { Bond::Monitor };
                    let bonds = &mut self.spaces.get_mut(&pid).unwrap().bonds;
                    if let Entry::Vacant(vacant) = bonds.entry(other) {
                        vacant.insert(bond);
                        self.act(pid, if what < 52 { Act::Link(other) } else { Act::Monitor(other) });
                    }
                }
                60..65 => {
                    let name = self.rng.pick(&name()).unwrap().clone();
                    self.act(pid, Act::Unregister(name));
                }
                65..90 if other != pid => {
                    let payloads = Batch::from_iter([[7_u8; 9].as_slice(), &[8]]);
                    self.spaces.get_mut(&pid).unwrap().under_way += payloads.len() as i64;
                    self.act(pid, Act::Send(other, payloads));
                }
                90..93 => self.end(pid),
                93..95 if pid.zhost != other.zhost => self.part(pid.zhost, other.zhost),
                _ => {}
            },
        }
    }

    /// A space takes its next call, and replies to it.
    fn reply(&mut self, pid: Pid) {
        let Some((from, serial)) = self.spaces.get_mut(&pid).and_then(|space| space.calls.pop_front()) else {
            return;
        };
        self.consume(pid, Origin::Call(from, serial), 1, 1);
        self.act(pid, Act::Reply(from, serial, vec![2]));
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(20);
        let pairs: Vec<_> =
            self.streams.iter().filter(|(_, queue)| !queue.is_empty()).map(|(p, _)| *p).collect();
        for pair in pairs {
            if self.is_rough && self.rng.chance(500) {
                continue;
            }
            let Some((topology, message)) = self.streams.get_mut(&pair).and_then(VecDeque::pop_front) else {
                continue;
            };
            let index = self.index_of(pair.1);
            self.run(index, |actors, cx, effects| {
                actors.handle_message(cx, pair.0, topology, message, effects);
            });
        }
        let is_late = self.is_rough && self.rng.chance(300);
        if !self.news.is_empty() && !is_late {
            let at = self.rng.below(self.news.len() as u64) as usize;
            let (to, delta) = self.news.swap_remove(at);
            let site = &mut self.sites[to];
            site.facts.registry.handle_message(delta, Carrier::Link, |_| Some(Generation(1)));
            self.run(to, |actors, cx, effects| actors.grants.refresh(cx, effects));
        }
        if self.rng.chance(300)
            && let Some((a, b)) = self.apart.first().copied()
        {
            self.meet(a, b);
        }
        for index in 0..self.sites.len() {
            for _ in 0..2 {
                self.hear(index);
            }
        }
    }

    fn rest(&mut self) {
        self.is_rough = false;
        for _ in 0..4000 {
            let pids: Vec<Pid> = self.spaces.keys().copied().collect();
            pids.into_iter().for_each(|pid| self.reply(pid));
            self.step();
        }
        let waits = self.streams.values().map(VecDeque::len).sum::<usize>();
        assert_eq!((waits, self.news.len(), self.apart.len()), (0, 0, 0));
    }

    /// Who holds a name by what this zhost's spaces hold, everybody's registry being the same.
    fn check_names(&self) {
        for name in NAMES {
            let name: Name = name.parse().unwrap();
            let held = self
                .sites
                .iter()
                .filter_map(|site| site.actors.grants.holder(ID, &name).map(|number| site.facts.pid(number)));
            let held: Vec<Pid> = held.collect();
            assert!(held.len() <= 1, "{name} is held by {held:?}");
            for site in &self.sites {
                assert_eq!(site.facts.whereis(ID, &name), held.first().copied(), "{name}");
            }
            assert!(held.iter().all(|pid| self.spaces.contains_key(pid)), "the dead hold nothing");
        }
    }

    fn check(&self) {
        for (pid, space) in &self.spaces {
            assert_eq!(space.asking, None, "{pid} waits for an answer");
            assert_eq!(space.under_way, 0, "{pid} does not know what came of its messages");
            let dead: Vec<_> = space.bonds.keys().filter(|other| self.ended.contains(other)).collect();
            assert!(dead.is_empty(), "{pid} was not told of the end of {dead:?}");
        }
        // Each side of a bond knows of the other.
        let mut ties = BTreeSet::new();
        for site in &self.sites {
            let of = |(number, other, tie): &(u32, Pid, Tie)| (site.facts.pid(*number), *other, *tie);
            ties.extend(site.actors.bonds.ties().map(of));
        }
        for (me, other, tie) in &ties {
            let back = match tie {
                Tie::Link => Tie::Link,
                Tie::Watches => Tie::WatchedBy,
                Tie::WatchedBy => Tie::Watches,
            };
            assert!(ties.contains(&(*other, *me, back)), "{me} has {tie:?} with {other}, which has not");
        }
        for site in &self.sites {
            assert!(site.actors.asking.is_empty() && site.actors.mail.is_empty(), "something is under way");
        }
    }
}

#[test]
fn in_the_end_everybody_has_heard_what_concerns_him_once_however_zhosts_lose_each_other() {
    for (count, seeds) in [(3, 12), (7, 8), (20, 4)] {
        for seed in 0..seeds {
            let mut cluster = Cluster::new(count, seed);
            for _ in 0..4000 {
                (0..1 + count / 4).for_each(|_| cluster.live());
                cluster.step();
            }
            cluster.rest();
            cluster.check();
            cluster.check_names();
            assert!(cluster.ended.len() > 50, "{} ended", cluster.ended.len());
        }
    }
}

#[test]
fn a_mailbox_takes_so_many_calls_and_messages_and_no_more() {
    let mut cluster = Cluster::new(3, 1);
    let pids: Vec<Pid> = cluster.spaces.keys().copied().collect();
    let (from, to) = (pids[0], pids[2]);
    let index = cluster.index_of(to.zhost);
    // A message that is not for this topology, or for an earlier start of the zhost, finds nobody.
    let stale = Pid { generation: Generation(0), ..to };
    for (topology, to) in [(TopologyId([9; 16]), to), (ID, stale)] {
        let told = cluster.sites[index].told.len();
        let call = ActorMessage::Call { from, to, serial: 7, path: None, payload: Vec::new() };
        cluster
            .run(index, |actors, cx, effects| actors.handle_message(cx, from.zhost, topology, call, effects));
        assert_eq!(cluster.sites[index].told.len(), told);
        let answer = cluster.streams.get_mut(&(to.zhost, from.zhost)).and_then(VecDeque::pop_back);
        let not_found = Err(Refusal::NotFound as i8);
        assert!(matches!(answer, Some((_, ActorMessage::Reply { result, .. })) if result == not_found));
    }
    for serial in 0..2 * CALLS_PER_SPACE_MAX as u32 {
        let call = ActorMessage::Call { from, to, serial, path: None, payload: vec![0; 10] };
        cluster.run(index, |actors, cx, effects| actors.handle_message(cx, from.zhost, ID, call, effects));
    }
    assert_eq!(cluster.sites[index].actors.mail.calls_max(), CALLS_PER_SPACE_MAX);
    let refused = cluster.streams[&(to.zhost, from.zhost)].iter();
    assert_eq!(
        refused.filter(|(_, message)| matches!(message, ActorMessage::Reply { .. })).count(),
        CALLS_PER_SPACE_MAX
    );
    for _ in 0..2 * DIRECT_PER_SPACE_MAX {
        let payloads = Batch::from_iter([[7_u8].as_slice()]);
        let message = ActorMessage::Messages { from, to, payloads };
        cluster.run(index, |actors, cx, effects| actors.handle_message(cx, from.zhost, ID, message, effects));
    }
    assert_eq!(cluster.sites[index].actors.mail.direct_of(to.number), DIRECT_PER_SPACE_MAX);
}
