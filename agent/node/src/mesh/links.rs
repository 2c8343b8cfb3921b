//! Connections to neighbours: those this zhost wants as such, those it needs for a while, and those others made to it.
//!
//! When a link to a live member ends without a word, both sides look at once whether somebody still listens there: a
//! kernel that refuses the connection is evidence that the process is gone.

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use zhost_base::{
    Instant, RoundTrip, ZhostId,
    limits::{LINK_HANDSHAKE_TIMEOUT, LINKS_MAX, LINKS_UNPROVED_MAX, LINKS_UNPROVED_PER_ADDRESS_MAX},
};
use zhost_link::{LinkError, push_frame};

use crate::{mesh::traffic::Traffic, wire::Hop};

/// First wait after a connection failed; doubles up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long after a ping of one side the other measures the round trip of a link. They take turns, so a link is never
/// silent for longer than this and [`RESPONDER_WAITS`].
const PING_PERIOD: Duration = Duration::from_secs(20);
/// How much longer the side waits that accepted the connection: otherwise both would always ping at once.
const RESPONDER_WAITS: Duration = Duration::from_secs(5);
/// How soon a new link is measured again, doubling up to the maximum, until it is known well: its first answers often
/// meet a zhost that is busy with its start.
const NEW_PACE_MIN: Duration = Duration::from_millis(500);
const NEW_PACE_MAX: Duration = Duration::from_secs(5);
/// A link that owes an answer for this long is silent: other ways are taken.
const SILENT_MIN: Duration = Duration::from_secs(2);
/// Until then, and a moment, whoever asks all links waits for their answers.
pub(crate) const LINKS_ANSWER_WITHIN: Duration = Duration::from_millis(2100);
/// One that owes it for this long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether links are needed no longer.
const TIDY_PERIOD: Duration = Duration::from_secs(5);
/// How long a link made on demand is kept after it was last needed.
const ON_DEMAND: Duration = Duration::from_secs(60);

/// A connection of the shell. Those the node asks for are even, those the shell accepts are odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct ConnectionId(pub u64);

/// What came over a connection, opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// Who is at the other end, once that is proved.
    pub from: Option<ZhostId>,
    /// The frames that are whole.
    pub frames: Vec<ByteBuf>,
}

/// What the links want of the shell, or tell the node.
pub(crate) enum LinkOutput {
    Connect(ConnectionId, SocketAddr),
    /// Seal these frames, and write them.
    Write(ConnectionId, Vec<u8>),
    Close(ConnectionId),
    /// A link to this zhost is open (anew).
    Up(ZhostId),
    /// The last link to this zhost is gone.
    Down(ZhostId),
    Hop(ZhostId, Hop),
    /// This zhost answers over its link.
    Answered(ZhostId),
    /// The kernel of this zhost says that nobody listens there.
    Refused(ZhostId),
    Trouble(SocketAddr, LinkError),
}

struct Connection {
    addr: SocketAddr,
    /// Whom we meant to reach.
    target: Option<ZhostId>,
    /// Made only to see whether somebody listens there.
    is_trial: bool,
    peer: Option<ZhostId>,
    /// By when it is to be proved who is there.
    proved_by: Option<Instant>,
    /// Frames that go out together.
    outgoing: Vec<u8>,
    /// It took too little for too long: closed at the next timeout, since what is missing now would never come.
    congested: bool,
    heard_at: Instant,
    /// When it is our turn to measure the round trip.
    ping_at: Instant,
    /// Since when a ping of ours is not answered.
    asked_at: Option<Instant>,
    /// How soon it is measured again while it is new.
    pace: Duration,
    /// Whether it owes an answer for longer than usual.
    silent: bool,
}

impl Connection {
    /// Since when the other side owes an answer.
    fn silent_since(&self) -> Option<Instant> {
        self.asked_at.map(|asked_at| asked_at.max(self.heard_at))
    }

    /// When it is silent if nothing is heard of it.
    fn silent_at(&self) -> Option<Instant> {
        self.silent_since().map(|since| since + SILENT_MIN)
    }
}

#[derive(Default)]
struct Retry {
    at: Instant,
    tries: u32,
}

/// All links of a zhost.
pub(crate) struct Links {
    me: ZhostId,
    connections: LiteMap<ConnectionId, Connection>,
    by_peer: LiteMap<ZhostId, ConnectionId>,
    retries: LiteMap<ZhostId, Retry>,
    /// Where live members may be, the best guess first.
    members: LiteMap<ZhostId, Vec<SocketAddr>>,
    wanted: BTreeSet<ZhostId>,
    /// Needed for the time being, and until when.
    on_demand: LiteMap<ZhostId, Instant>,
    /// Connections with something to write.
    unflushed: LiteMap<ConnectionId, ()>,
    serial: u64,
    pings: LiteMap<ZhostId, (u64, Instant)>,
    round_trips: LiteMap<ZhostId, RoundTrip>,
    next_tidy: Instant,
    /// So many connections, and so many that others made without proving yet who they are.
    room: (usize, usize),
    revision: u64,
    /// What was sent over links.
    pub traffic: Traffic,
    outputs: VecDeque<LinkOutput>,
}

impl Links {
    pub fn new(now: Instant, me: ZhostId) -> Self {
        Self {
            me,
            connections: LiteMap::new(),
            by_peer: LiteMap::new(),
            retries: LiteMap::new(),
            members: LiteMap::new(),
            wanted: BTreeSet::new(),
            on_demand: LiteMap::new(),
            unflushed: LiteMap::new(),
            serial: 0,
            pings: LiteMap::new(),
            round_trips: LiteMap::new(),
            next_tidy: now + TIDY_PERIOD,
            room: (LINKS_MAX, LINKS_UNPROVED_MAX),
            revision: 0,
            traffic: Traffic::default(),
            outputs: VecDeque::new(),
        }
    }

    /// All connections are closed, and made anew.
    pub fn begin_again(&mut self) {
        let closed = std::mem::take(&mut self.connections).into_iter();
        self.outputs.extend(closed.map(|(id, _)| LinkOutput::Close(id)));
        let lost = std::mem::take(&mut self.by_peer).into_iter();
        self.outputs.extend(lost.map(|(peer, _)| LinkOutput::Down(peer)));
        self.retries.clear();
        self.on_demand.clear();
        self.unflushed.clear();
        self.pings.clear();
        self.round_trips.clear();
        self.revision += 1;
    }

    /// The zhosts links are open to.
    pub fn peers(&self) -> impl Iterator<Item = ZhostId> {
        self.by_peer.keys().copied()
    }

    /// Counts the links that came and went, fell silent, or became much faster or slower.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The connection a link runs over.
    pub fn connection(&self, peer: ZhostId) -> Option<ConnectionId> {
        self.by_peer.get(&peer).copied()
    }

    /// How many connections there are, or are being made.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub fn is_up(&self, peer: ZhostId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// The zhosts chosen as neighbours.
    pub fn wanted(&self) -> impl Iterator<Item = ZhostId> {
        self.wanted.iter().copied()
    }

    /// The round trip of a link.
    pub fn round_trip(&self, peer: ZhostId) -> RoundTrip {
        self.round_trips.get(&peer).copied().unwrap_or_default()
    }

    /// The round trip of a link as measured lately, microseconds.
    pub fn rtt_us(&self, peer: ZhostId) -> Option<u64> {
        self.round_trip(peer).median_us()
    }

    /// Whether any link was asked and has not answered yet, nor is known to be silent.
    pub fn owe_answers(&self) -> bool {
        let links = self.by_peer.values().filter_map(|id| self.connections.get(id));
        links.into_iter().any(|connection| connection.asked_at.is_some() && !connection.silent)
    }

    /// Whether a link owes an answer for longer than usual.
    pub fn is_silent(&self, peer: ZhostId) -> bool {
        let connection = self.by_peer.get(&peer).and_then(|id| self.connections.get(id));
        connection.is_some_and(|connection| connection.silent)
    }

    /// Whether the last attempt to link with a member failed.
    pub fn is_unreachable(&self, peer: ZhostId) -> bool {
        self.retries.contains_key(&peer)
    }

    /// Where the live members are; those of `wanted` are to be neighbours. Links to anybody else are closed.
    pub fn handle_members(
        &mut self,
        now: Instant,
        members: LiteMap<ZhostId, Vec<SocketAddr>>,
        wanted: BTreeSet<ZhostId>,
    ) {
        let gone: Vec<_> =
            self.by_peer.iter().filter(|(id, _)| !members.contains_key(id)).map(|(_, c)| *c).collect();
        gone.into_iter().for_each(|connection| self.close(now, connection));
        self.retries.retain(|id, _| members.contains_key(id));
        self.on_demand.retain(|id, _| members.contains_key(id));
        self.pings.retain(|id, _| members.contains_key(id));
        self.members = members;
        self.wanted = wanted;
        self.connect_missing(now);
    }

    /// There is room for so many links, and for so many that strangers made.
    pub fn handle_room(&mut self, links: usize, unproved: usize) {
        self.room = (links.min(LINKS_MAX), unproved.clamp(1, LINKS_UNPROVED_MAX));
    }

    /// Something is to be sent to a member that may be no neighbour.
    pub fn need(&mut self, now: Instant, peer: ZhostId) {
        if self.members.contains_key(&peer) && !self.wanted.contains(&peer) {
            let until = now + ON_DEMAND;
            let known = self.on_demand.insert(peer, until).is_some();
            if !known {
                self.connect_missing(now);
            }
        }
    }

    /// Ends the link to an earlier start of a zhost.
    pub fn drop_peer(&mut self, now: Instant, peer: ZhostId) {
        if let Some(connection) = self.by_peer.get(&peer).copied() {
            self.close(now, connection);
        }
        self.retries.remove(&peer);
    }

    /// A member is reached elsewhere: a link to where it is no longer would be silent for long.
    pub fn handle_moved(&mut self, now: Instant, peer: ZhostId, addrs: &[SocketAddr]) {
        // The next try is not for later: it goes elsewhere.
        self.retries.remove(&peer);
        let Some(id) = self.by_peer.get(&peer).copied() else { return };
        let ip = self.connections.get(&id).map(|connection| connection.addr.ip());
        if !addrs.iter().any(|addr| Some(addr.ip()) == ip) {
            self.close(now, id);
        }
    }

    fn missing(&self) -> impl Iterator<Item = ZhostId> {
        let under_way = |id: &ZhostId| {
            self.connections.values().any(|connection| connection.target == Some(*id) && !connection.is_trial)
        };
        let targets = self.wanted.iter().chain(self.on_demand.keys()).copied();
        targets.filter(move |id| !self.by_peer.contains_key(id) && !under_way(id))
    }

    fn connect_missing(&mut self, now: Instant) {
        let due = |id: &ZhostId| self.retries.get(id).is_none_or(|retry| retry.at <= now);
        let missing: Vec<ZhostId> = self.missing().filter(due).collect();
        missing.into_iter().for_each(|id| self.connect(now, id, false));
    }

    fn connect(&mut self, now: Instant, target: ZhostId, is_trial: bool) {
        // After one that failed, the next: a zhost with several may be reached at one of them only.
        let tries = self.retries.get(&target).map_or(0, |retry| retry.tries as usize);
        let addrs = self.members.get(&target).map(Vec::as_slice).unwrap_or_default();
        let Some(addr) = addrs.get(tries % addrs.len().max(1)).copied() else { return };
        if self.connections.len() >= self.room.0 {
            return;
        }
        self.serial += 2;
        let id = ConnectionId(self.serial);
        self.open(now, id, addr, Some(target));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_trial = is_trial;
        }
        self.outputs.push_back(LinkOutput::Connect(id, addr));
    }

    fn open(&mut self, now: Instant, id: ConnectionId, addr: SocketAddr, target: Option<ZhostId>) {
        let connection = Connection {
            addr,
            target,
            is_trial: false,
            peer: None,
            proved_by: Some(now + LINK_HANDSHAKE_TIMEOUT),
            outgoing: Vec::new(),
            congested: false,
            heard_at: now,
            ping_at: now + PING_PERIOD,
            asked_at: None,
            pace: NEW_PACE_MIN,
            silent: false,
        };
        self.connections.insert(id, connection);
    }

    /// A connection we asked for is there.
    pub fn handle_connected(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|connection| connection.is_trial) {
            self.connections.remove(&id);
            self.outputs.push_back(LinkOutput::Close(id));
        }
    }

    /// Somebody connected to us. Whoever is silent makes room: members prove who they are at once.
    pub fn handle_accepted(&mut self, now: Instant, id: ConnectionId, from: SocketAddr) {
        if let Some(silent) = self.stranger_to_close(from.ip()) {
            self.close(now, silent);
        }
        if self.connections.len() >= self.room.0 {
            self.outputs.push_back(LinkOutput::Close(id));
            return;
        }
        self.open(now, id, from, None);
    }

    /// The connection that makes room for one more from this address, if one must: the oldest of those on which nobody has
    /// proved who is there, of the address that has most.
    fn stranger_to_close(&self, from: IpAddr) -> Option<ConnectionId> {
        let strangers = self.connections.iter().filter(|(_, c)| c.peer.is_none() && c.target.is_none());
        let mut by_addr: BTreeMap<IpAddr, (usize, ConnectionId)> = BTreeMap::new();
        let mut all = 0;
        for (id, connection) in strangers {
            all += 1;
            // They are in the order in which they came.
            by_addr.entry(connection.addr.ip()).or_insert((0, *id)).0 += 1;
        }
        let own = by_addr.get(&from).filter(|(count, _)| *count >= LINKS_UNPROVED_PER_ADDRESS_MAX);
        let worst = || by_addr.values().max_by_key(|(count, oldest)| (*count, Reverse(*oldest)));
        let is_full = all >= self.room.1 || self.connections.len() >= self.room.0;
        own.or_else(|| is_full.then(worst).flatten()).map(|(_, oldest)| *oldest)
    }

    /// Something came over a connection, or what the other side's key did not seal.
    pub fn handle_received(&mut self, now: Instant, id: ConnectionId, received: Result<Received, LinkError>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.heard_at = now;
        self.revision += u64::from(std::mem::take(&mut connection.silent));
        let addr = connection.addr;
        let Received { from, frames } = match received {
            Ok(received) => received,
            Err(error) => {
                self.outputs.push_back(LinkOutput::Trouble(addr, error));
                return self.close(now, id);
            }
        };
        if let Some(peer) = from.filter(|_| connection.peer.is_none()) {
            self.adopt(now, id, peer);
        }
        let Some(peer) = self.connections.get(&id).and_then(|connection| connection.peer) else { return };
        for frame in frames {
            match Hop::decode(&frame) {
                Some(Hop::Ping(serial)) => {
                    self.send(peer, &Hop::Pong(serial));
                    self.take_turn(now, peer, id);
                }
                Some(Hop::Pong(serial)) => self.handle_pong(now, peer, serial),
                Some(hop) => self.outputs.push_back(LinkOutput::Hop(peer, hop)),
                None => self.outputs.push_back(LinkOutput::Trouble(addr, LinkError::Forged)),
            }
        }
    }

    /// The handshake proved who is there. We never link with ourselves.
    fn adopt(&mut self, now: Instant, id: ConnectionId, peer: ZhostId) {
        let redundant = peer == self.me || self.is_redundant(id, peer);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.peer = Some(peer);
            connection.proved_by = None;
        }
        if redundant {
            self.close(now, id);
            return;
        }
        self.retries.remove(&peer);
        if let Some(old) = self.by_peer.insert(peer, id) {
            self.connections.remove(&old);
            self.outputs.push_back(LinkOutput::Close(old));
        }
        self.revision += 1;
        self.outputs.push_back(LinkOutput::Up(peer));
        self.ping(now, peer);
    }

    /// When both sides connect at once, both keep what the one with the lower id made. Of two connections from the
    /// same side the newer one counts.
    fn is_redundant(&self, id: ConnectionId, peer: ZhostId) -> bool {
        let made_by_us = |id: &ConnectionId| self.connections.get(id).is_some_and(|c| c.target.is_some());
        let Some(old) = self.by_peer.get(&peer) else { return false };
        let lower_is_us = self.me < peer;
        made_by_us(old) != made_by_us(&id) && made_by_us(old) == lower_is_us
    }

    /// A connection is gone, or could not be made, in the latter case perhaps because it was `refused`.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId, refused: bool) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (target, peer, addr) = (connection.target, connection.peer, connection.addr);
        let lost = peer.filter(|peer| self.by_peer.get(peer) == Some(&id));
        self.forget(now, id);
        // At an address that is but a guess, somebody else's kernel may refuse.
        let is_there =
            |target: &ZhostId| self.members.get(target).and_then(|addrs| addrs.first()) == Some(&addr);
        if let Some(target) = target.filter(|target| refused && is_there(target)) {
            self.outputs.push_back(LinkOutput::Refused(target));
        }
        // A link that ends without our doing: is anybody still there?
        if let Some(peer) = lost.filter(|peer| self.members.contains_key(peer)) {
            let again = self.wanted.contains(&peer) || self.on_demand.contains_key(&peer);
            self.connect(now, peer, !again);
        }
    }

    fn forget(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.unflushed.remove(&id);
        if let Some(target) = connection.target.filter(|_| connection.peer.is_none() && !connection.is_trial)
        {
            let retry = self.retries.entry(target).or_default();
            let doubled = retry.tries.min(8);
            retry.tries = retry.tries.wrapping_add(1);
            retry.at = now + (RETRY_MIN * 2_u32.pow(doubled)).min(RETRY_MAX);
        }
        self.forget_peer(id, connection.peer);
    }

    fn forget_peer(&mut self, id: ConnectionId, peer: Option<ZhostId>) {
        if let Some(peer) = peer
            && self.by_peer.get(&peer) == Some(&id)
        {
            self.by_peer.remove(&peer);
            self.round_trips.remove(&peer);
            self.pings.remove(&peer);
            self.revision += 1;
            self.outputs.push_back(LinkOutput::Down(peer));
        }
    }

    /// Closes a connection; after one that never became a link comes a wait before the next try.
    fn close(&mut self, now: Instant, id: ConnectionId) {
        if self.connections.contains_key(&id) {
            self.outputs.push_back(LinkOutput::Close(id));
            self.forget(now, id);
        }
    }

    /// Queues something for a neighbour; without a link it is dropped, and the sender's own repetition must cover it.
    pub fn send(&mut self, peer: ZhostId, hop: &Hop) {
        let Some(id) = self.by_peer.get(&peer).copied() else { return };
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.congested)
        else {
            return;
        };
        let bytes = hop.encode();
        self.traffic.count(hop, bytes.len());
        if let Err(error) = push_frame(&mut connection.outgoing, &bytes) {
            self.outputs.push_back(LinkOutput::Trouble(connection.addr, error));
            connection.congested = true;
        }
        self.unflushed.insert(id, ());
    }

    /// The other side has measured the round trip: next it is our turn.
    fn take_turn(&mut self, now: Instant, peer: ZhostId, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && self.round_trips.get(&peer).is_some_and(|rtt| rtt.quartiles_us().is_some())
            && connection.asked_at.is_none()
        {
            let extra = if connection.target.is_none() { RESPONDER_WAITS } else { Duration::ZERO };
            connection.ping_at = now + PING_PERIOD + extra;
        }
    }

    /// Measures the round trip to a peer, unless an answer is awaited already.
    pub fn ping(&mut self, now: Instant, peer: ZhostId) {
        let connection = self.by_peer.get(&peer).and_then(|id| self.connections.get_mut(id));
        let Some(connection) = connection.filter(|connection| connection.asked_at.is_none()) else { return };
        connection.asked_at = Some(now);
        connection.ping_at = now + SILENCE_MAX;
        self.serial += 2;
        self.pings.insert(peer, (self.serial, now));
        self.send(peer, &Hop::Ping(self.serial));
    }

    fn handle_pong(&mut self, now: Instant, peer: ZhostId, serial: u64) {
        if let Some((_, sent_at)) = self.pings.get(&peer).filter(|(expected, _)| *expected == serial) {
            let measured = now.since(*sent_at);
            let changed = self.round_trips.entry(peer).or_default().measure(measured);
            self.revision += u64::from(changed);
            self.pings.remove(&peer);
            self.rest(now, peer);
            self.outputs.push_back(LinkOutput::Answered(peer));
        }
    }

    /// A link was measured: next time it is the other side's turn, unless the link is new.
    fn rest(&mut self, now: Instant, peer: ZhostId) {
        let is_known = self.round_trip(peer).quartiles_us().is_some();
        let Some(connection) = self.by_peer.get(&peer).and_then(|id| self.connections.get_mut(id)) else {
            return;
        };
        connection.asked_at = None;
        // The other side's turn comes first, if it is there.
        connection.ping_at = now + if is_known { 2 * PING_PERIOD } else { connection.pace };
        connection.pace = (connection.pace * 2).min(NEW_PACE_MAX);
    }

    /// Hands out what the links have to write: everything queued since the last time, in one piece per link.
    pub fn flush_all(&mut self) {
        for (id, ()) in std::mem::take(&mut self.unflushed) {
            if let Some(connection) = self.connections.get_mut(&id) {
                let frames = std::mem::take(&mut connection.outgoing);
                self.outputs.push_back(LinkOutput::Write(id, frames));
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |connection: &Connection| {
            connection.congested
                || connection.proved_by.is_some_and(|by| by <= now)
                || connection.silent_since().is_some_and(|since| now.since(since) >= SILENCE_MAX)
        };
        let expired: Vec<_> = self.connections.iter().filter_map(|(id, c)| late(c).then_some(*id)).collect();
        expired.into_iter().for_each(|id| self.close(now, id));
        for (_, connection) in &mut self.connections {
            if !connection.silent && connection.silent_at().is_some_and(|at| at <= now) {
                connection.silent = true;
                self.revision += 1;
            }
        }
        let due = |(_, id): &(&ZhostId, &ConnectionId)| {
            self.connections.get(id).is_some_and(|connection| connection.ping_at <= now)
        };
        let due: Vec<(ZhostId, ConnectionId)> =
            self.by_peer.iter().filter(due).map(|(peer, id)| (*peer, *id)).collect();
        for (peer, id) in due {
            // One that says other things meanwhile is asked anew.
            self.connections.get_mut(&id).into_iter().for_each(|connection| connection.asked_at = None);
            self.ping(now, peer);
        }
        if self.next_tidy <= now {
            self.next_tidy = now + TIDY_PERIOD;
            self.drop_unneeded(now);
        }
        self.connect_missing(now);
    }

    /// Closes what we made on demand and need no longer. What others made is theirs to close.
    fn drop_unneeded(&mut self, now: Instant) {
        self.on_demand.retain(|_, until| *until > now);
        let needed = |peer: &ZhostId| self.wanted.contains(peer) || self.on_demand.contains_key(peer);
        let ours = |id: &ConnectionId| self.connections.get(id).is_some_and(|c| c.target.is_some());
        let surplus: Vec<ConnectionId> =
            self.by_peer.iter().filter(|(peer, id)| ours(id) && !needed(peer)).map(|(_, id)| *id).collect();
        surplus.into_iter().for_each(|id| self.close(now, id));
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let congested = self.connections.values().filter(|connection| connection.congested);
        let congested = congested.map(|connection| (connection.heard_at, "close a congested link"));
        let handshakes = self.connections.values().filter_map(|connection| connection.proved_by);
        let handshakes = handshakes.map(|by| (by, "link handshake"));
        // At the limit there is nothing to try; the end of any connection brings another look.
        let room = self.connections.len() < self.room.0;
        let retries =
            self.missing().filter(|_| room).filter_map(|id| Some((self.retries.get(&id)?.at, "reconnect")));
        let links = self.by_peer.values().filter_map(|id| self.connections.get(id));
        let pings = links.map(|connection| (connection.ping_at, "ping a link"));
        let awaited = self.connections.values().filter(|connection| !connection.silent);
        let silences =
            awaited.filter_map(|connection| Some((connection.silent_at()?, "a link falls silent")));
        let tidy = [(self.next_tidy, "close needless links")];
        congested.chain(handshakes).chain(retries).chain(pings).chain(silences).chain(tidy).min()
    }

    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests;
