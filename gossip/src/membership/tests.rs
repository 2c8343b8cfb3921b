//! Membership over a perfect and a lossy network, in virtual time.

use super::*;
use alloc::{collections::BTreeMap, format};
use zhost_base::limits::HELLOS_MAX;

struct Net {
    now: Instant,
    nodes: Vec<Option<Membership>>,
    /// Where each node is; who has an address in the same network of 24 bits hears it.
    addrs: Vec<Vec<SocketAddr>>,
    events: BTreeMap<(Instant, u64), (SocketAddr, usize, Datagram)>,
    serial: u64,
    loss_per_mille: u64,
    /// Nodes below this index and the others do not hear each other.
    cut: Option<usize>,
    /// Of what this node sends, so many of a thousand datagrams are lost, but for those to so many others.
    mumbles: Option<(usize, u64, usize)>,
    rng: Rng,
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + index as u8], 9200))
}

fn peer(index: usize, generation: u32) -> Peer {
    let nonce = 100 * generation + index as u32;
    Peer {
        id: ZhostId(1 + index as u64),
        generation: Generation(generation),
        addrs: addr(index).into(),
        nonce,
    }
}

/// An address in a network of that number.
fn addr_in(network: u8, index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, network, 1 + index as u8], 9200))
}

/// Everybody in a network of that number.
fn broadcast(network: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, network, 255], 9200))
}

fn network_of(addr: SocketAddr) -> [u8; 3] {
    match addr {
        SocketAddr::V4(v4) => [v4.ip().octets()[0], v4.ip().octets()[1], v4.ip().octets()[2]],
        SocketAddr::V6(_) => [0; 3],
    }
}

impl Net {
    fn new(count: usize, loss_per_mille: u64, seed: u64) -> Self {
        let mut net = Self {
            now: Instant::from_micros(1),
            nodes: Vec::new(),
            addrs: (0..count).map(|index| vec![addr(index)]).collect(),
            events: BTreeMap::new(),
            serial: 0,
            loss_per_mille,
            cut: None,
            mumbles: None,
            rng: Rng::from_number(seed),
        };
        for index in 0..count {
            net.nodes.push(None);
            net.start(index, 1);
        }
        net
    }

    fn start(&mut self, index: usize, generation: u32) {
        let rng = self.rng.fork();
        self.nodes[index] =
            Some(Membership::new(self.now, peer(index, generation), vec![addr(0), addr(1)], Vec::new(), rng));
    }

    /// Gives a node other addresses, which it tells, and beacons in their networks.
    fn put(&mut self, index: usize, addrs: &[SocketAddr]) {
        let broadcasts = addrs.iter().map(|addr| broadcast(network_of(*addr)[2])).collect();
        self.addrs[index] = addrs.to_vec();
        let now = self.now;
        if let Some(node) = &mut self.nodes[index] {
            node.handle_network(now, addrs.iter().copied().collect(), broadcasts);
        }
        self.drain(index);
    }

    /// From where a node's datagrams come that it sends to an address, if they get there.
    fn source(&self, index: usize, to: SocketAddr) -> Option<SocketAddr> {
        self.addrs[index].iter().copied().find(|own| network_of(*own) == network_of(to))
    }

    fn drain(&mut self, index: usize) {
        let count = self.nodes.len();
        let Some(node) = &mut self.nodes[index] else { return };
        let sent: Vec<_> = core::iter::from_fn(|| node.poll_output()).collect();
        for (to, datagram) in sent {
            let Some(source) = self.source(index, to) else { continue };
            let everybody = matches!(to, SocketAddr::V4(v4) if v4.ip().octets()[3] == 255);
            for target in 0..count {
                let hears = self.addrs[target].iter().any(|addr| match everybody {
                    true => target != index && network_of(*addr) == network_of(to),
                    false => *addr == to,
                });
                let severed = self.cut.is_some_and(|cut| (index < cut) != (target < cut));
                let mumbles = self.mumbles.filter(|(who, _, near)| *who == index && target > *who + near);
                let loss = mumbles.map_or(self.loss_per_mille, |(_, loss, _)| loss);
                if hears && !self.rng.chance(loss) && !severed {
                    self.serial += 1;
                    let delay = Duration::from_micros(500 + self.rng.below(20_000));
                    self.events.insert((self.now + delay, self.serial), (source, target, datagram.clone()));
                }
            }
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timers = self.nodes.iter().flatten().filter_map(|node| Some(node.poll_timeout()?.0));
            let Some(next) = event.into_iter().chain(timers).min().filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            if event == Some(next) {
                let (from, index, datagram) = self.events.pop_first().unwrap().1;
                let now = self.now;
                if let Some(node) = &mut self.nodes[index] {
                    match datagram {
                        Datagram::Swim(swim) => node.handle_swim(now, from, swim),
                        Datagram::Claim(claim) => node.handle_claim(now, from, claim),
                        Datagram::Hello { me, asked } => node.handle_hello(now, from, me, Some(asked), &[]),
                        Datagram::Beacon(me) => node.handle_beacon(now, from, me, &[]),
                        Datagram::Welcome { me, asked, to, known, rumours } => {
                            node.handle_welcome(now, from, (me, asked), (to, known), rumours)
                        }
                        _ => {}
                    }
                }
                self.drain(index);
            } else {
                for index in 0..self.nodes.len() {
                    if let Some(node) = &mut self.nodes[index] {
                        node.handle_timeout(self.now);
                    }
                    self.drain(index);
                }
            }
        }
        self.now = end;
    }

    fn everybody_sees(&self, count: usize) -> bool {
        self.nodes.iter().flatten().all(|node| node.peers().count() == count - 1)
    }

    /// Who took whom for dead.
    fn deaths(&mut self) -> Vec<(ZhostId, ZhostId)> {
        let mut deaths = Vec::new();
        for node in self.nodes.iter_mut().flatten() {
            while let Some(event) = node.poll_event() {
                if let MembershipEvent::Down(peer) = event {
                    deaths.push((node.me().id, peer.id));
                }
            }
        }
        deaths
    }

    fn count(&mut self, wanted: impl Fn(&MembershipEvent) -> bool) -> usize {
        let nodes = self.nodes.iter_mut().flatten();
        nodes.map(|node| core::iter::from_fn(|| node.poll_event()).filter(&wanted).count()).sum()
    }
}

#[test]
fn a_cluster_forms_from_one_address_and_notices_a_death() {
    let mut net = Net::new(7, 0, 1);
    net.run_for(Duration::from_secs(5));
    assert!(net.everybody_sees(7));
    net.nodes[3] = None;
    net.run_for(Duration::from_secs(8));
    assert!(net.everybody_sees(6));
}

/// How long until everybody alive knows of the death of one among `count`.
fn detection(count: usize, loss_per_mille: u64, seed: u64) -> Duration {
    let mut net = Net::new(count, loss_per_mille, seed);
    net.run_for(Duration::from_millis(20_000 + seed * 37));
    net.count(|_| true);
    let start = net.now;
    net.nodes[count / 2] = None;
    let gone = |net: &Net| net.nodes.iter().flatten().all(|node| node.peer(peer(count / 2, 1).id).is_none());
    while !gone(&net) && net.now.since(start) < Duration::from_secs(120) {
        net.run_for(Duration::from_millis(20));
    }
    net.now.since(start)
}

#[test]
fn a_silent_death_among_twenty_is_known_within_seconds() {
    let mut times: Vec<Duration> = (0..100).map(|seed| detection(20, 20, seed)).collect();
    times.sort_unstable();
    assert!(times[50] <= Duration::from_secs(3), "median {:?}", times[50]);
    assert!(times[99] <= Duration::from_secs(5), "worst {:?}", times[99]);
}

#[test]
fn a_refused_zhost_is_known_to_be_dead_at_once() {
    for seed in 0..20 {
        let mut net = Net::new(20, 20, seed);
        net.run_for(Duration::from_secs(20));
        net.nodes[9] = None;
        let now = net.now;
        net.nodes[3].as_mut().unwrap().handle_refused(now, peer(9, 1).id);
        net.drain(3);
        net.run_for(Duration::from_millis(900));
        assert!(net.everybody_sees(19), "seed {seed}");
    }
}

#[test]
fn a_refusal_that_lies_harms_nobody() {
    let mut net = Net::new(5, 0, 3);
    net.run_for(Duration::from_secs(5));
    net.count(|_| true);
    let now = net.now;
    net.nodes[3].as_mut().unwrap().handle_refused(now, peer(2, 1).id);
    net.drain(3);
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.count(|event| matches!(event, MembershipEvent::Down(_))), 0);
}

#[test]
fn at_twenty_percent_loss_nobody_alive_is_declared_dead_in_an_hour() {
    for seed in 1..3 {
        let mut net = Net::new(20, 200, seed);
        net.run_for(Duration::from_secs(60));
        net.count(|_| true);
        net.run_for(Duration::from_secs(3600));
        assert_eq!(net.count(|event| matches!(event, MembershipEvent::Down(_))), 0, "seed {seed}");
        assert!(net.everybody_sees(20));
    }
}

#[test]
fn a_zhost_that_moves_is_the_same_zhost() {
    let mut net = Net::new(5, 0, 9);
    net.run_for(Duration::from_secs(5));
    net.count(|_| true);
    net.put(2, &[addr(7)]);
    net.run_for(Duration::from_millis(500));
    let moved = peer(2, 1).id;
    assert_eq!(net.count(|event| *event == MembershipEvent::Moved(moved)), 4);
    assert_eq!(net.nodes[0].as_ref().unwrap().addr(moved), Some(addr(7)));
    net.run_for(Duration::from_secs(30));
    assert_eq!(net.count(|event| matches!(event, MembershipEvent::Down(_))), 0);
}

#[test]
fn a_site_whose_addresses_all_change_at_once_is_together_again_within_seconds() {
    for (count, loss_per_mille) in [(3, 0), (5, 50), (7, 50), (20, 50)] {
        let mut net = Net::new(count, loss_per_mille, count as u64);
        (0..count).for_each(|index| net.put(index, &[addr(index)]));
        net.run_for(Duration::from_secs(30));
        net.count(|_| true);
        // Without a gap, and with one in which all take all for dead.
        for (network, gap) in [(1, 0), (2, 60)] {
            (0..count).for_each(|index| net.addrs[index].clear());
            net.run_for(Duration::from_secs(gap));
            for index in 0..count {
                net.put(index, &[addr_in(network, index)]);
                net.run_for(Duration::from_millis(200));
            }
            net.run_for(Duration::from_secs(10));
            assert!(net.everybody_sees(count), "{count} zhosts, {gap} s without addresses");
            net.run_for(Duration::from_secs(20));
            assert!(net.everybody_sees(count), "and stays so");
            let here = |node: &Membership| {
                node.peers().all(|peer| node.addr(peer.id).is_some_and(|at| network_of(at)[2] == network))
            };
            assert!(net.nodes.iter().flatten().all(here), "everybody is reached at the new address");
        }
    }
}

#[test]
fn a_zhost_on_two_networks_is_alive_for_both_and_so_are_their_zhosts_for_each_other() {
    for count in [3, 7, 20] {
        let mut net = Net::new(count, 0, 30 + count as u64);
        // The first is on both, the others on one or the other.
        net.put(0, &[addr(0), addr_in(1, 0)]);
        (1..count).for_each(|index| net.put(index, &[addr_in(index as u8 % 2, index)]));
        net.run_for(Duration::from_secs(60));
        assert!(net.everybody_sees(count));
        net.count(|_| true);
        net.run_for(Duration::from_secs(600));
        assert_eq!(net.count(|event| matches!(event, MembershipEvent::Down(_))), 0, "{count} zhosts");
        assert_eq!(net.count(|event| matches!(event, MembershipEvent::Moved(_))), 0, "{count} zhosts");
        for index in 1..count {
            let at = net.nodes[index].as_ref().unwrap().addr(peer(0, 1).id);
            assert_eq!(at, Some(addr_in(index as u8 % 2, 0)), "each uses the address that works for it");
        }
    }
}

#[test]
fn one_of_two_addresses_may_go() {
    let mut net = Net::new(3, 0, 12);
    (0..3).for_each(|index| net.put(index, &[addr(index), addr_in(1, index)]));
    net.run_for(Duration::from_secs(20));
    net.count(|_| true);
    // It tells nobody: its cable is pulled.
    net.addrs[1].remove(0);
    net.run_for(Duration::from_secs(20));
    assert_eq!(net.count(|event| matches!(event, MembershipEvent::Down(_))), 0);
    assert!(net.everybody_sees(3));
}

#[test]
fn who_tells_no_address_is_where_it_is_heard_from() {
    let mut net = Net::new(5, 0, 13);
    for index in 0..5 {
        let linked = SocketAddr::from(([169, 254, 0, 1 + index as u8], 9200));
        net.addrs[index] = vec![linked];
        let broadcasts = vec![SocketAddr::from(([169, 254, 0, 255], 9200))];
        let me = Peer { addrs: linked.into(), ..peer(index, 1) };
        assert!(me.addrs.is_empty());
        let rng = net.rng.fork();
        net.nodes[index] = Some(Membership::new(net.now, me, Vec::new(), broadcasts, rng));
    }
    net.run_for(Duration::from_secs(20));
    assert!(net.everybody_sees(5));
    net.count(|_| true);
    net.run_for(Duration::from_secs(120));
    assert_eq!(net.count(|event| matches!(event, MembershipEvent::Down(_))), 0);
}

#[test]
fn of_many_addresses_some_are_asked_each_time() {
    let seeds: Vec<SocketAddr> = (0..200).map(|index| addr_in(9, index)).collect();
    let mut now = Instant::from_micros(1);
    let mut node = Membership::new(now, peer(0, 1), seeds.clone(), Vec::new(), Rng::from_number(1));
    let mut asked = BTreeSet::new();
    for _ in 0..60 {
        node.handle_timeout(now);
        let round: Vec<_> = core::iter::from_fn(|| node.poll_output()).map(|(addr, _)| addr).collect();
        assert!(round.len() <= HELLOS_MAX, "{}", round.len());
        asked.extend(round);
        now += Duration::from_secs(1);
    }
    assert_eq!(asked.len(), seeds.len(), "everybody's turn comes");
}

#[test]
fn answers_fit_a_datagram_whatever_addresses_members_tell() {
    let mut net = Net::new(40, 0, 14);
    for index in 0..40 {
        let v6 = |network: u16| SocketAddr::from(([0xfd00, network, 1, 2, 3, 4, 5, index as u16], 9200));
        net.put(index, &[addr(index), v6(1), v6(2), v6(3)]);
    }
    net.run_for(Duration::from_secs(30));
    assert!(net.everybody_sees(40));
    let node = net.nodes[7].as_mut().unwrap();
    let stranger = Rumour { peer: peer(77, 1), incarnation: 0, standing: Standing::Alive };
    node.handle_hello(net.now, addr(77), stranger, Some(addr(7)), &[]);
    let sizes = core::iter::from_fn(|| node.poll_output()).map(|(_, datagram)| datagram.encode().len());
    let sizes: Vec<usize> = sizes.collect();
    assert!(sizes.iter().all(|size| *size <= PLAIN_SIZE_MAX_BYTES), "{sizes:?}");
    assert!(sizes.iter().max() > Some(&800), "and says of as many as fit: {sizes:?}");
}

#[test]
fn halves_that_took_each_other_for_dead_find_together() {
    let mut net = Net::new(6, 0, 10);
    net.run_for(Duration::from_secs(5));
    net.cut = Some(3);
    net.run_for(Duration::from_secs(30));
    assert!(net.everybody_sees(3));
    net.cut = None;
    net.run_for(Duration::from_secs(15));
    assert!(net.everybody_sees(6));
}

#[test]
fn who_is_hardly_heard_does_not_come_and_go() {
    for (loss, seed) in [(800, 1), (800, 2), (900, 3), (950, 4), (1000, 5)] {
        let mut net = Net::new(7, 0, seed);
        net.run_for(Duration::from_secs(20));
        net.count(|_| true);
        net.mumbles = Some((0, loss, 0));
        net.run_for(Duration::from_secs(120));
        let deaths = net.deaths();
        let of_one = deaths.iter().filter(|(_, id)| *id == ZhostId(1)).count();
        assert!(of_one <= 12, "loss {loss}: {of_one} deaths of one among seven");
        // Whom nobody hears hears nobody's answer: it alone takes the others for dead.
        let counts = |who: ZhostId| who != ZhostId(1) || loss < 1000;
        let said: Vec<_> = deaths.iter().filter(|(who, id)| *id != ZhostId(1) && counts(*who)).collect();
        assert!(said.is_empty(), "loss {loss}: deaths {said:?}");
        net.mumbles = None;
        net.run_for(Duration::from_secs(40));
        assert!(net.everybody_sees(7), "loss {loss}");
    }
}

#[test]
fn who_is_hardly_heard_but_by_a_few_takes_nobody_for_dead() {
    let sizes = [(3, 1), (7, 1), (20, 7)].into_iter();
    for ((count, near), seed) in sizes.flat_map(|size| (0..60).map(move |seed| (size, seed))) {
        let mut net = Net::new(count, 10, seed);
        net.run_for(Duration::from_secs(20));
        net.deaths();
        net.mumbles = Some((0, 950, near));
        net.run_for(Duration::from_secs(120));
        let deaths = net.deaths();
        let said: Vec<_> = deaths.iter().filter(|(_, id)| *id != ZhostId(1)).collect();
        assert!(said.is_empty(), "{count} nodes, seed {seed}: deaths {said:?}");
    }
}

#[test]
fn one_word_does_not_raise_the_dead() {
    let mut net = Net::new(3, 0, 1);
    net.run_for(Duration::from_secs(10));
    let now = net.now;
    let node = net.nodes[0].as_mut().unwrap();
    let rumour = |incarnation, standing| Rumour { peer: peer(2, 1), incarnation, standing };
    let says = |from, rumour: Rumour| Swim { from, message: SwimMessage::News, rumours: vec![rumour] };
    node.handle_swim(now, addr(1), says(ZhostId(2), rumour(7, Standing::Down)));
    assert_eq!(node.peer(ZhostId(3)), None);
    while node.poll_output().is_some() {}
    let word = says(ZhostId(3), rumour(8, Standing::Alive));
    node.handle_swim(now, addr(2), word.clone());
    let mut pings = Vec::new();
    while let Some((to, datagram)) = node.poll_output() {
        if let Datagram::Swim(Swim { message: SwimMessage::Ping(number), .. }) = datagram {
            assert_eq!(to, addr(2));
            pings.push(number);
        }
    }
    assert_eq!(pings.len(), 8);
    // Said again at once, it is not asked again.
    node.handle_swim(now, addr(2), word);
    assert!(core::iter::from_fn(|| node.poll_output()).all(|(_, datagram)| {
        !matches!(datagram, Datagram::Swim(Swim { message: SwimMessage::Ping(_), .. }))
    }));
    for (answered, number) in pings.into_iter().enumerate() {
        assert_eq!(node.peer(ZhostId(3)).is_some(), answered >= 6, "after {answered} answers");
        let ack = Swim { from: ZhostId(3), message: SwimMessage::Ack(number), rumours: Vec::new() };
        node.handle_swim(now, addr(2), ack);
    }
}

#[test]
fn a_restart_is_seen_as_down_and_up_in_a_higher_generation() {
    let mut net = Net::new(4, 0, 3);
    net.run_for(Duration::from_secs(5));
    net.count(|_| true);
    net.start(2, 2);
    net.run_for(Duration::from_secs(5));
    assert!(net.everybody_sees(4));
    let first = net.nodes[0].as_mut().unwrap();
    let events: Vec<_> = core::iter::from_fn(|| first.poll_event()).collect();
    assert_eq!(events, [MembershipEvent::Down(peer(2, 1)), MembershipEvent::Up(peer(2, 2))]);
}

#[test]
fn a_rolled_back_disk_is_noticed_and_the_generation_jumps() {
    let mut net = Net::new(3, 0, 4);
    net.start(2, 7);
    net.run_for(Duration::from_secs(5));
    net.start(2, 3);
    net.run_for(Duration::from_secs(10));
    assert_eq!(net.nodes[2].as_ref().unwrap().me().generation, Generation(8));
    assert!(net.everybody_sees(3));
}

#[test]
fn an_answer_meant_for_somebody_else_means_nothing() {
    let mut net = Net::new(2, 0, 8);
    net.run_for(Duration::from_secs(3));
    let now = net.now;
    let node = net.nodes[0].as_mut().unwrap();
    let me = Rumour { peer: peer(1, 1), incarnation: 0, standing: Standing::Alive };
    let known = Rumour { peer: Peer { id: ZhostId(77), ..peer(0, 500) }, ..me.clone() };
    node.handle_welcome(now, addr(1), (me, None), (ZhostId(77), Some(known)), Vec::new());
    assert_eq!(node.me().generation, Generation(1));
}

#[test]
fn who_leaves_is_gone_at_once_and_stays_silent() {
    let mut net = Net::new(4, 0, 5);
    net.run_for(Duration::from_secs(5));
    net.nodes[1].as_mut().unwrap().leave();
    net.drain(1);
    assert_eq!(net.nodes[1].as_ref().unwrap().poll_timeout(), None);
    net.nodes[1] = None;
    net.run_for(Duration::from_secs(1));
    assert!(net.everybody_sees(3));
}

#[test]
fn rumours_of_nobody_and_questions_of_strangers_change_nothing() {
    let mut net = Net::new(3, 0, 6);
    net.run_for(Duration::from_secs(5));
    let mut rng = Rng::from_number(7);
    for _ in 0..10_000 {
        let stranger = Peer { id: ZhostId(10 + rng.below(30)), ..peer(100, rng.below(2) as u32) };
        let standing = if rng.chance(500) { Standing::Down } else { Standing::Suspect(Accusers::new()) };
        let rumours = vec![Rumour { peer: stranger, incarnation: 0, standing }];
        let number = rng.number() as u32;
        let message = [
            SwimMessage::Ack(number),
            SwimMessage::Nack(number),
            SwimMessage::PingRequest(number, stranger.id),
        ];
        let message = *rng.pick(&message).unwrap();
        let now = net.now;
        let node = net.nodes[0].as_mut().unwrap();
        node.handle_swim(now, addr(2), Swim { from: stranger.id, message, rumours });
        assert!(node.probes.len() <= 64 && node.members.len() <= MEMBERS_MAX);
    }
    // Those that were said to be suspect are taken for members until they do not answer.
    net.run_for(Duration::from_secs(2000));
    assert!(net.everybody_sees(3));
}

#[test]
fn an_accusation_that_was_refuted_long_ago_ends_and_is_not_talked_about_without_end() {
    let mut net = Net::new(2, 0, 5);
    net.run_for(Duration::from_secs(5));
    let before = net.serial;
    net.run_for(Duration::from_secs(10));
    let usual = net.serial - before;
    // The first missed that the second refuted what it now says again.
    let now = net.now;
    net.nodes[1].as_mut().unwrap().incarnation += 3;
    net.nodes[0].as_mut().unwrap().accuse(now, ZhostId(2));
    let before = net.serial;
    net.run_for(Duration::from_secs(10));
    let said = net.serial - before;
    assert!(said <= 2 * usual, "{said} datagrams in ten seconds, where {usual} are usual");
    assert!(!net.nodes[0].as_ref().unwrap().is_suspect(ZhostId(2)));
}

#[test]
fn one_that_does_not_believe_that_it_is_down_is_told_now_and_then_not_at_the_pace_of_the_network() {
    let mut node = Membership::new(Instant::from_micros(1), peer(0, 1), vec![], vec![], Rng::from_number(3));
    let mut now = Instant::from_micros(1);
    let alive = Rumour { peer: peer(1, 1), incarnation: 0, standing: Standing::Alive };
    node.introduce(now, addr(1), alive.clone());
    node.apply(now, Rumour { standing: Standing::Down, ..alive.clone() }, None);
    let mut told = 0;
    // Whatever it hears it answers at once that it lives, in the same incarnation; and it introduces itself all the time.
    for _ in 0..10_000 {
        now += Duration::from_millis(1);
        let news = Swim { from: ZhostId(2), message: SwimMessage::News, rumours: vec![alive.clone()] };
        node.handle_swim(now, addr(1), news);
        node.introduce(now, addr(1), alive.clone());
        node.handle_timeout(now);
        while let Some((to, datagram)) = node.poll_output() {
            let Datagram::Swim(swim) = datagram else { continue };
            told += usize::from(to == addr(1) && swim.rumours.iter().any(|said| said.peer.id == ZhostId(2)));
        }
    }
    assert!((10..=60).contains(&told), "told {told} times in ten seconds");
}

#[test]
fn a_suspect_that_answers_and_does_not_refute_is_asked_at_the_pace_of_suspicions() {
    let mut node = Membership::new(Instant::from_micros(1), peer(0, 1), vec![], vec![], Rng::from_number(3));
    let mut now = Instant::from_micros(1);
    node.introduce(now, addr(1), Rumour { peer: peer(1, 1), incarnation: 0, standing: Standing::Alive });
    node.accuse(now, ZhostId(2));
    let mut pings = 0;
    // It answers every ping at once, for ten seconds, and never says a word of the accusation.
    for _ in 0..10_000 {
        now += Duration::from_millis(1);
        node.handle_timeout(now);
        while let Some((_, datagram)) = node.poll_output() {
            if let Datagram::Swim(Swim { message: SwimMessage::Ping(number), .. }) = datagram {
                pings += 1;
                let message = SwimMessage::Ack(number);
                node.handle_swim(now, addr(1), Swim { from: ZhostId(2), message, rumours: vec![] });
            }
        }
    }
    assert!(node.peer(ZhostId(2)).is_some(), "it answers, so it is there");
    assert!((10..40).contains(&pings), "{pings} pings in ten seconds");
}

impl Net {
    /// Starts a copy of a board, with what it had on flash, at the place of another.
    fn start_copy(&mut self, of: usize, generation: u32, at: usize, nonce: u32) {
        while self.nodes.len() <= at {
            self.addrs.push(vec![addr(self.nodes.len())]);
            self.nodes.push(None);
        }
        let copy = Peer { addrs: addr(at).into(), nonce, ..peer(of, generation) };
        let rng = self.rng.fork();
        self.nodes[at] = Some(Membership::new(self.now, copy, vec![addr(0), addr(1)], Vec::new(), rng));
    }

    fn is_aside(&self, index: usize) -> bool {
        self.nodes[index].as_ref().is_some_and(Membership::stands_aside)
    }

    /// Where the others take a zhost to be.
    fn seen_at(&self, of: usize) -> Vec<SocketAddr> {
        let id = peer(of, 1).id;
        let others = self.nodes.iter().flatten().filter(|node| node.me().id != id);
        others.filter_map(|node| node.addr(id)).collect()
    }
}

/// Copies the card of board 2 to another one, at these sizes and generations, and with either order of the nonces.
fn copied(count: usize, generation: u32, nonce: u32, seed: u64) -> Net {
    let mut net = Net::new(count, 50, seed);
    net.nodes[2] = None;
    net.start(2, 3);
    net.run_for(Duration::from_secs(10));
    net.start_copy(2, generation, count, nonce);
    net.run_for(Duration::from_secs(8));
    net
}

#[test]
fn of_two_starts_of_one_key_the_one_that_was_there_stays() {
    for count in [3, 7, 20] {
        // Started as often as the original, less often, and more often.
        for (generation, nonce) in [(3, 1), (3, 9999), (2, 1), (2, 9999), (4, 1), (4, 9999), (9, 1)] {
            for seed in 0..3 {
                let what = format!("{count} zhosts, start {generation}, nonce {nonce}, seed {seed}");
                let mut net = copied(count, generation, nonce, seed);
                assert!(net.is_aside(count) && !net.is_aside(2), "{what}");
                assert_eq!(net.seen_at(2), vec![addr(2); count - 1], "{what}");
                let rivals = net.count(|event| matches!(event, MembershipEvent::Rival(_)));
                assert_eq!(rivals, 1, "{what}");
                // And so it stays.
                net.run_for(Duration::from_secs(120));
                assert!(net.is_aside(count) && !net.is_aside(2), "{what}, later");
                // Until the one that stayed is gone.
                net.nodes[2] = None;
                net.run_for(Duration::from_secs(40));
                assert!(!net.is_aside(count), "{what}, alone");
                assert_eq!(net.seen_at(2), vec![addr(count); count - 1], "{what}, alone");
                // Whoever comes second now is the other one.
                net.start(2, 4);
                net.run_for(Duration::from_secs(10));
                assert!(net.is_aside(2) && !net.is_aside(count), "{what}, the other way round");
            }
        }
    }
}

#[test]
fn two_copies_that_start_at_once_are_one_in_the_end() {
    for seed in 0..20 {
        let mut net = Net::new(5, 50, seed);
        net.nodes[2] = None;
        net.run_for(Duration::from_secs(10));
        let nonces = if seed % 2 == 0 { [7, 8] } else { [8, 7] };
        net.start_copy(2, 3, 2, nonces[0]);
        net.start_copy(2, 3, 5, nonces[1]);
        net.run_for(Duration::from_secs(12));
        assert_ne!(net.is_aside(2), net.is_aside(5), "seed {seed}");
        let at = addr(if net.is_aside(2) { 5 } else { 2 });
        assert_eq!(net.seen_at(2), vec![at; 4], "seed {seed}");
    }
}

#[test]
fn a_card_that_was_moved_is_no_copy() {
    for (generation, within) in [(4, 8), (3, 12), (1, 12)] {
        for seed in 0..10 {
            let mut net = Net::new(5, 50, seed);
            net.nodes[2] = None;
            net.start(2, 3);
            net.run_for(Duration::from_secs(10));
            net.count(|_| true);
            net.nodes[2] = None;
            net.start_copy(2, generation, 5, 9999);
            net.run_for(Duration::from_secs(within));
            assert_eq!(net.seen_at(2), vec![addr(5); 4], "start {generation}, seed {seed}");
            let is_conflict = |event: &MembershipEvent| {
                matches!(event, MembershipEvent::Rival(_) | MembershipEvent::StandAside(_))
            };
            assert_eq!(net.count(is_conflict), 0, "start {generation}, seed {seed}");
        }
    }
}

#[test]
fn a_claim_out_of_an_earlier_life_moves_nobody() {
    let mut net = Net::new(3, 0, 1);
    net.run_for(Duration::from_secs(5));
    let now = net.now;
    let node = net.nodes[0].as_mut().unwrap();
    for to in [0, 1, u32::MAX] {
        let claim = Claim {
            peer: Peer { nonce: 77, ..peer(0, 9) },
            to,
            active_ms: Some(u64::MAX),
            stays: Some(77),
            asks: false,
        };
        node.handle_claim(now, addr(7), claim);
    }
    net.run_for(Duration::from_secs(30));
    assert!(net.everybody_sees(3) && net.nodes[0].as_ref().unwrap().rival().is_none());
}
