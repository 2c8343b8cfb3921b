//! Conversations: one reliable stream with each other zhost, over a direct link or through relays.
//!
//! Whoever is no neighbour gets a link on demand. While that is being made, or when it cannot be, packets go through
//! relays, sealed end to end. When a link is lost, a relay says that it has no route, or nothing moves for a while, the
//! stream takes another way and sends again what is not acknowledged.

use crate::{
    facts::Facts,
    mesh::{
        links::ConnectionId,
        neighbours::Mesh,
        routes::Route,
        traffic::Traffic,
        tunnels::{TunnelNews, TunnelOrder},
    },
    wire::{Frame, Hop, NoRoute, Parcel, Relayed},
};
use litemap::LiteMap;
use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};
use zhost_base::{
    Generation, Instant, Rng, ZhostId,
    limits::{HOPS_MAX, MEMBERS_MAX},
};
use zhost_link::stream::{Abandoned, Packet, Stream};

/// How long a link on demand may take before relays are asked.
const DIRECT_WITHIN: Duration = Duration::from_millis(300);
/// How long the other end of a tunnel may take to answer.
const TUNNEL_WITHIN: Duration = Duration::from_millis(700);
/// How long a conversation without a way waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long an echo waits for a way.
const ECHO_WAITS: Duration = Duration::from_secs(2);
/// How long the round trip of an echo is worth showing.
const ECHO_COUNTS: Duration = Duration::from_secs(10);

/// How packets get there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// None known since then.
    None(Instant),
    /// Over this link.
    Direct(ConnectionId),
    /// Through the zhosts between the first and the last.
    Relayed(Route),
}

/// How far a tunnel through relays is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    None,
    /// The other end is to answer by then.
    Opening(Instant),
    /// Packets can go through it; whether it is known that they were opened.
    Open(bool),
}

struct Conversation {
    stream: Stream,
    way: Way,
    tunnel: Tunnel,
    look_again: Option<Instant>,
    /// An echo, or the answer to one, that goes out as soon as there is a way, and until when; the last one counts.
    echo: Option<(Parcel, Instant)>,
}

/// What happened in a stream.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// The stream to this zhost was given up, with what was in it; there is another now.
    Abandoned(ZhostId, Abandoned),
    /// This zhost has given up its stream to us, and begun another.
    Reopened(ZhostId),
    /// A frame of this zhost, in order and once.
    Frame(ZhostId, Frame),
    /// A frame of this zhost that this version of the agent does not know.
    Unknown(ZhostId),
}

/// All conversations of a zhost.
pub(crate) struct Streams {
    rng: Rng,
    conversations: LiteMap<ZhostId, Conversation>,
    /// Those with something to send, or a way to choose.
    restless: BTreeSet<ZhostId>,
    /// What the tunnels are to do.
    orders: VecDeque<TunnelOrder>,
    echoes: LiteMap<u64, (ZhostId, Instant)>,
    /// The round trips of the last echoes, and when they came back.
    echo_rtt_us: LiteMap<ZhostId, (u64, Instant)>,
    serial: u64,
    /// Packets passed on for others.
    pub relayed: u64,
    /// Times a stream had to take another way.
    pub rerouted: u64,
    /// What was sent in streams.
    pub traffic: Traffic,
    events: VecDeque<StreamEvent>,
}

impl Streams {
    pub fn new(generation: Generation, rng: Rng) -> Self {
        Self {
            rng,
            conversations: LiteMap::new(),
            restless: BTreeSet::new(),
            orders: VecDeque::new(),
            echoes: LiteMap::new(),
            echo_rtt_us: LiteMap::new(),
            serial: generation.first_serial(),
            relayed: 0,
            rerouted: 0,
            traffic: Traffic::default(),
            events: VecDeque::new(),
        }
    }

    /// The zhosts on the way to `peer` at present, both ends included, if there is a way.
    pub fn route(&self, me: ZhostId, peer: ZhostId) -> Option<Route> {
        match &self.conversations.get(&peer)?.way {
            Way::None(_) => None,
            Way::Direct(_) => Some(vec![me, peer]),
            Way::Relayed(route) => Some(route.clone()),
        }
    }

    /// Bytes waiting for the zhost for which most wait.
    pub fn queued_max_bytes(&self) -> usize {
        self.conversations.values().map(|conversation| conversation.stream.queued_bytes()).max().unwrap_or(0)
    }

    /// How many tunnels there are, or are being opened.
    pub fn tunnel_count(&self) -> usize {
        self.conversations.values().filter(|conversation| conversation.tunnel != Tunnel::None).count()
    }

    /// The round trip that the last echo took, if it came back lately.
    pub fn echo_rtt_us(&self, now: Instant, peer: ZhostId) -> Option<u64> {
        let (rtt_us, at) = self.echo_rtt_us.get(&peer).copied()?;
        (now.since(at) < ECHO_COUNTS).then_some(rtt_us)
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.conversations.values().filter_map(Conversation::poll_timeout).min()
    }

    /// Whether there is, or was, a stream to this zhost.
    pub fn knows(&self, peer: ZhostId) -> bool {
        self.conversations.contains_key(&peer)
    }

    /// What the tunnels are to do next, in order.
    pub fn poll_order(&mut self) -> Option<TunnelOrder> {
        self.orders.pop_front()
    }

    /// What happened next, in order.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }
}

impl Conversation {
    /// Without a way, or while the tunnel opens, the stream's own times mean nothing.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match (&self.way, self.tunnel) {
            (Way::None(_), _) => self.look_again.map(|at| (at, "look for a way")),
            (Way::Relayed(_), Tunnel::None) => None,
            (Way::Relayed(_), Tunnel::Opening(by)) => Some((by, "open a tunnel")),
            _ => self.stream.poll_timeout(),
        }
    }
}

impl Conversation {
    fn close_tunnel(&mut self, peer: ZhostId, orders: &mut VecDeque<TunnelOrder>) {
        if self.tunnel != Tunnel::None {
            self.tunnel = Tunnel::None;
            orders.push_back(TunnelOrder::Close(peer));
        }
    }

    /// The other side has what was sent: it can open what comes through the tunnel.
    fn confirm_tunnel(&mut self, peer: ZhostId, orders: &mut VecDeque<TunnelOrder>) {
        if self.tunnel == Tunnel::Open(false) {
            self.tunnel = Tunnel::Open(true);
            orders.push_back(TunnelOrder::Confirm(peer));
        }
    }
}

impl Streams {
    /// Sends a frame to a live zhost, in order and once. Whether it was taken: not for the dead, nor while too much
    /// waits already, nor until it was heard that the stream before was given up.
    pub fn send(&mut self, now: Instant, facts: &Facts, peer: ZhostId, frame: &Frame) -> bool {
        if !self.open(now, facts, peer) || self.is_abandonment_untold(peer) {
            return false;
        }
        let Some(conversation) = self.conversations.get_mut(&peer) else { return false };
        self.restless.insert(peer);
        let bytes = frame.encode();
        self.traffic.count(frame, bytes.len());
        // What else is refused, its sender tries again, or is told.
        match frame {
            Frame::Actor(_, actor_message) if actor_message.is_last_word() => {
                conversation.stream.send_last(bytes)
            }
            _ => conversation.stream.send(bytes),
        }
        .is_ok()
    }

    /// Whether it was not heard yet that a stream to this zhost was given up: what names something in that stream must
    /// not go into the next one.
    fn is_abandonment_untold(&self, peer: ZhostId) -> bool {
        self.events.iter().any(|event| matches!(event, StreamEvent::Abandoned(other, _) if *other == peer))
    }

    /// Makes sure that there is a conversation with the present start of a live zhost.
    fn open(&mut self, now: Instant, facts: &Facts, peer: ZhostId) -> bool {
        let Some(theirs) = facts.membership.generation(peer).filter(|_| peer != facts.id) else {
            return false;
        };
        if self.renew(now, facts, peer) {
            return true;
        }
        if self.conversations.len() >= MEMBERS_MAX {
            let gone = |peer: &ZhostId| facts.membership.peer(*peer).is_none();
            let forgotten: Vec<ZhostId> = self.conversations.keys().copied().filter(gone).collect();
            for peer in forgotten {
                if let Some(mut conversation) = self.conversations.remove(&peer) {
                    conversation.close_tunnel(peer, &mut self.orders);
                }
            }
        }
        let stream = Stream::new(facts.generation, theirs, self.rng.number());
        let conversation =
            Conversation { stream, way: Way::None(now), tunnel: Tunnel::None, look_again: None, echo: None };
        self.conversations.insert(peer, conversation);
        true
    }

    /// Gives up a stream that is between other starts of the two than the present ones. Whether there is one now.
    pub fn renew(&mut self, now: Instant, facts: &Facts, peer: ZhostId) -> bool {
        let Some(conversation) = self.conversations.get(&peer) else { return false };
        let key = conversation.stream.key();
        let theirs = facts.membership.generation(peer).unwrap_or(key.to);
        if (key.from, key.to) != (facts.generation, theirs) {
            self.give_up(now, facts, peer);
        }
        true
    }

    /// We start anew: all streams are given up that are of our earlier start.
    pub fn renew_all(&mut self, now: Instant, facts: &Facts) {
        let peers: Vec<ZhostId> = self.conversations.keys().copied().collect();
        peers.into_iter().for_each(|peer| {
            self.renew(now, facts, peer);
        });
    }

    /// What was under way to anybody is given up.
    pub fn give_up_all(&mut self, now: Instant, facts: &Facts) {
        let peers: Vec<ZhostId> = self.conversations.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.give_up(now, facts, peer));
    }

    /// What was under way is lost: streams and tunnels are opened anew. What came in a stream was acknowledged, and counts
    /// as come.
    pub fn begin_again(&mut self, now: Instant, facts: &Facts) {
        self.echoes.clear();
        self.give_up_all(now, facts);
    }

    /// A zhost is gone, or starts anew: what was under way to it is given up.
    pub fn give_up(&mut self, now: Instant, facts: &Facts, peer: ZhostId) {
        self.echo_rtt_us.remove(&peer);
        let Some(conversation) = self.conversations.get_mut(&peer) else { return };
        let theirs = facts.membership.generation(peer).unwrap_or(conversation.stream.key().to);
        let abandoned = conversation.stream.restart(facts.generation, theirs, self.rng.number());
        conversation.way = Way::None(now);
        conversation.close_tunnel(peer, &mut self.orders);
        conversation.look_again = None;
        conversation.echo = None;
        self.events.push_back(StreamEvent::Abandoned(peer, abandoned));
    }

    /// Chooses ways and hands out what the streams have to send.
    pub fn flush(&mut self, now: Instant, facts: &Facts, mesh: &mut Mesh) {
        for peer in std::mem::take(&mut self.restless) {
            self.flush_stream(now, facts, mesh, peer);
        }
    }

    fn flush_stream(&mut self, now: Instant, facts: &Facts, mesh: &mut Mesh, peer: ZhostId) {
        let Some(conversation) = self.conversations.get_mut(&peer) else { return };
        conversation.echo = conversation.echo.take().filter(|(_, until)| now < *until);
        let is_idle = !conversation.stream.has_news(now) && conversation.echo.is_none();
        if facts.membership.peer(peer).is_none() || is_idle {
            conversation.look_again = None;
            return;
        }
        self.choose_way(now, facts, mesh, peer);
        if !self.can_send(now, peer) {
            return;
        }
        self.transmit_echo(now, mesh, peer);
        while let Some(packet) = self.conversations.get_mut(&peer).and_then(|c| c.stream.poll_packet(now)) {
            self.transmit(now, mesh, peer, &Parcel::Stream(packet));
        }
    }

    fn choose_way(&mut self, now: Instant, facts: &Facts, mesh: &mut Mesh, peer: ZhostId) {
        let chosen = self.best_way(now, facts, mesh, peer);
        let Some(conversation) = self.conversations.get_mut(&peer) else { return };
        conversation.look_again = None;
        match (&conversation.way, chosen) {
            (old, Some(new)) if *old == new => {}
            (old, Some(new)) => {
                let moved = !matches!(old, Way::None(_));
                self.rerouted += u64::from(moved);
                conversation.way = new;
                conversation.stream.rewind();
            }
            (old, None) => {
                let since = if let Way::None(since) = old { *since } else { now };
                let wait = if now.since(since) < DIRECT_WITHIN { DIRECT_WITHIN } else { LOOK_AGAIN };
                conversation.way = Way::None(since);
                conversation.look_again = Some(now + wait);
            }
        }
    }

    /// A direct link if there is one that works; else, when one cannot be had soon, relays.
    fn best_way(&self, now: Instant, facts: &Facts, mesh: &mut Mesh, peer: ZhostId) -> Option<Way> {
        let direct = mesh.links.connection(peer).map(Way::Direct);
        if direct.is_some() && !mesh.is_avoided(facts.id, peer) && !mesh.links.is_silent(peer) {
            return direct;
        }
        mesh.links.need(now, peer);
        let way = &self.conversations.get(&peer)?.way;
        let waited = match way {
            Way::None(since) => now.since(*since) >= DIRECT_WITHIN,
            _ => true,
        };
        if !waited && !mesh.links.is_unreachable(peer) && direct.is_none() {
            return None;
        }
        let route = mesh
            .routes(now, facts)
            .get(&peer)
            .map(|(route, _)| route.clone())
            .filter(|route| route.len() > 2);
        route.map(Way::Relayed).or(direct)
    }

    /// Whether packets can go out now; opens a tunnel if one is needed.
    fn can_send(&mut self, now: Instant, peer: ZhostId) -> bool {
        let Some(conversation) = self.conversations.get_mut(&peer) else { return false };
        let route = match &conversation.way {
            Way::None(_) => return false,
            Way::Direct(_) => return true,
            Way::Relayed(route) => route.clone(),
        };
        match conversation.tunnel {
            Tunnel::Open(_) => return true,
            Tunnel::Opening(by) if by > now => {}
            Tunnel::None | Tunnel::Opening(_) => {
                conversation.tunnel = Tunnel::Opening(now + TUNNEL_WITHIN);
                self.orders.push_back(TunnelOrder::Open { to: peer, route });
            }
        }
        false
    }

    /// Sends a parcel the way that was chosen.
    fn transmit(&mut self, now: Instant, mesh: &mut Mesh, peer: ZhostId, parcel: &Parcel) {
        let Some(conversation) = self.conversations.get_mut(&peer) else { return };
        match &conversation.way {
            Way::None(_) => {}
            Way::Direct(_) => mesh.links.send(peer, &Hop::Parcel(parcel.clone())),
            Way::Relayed(route) => {
                mesh.links.need(now, peer);
                let (route, packet) = (route.clone(), parcel.encode());
                self.orders.push_back(TunnelOrder::Seal { to: peer, route, packet });
            }
        }
    }

    /// A parcel from a neighbour, or out of a tunnel.
    pub fn handle_parcel(&mut self, now: Instant, facts: &Facts, from: ZhostId, parcel: Parcel) {
        match parcel {
            Parcel::Stream(packet) => self.handle_packet(now, facts, from, packet),
            Parcel::Echo(serial) => self.want_echo(now, facts, from, Parcel::EchoReply(serial)),
            Parcel::EchoReply(serial) => self.handle_echo_reply(now, from, serial),
        }
    }

    fn handle_packet(&mut self, now: Instant, facts: &Facts, from: ZhostId, packet: Packet) {
        let Some(theirs) = facts.membership.generation(from) else { return };
        if !self.open(now, facts, from) {
            return;
        }
        let Some(conversation) = self.conversations.get_mut(&from) else { return };
        let before = conversation.stream.pending();
        let frames = conversation.stream.handle_packet(now, theirs, packet);
        let reopened = conversation.stream.take_reopened();
        if conversation.stream.pending() < before {
            conversation.confirm_tunnel(from, &mut self.orders);
        }
        self.restless.insert(from);
        if reopened {
            self.events.push_back(StreamEvent::Reopened(from));
        }
        let frames = frames.iter().map(|frame| match Frame::decode(frame) {
            Some(frame) => StreamEvent::Frame(from, frame),
            None => StreamEvent::Unknown(from),
        });
        self.events.extend(frames);
    }

    /// An echo came back, if it is of who was asked.
    fn handle_echo_reply(&mut self, now: Instant, from: ZhostId, serial: u64) {
        if let Some((peer, sent_at)) = self.echoes.get(&serial).copied()
            && peer == from
        {
            self.echoes.remove(&serial);
            self.echo_rtt_us.insert(peer, (now.since(sent_at).as_micros() as u64, now));
        }
    }

    /// Measures the round trip to a zhost, as soon as there is a way to it.
    pub fn echo(&mut self, now: Instant, facts: &Facts, peer: ZhostId) {
        self.echo_rtt_us.remove(&peer);
        self.echoes.retain(|_, (asked, _)| *asked != peer);
        self.serial += 1;
        self.want_echo(now, facts, peer, Parcel::Echo(self.serial));
    }

    fn want_echo(&mut self, now: Instant, facts: &Facts, peer: ZhostId, parcel: Parcel) {
        if self.open(now, facts, peer)
            && let Some(conversation) = self.conversations.get_mut(&peer)
        {
            conversation.echo = Some((parcel, now + ECHO_WAITS));
            self.restless.insert(peer);
        }
    }

    fn transmit_echo(&mut self, now: Instant, mesh: &mut Mesh, peer: ZhostId) {
        let conversation = self.conversations.get_mut(&peer);
        let Some((parcel, _)) = conversation.and_then(|conversation| conversation.echo.take()) else {
            return;
        };
        // The time of a round trip begins when it does, not when it was wished for.
        if let Parcel::Echo(serial) = parcel {
            self.echoes.insert(serial, (peer, now));
        }
        self.transmit(now, mesh, peer, &parcel);
    }

    /// Something is to be passed on, or is for us.
    pub fn handle_relayed(&mut self, facts: &Facts, mesh: &mut Mesh, from: ZhostId, mut relayed: Relayed) {
        let Relayed { route, at, .. } = &relayed;
        let at = usize::from(*at);
        // Whoever hands it to us must be the one before us on its way.
        let before = at.checked_sub(1).and_then(|before| route.get(before));
        if route.len() > HOPS_MAX + 1 || route.get(at) != Some(&facts.id) || before != Some(&from) {
            return;
        }
        let Some(next) = route.get(at + 1).copied() else {
            let Relayed { route: mut back, envelope, .. } = relayed;
            back.reverse();
            return self.orders.push_back(TunnelOrder::Take { back, envelope });
        };
        if mesh.links.is_up(next) {
            self.relayed += 1;
            relayed.at += 1;
            relay(mesh, relayed);
        } else {
            let stuck = relayed.at;
            return_no_route(mesh, NoRoute { route: relayed.route, at: stuck, stuck });
        }
    }

    /// A relay says that it cannot pass on what we, or somebody before us, sent.
    pub fn handle_no_route(&mut self, now: Instant, facts: &Facts, mesh: &mut Mesh, no_route: NoRoute) {
        let NoRoute { route, at, stuck } = &no_route;
        let (at, stuck) = (usize::from(*at), usize::from(*stuck));
        if route.len() > HOPS_MAX + 1 || route.get(at) != Some(&facts.id) {
            return;
        }
        if at > 0 {
            return return_no_route(mesh, no_route);
        }
        let (Some(a), Some(b), Some(to)) = (route.get(stuck), route.get(stuck + 1), route.last()) else {
            return;
        };
        // Only of a way that we use: anybody could say this of any other.
        if self.route(facts.id, *to).as_deref() == Some(route.as_slice()) {
            mesh.avoid(now, *a, *b);
            self.restless.insert(*to);
        }
    }

    /// Something happened in a tunnel.
    pub fn handle_tunnel(&mut self, now: Instant, facts: &Facts, mesh: &mut Mesh, news: TunnelNews) {
        match news {
            TunnelNews::Envelope(route, envelope) => relay(mesh, Relayed { route, at: 1, envelope }),
            TunnelNews::Opened(peer) => {
                if let Some(conversation) = self.conversations.get_mut(&peer)
                    && matches!(conversation.tunnel, Tunnel::Opening(_))
                {
                    conversation.tunnel = Tunnel::Open(false);
                    self.restless.insert(peer);
                }
            }
            TunnelNews::Packet(from, packet) => {
                if let Some(parcel) = Parcel::decode(&packet) {
                    self.handle_parcel(now, facts, from, parcel);
                }
            }
        }
    }

    /// A link came or went: conversations may have a better way, or need another.
    pub fn wake(&mut self) {
        let waiting = self.conversations.iter().filter(|(_, conversation)| {
            conversation.stream.pending() > 0 || !matches!(conversation.way, Way::Direct(_))
        });
        self.restless.extend(waiting.map(|(peer, _)| *peer));
    }

    /// Looks again for ways, and for others than those on which nothing moves.
    pub fn handle_timeout(&mut self, now: Instant, me: ZhostId, mesh: &mut Mesh) {
        let mut stalled = Vec::new();
        for (peer, conversation) in &mut self.conversations {
            if conversation.poll_timeout().is_none_or(|(due, _)| due > now) {
                continue;
            }
            self.restless.insert(*peer);
            if matches!(conversation.tunnel, Tunnel::Opening(_)) {
                conversation.close_tunnel(*peer, &mut self.orders);
                if matches!(conversation.way, Way::Relayed(_)) {
                    stalled.push((*peer, conversation.way.clone()));
                }
            } else if !matches!(conversation.way, Way::None(_)) && conversation.stream.handle_timeout(now) {
                stalled.push((*peer, conversation.way.clone()));
            }
        }
        for (peer, way) in stalled {
            match way {
                Way::None(_) => {}
                Way::Direct(_) => mesh.avoid(now, me, peer),
                // Which of the relays swallows it is not known; the first link is as good a guess as any.
                Way::Relayed(route) => {
                    if let [first, second, ..] = route[..] {
                        mesh.avoid(now, first, second);
                    }
                    if let Some(conversation) = self.conversations.get_mut(&peer) {
                        conversation.close_tunnel(peer, &mut self.orders);
                    }
                }
            }
        }
    }
}

/// Hands something to the zhost of its route that is to read it next.
fn relay(mesh: &mut Mesh, relayed: Relayed) {
    if let Some(next) = relayed.route.get(usize::from(relayed.at)).copied() {
        mesh.links.send(next, &Hop::Relay(relayed));
    }
}

/// Tells the zhost before us on a route that it leads no further.
fn return_no_route(mesh: &mut Mesh, mut no_route: NoRoute) {
    let Some(at) = no_route.at.checked_sub(1) else { return };
    no_route.at = at;
    if let Some(back) = no_route.route.get(usize::from(at)).copied() {
        mesh.links.send(back, &Hop::NoRoute(no_route));
    }
}

#[cfg(test)]
mod tests;
