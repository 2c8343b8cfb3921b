//! A reliable, ordered stream of frames between two zhosts, over whatever way there is at the moment.
//!
//! Frames are numbered and acknowledged cumulatively; what is not acknowledged is sent again when the way changes or
//! nothing moves for a while (go-back-N). A stream is keyed by both generations and a nonce, so that neither a restart
//! nor a delayed packet ever confuses two streams.

use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};
use zhost_base::{
    Batch, Generation, Instant,
    limits::{STREAM_QUEUE_MAX_BYTES, STREAM_RESERVE_BYTES, STREAM_WINDOW_BYTES},
    planted::{self, Bug},
};

/// Bytes of frames in one packet, unless a single frame is larger.
const PACKET_SIZE_MAX_BYTES: usize = 48 * 1024;
/// How long an acknowledgement may wait for something to travel with.
const ACK_DELAY: Duration = Duration::from_millis(20);
/// Bytes received after which an acknowledgement does not wait.
const ACK_AFTER_BYTES: usize = STREAM_WINDOW_BYTES / 8;
/// What is not acknowledged for this long is sent again; doubles up to the maximum.
const RESEND_MIN: Duration = Duration::from_millis(1000);
const RESEND_MAX: Duration = Duration::from_secs(8);
/// Earlier streams of the other side that are remembered, so that their late packets are not taken for a new one.
const PAST_STREAMS_MAX: usize = 8;

/// Names one direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamKey {
    /// The sender's start.
    pub from: Generation,
    /// The receiver's start, as the sender knows it.
    pub to: Generation,
    /// Drawn by the sender.
    pub nonce: u64,
}

/// What the two ends send each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packet {
    /// Consecutive frames.
    Data {
        /// Of this stream.
        key: StreamKey,
        /// Number of the first frame; the very first of a stream is 1.
        first: u64,
        /// The frames.
        frames: Batch,
        /// The nonce of the opposite stream and the last frame received of it, if any was.
        ack: Option<(u64, u64)>,
    },
    /// All frames up to this one have arrived.
    Ack {
        /// The nonce of the acknowledged stream.
        nonce: u64,
        /// The last frame received in order.
        last: u64,
    },
}

/// The frame was not taken: too much waits already. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// What became of the frames of a stream that was given up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// Sent, and not acknowledged: the other side may have them.
    pub unknown: Vec<Vec<u8>>,
    /// Never sent.
    pub unsent: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Incoming {
    nonce: u64,
    /// The last frame delivered.
    last: u64,
    /// Bytes delivered since the last acknowledgement.
    unacked_bytes: usize,
    ack_at: Option<Instant>,
}

/// One zhost's end of its stream with another.
#[derive(Debug)]
pub struct Stream {
    key: StreamKey,
    /// Frames not acknowledged, oldest first.
    queue: VecDeque<Vec<u8>>,
    queue_bytes: usize,
    /// Number of the first frame in the queue.
    first: u64,
    /// How many frames of the queue were ever sent.
    reached: usize,
    /// How many frames of the queue are on their way, and their bytes.
    sent: usize,
    sent_bytes: usize,
    resend_at: Option<Instant>,
    resend_after: Duration,
    incoming: Option<Incoming>,
    /// Nonces of the other side's earlier streams.
    past: VecDeque<u64>,
    /// Whether the other side has begun a new stream in place of one.
    reopened: bool,
}

impl Stream {
    /// A stream from this start of ours to that start of theirs.
    pub fn new(from: Generation, to: Generation, nonce: u64) -> Self {
        Self {
            key: StreamKey { from, to, nonce },
            queue: VecDeque::new(),
            queue_bytes: 0,
            first: 1,
            reached: 0,
            sent: 0,
            sent_bytes: 0,
            resend_at: None,
            resend_after: RESEND_MIN,
            incoming: None,
            past: VecDeque::new(),
            reopened: false,
        }
    }

    /// Begins a new stream to that start of theirs; what was under way on the old one is given back. What comes from
    /// the other side goes on.
    pub fn restart(&mut self, from: Generation, to: Generation, nonce: u64) -> Abandoned {
        let incoming = self.incoming.take();
        let past = std::mem::take(&mut self.past);
        let old = std::mem::replace(self, Self { incoming, past, ..Self::new(from, to, nonce) });
        let mut frames: Vec<Vec<u8>> = old.queue.into();
        let unsent = frames.split_off(old.reached);
        Abandoned { unknown: frames, unsent }
    }

    /// Whether the other side has given up a stream and begun another since this was asked.
    pub fn take_reopened(&mut self) -> bool {
        std::mem::take(&mut self.reopened)
    }

    /// Whether there is something to send: frames, or an acknowledgement that is due.
    pub fn has_news(&self, now: Instant) -> bool {
        let ack_at = self.incoming.as_ref().and_then(|incoming| incoming.ack_at);
        !self.queue.is_empty() || ack_at.is_some_and(|at| at <= now)
    }

    /// The key of what we send.
    pub fn key(&self) -> StreamKey {
        self.key
    }

    /// Queues a frame.
    pub fn send(&mut self, frame: Vec<u8>) -> Result<(), QueueFull> {
        self.send_within(STREAM_QUEUE_MAX_BYTES, frame)
    }

    /// Queues a frame that nobody would send again, for which there is a reserve.
    pub fn send_last(&mut self, frame: Vec<u8>) -> Result<(), QueueFull> {
        self.send_within(STREAM_QUEUE_MAX_BYTES + STREAM_RESERVE_BYTES, frame)
    }

    fn send_within(&mut self, limit: usize, frame: Vec<u8>) -> Result<(), QueueFull> {
        if self.queue_bytes + frame.len() > limit {
            return Err(QueueFull);
        }
        self.queue_bytes += frame.len();
        self.queue.push_back(frame);
        Ok(())
    }

    /// Frames that are not acknowledged.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of frames that are not acknowledged.
    pub fn queued_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// A packet of the other side arrived, which is alive in the start `theirs`; gives the frames to be delivered.
    pub fn handle_packet(&mut self, now: Instant, theirs: Generation, packet: Packet) -> Vec<Vec<u8>> {
        match packet {
            Packet::Ack { nonce, last } => {
                self.handle_ack(now, nonce, last);
                Vec::new()
            }
            Packet::Data { key, first, frames, ack } => {
                if let Some((nonce, last)) = ack {
                    self.handle_ack(now, nonce, last);
                }
                if key.to != self.key.from || key.from != theirs || !self.is_current(key.nonce, first) {
                    return Vec::new();
                }
                self.take_frames(now, first, &frames)
            }
        }
    }

    /// Whether `nonce` is the other side's stream; its first packet opens a new one.
    fn is_current(&mut self, nonce: u64, first: u64) -> bool {
        let current = self.incoming.as_ref().map(|incoming| incoming.nonce);
        if current == Some(nonce) {
            return true;
        }
        if first != 1 || self.past.contains(&nonce) {
            return false;
        }
        if self.past.len() >= PAST_STREAMS_MAX {
            self.past.pop_front();
        }
        self.reopened |= current.is_some();
        self.past.extend(current);
        self.incoming = Some(Incoming { nonce, last: 0, unacked_bytes: 0, ack_at: None });
        true
    }

    fn take_frames(&mut self, now: Instant, first: u64, frames: &Batch) -> Vec<Vec<u8>> {
        let Some(incoming) = &mut self.incoming else { return Vec::new() };
        // A gap: what is missing comes again, with all that follows it.
        let Some(known) = incoming.last.saturating_add(1).checked_sub(first.max(1)) else {
            return Vec::new();
        };
        let end = first.saturating_add(frames.len() as u64).saturating_sub(1);
        let is_new = end > incoming.last;
        incoming.unacked_bytes += frames.content_bytes();
        let urgent = !is_new || incoming.unacked_bytes >= ACK_AFTER_BYTES;
        let ack_at = if urgent { now } else { now + ACK_DELAY };
        incoming.ack_at = Some(incoming.ack_at.map_or(ack_at, |at| at.min(ack_at)));
        incoming.last = incoming.last.max(end);
        let known = if planted::has(Bug::ForgetDelivered) { 0 } else { known };
        frames.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)).map(<[u8]>::to_vec).collect()
    }

    fn handle_ack(&mut self, now: Instant, nonce: u64, last: u64) {
        if nonce != self.key.nonce {
            return;
        }
        let Some(acked) = last.saturating_add(1).checked_sub(self.first).filter(|acked| *acked > 0) else {
            return;
        };
        // Nobody can have received what was not sent.
        let acked = usize::try_from(acked).unwrap_or(usize::MAX).min(self.reached);
        let size =
            |frames: std::collections::vec_deque::Iter<'_, Vec<u8>>| frames.map(Vec::len).sum::<usize>();
        // After a rewind, frames may be acknowledged that are not on their way any more.
        let under_way = acked.min(self.sent);
        self.sent_bytes -= size(self.queue.range(..under_way));
        self.queue_bytes -= size(self.queue.range(..acked));
        self.queue.drain(..acked);
        self.first += acked as u64;
        self.sent -= under_way;
        self.reached -= acked;
        self.resend_after = RESEND_MIN;
        self.resend_at = (self.sent > 0).then_some(now + RESEND_MIN);
    }

    /// The way changed: what was under way may be lost.
    pub fn rewind(&mut self) {
        if planted::has(Bug::LoseOnReroute) {
            self.queue.drain(..self.sent).for_each(drop);
            self.reached -= self.sent;
        }
        self.sent = 0;
        self.sent_bytes = 0;
        self.resend_at = None;
    }

    /// The next packet to send. At most [`STREAM_WINDOW_BYTES`] are under way at once, or one frame.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        let mut frames = Batch::default();
        let first = self.first + self.sent as u64;
        while let Some(frame) = self.queue.get(self.sent) {
            let fits_packet =
                frames.is_empty() || frames.content_bytes() + frame.len() <= PACKET_SIZE_MAX_BYTES;
            let fits_window = self.sent == 0 || self.sent_bytes + frame.len() <= STREAM_WINDOW_BYTES;
            if !fits_packet || !fits_window {
                break;
            }
            self.sent_bytes += frame.len();
            self.sent += 1;
            self.reached = self.reached.max(self.sent);
            frames.push(frame);
        }
        if !frames.is_empty() {
            self.resend_at.get_or_insert(now + self.resend_after);
            return Some(Packet::Data { key: self.key, first, frames, ack: self.take_ack() });
        }
        let due = self.incoming.as_ref().is_some_and(|incoming| incoming.ack_at.is_some_and(|at| at <= now));
        let (nonce, last) = if due { self.take_ack()? } else { return None };
        Some(Packet::Ack { nonce, last })
    }

    fn take_ack(&mut self) -> Option<(u64, u64)> {
        let incoming = self.incoming.as_mut()?;
        incoming.ack_at = None;
        incoming.unacked_bytes = 0;
        Some((incoming.nonce, incoming.last))
    }

    /// Whether nothing has moved for too long: everything is sent again, preferably another way.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let stalled = self.resend_at.is_some_and(|at| at <= now);
        if stalled {
            self.rewind();
            self.resend_after = (self.resend_after * 2).min(RESEND_MAX);
        }
        stalled
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_packet`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let ack = self.incoming.as_ref().and_then(|incoming| incoming.ack_at);
        let resend = self.resend_at.map(|at| (at, "send a stream again"));
        ack.map(|at| (at, "acknowledge a stream")).into_iter().chain(resend).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use zhost_base::Rng;

    const ONE: Generation = Generation(1);

    /// Sends `count` numbers through ways that lose, repeat and reorder, and are given up now and then.
    fn exchange(seed: u64, count: u32) {
        let mut rng = Rng::from_number(seed);
        let (mut a, mut b) = (Stream::new(ONE, ONE, 7), Stream::new(ONE, ONE, 8));
        let mut now = Instant::ZERO;
        let mut under_way: BTreeMap<(Instant, u64), (bool, Packet)> = BTreeMap::new();
        let (mut sent, mut serial) = (0_u32, 0_u64);
        let mut got: Vec<u32> = Vec::new();
        while got.len() < count as usize {
            assert!(now < Instant::from_micros(3_600_000_000), "seed {seed}: {} of {count}", got.len());
            while sent < count && a.pending() < 50 {
                a.send(sent.to_le_bytes().to_vec()).unwrap();
                sent += 1;
            }
            for (end, to_b) in [(&mut a, true), (&mut b, false)] {
                if rng.chance(20) {
                    end.rewind();
                }
                while let Some(packet) = end.poll_packet(now) {
                    for _ in 0..[0, 1, 1, 1, 2][rng.below(5) as usize] {
                        serial += 1;
                        let at = now + Duration::from_millis(rng.below(50));
                        under_way.insert((at, serial), (to_b, packet.clone()));
                    }
                }
            }
            let timers = [a.poll_timeout(), b.poll_timeout()].into_iter().flatten().map(|(at, _)| at);
            let arrival = under_way.first_key_value().map(|((at, _), _)| *at);
            now = timers.chain(arrival).min().unwrap_or(now).max(now);
            a.handle_timeout(now);
            b.handle_timeout(now);
            while let Some(entry) = under_way.first_entry()
                && entry.key().0 <= now
            {
                let (to_b, packet) = entry.remove();
                let frames = if to_b { &mut b } else { &mut a }.handle_packet(now, ONE, packet);
                got.extend(frames.iter().map(|frame| u32::from_le_bytes(frame[..].try_into().unwrap())));
            }
        }
        assert!(got.iter().copied().eq(0..count), "seed {seed}");
    }

    #[test]
    fn nothing_is_lost_repeated_or_reordered() {
        (0..200).for_each(|seed| exchange(seed, 300));
    }

    fn data(stream: &mut Stream) -> Packet {
        stream.poll_packet(Instant::ZERO).unwrap()
    }

    #[test]
    fn late_packets_of_an_earlier_stream_are_ignored() {
        let (mut a, mut b) = (Stream::new(ONE, ONE, 7), Stream::new(ONE, ONE, 8));
        a.send(b"old".to_vec()).unwrap();
        let old = data(&mut a);
        assert_eq!(b.handle_packet(Instant::ZERO, ONE, old.clone()), [b"old"]);
        a.send(b"never".to_vec()).unwrap();
        let abandoned = a.restart(ONE, ONE, 9);
        assert_eq!(abandoned, Abandoned { unknown: vec![b"old".to_vec()], unsent: vec![b"never".to_vec()] });
        a.send(b"new".to_vec()).unwrap();
        assert_eq!(b.handle_packet(Instant::ZERO, ONE, data(&mut a)), [b"new"]);
        assert!(b.handle_packet(Instant::ZERO, ONE, old).is_empty());
        // Neither do packets to or from another start of either side.
        let mut other = Stream::new(Generation(2), ONE, 10);
        other.send(b"x".to_vec()).unwrap();
        assert!(b.handle_packet(Instant::ZERO, ONE, data(&mut other)).is_empty());
        let mut other = Stream::new(ONE, Generation(2), 11);
        other.send(b"x".to_vec()).unwrap();
        assert!(b.handle_packet(Instant::ZERO, ONE, data(&mut other)).is_empty());
    }

    #[test]
    fn the_queue_and_the_window_are_bounded() {
        let mut a = Stream::new(ONE, ONE, 7);
        let frame = vec![0; 64 * 1024];
        let taken = (0..1000).take_while(|_| a.send(frame.clone()).is_ok()).count();
        assert_eq!(taken, STREAM_QUEUE_MAX_BYTES / frame.len());
        assert_eq!(a.send(frame.clone()), Err(QueueFull));
        let reserved = (0..).take_while(|_| a.send_last(frame.clone()).is_ok()).count();
        assert_eq!(reserved, STREAM_RESERVE_BYTES / frame.len());
        let under_way: usize = std::iter::from_fn(|| a.poll_packet(Instant::ZERO)).count();
        assert_eq!(under_way, STREAM_WINDOW_BYTES / frame.len());
    }

    proptest::proptest! {
        #[test]
        fn strange_acknowledgements_change_nothing(nonce in 6..9_u64, last in proptest::num::u64::ANY) {
            let mut a = Stream::new(ONE, ONE, 7);
            a.send(vec![1]).unwrap();
            a.handle_packet(Instant::ZERO, ONE, Packet::Ack { nonce, last });
            proptest::prop_assert_eq!(a.pending(), 1);
        }
    }
}
