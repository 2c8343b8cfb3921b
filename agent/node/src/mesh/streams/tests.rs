//! Streams over real links, between zhosts that have nothing else: connections are made, delayed, refused and cut.

use super::*;
use crate::{
    channels::Channels,
    config::Keys,
    effects::Effects,
    facts::fixture,
    input::Input,
    mesh::links::{LinkOutput, Links},
    output::{Output, Plain},
};
use std::{collections::BTreeMap, net::SocketAddr};
use zhost_gossip::{
    membership::{Addrs, Peer, Rumour, Standing},
    registry::Carrier,
    row::{Row, RowKey},
    seal::ClusterSecret,
};
use zhost_link::{Identity, noise::Role};

const STEP: Duration = Duration::from_millis(5);

fn keys(index: usize) -> Keys {
    let secret = ClusterSecret::new([1; 32], "c".parse().unwrap());
    Keys { secret, identity: Identity::from_private([index as u8 + 1; 32]), control: [2; 32] }
}

fn ids(count: usize) -> Vec<ZhostId> {
    (0..count).map(|index| keys(index).identity.zhost_id()).collect()
}

fn addr(index: usize) -> SocketAddr {
    ([10, 0, 0, index as u8], 9200).into()
}

/// A frame with a number.
fn numbered(serial: u64) -> Frame {
    Frame::Query { serial, request: vec![7; 300] }
}

/// A zhost with links and streams only, and their keys.
struct Site {
    channels: Channels,
    facts: Facts,
    mesh: Mesh,
    streams: Streams,
    /// The numbers that came, by who sent them.
    came: BTreeMap<ZhostId, Vec<u64>>,
}

impl Site {
    fn new(count: usize, index: usize, seed: u64) -> Self {
        let mut zhosts = ids(count);
        zhosts.swap(0, index);
        let mut rng = Rng::from_number(seed * 100 + index as u64);
        Self {
            channels: Channels::new(Instant::ZERO, keys(index), Vec::new(), rng.fork()),
            mesh: Mesh::new(Links::new(Instant::ZERO, zhosts[0])),
            facts: fixture::facts(&zhosts, []),
            streams: Streams::new(Generation(1), rng.fork()),
            came: BTreeMap::new(),
        }
    }
}

enum Event {
    Bytes(ConnectionId, Vec<u8>),
    Closed(ConnectionId),
}

struct Network {
    now: Instant,
    rng: Rng,
    ids: Vec<ZhostId>,
    sites: Vec<Site>,
    /// The other end of each connection: of whom, and what it is called there.
    ends: BTreeMap<(usize, ConnectionId), (usize, ConnectionId)>,
    /// What is on its way, by when it is there; of one connection always in order.
    under_way: BTreeMap<(Instant, u64), (usize, Event)>,
    last_at: BTreeMap<(usize, ConnectionId), Instant>,
    serial: u64,
    /// Pairs that cannot connect.
    blocked: BTreeSet<(usize, usize)>,
}

impl Network {
    /// Zhosts in a ring, of which each knows of all links. With `only_ring` nobody else can connect.
    fn ring(count: usize, seed: u64, only_ring: bool) -> Self {
        let ids = ids(count);
        let mut sites: Vec<Site> = (0..count).map(|index| Site::new(count, index, seed)).collect();
        let near = |index: usize| [(index + 1) % count, (index + count - 1) % count];
        let mut deltas = Vec::new();
        for (index, site) in sites.iter_mut().enumerate() {
            let members = (0..count).filter(|other| *other != index);
            let members = members.map(|other| (ids[other], vec![addr(other)])).collect();
            let wanted = near(index).map(|other| ids[other]).into();
            site.mesh.links.handle_members(Instant::ZERO, members, wanted);
            let links = near(index).map(|other| (ids[other], 1)).to_vec();
            site.facts.registry.set(Instant::ZERO, RowKey::Links, Row::Links(links)).unwrap();
            deltas.push(site.facts.registry.own_delta(0).unwrap());
        }
        for site in &mut sites {
            for delta in &deltas {
                site.facts.registry.handle_message(delta.clone(), Carrier::Link, |_| Some(Generation(1)));
            }
        }
        let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
        let blocked = pairs.filter(|(a, b)| only_ring && !near(*a).contains(b)).collect();
        Self {
            now: Instant::ZERO,
            rng: Rng::from_number(seed),
            ids,
            sites,
            ends: BTreeMap::new(),
            under_way: BTreeMap::new(),
            last_at: BTreeMap::new(),
            serial: 1,
            blocked,
        }
    }

    fn post(&mut self, to: usize, connection: ConnectionId, event: Event) {
        self.serial += 1;
        let at = self.now + Duration::from_micros(500 + self.rng.below(40_000));
        let last_at = self.last_at.entry((to, connection)).or_insert(at);
        *last_at = at.max(*last_at);
        self.under_way.insert((*last_at, self.serial), (to, event));
    }

    fn connect(&mut self, index: usize, connection: ConnectionId, addr: SocketAddr) {
        let other = (0..self.sites.len()).find(|other| self::addr(*other) == addr).expect("an address");
        if self.blocked.contains(&(index, other)) {
            return self.post(index, connection, Event::Closed(connection));
        }
        self.serial += 1;
        let there = ConnectionId(self.serial * 2 + 1);
        self.ends.insert((index, connection), (other, there));
        self.ends.insert((other, there), (index, connection));
        self.sites[other].channels.begin_link(there, Role::Responder);
        self.sites[other].mesh.links.handle_accepted(self.now, there, self::addr(index));
        self.sites[index].mesh.links.handle_connected(connection);
        self.write(index, connection);
    }

    /// What a link of somebody has to write goes to the other end.
    fn write(&mut self, index: usize, connection: ConnectionId) {
        while let Some(Output::Write(_, bytes)) = self.sites[index].channels.poll_bytes(connection) {
            if let Some((other, there)) = self.ends.get(&(index, connection)).copied() {
                self.post(other, there, Event::Bytes(there, bytes));
            }
        }
    }

    /// A connection breaks: what is on its way over it is lost, and both ends hear of it.
    fn cut(&mut self) {
        let ends: Vec<_> = self.ends.keys().copied().collect();
        let Some((index, connection)) = self.rng.pick(&ends).copied() else { return };
        let Some((other, there)) = self.ends.remove(&(index, connection)) else { return };
        self.ends.remove(&(other, there));
        self.post(index, connection, Event::Closed(connection));
        self.post(other, there, Event::Closed(there));
    }

    /// Everybody does what follows.
    fn drain(&mut self, index: usize) {
        let now = self.now;
        loop {
            let site = &mut self.sites[index];
            site.streams.flush(now, &site.facts, &mut site.mesh);
            site.mesh.links.flush_all();
            if let Some(order) = site.streams.poll_order() {
                let news = site.channels.seal(now, Plain::Tunnel(order), &mut VecDeque::new());
                if let Some(Input::Tunnel(news)) = news {
                    site.streams.handle_tunnel(now, &site.facts, &mut site.mesh, news);
                }
                continue;
            }
            let Some(output) = site.mesh.links.poll_output() else { break };
            match output {
                LinkOutput::Connect(connection, addr) => {
                    site.channels.begin_link(connection, Role::Initiator);
                    self.connect(index, connection, addr);
                }
                LinkOutput::Write(connection, frames) => {
                    let mut outputs = VecDeque::new();
                    site.channels.seal(now, Plain::Frames(connection, frames), &mut outputs);
                    for output in outputs {
                        if let (Output::Write(_, bytes), Some((other, there))) =
                            (output, self.ends.get(&(index, connection)).copied())
                        {
                            self.post(other, there, Event::Bytes(there, bytes));
                        }
                    }
                }
                LinkOutput::Close(connection) => {
                    site.channels.end_link(connection);
                    if let Some((other, there)) = self.ends.remove(&(index, connection)) {
                        self.ends.remove(&(other, there));
                        self.post(other, there, Event::Closed(there));
                    }
                }
                LinkOutput::Hop(from, Hop::Parcel(parcel)) => {
                    site.streams.handle_parcel(now, &site.facts, from, parcel);
                }
                LinkOutput::Hop(from, Hop::Relay(relayed)) => {
                    site.streams.handle_relayed(&site.facts, &mut site.mesh, from, relayed);
                }
                LinkOutput::Hop(_, Hop::NoRoute(no_route)) => {
                    site.streams.handle_no_route(now, &site.facts, &mut site.mesh, no_route);
                }
                LinkOutput::Up(_) | LinkOutput::Down(_) => site.streams.wake(),
                _ => {}
            }
        }
        let site = &mut self.sites[index];
        while let Some(event) = site.streams.poll_event() {
            match event {
                StreamEvent::Frame(from, Frame::Query { serial, .. }) => {
                    site.came.entry(from).or_default().push(serial);
                }
                event => panic!("nobody starts anew here: {event:?}"),
            }
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (index, event) = entry.remove();
            let site = &mut self.sites[index];
            match event {
                Event::Bytes(connection, bytes) if self.ends.contains_key(&(index, connection)) => {
                    if let Some(Input::Received(_, received)) = site.channels.open_bytes(connection, &bytes) {
                        site.mesh.links.handle_received(self.now, connection, received);
                    }
                    self.write(index, connection);
                }
                Event::Bytes(..) => {}
                Event::Closed(connection) => {
                    site.channels.end_link(connection);
                    site.mesh.links.handle_closed(self.now, connection, false);
                }
            }
        }
        for index in 0..self.sites.len() {
            let site = &mut self.sites[index];
            let mut effects = Effects::default();
            site.mesh.links.handle_timeout(self.now);
            site.mesh.handle_timeout(self.now, &site.facts, &mut effects);
            site.streams.handle_timeout(self.now, site.facts.id, &mut site.mesh);
            self.drain(index);
        }
    }

    /// Sends numbered frames between anybody for a while, then waits until all have come.
    fn exchange(&mut self, steps: usize, cuts_per_mille: u64) {
        let count = self.sites.len();
        let mut sent: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for _ in 0..steps {
            let from = self.rng.below(count as u64) as usize;
            let to = (from + 1 + self.rng.below(count as u64 - 1) as usize) % count;
            let serial = sent.entry((from, to)).or_default();
            *serial += 1;
            let site = &mut self.sites[from];
            assert!(site.streams.send(self.now, &site.facts, self.ids[to], &numbered(*serial)));
            if self.rng.chance(cuts_per_mille) {
                self.cut();
            }
            self.step();
        }
        let is_there = |network: &Self, (from, to): (usize, usize), serial: u64| {
            let came = network.sites[to].came.get(&network.ids[from]);
            came.is_some_and(|came| came.len() as u64 == serial)
        };
        for _ in 0..6000 {
            if sent.iter().all(|(pair, serial)| is_there(self, *pair, *serial)) {
                break;
            }
            self.step();
        }
        for ((from, to), serial) in sent {
            let came = self.sites[to].came.get(&self.ids[from]).cloned().unwrap_or_default();
            assert_eq!(came, (1..=serial).collect::<Vec<_>>(), "of {from} at {to}");
        }
    }
}

#[test]
fn whatever_links_do_frames_come_once_and_in_order() {
    for (count, only_ring) in [(3, false), (7, true), (7, false), (20, false)] {
        for seed in 0..3 {
            let mut network = Network::ring(count, seed, only_ring);
            network.exchange(1500, 60);
            let relayed: u64 = network.sites.iter().map(|site| site.streams.relayed).sum();
            assert!(!only_ring || relayed > 0, "who cannot connect is reached through others");
        }
    }
}

#[test]
fn who_cannot_connect_is_reached_through_others_until_the_way_is_too_long() {
    let mut network = Network::ring(20, 1, true);
    (0..400).for_each(|_| network.step());
    let (near, far) = (HOPS_MAX, HOPS_MAX + 2);
    for to in [near, far] {
        let (now, id) = (network.now, network.ids[to]);
        let site = &mut network.sites[0];
        assert!(site.streams.send(now, &site.facts, id, &numbered(1)));
    }
    (0..2000).for_each(|_| network.step());
    let came = |to: usize| network.sites[to].came.get(&network.ids[0]).map_or(0, Vec::len);
    assert_eq!((came(near), came(far)), (1, 0));
    // It waits, and takes no time of anybody.
    assert!(network.sites[0].streams.queued_max_bytes() > 0);
}

fn rumour(id: ZhostId, generation: u32, standing: Standing) -> Rumour {
    let peer = Peer { id, generation: Generation(generation), addrs: Addrs::default(), nonce: 0 };
    Rumour { peer, incarnation: 0, standing }
}

/// What is told until now, in words.
fn told(streams: &mut Streams) -> Vec<String> {
    let say = |event| match event {
        StreamEvent::Abandoned(_, abandoned) => {
            format!("{} unsent, {} unknown", abandoned.unsent.len(), abandoned.unknown.len())
        }
        event => format!("{event:?}"),
    };
    std::iter::from_fn(|| streams.poll_event()).map(say).collect()
}

#[test]
fn nothing_goes_into_a_new_stream_before_the_end_of_the_old_one_was_heard() {
    let now = Instant::ZERO;
    for count in [3, 7, 20] {
        let Site { mut facts, mut streams, .. } = Site::new(count, 0, 1);
        let peer = facts.membership.peers().last().unwrap().id;
        assert!(streams.send(now, &facts, peer, &numbered(1)));
        facts.membership.handle_rumours(now, peer, vec![rumour(peer, 2, Standing::Alive)]);
        assert!(!streams.send(now, &facts, peer, &numbered(2)), "it could name what the old stream named");
        assert!(!streams.send(now, &facts, peer, &numbered(2)), "nor the next one");
        assert_eq!(told(&mut streams), ["1 unsent, 0 unknown"]);
        assert!(streams.send(now, &facts, peer, &numbered(2)));
        assert_eq!(told(&mut streams), [""; 0]);
        // The same when it is we who start anew.
        facts.generation = Generation(9);
        streams.renew_all(now, &facts);
        assert!(!streams.send(now, &facts, peer, &numbered(3)));
        assert_eq!(told(&mut streams), ["1 unsent, 0 unknown"]);
        assert!(streams.renew(now, &facts, peer) && told(&mut streams).is_empty(), "once");
        assert!(streams.send(now, &facts, peer, &numbered(3)));
    }
}

#[test]
fn nothing_goes_to_strangers_to_ourselves_or_beyond_the_queue() {
    let now = Instant::ZERO;
    let Site { facts, mut streams, .. } = Site::new(3, 0, 1);
    assert!(!streams.send(now, &facts, facts.id, &numbered(1)));
    assert!(!streams.send(now, &facts, ZhostId(1), &numbered(1)));
    assert!(!streams.renew(now, &facts, ZhostId(1)));
    let peer = facts.membership.peers().next().unwrap().id;
    let frame = Frame::Query { serial: 1, request: vec![0; 100_000] };
    let taken = (0..1000).filter(|_| streams.send(now, &facts, peer, &frame)).count();
    assert!(taken > 10 && taken < 1000, "{taken}");
    assert!(streams.queued_max_bytes() <= zhost_base::limits::STREAM_QUEUE_MAX_BYTES);
}

#[test]
fn an_echo_is_answered_by_who_was_asked_and_in_this_start() {
    let mut network = Network::ring(3, 1, false);
    (0..100).for_each(|_| network.step());
    let (now, asked, other) = (network.now, network.ids[1], network.ids[2]);
    let site = &mut network.sites[0];
    site.streams.echo(now, &site.facts, asked);
    let serial = site.streams.serial;
    assert!(serial > Generation(1).first_serial());
    site.streams.flush(now, &site.facts, &mut site.mesh);
    site.streams.handle_parcel(now, &site.facts, other, Parcel::EchoReply(serial));
    assert_eq!(site.streams.echo_rtt_us(now, other), None);
    assert_eq!(site.streams.echo_rtt_us(now, asked), None);
    (0..100).for_each(|_| network.step());
    assert!(network.sites[0].streams.echo_rtt_us(network.now, asked).is_some_and(|rtt_us| rtt_us > 0));
}

#[test]
fn a_word_against_a_way_that_is_not_ours_changes_nothing() {
    let mut network = Network::ring(7, 2, true);
    (0..400).for_each(|_| network.step());
    let (now, ids) = (network.now, network.ids.clone());
    let site = &mut network.sites[0];
    let no_route = NoRoute { route: vec![ids[0], ids[1], ids[2]], at: 0, stuck: 1 };
    site.streams.handle_no_route(now, &site.facts, &mut site.mesh, no_route.clone());
    assert!(!site.mesh.is_avoided(ids[1], ids[2]), "nothing goes there");
    assert!(site.streams.send(now, &site.facts, ids[2], &numbered(1)));
    (0..400).for_each(|_| network.step());
    let now = network.now;
    let site = &mut network.sites[0];
    let route = site.streams.route(ids[0], ids[2]).expect("a way");
    let (stuck, next) = (route[1], route[2]);
    site.streams.handle_no_route(now, &site.facts, &mut site.mesh, NoRoute { route, ..no_route });
    assert!(site.mesh.is_avoided(stuck, next));
}
