//! What a zhost says to others, by kind: who talks about what is answered without a packet capture.

use crate::wire::{Frame, Hop, Parcel};
use std::time::Duration;
use zhost_base::Instant;
use zhost_gossip::datagram::Datagram;

/// How often the counts are remembered, to tell how fast they grow.
const MARK_PERIOD: Duration = Duration::from_secs(60);

/// What something travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carrier {
    Datagram,
    Link,
    /// In the reliable stream with another zhost; its packets are counted as links' parcels or relayed ones, too.
    Stream,
}

impl Carrier {
    pub fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::Link => "link",
            Self::Stream => "stream",
        }
    }
}

/// All kinds, each with its carrier; a kind's number is its place here.
const KINDS: [(Carrier, &str); 26] = [
    (Carrier::Datagram, "probe"),
    (Carrier::Datagram, "join"),
    (Carrier::Datagram, "summary"),
    (Carrier::Datagram, "registry"),
    (Carrier::Datagram, "vote"),
    (Carrier::Link, "ping"),
    (Carrier::Link, "parcel"),
    (Carrier::Link, "relayed"),
    (Carrier::Link, "no route"),
    (Carrier::Link, "gossip"),
    (Carrier::Link, "summary"),
    (Carrier::Link, "members"),
    (Carrier::Link, "registry"),
    (Carrier::Link, "time of day"),
    (Carrier::Stream, "heartbeat"),
    (Carrier::Stream, "ledger"),
    (Carrier::Stream, "package"),
    (Carrier::Stream, "channel"),
    (Carrier::Stream, "messages"),
    (Carrier::Stream, "returned"),
    (Carrier::Stream, "credit"),
    (Carrier::Stream, "actor"),
    (Carrier::Stream, "quorum"),
    (Carrier::Stream, "data"),
    (Carrier::Stream, "question"),
    (Carrier::Stream, "answer"),
];

/// Where in [`KINDS`] something is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind(usize);

impl From<&Datagram> for Kind {
    fn from(datagram: &Datagram) -> Self {
        Self(match datagram {
            Datagram::Swim(_) => 0,
            Datagram::Hello { .. } | Datagram::Beacon(_) | Datagram::Welcome { .. } | Datagram::Claim(_) => 1,
            Datagram::Summary { .. } => 2,
            Datagram::Registry(_) => 3,
            Datagram::VoteRequest { .. } | Datagram::Vote { .. } => 4,
        })
    }
}

impl From<&Hop> for Kind {
    fn from(hop: &Hop) -> Self {
        Self(match hop {
            Hop::Ping(_) | Hop::Pong(_) => 5,
            Hop::Parcel(Parcel::Echo(_) | Parcel::EchoReply(_)) => 5,
            Hop::Parcel(Parcel::Stream(_)) => 6,
            Hop::Relay(_) => 7,
            Hop::NoRoute(_) => 8,
            Hop::Gossip(_) => 9,
            Hop::Summary { .. } => 10,
            Hop::Members(_) => 11,
            Hop::Registry(_) => 12,
            Hop::Clock { .. } => 13,
        })
    }
}

impl From<&Frame> for Kind {
    fn from(frame: &Frame) -> Self {
        Self(match frame {
            Frame::Heartbeat(_) => 14,
            Frame::Ledger(_) => 15,
            Frame::BlobRequest { .. } | Frame::BlobPiece { .. } => 16,
            Frame::Channel { .. } => 17,
            Frame::Messages { .. } => 18,
            Frame::Returned { .. } => 19,
            Frame::Credit { .. } => 20,
            Frame::Actor(..) => 21,
            Frame::Prepare { .. } | Frame::Promise { .. } => 22,
            Frame::Data(..) => 23,
            Frame::Query { .. } => 24,
            Frame::Answer { .. } => 25,
        })
    }
}

/// What was sent of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub packets: u64,
    /// Before sealing on links and in streams; sealed in datagrams.
    pub bytes: u64,
}

/// What was sent since the start, and until lately.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent: [Sent; KINDS.len()],
    /// The counts at the last two marks, and when the older of them was set.
    marks: [(Instant, [Sent; KINDS.len()]); 2],
}

/// What was sent of one kind since the start, and how fast lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub carrier: Carrier,
    pub kind: &'static str,
    pub sent: Sent,
    pub bytes_per_second: u64,
}

impl Traffic {
    /// Something is sent.
    pub fn count(&mut self, kind: impl Into<Kind>, bytes: usize) {
        if let Some(sent) = self.sent.get_mut(kind.into().0) {
            sent.packets += 1;
            sent.bytes += bytes as u64;
        }
    }

    /// Remembers the counts now and then.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now.since(self.marks[1].0) >= MARK_PERIOD {
            self.marks[0] = self.marks[1];
            self.marks[1] = (now, self.sent);
        }
    }

    /// What was sent, by kind; the pace is that of the last one or two minutes.
    pub fn lines(&self, now: Instant) -> impl Iterator<Item = Line> {
        let (since, before) = self.marks[0];
        let elapsed_s = now.since(since).as_secs().max(1);
        let lines = KINDS.iter().zip(&self.sent).zip(before).filter(|((_, sent), _)| sent.packets > 0);
        lines.map(move |(((carrier, kind), sent), before)| Line {
            carrier: *carrier,
            kind,
            sent: *sent,
            bytes_per_second: (sent.bytes - before.bytes) / elapsed_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_is_sent_is_counted_by_kind_and_the_pace_is_that_of_late() {
        let mut traffic = Traffic::default();
        let line = |traffic: &Traffic, now: u64, carrier: Carrier, kind: &str| {
            traffic.lines(at(now)).find(|line| line.carrier == carrier && line.kind == kind).unwrap()
        };
        traffic.count(&Hop::Ping(1), 10);
        traffic.count(&Hop::Pong(1), 10);
        traffic.handle_timeout(at(60));
        traffic.handle_timeout(at(120));
        traffic.count(&Hop::Ping(2), 400);
        let ping = line(&traffic, 140, Carrier::Link, "ping");
        assert_eq!(ping.sent, Sent { packets: 3, bytes: 420 });
        assert_eq!(ping.bytes_per_second, 400 / 80);
        assert_eq!(traffic.lines(at(140)).count(), 1, "of the other kinds nothing was sent");
    }
}
