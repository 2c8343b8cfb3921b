//! The network between boards: delays, losses, bursts, and cuts in one direction or both.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use zhost_base::{Instant, Rng};
use zhost_node::ConnectionId;

/// How bad the network is everywhere.
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
    /// Datagrams with which a burst begins, of a thousand; while it lasts, most on that way are lost.
    pub burst_per_mille: u64,
}

impl Default for NetworkFaults {
    fn default() -> Self {
        Self {
            loss_per_mille: 0,
            delay: Duration::from_micros(300),
            jitter: Duration::from_millis(5),
            duplicate_per_mille: 10,
            burst_per_mille: 0,
        }
    }
}

/// Datagrams lost in a burst, of a thousand.
const BURST_LOSS_PER_MILLE: u64 = 800;
/// Longest burst.
const BURST_MAX_MS: u64 = 600;
/// After this time a lost segment is sent again, and after twice the time if it is lost again.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// How often, at most: what is sent then is not lost.
const RETRANSMISSIONS_MAX: u32 = 8;
/// Tries to open a connection before one gives up.
const CONNECT_TRIES: u32 = 3;

/// One end of a connection.
pub type End = (usize, ConnectionId);

/// The network's state.
pub struct Network {
    pub faults: NetworkFaults,
    /// Ways that carry nothing.
    cuts: BTreeSet<(usize, usize)>,
    /// Boards that reach nobody and are reached by nobody.
    isolated: BTreeSet<usize>,
    /// Boards between which no stream can be opened, as by a firewall.
    walls: BTreeSet<(usize, usize)>,
    /// Ways that lose more datagrams than the others.
    lossy: BTreeMap<(usize, usize), u64>,
    /// Ways that lose more segments of streams.
    slow: BTreeMap<(usize, usize), u64>,
    bursts: BTreeMap<(usize, usize), Instant>,
    peers: BTreeMap<End, End>,
    /// When the last bytes sent towards an end arrive, so that streams stay in order.
    arrivals: BTreeMap<End, Instant>,
    /// Bytes that a cut holds up, by the end that sent them.
    stalled: BTreeMap<End, Vec<u8>>,
}

impl Network {
    pub fn new(faults: NetworkFaults) -> Self {
        Self {
            faults,
            cuts: BTreeSet::new(),
            isolated: BTreeSet::new(),
            walls: BTreeSet::new(),
            lossy: BTreeMap::new(),
            slow: BTreeMap::new(),
            bursts: BTreeMap::new(),
            peers: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            stalled: BTreeMap::new(),
        }
    }

    /// Cuts the way from one board to another.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Makes the way from one board to another lose that many of a thousand datagrams.
    pub fn spoil(&mut self, from: usize, to: usize, loss_per_mille: u64) {
        self.lossy.insert((from, to), loss_per_mille);
    }

    /// Makes the way from one board to another lose that many of a thousand segments of streams.
    pub fn spoil_streams(&mut self, from: usize, to: usize, loss_per_mille: u64) {
        self.slow.insert((from, to), loss_per_mille);
    }

    /// Mends everything; gives the streams that were held up, with what they hold.
    pub fn mend(&mut self) -> Vec<(End, Vec<u8>)> {
        self.cuts.clear();
        self.lossy.clear();
        self.slow.clear();
        self.bursts.clear();
        std::mem::take(&mut self.stalled).into_iter().collect()
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        let is_alone = from != to && (self.isolated.contains(&from) || self.isolated.contains(&to));
        is_alone || self.cuts.contains(&(from, to))
    }

    /// Takes a board off the network whatever is mended, or puts it back.
    pub fn isolate(&mut self, board: usize, is_isolated: bool) {
        if is_isolated {
            self.isolated.insert(board)
        } else {
            self.isolated.remove(&board)
        };
    }

    /// Lets no streams be opened between two boards, for good.
    pub fn wall_off(&mut self, a: usize, b: usize) {
        self.walls.insert((a.min(b), a.max(b)));
    }

    /// Whether nothing can be set up between two boards: that takes both ways.
    pub fn is_severed(&self, a: usize, b: usize) -> bool {
        self.is_cut(a, b) || self.is_cut(b, a) || self.walls.contains(&(a.min(b), a.max(b)))
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        self.faults.delay + Duration::from_micros(rng.below(self.faults.jitter.as_micros() as u64 + 1))
    }

    fn loss_per_mille(&mut self, now: Instant, way: (usize, usize), rng: &mut Rng) -> u64 {
        if rng.chance(self.faults.burst_per_mille) {
            self.bursts.insert(way, now + Duration::from_millis(rng.below(BURST_MAX_MS)));
        }
        if self.bursts.get(&way).is_some_and(|until| *until > now) {
            return BURST_LOSS_PER_MILLE;
        }
        self.lossy.get(&way).copied().unwrap_or(0).max(self.faults.loss_per_mille)
    }

    /// When copies of a datagram between boards arrive: none if it is lost.
    pub fn datagram_arrivals(&mut self, now: Instant, from: usize, to: usize, rng: &mut Rng) -> Vec<Instant> {
        let loss = self.loss_per_mille(now, (from, to), rng);
        if self.is_cut(from, to) || rng.chance(loss) {
            return Vec::new();
        }
        let copies = if rng.chance(self.faults.duplicate_per_mille) { 2 } else { 1 };
        (0..copies).map(|_| now + self.delay(rng)).collect()
    }

    /// When bytes sent to `end` arrive: a lost segment comes late, and later each time, but never out of order.
    pub fn stream_arrival(&mut self, now: Instant, end: End, rng: &mut Rng) -> Instant {
        let way = self.peer(end).map(|other| (other.0, end.0));
        let loss = self.segment_loss_per_mille(way);
        let losses = (0..RETRANSMISSIONS_MAX).take_while(|_| rng.chance(loss)).count() as u32;
        let delay = self.delay(rng) + RETRANSMISSION * (2_u32.pow(losses) - 1);
        let last = self.arrivals.entry(end).or_default();
        *last = (now + delay).max(*last);
        *last
    }

    fn segment_loss_per_mille(&self, way: Option<(usize, usize)>) -> u64 {
        let slow = way.and_then(|way| self.slow.get(&way)).copied().unwrap_or(0);
        slow.max(self.faults.loss_per_mille)
    }

    /// Whether a connection comes about: question and answer have to get through, in one of a few tries.
    pub fn gets_through(&self, from: usize, to: usize, rng: &mut Rng) -> bool {
        let ways = [(from, to), (to, from)].map(|way| self.segment_loss_per_mille(Some(way)));
        (0..CONNECT_TRIES).any(|_| ways.iter().all(|loss| !rng.chance(*loss)))
    }

    /// Keeps bytes that a cut holds up, or that follow such bytes; gives back those that can go.
    pub fn hold_up(&mut self, from: End, to: usize, bytes: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_cut(from.0, to) || self.stalled.contains_key(&from) {
            self.stalled.entry(from).or_default().extend(bytes);
            return None;
        }
        Some(bytes)
    }

    pub fn connect(&mut self, a: End, b: End) {
        self.peers.insert(a, b);
        self.peers.insert(b, a);
    }

    /// The other end of a connection.
    pub fn peer(&self, end: End) -> Option<End> {
        self.peers.get(&end).copied()
    }

    /// Ends a connection; gives the other end.
    pub fn disconnect(&mut self, end: End) -> Option<End> {
        let other = self.peers.remove(&end)?;
        self.peers.remove(&other);
        for end in [end, other] {
            self.arrivals.remove(&end);
            self.stalled.remove(&end);
        }
        Some(other)
    }

    /// All ends on one board.
    pub fn ends_of(&self, machine: usize) -> Vec<End> {
        let ends = (machine, ConnectionId(0))..=(machine, ConnectionId(u64::MAX));
        self.peers.range(ends).map(|(end, _)| *end).collect()
    }
}
