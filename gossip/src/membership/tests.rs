//! Membership over a perfect and a lossy network, in virtual time.

use super::*;
use alloc::vec;

struct Net {
    now: Instant,
    nodes: Vec<Option<Membership>>,
    events: BTreeMap<(Instant, u64), (SocketAddr, Datagram)>,
    serial: u64,
    loss_per_mille: u64,
    rng: Rng,
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + index as u8], 9200))
}

fn peer(index: usize, generation: u32) -> Peer {
    Peer { id: ZhostId(1 + index as u64), generation: Generation(generation), renewal: 0, addr: addr(index) }
}

impl Net {
    fn new(count: usize, loss_per_mille: u64, seed: u64) -> Self {
        let mut net = Self {
            now: Instant::from_micros(1),
            nodes: Vec::new(),
            events: BTreeMap::new(),
            serial: 0,
            loss_per_mille,
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
            Some(Membership::new(self.now, peer(index, generation), vec![addr(0), addr(1)], rng));
    }

    fn drain(&mut self, index: usize) {
        let Some(node) = &mut self.nodes[index] else { return };
        while let Some((to, datagram)) = node.poll_output() {
            self.serial += 1;
            if !self.rng.chance(self.loss_per_mille) {
                let delay = Duration::from_micros(500 + self.rng.below(20_000));
                self.events.insert((self.now + delay, self.serial), (to, datagram));
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
                let (to, datagram) = self.events.pop_first().unwrap().1;
                let index = (0..self.nodes.len()).find(|index| addr(*index) == to).unwrap();
                let now = self.now;
                if let Some(node) = &mut self.nodes[index] {
                    match datagram {
                        Datagram::Swim(packet) => node.handle_swim(now, &packet),
                        Datagram::Hello(peer) => node.handle_hello(now, peer),
                        Datagram::Welcome { peer, to, known } => node.handle_welcome(now, peer, to, known),
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

#[test]
fn at_ten_percent_loss_nobody_alive_is_declared_dead() {
    let mut net = Net::new(10, 100, 2);
    net.run_for(Duration::from_secs(10));
    net.count(|_| true);
    net.run_for(Duration::from_secs(600));
    assert!(net.everybody_sees(10));
    assert_eq!(net.count(|event| matches!(event, MembershipEvent::Refuted)), 0, "forced rejoins");
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
    node.handle_welcome(now, peer(1, 1), ZhostId(77), Generation(500));
    assert_eq!(node.me().generation, Generation(1));
}

#[test]
fn who_leaves_is_gone_at_once_and_stays_silent() {
    let mut net = Net::new(4, 0, 5);
    net.run_for(Duration::from_secs(5));
    let now = net.now;
    net.nodes[1].as_mut().unwrap().leave(now);
    net.drain(1);
    assert_eq!(net.nodes[1].as_ref().unwrap().poll_timeout(), None);
    net.nodes[1] = None;
    net.run_for(Duration::from_secs(1));
    assert!(net.everybody_sees(3));
}

#[test]
fn hostile_packets_change_nothing() {
    let mut net = Net::new(3, 0, 6);
    net.run_for(Duration::from_secs(5));
    let mut rng = Rng::from_number(7);
    for _ in 0..10_000 {
        let mut packet = vec![0; rng.below(200) as usize];
        rng.fill(&mut packet);
        let now = net.now;
        net.nodes[0].as_mut().unwrap().handle_swim(now, &packet);
    }
    net.run_for(Duration::from_secs(10));
    assert!(net.everybody_sees(3));
}
