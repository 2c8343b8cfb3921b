//! One message across a lossy network: fragments, selective acknowledgement, retransmission.

use crate::{Pace, packet::Packet};
use litemap::LiteMap;
use std::time::Duration;
use zhost_base::Instant;

/// The acknowledgement's reach bounds how much can be under way.
const WINDOW_MAX: u32 = 64;
const WINDOW_MIN: u32 = 4;
const RTO_MIN: Duration = Duration::from_millis(30);

#[derive(Clone, Copy)]
struct Flight {
    sent_at: Instant,
    tries: u32,
}

/// The sending side of one message.
pub struct Sender {
    pace: Pace,
    message: u32,
    bytes: Vec<u8>,
    count: u32,
    /// All fragments before this one are acknowledged.
    base: u32,
    next: u32,
    window: u32,
    flights: LiteMap<u32, Flight>,
    rtt: Option<Duration>,
    rto: Duration,
}

impl Sender {
    /// Starts sending message number `message`.
    pub fn new(pace: Pace, message: u32, bytes: Vec<u8>) -> Self {
        let count = bytes.len().div_ceil(pace.fragment_bytes).max(1) as u32;
        Self {
            pace,
            message,
            bytes,
            count,
            base: 0,
            next: 0,
            window: pace.window_start,
            flights: LiteMap::new(),
            rtt: None,
            rto: pace.rto_start,
        }
    }

    /// Whether everything is acknowledged.
    pub fn is_done(&self) -> bool {
        self.base >= self.count
    }

    /// Bytes acknowledged, and bytes in all.
    pub fn progress(&self) -> (usize, usize) {
        ((self.base as usize * self.pace.fragment_bytes).min(self.bytes.len()), self.bytes.len())
    }

    /// An acknowledgement arrived.
    pub fn handle_ack(&mut self, now: Instant, message: u32, next: u32, beyond: u64) {
        if message != self.message || next > self.count {
            return;
        }
        let arrived = |index: u32| {
            index < next || index.checked_sub(next + 1).is_some_and(|bit| bit < 64 && beyond >> bit & 1 == 1)
        };
        let mut newest = None;
        self.flights.retain(|index, flight| {
            let keep = !arrived(*index);
            if !keep && flight.tries == 1 {
                newest = Some(*flight);
            }
            keep
        });
        if let Some(flight) = newest {
            self.take_rtt(now.since(flight.sent_at));
        }
        if next > self.base {
            self.base = next;
            self.window = (self.window + 1).min(WINDOW_MAX);
        }
        // What three later fragments overtook is lost: send it again without waiting for the clock.
        let highest = next + 64 - beyond.leading_zeros();
        let overdue = self.rtt.unwrap_or(self.rto);
        for (index, flight) in &mut self.flights {
            if index + 3 <= highest && now.since(flight.sent_at) >= overdue {
                flight.sent_at = Instant::ZERO;
            }
        }
    }

    /// Smoothed as in RFC 6298, with the variance taken as half the mean.
    fn take_rtt(&mut self, sample: Duration) {
        let smoothed = self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8);
        self.rtt = Some(smoothed);
        self.rto = (smoothed * 3).clamp(RTO_MIN, self.pace.rto_max);
    }

    /// The next fragment to send now.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        let rto = self.rto;
        let lost = self.flights.iter_mut().find(|(_, flight)| now.since(flight.sent_at) >= rto);
        let index = match lost {
            Some((index, flight)) => {
                if flight.sent_at > Instant::ZERO && flight.tries > 1 {
                    self.window = (self.window / 2).max(WINDOW_MIN);
                    self.rto = (self.rto * 2).min(self.pace.rto_max);
                }
                *flight = Flight { sent_at: now, tries: flight.tries + 1 };
                *index
            }
            None if self.next < self.count && self.next < self.base + self.window => {
                self.flights.insert(self.next, Flight { sent_at: now, tries: 1 });
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        let start = index as usize * self.pace.fragment_bytes;
        let end = (start + self.pace.fragment_bytes).min(self.bytes.len());
        let bytes = self.bytes[start..end].to_vec();
        Some(Packet::Fragment { message: self.message, index, count: self.count, bytes })
    }

    /// When the next fragment counts as lost.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.flights.values().map(|flight| flight.sent_at + self.rto).min().map(|at| (at, "retransmission"))
    }
}

/// What a fragment brought.
pub struct Received {
    /// The acknowledgement to send.
    pub ack: Packet,
    /// The message's number and content, if the fragment completed it.
    pub whole: Option<(u32, Vec<u8>)>,
}

/// The receiving side of successive messages.
pub struct Receiver {
    pace: Pace,
    /// The last message received in full.
    finished: u32,
    message: u32,
    count: u32,
    bytes: Vec<u8>,
    next: u32,
    early: LiteMap<u32, Vec<u8>>,
}

impl Receiver {
    /// One that has received nothing yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, finished: 0, message: 0, count: 0, bytes: Vec::new(), next: 0, early: LiteMap::new() }
    }

    /// Takes in a fragment; one that makes no sense changes nothing.
    pub fn handle_fragment(
        &mut self,
        message: u32,
        index: u32,
        count: u32,
        bytes: Vec<u8>,
    ) -> Option<Received> {
        if message <= self.finished {
            return Some(Received { ack: Packet::Ack { message, next: count, beyond: 0 }, whole: None });
        }
        let whole = index + 1 == count || bytes.len() == self.pace.fragment_bytes;
        if count == 0
            || count > self.pace.fragments_max()
            || index >= count
            || bytes.len() > self.pace.fragment_bytes
            || !whole
        {
            return None;
        }
        if message > self.message {
            *self = Self { finished: self.finished, message, count, ..Self::new(self.pace) };
        }
        if message < self.message || count != self.count {
            return None;
        }
        if index >= self.next && index - self.next <= WINDOW_MAX {
            self.early.insert(index, bytes);
        }
        while let Some(bytes) = self.early.remove(&self.next) {
            self.bytes.extend_from_slice(&bytes);
            self.next += 1;
        }
        let beyond = self.early.keys().fold(0_u64, |bits, index| match index - self.next - 1 {
            bit @ 0..64 => bits | 1 << bit,
            _ => bits,
        });
        let ack = Packet::Ack { message, next: self.next, beyond };
        if self.next < self.count {
            return Some(Received { ack, whole: None });
        }
        self.finished = message;
        Some(Received { ack, whole: Some((message, std::mem::take(&mut self.bytes))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use zhost_base::Rng;

    /// Sends `size` bytes over a network that loses `loss` packets in a thousand; gives the time it took.
    fn cross(size: usize, loss: u64, seed: u64) -> Duration {
        let mut rng = Rng::from_number(seed);
        let message: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        let (mut sender, mut receiver) =
            (Sender::new(Pace::NETWORK, 1, message.clone()), Receiver::new(Pace::NETWORK));
        let mut now = Instant::from_micros(1_000_000);
        let start = now;
        let one_way = Duration::from_millis(5);
        let mut under_way: BTreeMap<(Instant, u64), Packet> = BTreeMap::new();
        let mut got = None;
        for serial in 0..10_000_000 {
            while let Some(packet) = sender.poll_packet(now) {
                if !rng.chance(loss) {
                    under_way.insert(
                        (now + one_way + Duration::from_micros(rng.below(2000)), rng.number()),
                        packet,
                    );
                }
            }
            if sender.is_done() {
                break;
            }
            let arrival = under_way.first_key_value().map(|((at, _), _)| *at);
            let timer = sender.poll_timeout().map(|(at, _)| at);
            now = [arrival, timer].into_iter().flatten().min().unwrap().max(now);
            if arrival.is_some_and(|at| at <= now) {
                match under_way.pop_first().unwrap().1 {
                    Packet::Fragment { message, index, count, bytes } => {
                        let Received { ack, whole } =
                            receiver.handle_fragment(message, index, count, bytes).unwrap();
                        got = got.or(whole);
                        if !rng.chance(loss) {
                            under_way.insert((now + one_way, serial), ack);
                        }
                    }
                    Packet::Ack { message, next, beyond } => sender.handle_ack(now, message, next, beyond),
                }
            }
        }
        assert!(
            got == Some((1, message)),
            "seed {seed}: base {} next {} of {} at {now}, {} under way, rto {:?}, timer {:?}",
            sender.base,
            sender.next,
            sender.count,
            under_way.len(),
            sender.rto,
            sender.poll_timeout()
        );
        now.since(start)
    }

    #[test]
    fn messages_of_all_sizes_arrive() {
        let fragment = Pace::NETWORK.fragment_bytes;
        for size in [0, 1, fragment - 1, fragment, fragment + 1, 100_000] {
            cross(size, 0, 1);
        }
    }

    #[test]
    fn five_megabytes_cross_ten_percent_loss() {
        for seed in 0..3 {
            let took = cross(5_000_000, 100, seed);
            assert!(took < Duration::from_secs(60), "took {took:?}");
        }
    }

    #[test]
    fn half_of_everything_may_be_lost() {
        cross(50_000, 500, 3);
    }

    #[test]
    fn hostile_fragments_change_nothing() {
        let mut receiver = Receiver::new(Pace::NETWORK);
        assert!(receiver.handle_fragment(1, 0, 0, vec![]).is_none());
        assert!(receiver.handle_fragment(1, 5, 5, vec![]).is_none());
        assert!(receiver.handle_fragment(1, 0, u32::MAX, vec![]).is_none());
        assert!(receiver.handle_fragment(1, 0, 2, vec![1]).is_none());
        assert!(receiver.handle_fragment(1, 0, 1, vec![1]).unwrap().whole.is_some());
        assert!(receiver.handle_fragment(1, 0, 1, vec![2]).unwrap().whole.is_none());
    }
}
