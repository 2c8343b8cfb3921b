//! Messages around a ring of spaces, one on each zhost, with streams that are given up, queues that are full, and
//! receivers that start anew.

use super::*;
use crate::{effects::Effect, facts::fixture};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zhost_base::{Instant, PathSpec, Rng, SpaceKind, SpaceSpec};
use zhost_gossip::{
    document::{Document, DocumentKey, PlacementVersion, Slot, Stamp, Wanted},
    registry::{Carrier, RegistryMessage},
    row::SpaceRow,
};

const ID: TopologyId = TopologyId([1; 16]);
const VERSION: PlacementVersion =
    PlacementVersion { slot: Slot::Full, term: 1, counter: 1, coordinator: ZhostId(1) };

/// What a space has sent along its path, and what it was told of that.
#[derive(Default)]
struct Sent {
    count: u64,
    lost: u64,
    unknown: u64,
    /// Messages it may send.
    credit: u32,
}

struct Site {
    facts: Facts,
    host: Host,
    web: Web,
    messages: Messages,
    sent: Sent,
    /// Messages in the mailbox of its space: from which start of whom.
    mailbox: VecDeque<(Name, Sender, Name, u64)>,
    /// The numbers that ever came to it, and the last that came to this start of it.
    came: BTreeSet<u64>,
    last: Option<u64>,
}

struct Ring {
    rng: Rng,
    sites: Vec<Site>,
    streams: BTreeMap<(usize, usize), VecDeque<Frame>>,
    news: Vec<(usize, RegistryMessage)>,
    is_rough: bool,
}

fn key(index: usize) -> SpaceKey {
    SpaceKey { topology: ID, space: format!("s{index}").parse().unwrap() }
}

impl Ring {
    fn new(count: usize, seed: u64) -> Self {
        let ids: Vec<ZhostId> = (1..=count as u64).map(ZhostId).collect();
        let mut topology = fixture::topology(Wanted::Running, 1, ZhostId(1));
        let Document::Topology(_, document) = &mut topology else { panic!("a topology") };
        for index in 0..count {
            document.spec.spaces.push(SpaceSpec::new(key(index).space, SpaceKind::Data));
            let (from, to) = (index as u8, ((index + 1) % count) as u8);
            document.spec.paths.push(PathSpec { name: "next".parse().unwrap(), from, to });
        }
        let site = |index: usize| {
            let mut zhosts = ids.clone();
            zhosts.swap(0, index);
            Site {
                facts: fixture::facts(&zhosts, [(DocumentKey::Topology(ID), topology.clone())]),
                host: Host::new(Rng::from_number(seed)),
                web: Web::default(),
                messages: Messages::default(),
                sent: Sent::default(),
                mailbox: VecDeque::new(),
                came: BTreeSet::new(),
                last: None,
            }
        };
        let sites = (0..count).map(site).collect();
        let mut ring = Self {
            rng: Rng::from_number(seed),
            sites,
            streams: BTreeMap::new(),
            news: Vec::new(),
            is_rough: true,
        };
        (0..count).for_each(|index| ring.start(index));
        ring
    }

    /// The space of a zhost starts (anew): what is in its mailbox is gone, and everybody hears of it.
    fn start(&mut self, index: usize) {
        let site = &mut self.sites[index];
        let key = key(index);
        site.host.remove(&key);
        let launch = fixture::launch(&key);
        site.host.insert(Instant::ZERO, launch, VERSION, 1, None);
        let incarnation = site.host.launch(&site.facts, &key).unwrap().pid.number;
        site.host.space_mut(&key).unwrap().state = SpaceState::Running;
        (site.mailbox, site.last) = (VecDeque::new(), None);
        // What the former start had sent, and was not told of, the new one will not be told of.
        site.sent = Sent { count: site.sent.count, lost: 0, unknown: site.sent.count, credit: 0 };
        let row = SpaceRow {
            state: SpaceState::Running,
            placement: VERSION,
            revision: 1,
            incarnation,
            restarts: 0,
            synced: Vec::new(),
        };
        site.facts.registry.set(Instant::ZERO, RowKey::Space(key), Row::Space(row)).unwrap();
        let delta = site.facts.registry.own_delta(0).unwrap();
        self.news.extend((0..self.sites.len()).map(|to| (to, delta.clone())));
    }

    fn run(&mut self, index: usize, work: impl FnOnce(&mut Messages, &mut Local<'_>)) {
        let mut effects = Effects::default();
        let site = &mut self.sites[index];
        let (facts, host, web) = (&site.facts, &mut site.host, &mut site.web);
        let mut local = Local { facts, host, web, effects: &mut effects };
        work(&mut site.messages, &mut local);
        site.messages.flush_credits(&mut local);
        effects.into_iter().for_each(|effect| self.carry_out(index, effect));
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Output(Output::Worker(command)) => self.hear(index, command),
            Effect::Send(to, frame) => self.post(index, to, frame),
            Effect::Messages(to, frames) => {
                let mut fits = frames.len();
                if self.is_rough && self.rng.chance(100) {
                    fits = self.rng.below(fits as u64) as usize;
                }
                let mut frames = frames.into_iter();
                frames.by_ref().take(fits).for_each(|frame| self.post(index, to, frame));
                let unsent: Vec<Frame> = frames.collect();
                if !unsent.is_empty() {
                    self.run(index, |messages, local| messages.handle_unsent(local, to, unsent));
                }
            }
            effect => panic!("messages want {effect:?}"),
        }
    }

    fn post(&mut self, from: usize, to: ZhostId, frame: Frame) {
        self.streams.entry((from, to.0 as usize - 1)).or_default().push_back(frame);
    }

    /// What the worker of a zhost's space is told.
    fn hear(&mut self, index: usize, command: WorkerCommand) {
        let Site { sent, mailbox, came, last, .. } = &mut self.sites[index];
        match command {
            WorkerCommand::Target { up, .. } => sent.credit = if up { PATH_WINDOW_MESSAGES } else { 0 },
            WorkerCommand::Credit { messages, .. } => {
                sent.credit += messages;
                assert!(sent.credit <= PATH_WINDOW_MESSAGES, "more credit than a window has");
            }
            WorkerCommand::Undelivered { undelivered, credit_bytes, .. } => {
                if credit_bytes.is_some() {
                    sent.credit += undelivered.lost;
                    assert!(sent.credit <= PATH_WINDOW_MESSAGES, "more credit than a window has");
                }
                sent.lost += u64::from(undelivered.lost);
                sent.unknown += u64::from(undelivered.unknown);
            }
            WorkerCommand::Deliver { from, sender, path, payloads, .. } => {
                for payload in payloads.iter() {
                    let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
                    assert!(came.insert(number), "{number} came twice");
                    assert!(last.replace(number).is_none_or(|last| last < number), "{number} after {last:?}");
                    mailbox.push_back((from.clone(), sender, path.clone(), payload.len() as u64));
                }
            }
            command => panic!("workers are told {command:?}"),
        }
    }

    fn emit(&mut self, index: usize) {
        let most = self.sites[index].sent.credit.min(4);
        if most == 0 {
            return;
        }
        let count = 1 + self.rng.below(u64::from(most));
        let sent = &mut self.sites[index].sent;
        sent.credit -= count as u32;
        let numbers = sent.count..sent.count + count;
        sent.count += count;
        // Large ones, so that a batch does not fit one frame.
        let size = MESSAGE_SIZE_MAX_BYTES / 3;
        let payload = |number: u64| [number.to_le_bytes().to_vec(), vec![0; size]].concat();
        let payloads: Vec<Vec<u8>> = numbers.map(payload).collect();
        let payloads = Batch::from_iter(payloads.iter().map(Vec::as_slice));
        self.run(index, |messages, local| messages.handle_emitted(local, &key(index), 0, payloads));
    }

    fn consume(&mut self, index: usize) {
        let Some((from, sender, path, bytes)) = self.sites[index].mailbox.pop_front() else { return };
        self.run(index, |messages, local| {
            messages.handle_consumed(local.host, &key(index), (from, sender, path), (1, bytes as u32));
        });
    }

    fn deliver(&mut self, (from, to): (usize, usize)) {
        let Some(frame) = self.streams.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return };
        let peer = self.sites[from].facts.id;
        self.run(to, |messages, local| match frame {
            Frame::Channel { channel, to, sender, flow } => {
                messages.handle_channel(local.facts, (peer, channel), to, sender, flow);
            }
            Frame::Messages { channel, payloads } => messages.handle_messages(local, peer, channel, payloads),
            Frame::Returned { topology, flow, messages: count, bytes } => {
                messages.handle_returned(local, peer, topology, &flow, (count, bytes));
            }
            Frame::Credit { topology, flow, messages: count, bytes } => {
                messages.handle_credit(local, peer, topology, &flow, (count, bytes));
            }
            frame => panic!("messages sent {frame:?}"),
        });
    }

    /// A stream is given up: of what was under way the first may arrive, the last certainly did not.
    fn give_up(&mut self, (from, to): (usize, usize)) {
        let queue = self.streams.remove(&(from, to)).unwrap_or_default();
        let encode = |frames: &[Frame]| frames.iter().map(Frame::encode).collect::<Vec<_>>();
        let queue: Vec<Frame> = queue.into();
        let sent = self.rng.below(queue.len() as u64 + 1) as usize;
        let arrives = self.rng.below(sent as u64 + 1) as usize;
        let abandoned = Abandoned { unknown: encode(&queue[..sent]), unsent: encode(&queue[sent..]) };
        self.streams.insert((from, to), queue.into_iter().take(arrives).collect());
        (0..arrives).for_each(|_| self.deliver((from, to)));
        let (me, peer) = (self.sites[from].facts.id, self.sites[to].facts.id);
        self.run(from, |messages, local| messages.handle_abandoned(local, peer, &abandoned));
        self.run(to, |messages, local| messages.reopen_windows(local, me));
    }

    fn step(&mut self) {
        let count = self.sites.len();
        for index in 0..count {
            let next = (index + 1) % count;
            if self.is_rough {
                self.emit(index);
            }
            for pair in [(index, next), (next, index)] {
                if !(self.is_rough && self.rng.chance(300)) {
                    self.deliver(pair);
                }
                if self.is_rough && self.rng.chance(5) {
                    self.give_up(pair);
                }
            }
            self.consume(index);
            if self.is_rough && self.rng.chance(2) {
                self.start(index);
            }
        }
        for _ in 0..self.news.len().min(count) {
            let at = self.rng.below(self.news.len() as u64) as usize;
            let (to, delta) = self.news.swap_remove(at);
            self.sites[to].facts.registry.handle_message(delta, Carrier::Link, |_| Some(Generation(1)));
        }
        for index in 0..count {
            self.run(index, |messages, local| messages.refresh_targets(local));
        }
    }
}

#[test]
fn of_every_message_it_is_known_whether_it_came_and_credit_is_never_lost_nor_gained() {
    for (count, seeds) in [(2, 4), (3, 4), (7, 3), (20, 2)] {
        for seed in 0..seeds {
            let mut ring = Ring::new(count, seed);
            (0..600).for_each(|_| ring.step());
            ring.is_rough = false;
            (0..2000).for_each(|_| ring.step());
            for index in 0..count {
                let (site, next) = (&ring.sites[index], &ring.sites[(index + 1) % count]);
                let Sent { count: sent, lost, unknown, credit } = site.sent;
                let came = next.came.len() as u64;
                let text =
                    format!("{count} zhosts, seed {seed}: {came} of {sent}, {lost} lost, {unknown} unknown");
                assert!(came + lost <= sent && came + lost + unknown >= sent, "{text}");
                assert!(lost + unknown <= sent, "{text}");
                assert!(came > 80, "{text}");
                assert_eq!(credit, PATH_WINDOW_MESSAGES, "{text}");
                assert_eq!(site.messages.outstanding(&key(index), 0), Some(0), "{text}");
                assert_eq!(site.host.space(&key(index)).unwrap().mailbox, 0, "{text}");
            }
        }
    }
}

#[test]
fn a_mailbox_that_is_full_gives_back_what_comes_and_others_have_room() {
    let mut ring = Ring::new(3, 1);
    ring.is_rough = false;
    (0..100).for_each(|_| ring.step());
    ring.sites[1].host.space_mut(&key(1)).unwrap().mailbox = MAILBOX_MAX_MESSAGES;
    for index in 0..3 {
        ring.emit(index);
    }
    for pair in [(0, 1), (1, 2), (2, 0)] {
        (0..8).for_each(|_| ring.deliver(pair));
    }
    (0..8).for_each(|_| ring.deliver((1, 0)));
    let sent = |index: usize| &ring.sites[index].sent;
    assert_eq!((sent(0).lost, ring.sites[1].came.len()), (sent(0).count, 0));
    assert_eq!((sent(1).lost, ring.sites[2].came.len() as u64), (0, sent(1).count));
    assert_eq!(sent(0).credit, PATH_WINDOW_MESSAGES, "and may try again");
}

#[test]
fn what_a_path_is_given_that_the_next_version_has_not_comes_back_also_when_its_channel_is_open() {
    let mut ring = Ring::new(3, 1);
    ring.is_rough = false;
    (0..100).for_each(|_| ring.step());
    for round in 0..2 {
        let before = ring.sites[0].sent.count;
        ring.emit(0);
        assert!(ring.sites[0].messages.outgoing.values().all(|outgoing| outgoing.channel.is_some()));
        (0..100).for_each(|_| ring.step());
        let Sent { count, lost, .. } = ring.sites[0].sent;
        assert_eq!(lost, if round == 0 { 0 } else { count - before }, "round {round}");
        assert_eq!(ring.sites[0].sent.credit, PATH_WINDOW_MESSAGES);
        if round == 0 {
            let key = DocumentKey::Topology(ID);
            let document = ring.sites[0].facts.ledger.document(&key).cloned();
            let Some(Document::Topology(stamp, mut topology)) = document else { panic!("it is known") };
            topology.spec.paths.clear();
            let stamp = Stamp { counter: stamp.counter + 1, ..stamp };
            ring.sites[0].facts.ledger.offer(key, Document::Topology(stamp, topology));
        }
    }
}

#[test]
fn a_zhost_has_so_many_channels_and_the_oldest_make_room() {
    let mut ring = Ring::new(2, 1);
    let peer = ring.sites[1].facts.id;
    ring.run(0, |messages, local| {
        for channel in 0..2 * CHANNELS_MAX as u32 {
            let from = format!("f{channel}").parse().unwrap();
            let flow = Flow { from, window: 1, path: "next".parse().unwrap(), incarnation: 1 };
            messages.handle_channel(local.facts, (peer, channel), key(0), 1, flow);
        }
        assert_eq!(messages.channels.len(), CHANNELS_MAX);
        assert!(messages.channels.contains_key(&(peer, 2 * CHANNELS_MAX as u32 - 1)));
    });
}
