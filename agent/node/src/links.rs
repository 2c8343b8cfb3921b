//! Connections to other zhosts: one link to each live member.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};
use zhost_base::{Instant, Rng, ZhostId, limits::LINKS_MAX};
use zhost_link::{Identity, Link, LinkError, noise::Role};

use crate::wire::Frame;

/// First wait after a connection failed; doubles up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often the round trip of a link is measured.
const PING_PERIOD: Duration = Duration::from_secs(5);
/// A link that answers no ping for this long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(16);

/// A connection of the shell. Those the node asks for are even, those the shell accepts are odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What the links want of the shell, or tell the node.
pub(crate) enum LinkOutput {
    Connect(ConnectionId, SocketAddr),
    Write(ConnectionId, Vec<u8>),
    Close(ConnectionId),
    /// A link to this zhost is open (anew).
    Up(ZhostId),
    /// The last link to this zhost is gone.
    Down(ZhostId),
    Frame(ZhostId, Frame),
    /// This zhost answers over its link.
    Answered(ZhostId),
    Trouble(SocketAddr, LinkError),
}

struct Connection {
    link: Link,
    addr: SocketAddr,
    /// Whom we meant to reach.
    target: Option<ZhostId>,
    peer: Option<ZhostId>,
    connected: bool,
    /// It took too little for too long: closed at the next timeout, since what is missing now would never come.
    congested: bool,
    heard_at: Instant,
}

#[derive(Default)]
struct Retry {
    at: Instant,
    tries: u32,
}

/// All links of a zhost.
pub(crate) struct Links {
    identity: Identity,
    key: [u8; 32],
    rng: Rng,
    connections: BTreeMap<ConnectionId, Connection>,
    by_peer: BTreeMap<ZhostId, ConnectionId>,
    retries: BTreeMap<ZhostId, Retry>,
    wanted: BTreeMap<ZhostId, SocketAddr>,
    serial: u64,
    pings: BTreeMap<ZhostId, (u64, Instant)>,
    rtt_us: BTreeMap<ZhostId, u64>,
    next_ping: Instant,
    revision: u64,
    outputs: VecDeque<LinkOutput>,
}

impl Links {
    pub fn new(now: Instant, identity: Identity, key: [u8; 32], rng: Rng) -> Self {
        Self {
            identity,
            key,
            rng,
            connections: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            retries: BTreeMap::new(),
            wanted: BTreeMap::new(),
            serial: 0,
            pings: BTreeMap::new(),
            rtt_us: BTreeMap::new(),
            next_ping: now + PING_PERIOD,
            revision: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The zhosts links are open to.
    pub fn peers(&self) -> impl Iterator<Item = ZhostId> {
        self.by_peer.keys().copied()
    }

    /// Counts the links that came and went.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The connection a link runs over.
    pub fn connection(&self, peer: ZhostId) -> Option<ConnectionId> {
        self.by_peer.get(&peer).copied()
    }

    pub fn is_up(&self, peer: ZhostId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    pub fn rtt_us(&self, peer: ZhostId) -> Option<u64> {
        self.rtt_us.get(&peer).copied()
    }

    /// The members to be linked with; of two zhosts the one with the lower id connects.
    pub fn handle_members(&mut self, now: Instant, members: BTreeMap<ZhostId, SocketAddr>) {
        let gone: Vec<_> =
            self.by_peer.iter().filter(|(id, _)| !members.contains_key(id)).map(|(_, c)| *c).collect();
        gone.into_iter().for_each(|connection| self.close(now, connection));
        self.retries.retain(|id, _| members.contains_key(id));
        self.wanted = members;
        self.connect_missing(now);
    }

    fn connect_missing(&mut self, now: Instant) {
        let me = self.identity.zhost_id();
        let missing: Vec<(ZhostId, SocketAddr)> = self
            .wanted
            .iter()
            .filter(|(id, _)| me < **id && !self.by_peer.contains_key(id))
            .filter(|(id, _)| self.retries.get(id).is_none_or(|retry| retry.at <= now))
            .filter(|(id, _)| !self.connections.values().any(|connection| connection.target == Some(**id)))
            .map(|(id, addr)| (*id, *addr))
            .collect();
        for (id, addr) in missing {
            if self.connections.len() >= LINKS_MAX {
                return;
            }
            self.serial += 2;
            let connection = ConnectionId(self.serial);
            self.open(now, connection, Role::Initiator, addr, Some(id));
            self.outputs.push_back(LinkOutput::Connect(connection, addr));
        }
    }

    fn open(
        &mut self,
        now: Instant,
        id: ConnectionId,
        role: Role,
        addr: SocketAddr,
        target: Option<ZhostId>,
    ) {
        let link = Link::new(now, role, &self.identity, &self.key, self.rng.fork());
        let connected = role == Role::Responder;
        self.connections.insert(
            id,
            Connection { link, addr, target, peer: None, connected, congested: false, heard_at: now },
        );
    }

    /// A connection we asked for is there.
    pub fn handle_connected(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.connected = true;
        }
        self.flush(id);
    }

    /// Somebody connected to us.
    pub fn handle_accepted(&mut self, now: Instant, id: ConnectionId, from: SocketAddr) {
        if self.connections.len() >= LINKS_MAX {
            self.outputs.push_back(LinkOutput::Close(id));
            return;
        }
        self.open(now, id, Role::Responder, from, None);
    }

    /// Bytes arrived on a connection.
    pub fn handle_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.heard_at = now;
        if let Err(error) = connection.link.handle_bytes(bytes) {
            self.outputs.push_back(LinkOutput::Trouble(connection.addr, error));
            self.close(now, id);
            return;
        }
        if connection.peer.is_none()
            && let Some(peer) = connection.link.remote()
        {
            self.adopt(now, id, peer);
        }
        self.flush(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(peer) = connection.peer else { return };
        let frames: Vec<_> = std::iter::from_fn(|| connection.link.poll_frame()).collect();
        for frame in frames {
            match Frame::decode(&frame) {
                Some(Frame::Ping(serial)) => self.send(peer, &Frame::Pong(serial)),
                Some(Frame::Pong(serial)) => self.handle_pong(now, peer, serial),
                Some(frame) => self.outputs.push_back(LinkOutput::Frame(peer, frame)),
                None => {
                    self.outputs.push_back(LinkOutput::Trouble(self.connections[&id].addr, LinkError::Forged))
                }
            }
        }
    }

    /// The handshake proved who is there. A newer link replaces an older one; we never link with ourselves.
    fn adopt(&mut self, now: Instant, id: ConnectionId, peer: ZhostId) {
        if peer == self.identity.zhost_id() {
            self.close(now, id);
            return;
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.peer = Some(peer);
            connection.target = None;
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

    /// A connection is gone, or could not be made.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if let Some(target) = connection.target.or(connection.peer)
            && self.identity.zhost_id() < target
        {
            let retry = self.retries.entry(target).or_default();
            retry.tries = (retry.tries + 1).min(8);
            retry.at = now + (RETRY_MIN * 2_u32.pow(retry.tries - 1)).min(RETRY_MAX);
        }
        self.forget_peer(id, connection.peer);
    }

    fn forget_peer(&mut self, id: ConnectionId, peer: Option<ZhostId>) {
        if let Some(peer) = peer
            && self.by_peer.get(&peer) == Some(&id)
        {
            self.by_peer.remove(&peer);
            self.rtt_us.remove(&peer);
            self.pings.remove(&peer);
            self.revision += 1;
            self.outputs.push_back(LinkOutput::Down(peer));
        }
    }

    /// Closes a connection; the same wait as after any other end comes before the next try.
    fn close(&mut self, now: Instant, id: ConnectionId) {
        if self.connections.contains_key(&id) {
            self.outputs.push_back(LinkOutput::Close(id));
            self.handle_closed(now, id);
        }
    }

    /// Queues a frame; without a link it is dropped, and the sender's own repetition must cover it.
    pub fn send(&mut self, peer: ZhostId, frame: &Frame) {
        let Some(id) = self.by_peer.get(&peer).copied() else { return };
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.congested)
        else {
            return;
        };
        if let Err(error) = connection.link.send(&frame.encode()) {
            self.outputs.push_back(LinkOutput::Trouble(connection.addr, error));
            connection.congested = true;
        }
    }

    /// Measures the round trip to a peer.
    pub fn ping(&mut self, now: Instant, peer: ZhostId) {
        self.serial += 2;
        self.pings.insert(peer, (self.serial, now));
        self.send(peer, &Frame::Ping(self.serial));
    }

    fn handle_pong(&mut self, now: Instant, peer: ZhostId, serial: u64) {
        if let Some((_, sent_at)) = self.pings.get(&peer).filter(|(expected, _)| *expected == serial) {
            self.rtt_us.insert(peer, now.since(*sent_at).as_micros() as u64);
            self.pings.remove(&peer);
            self.outputs.push_back(LinkOutput::Answered(peer));
        }
    }

    /// Hands out what the links have to write: everything queued since the last time, in one piece per link.
    pub fn flush_all(&mut self) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.flush(id));
    }

    fn flush(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.connected
            && let Some(bytes) = connection.link.poll_bytes()
        {
            self.outputs.push_back(LinkOutput::Write(id, bytes));
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |connection: &mut Connection| {
            connection.congested
                || connection.link.handle_timeout(now).is_err()
                || (connection.peer.is_some() && now.since(connection.heard_at) >= SILENCE_MAX)
        };
        let expired: Vec<_> =
            self.connections.iter_mut().filter_map(|(id, c)| late(c).then_some(*id)).collect();
        expired.into_iter().for_each(|id| self.close(now, id));
        if self.next_ping <= now {
            self.next_ping = now + PING_PERIOD;
            let peers: Vec<ZhostId> = self.peers().collect();
            peers.into_iter().for_each(|peer| self.ping(now, peer));
        }
        self.connect_missing(now);
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let congested = self.connections.values().filter(|connection| connection.congested);
        let congested = congested.map(|connection| (connection.heard_at, "close a congested link"));
        let handshakes = self.connections.values().filter_map(|connection| connection.link.poll_timeout());
        let under_way =
            |id: &ZhostId| self.connections.values().any(|connection| connection.target == Some(*id));
        let waits =
            |id: &ZhostId| self.wanted.contains_key(id) && !self.by_peer.contains_key(id) && !under_way(id);
        let retries =
            self.retries.iter().filter(|(id, _)| waits(id)).map(|(_, retry)| (retry.at, "reconnect"));
        congested.chain(handshakes).chain(retries).chain([(self.next_ping, "ping links")]).min()
    }

    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outputs.pop_front()
    }
}
