//! The network between boards: delays, losses and partitions.

use std::{collections::BTreeMap, time::Duration};
use zhost_base::{Instant, Rng};
use zhost_node::ConnectionId;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct NetworkFaults {
    /// Datagrams lost, of a thousand.
    pub loss_per_mille: u64,
    /// Least delay.
    pub delay: Duration,
    /// Random delay on top; more than the pace of sending means reordering.
    pub jitter: Duration,
    /// Datagrams that arrive twice, of a thousand.
    pub duplicate_per_mille: u64,
}

/// One end of a connection.
pub type End = (usize, ConnectionId);

/// The network's state.
pub struct Network {
    pub faults: NetworkFaults,
    /// Which side of a partition each board is on; boards of different sides do not hear each other.
    pub sides: BTreeMap<usize, u8>,
    pub peers: BTreeMap<End, End>,
    /// When the last bytes sent towards an end arrive, so that streams stay in order.
    arrivals: BTreeMap<End, Instant>,
}

impl Network {
    pub fn new(faults: NetworkFaults) -> Self {
        Self { faults, sides: BTreeMap::new(), peers: BTreeMap::new(), arrivals: BTreeMap::new() }
    }

    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        let side = |index| self.sides.get(&index).copied().unwrap_or(0);
        side(a) != side(b)
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        self.faults.delay + Duration::from_micros(rng.below(self.faults.jitter.as_micros() as u64 + 1))
    }

    /// When copies of a datagram arrive: none if it is lost.
    pub fn datagram_arrivals(&self, now: Instant, rng: &mut Rng) -> Vec<Instant> {
        if rng.chance(self.faults.loss_per_mille) {
            return Vec::new();
        }
        let copies = if rng.chance(self.faults.duplicate_per_mille) { 2 } else { 1 };
        (0..copies).map(|_| now + self.delay(rng)).collect()
    }

    /// When bytes sent to `end` arrive: a lost segment comes late, never out of order.
    pub fn stream_arrival(&mut self, now: Instant, end: End, rng: &mut Rng) -> Instant {
        let retransmissions = (0..5).take_while(|_| rng.chance(self.faults.loss_per_mille)).count() as u32;
        let delay = self.delay(rng) + Duration::from_millis(200) * retransmissions;
        let last = self.arrivals.entry(end).or_default();
        *last = (now + delay).max(*last);
        *last
    }

    pub fn connect(&mut self, a: End, b: End) {
        self.peers.insert(a, b);
        self.peers.insert(b, a);
    }

    /// Ends a connection; gives the other end.
    pub fn disconnect(&mut self, end: End) -> Option<End> {
        let other = self.peers.remove(&end)?;
        self.peers.remove(&other);
        self.arrivals.remove(&end);
        self.arrivals.remove(&other);
        Some(other)
    }

    /// All ends on one board.
    pub fn ends_of(&self, machine: usize) -> Vec<End> {
        self.peers.keys().filter(|(index, _)| *index == machine).copied().collect()
    }
}
