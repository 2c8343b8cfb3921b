//! Who is alive: SWIM (Das, Gupta and Motivala, 2002) with the ideas of Lifeguard (Dadgar, Phillips and Currey,
//! "Lifeguard: Local Health Awareness for More Accurate Failure Detection", 2018).
//!
//! A zhost probes one member after the other, directly, then through others and over the link. One that does not
//! answer is *suspect*: it is told so at once and can refute by raising its incarnation; the others probe it
//! themselves, and the more of them accuse it, the sooner it is *down*. A zhost whose own probes fail, whose helpers
//! are silent or whose loop ran late doubts itself first and takes more time for everything.
//!
//! Before it is down, a suspect is asked a last time, a few times in quick succession and through others. A zhost whose
//! kernel answers that nobody listens any more ([`Membership::handle_refused`]) is asked so at once: no suspicion is
//! needed.

mod addrs;
mod comeback;
mod probe;
mod rival;
mod rumour;
mod search;
mod way;

use crate::datagram::{Datagram, PLAIN_SIZE_MAX_BYTES};
pub use addrs::Addrs;
use alloc::{
    collections::{BTreeSet, VecDeque},
    vec,
    vec::Vec,
};
use comeback::Returning;
use core::{net::SocketAddr, time::Duration};
use litemap::LiteMap;
use probe::{Probe, Purpose};
pub use rival::Claim;
use rival::Rival;
use rumour::News;
pub use rumour::{ACCUSERS_MAX, Accusers, Rumour, Standing};
use search::Search;
use serde::{Deserialize, Serialize};
use way::Way;
use zhost_base::{
    Generation, Instant, Rng, RoundTrip, ZhostId,
    id::rendezvous,
    limits::MEMBERS_MAX,
    planted::{self, Bug},
};

/// Shortest suspicion in a cluster of ten, with all the accusers one can have; grows with the logarithm of the size.
const SUSPICION_MIN: Duration = Duration::from_millis(900);
/// How many times longer a suspicion lasts that nobody confirms.
const SUSPICION_STRETCH: u32 = 6;
/// How soon news are passed on, and how soon again while there are any.
const EAGER: Duration = Duration::from_millis(5);
const GOSSIP_PERIOD: Duration = Duration::from_millis(100);
/// Members that get the news at a time.
const GOSSIP_FANOUT: usize = 3;
/// Members told directly when a zhost leaves.
const LEAVES_MAX: usize = 16;
/// Plain bytes that news may take in a datagram, beside its head and what is said of the receiver itself.
const NEWS_SIZE_MAX_BYTES: usize = PLAIN_SIZE_MAX_BYTES - 200;
/// Everything takes up to this many times longer while a zhost doubts itself.
const DOUBT_MAX: u32 = 8;

/// A zhost as the membership protocol knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who it is.
    pub id: ZhostId,
    /// Which start of it.
    pub generation: Generation,
    /// Where it receives gossip datagrams and accepts links, as it says.
    pub addrs: Addrs,
    /// A random number of that start: two boards with one key may be in the same generation.
    pub nonce: u32,
}

/// What members send each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swim {
    /// Who sends it.
    pub from: ZhostId,
    /// What for.
    pub message: SwimMessage,
    /// News.
    pub rumours: Vec<Rumour>,
}

/// See [`Swim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwimMessage {
    /// Nothing but news.
    News,
    /// Asks for an [`SwimMessage::Ack`] with the same number.
    Ping(u32),
    /// The answer.
    Ack(u32),
    /// Asks the receiver to ping a third member, and to answer with what came of it.
    PingRequest(u32, ZhostId),
    /// The third member did not answer the receiver's ping.
    Nack(u32),
}

/// What the rest of the zhost should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// This start of a zhost is now alive.
    Up(Peer),
    /// This zhost is no longer alive.
    Down(Peer),
    /// This zhost is reached at another address.
    Moved(ZhostId),
    /// We were accused or declared dead by mistake and said so.
    Refuted,
    /// The cluster knows a later start of us than we do: our disk was rolled back. We now run as this generation,
    /// which must be persisted.
    Regenerated(Generation),
    /// This member did not answer a datagram: ask it over the link, if there is one, and call
    /// [`Membership::handle_link_answer`].
    AskOverLink(ZhostId),
    /// Nor others' datagrams: open a link to it, and do the same. Most datagrams are lost by chance, and a link costs more.
    OpenLink(ZhostId),
    /// Another start of this zhost lives; we stay.
    Rival(Peer),
    /// That start is gone.
    RivalGone(Peer),
    /// Another start of this zhost lives, and stays: this one leaves the cluster to it.
    StandAside(Peer),
    /// That start is gone: this one joins again.
    GoOn,
}

#[derive(Clone, Debug)]
enum State {
    Alive,
    Suspect {
        since: Instant,
        accusers: Accusers,
    },
    /// `told`: when it was last told so.
    Down {
        since: Instant,
        told: Option<Instant>,
    },
}

#[derive(Clone, Debug)]
struct Member {
    peer: Peer,
    way: Way,
    incarnation: u32,
    state: State,
    /// Of datagrams.
    round_trip: RoundTrip,
}

impl Member {
    fn is_up(&self) -> bool {
        !matches!(self.state, State::Down { .. })
    }

    fn rumour(&self) -> Rumour {
        let standing = match &self.state {
            State::Alive => Standing::Alive,
            State::Suspect { accusers, .. } => Standing::Suspect(*accusers),
            State::Down { .. } => Standing::Down,
        };
        Rumour { peer: self.peer, incarnation: self.incarnation, standing }
    }
}

/// The membership state machine.
pub struct Membership {
    me: Peer,
    incarnation: u32,
    members: LiteMap<ZhostId, Member>,
    up: usize,
    suspects: BTreeSet<ZhostId>,
    /// Who answered the last probe over the link alone.
    deaf: BTreeSet<ZhostId>,
    /// Live members in the order of probing, the next one last.
    round: Vec<ZhostId>,
    /// Whether the last probe went to the next live member by id.
    ring: bool,
    next_probe: Instant,
    probes: LiteMap<u32, Probe>,
    /// Members that were taken for dead and say that they live.
    returning: Returning,
    serial: u32,
    /// Since when we are active.
    active_since: Instant,
    /// Another start of this zhost.
    rival: Option<Rival>,
    /// How much this zhost doubts itself, 0 to [`DOUBT_MAX`].
    doubt: u32,
    news: News,
    next_gossip: Instant,
    last_gossip: Instant,
    search: Search,
    rng: Rng,
    outbox: VecDeque<(SocketAddr, Datagram)>,
    events: VecDeque<MembershipEvent>,
    left: bool,
}

impl Membership {
    /// The membership as `me` sees it, knowing nobody yet. `seeds` are addresses to ask, `broadcasts` those at which
    /// anybody on the same network may hear.
    pub fn new(
        now: Instant,
        me: Peer,
        seeds: Vec<SocketAddr>,
        broadcasts: Vec<SocketAddr>,
        mut rng: Rng,
    ) -> Self {
        Self {
            me,
            incarnation: 0,
            members: LiteMap::new(),
            up: 0,
            suspects: BTreeSet::new(),
            deaf: BTreeSet::new(),
            round: Vec::new(),
            ring: false,
            next_probe: now,
            probes: LiteMap::new(),
            returning: Returning::default(),
            serial: rng.number() as u32,
            active_since: now,
            rival: None,
            doubt: 0,
            news: News::default(),
            next_gossip: now,
            last_gossip: now,
            search: Search::new(now, seeds, broadcasts),
            rng,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            left: false,
        }
    }

    /// Ourselves.
    pub fn me(&self) -> &Peer {
        &self.me
    }

    /// The other live members.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.members.values().filter(|member| member.is_up()).map(|member| &member.peer)
    }

    /// How many other members are alive.
    pub fn peer_count(&self) -> usize {
        self.up
    }

    /// The addresses at which we were told to look for members.
    pub fn asked(&self) -> impl Iterator<Item = SocketAddr> {
        self.search.seeds().filter(|addr| !self.me.addrs.contains(*addr))
    }

    /// The live member of that id, ourselves included.
    pub fn peer(&self, id: ZhostId) -> Option<&Peer> {
        if id == self.me.id {
            return Some(&self.me);
        }
        self.members.get(&id).filter(|member| member.is_up()).map(|member| &member.peer)
    }

    /// The generation in which `id` is alive.
    pub fn generation(&self, id: ZhostId) -> Option<Generation> {
        self.peer(id).map(|peer| peer.generation)
    }

    /// Whether a live member is accused of not answering.
    pub fn is_suspect(&self, id: ZhostId) -> bool {
        self.suspects.contains(&id)
    }

    /// The live members that are accused of not answering.
    pub fn suspects(&self) -> impl Iterator<Item = ZhostId> {
        self.suspects.iter().copied()
    }

    /// How many live members are accused of not answering.
    pub fn suspect_count(&self) -> usize {
        self.suspects.len()
    }

    /// Whether a member was last heard over its link alone: datagrams do not reach it, or not us.
    pub fn is_deaf(&self, id: ZhostId) -> bool {
        self.deaf.contains(&id)
    }

    /// The member at that address, if it was last heard over its link alone.
    pub fn deaf_at(&self, addr: SocketAddr) -> Option<ZhostId> {
        self.deaf.iter().copied().find(|id| self.addr(*id) == Some(addr))
    }

    /// The round trip of datagrams to a member.
    pub fn round_trip(&self, id: ZhostId) -> RoundTrip {
        self.members.get(&id).map(|member| member.round_trip).unwrap_or_default()
    }

    /// How much this zhost doubts itself: 0 is not at all; everything takes that many times longer, and once more.
    pub fn doubt(&self) -> u32 {
        self.doubt
    }

    /// One number that two memberships share exactly if the same starts are alive in both.
    pub fn hash(&self) -> u64 {
        let mix =
            |peer: &Peer| rendezvous(u64::from(peer.nonce) << 32 | u64::from(peer.generation.0), peer.id);
        self.peers().map(mix).fold(mix(&self.me), |acc, mixed| acc ^ mixed)
    }

    /// Everything known of everybody, for a peer whose [`Self::hash`] differs.
    pub fn rumours(&self) -> Vec<Rumour> {
        self.members.values().map(Member::rumour).chain([self.own_rumour()]).collect()
    }

    /// Takes in the [`Self::rumours`] of a peer. Whom it takes for dead and we do not is accused, so that it can
    /// refute.
    pub fn handle_rumours(&mut self, now: Instant, from: ZhostId, rumours: Vec<Rumour>) {
        if self.stands_aside() {
            return;
        }
        for mut rumour in rumours.into_iter().take(MEMBERS_MAX) {
            let held_up = self.peer(rumour.peer.id).is_some();
            if rumour.standing == Standing::Down && held_up && rumour.peer.id != self.me.id {
                let mut accusers = Accusers::new();
                accusers.push(from);
                rumour.standing = Standing::Suspect(accusers);
            }
            let source = Some(from).filter(|from| rumour.peer.id == *from);
            let source = source.and_then(|from| self.members.get(&from)?.way.at);
            self.apply(now, rumour, source);
        }
    }

    /// Our loop ran late: whatever timed out meanwhile may be our own fault.
    pub fn handle_late(&mut self) {
        self.doubt = (self.doubt + 2).min(DOUBT_MAX);
    }

    /// A packet of this protocol arrived.
    pub fn handle_swim(&mut self, now: Instant, from: SocketAddr, swim: Swim) {
        if self.left || swim.from == self.me.id {
            return;
        }
        if self.stands_aside() {
            // All that matters is whether the other start of us is still there.
            let of_us = swim.rumours.iter().filter(|rumour| rumour.peer.id == self.me.id);
            let of_us: Vec<Rumour> = of_us.cloned().collect();
            return of_us.iter().for_each(|rumour| self.hear_of_ourselves(now, rumour));
        }
        // Also of what we refuted long ago: whoever did not hear of that would accuse us for ever.
        let accuses_us =
            swim.rumours.iter().any(|r| r.peer.id == self.me.id && r.standing != Standing::Alive);
        let defends_itself =
            swim.rumours.iter().any(|rumour| rumour.peer.id == swim.from && self.is_news(rumour));
        for rumour in swim.rumours {
            let source = Some(from).filter(|_| rumour.peer.id == swim.from);
            self.apply(now, rumour, source);
        }
        if accuses_us {
            // Whoever accuses us may be nobody we would tell otherwise.
            self.send(
                from,
                Swim { from: self.me.id, message: SwimMessage::News, rumours: vec![self.own_rumour()] },
            );
        }
        if self.peer(swim.from).is_none() {
            // Whom we take for dead, or do not know, learns it and comes back.
            return match self.members.contains_key(&swim.from) {
                true => self.answer_dead(now, from, swim.from, swim.message, defends_itself),
                false => self.answer_stranger(from),
            };
        }
        self.handle_source(swim.from, from);
        match swim.message {
            SwimMessage::News => {}
            // Where the question came from, the answer arrives.
            SwimMessage::Ping(number) => self.tell_at(swim.from, from, SwimMessage::Ack(number)),
            SwimMessage::Ack(number) => self.handle_ack(now, (swim.from, from), number),
            SwimMessage::PingRequest(number, target) => {
                self.handle_ping_request(now, swim.from, number, target)
            }
            SwimMessage::Nack(number) => self.handle_nack(number),
        }
    }

    /// The kernel of a live member says that nobody listens at its address any more.
    pub fn handle_refused(&mut self, now: Instant, id: ZhostId) {
        if !self.left && self.peer(id).is_some() {
            self.start_probe(now, id, Purpose::Refused);
        }
    }

    /// A member that was asked over its link answers.
    pub fn handle_link_answer(&mut self, now: Instant, id: ZhostId) {
        let asked = self.probes.values().any(|probe| probe.target == id);
        if asked {
            self.forgive(now, id);
            if self.peer(id).is_some() {
                self.deaf.insert(id);
                // Over the link now: a suspect hears that it is one.
                self.tell(id, SwimMessage::News);
            }
        }
    }

    /// Takes in a piece of news. With where it came from, if that is whom it is about: one that was taken for dead has to
    /// be heard well first.
    fn apply(&mut self, now: Instant, rumour: Rumour, source: Option<SocketAddr>) {
        match source.filter(|_| self.is_back_from_the_dead(&rumour)) {
            Some(from) => self.ask_whether_back(now, rumour, from),
            None => self.take_in(now, rumour, source),
        }
    }

    /// Takes in a piece of news, and passes it on if it is new.
    fn take_in(&mut self, now: Instant, rumour: Rumour, source: Option<SocketAddr>) {
        if rumour.peer.id == self.me.id {
            return self.hear_of_ourselves(now, &rumour);
        }
        self.tell_of_twin(&rumour);
        let held = self.members.get(&rumour.peer.id).map(|held| held.rumour().age());
        let old = held.is_some_and(|held| rumour.age() < held);
        let nobody = held.is_none() && (rumour.standing == Standing::Down || !self.make_room());
        if old || nobody {
            return;
        }
        match rumour.standing {
            Standing::Alive => self.set_alive(now, rumour.peer, rumour.incarnation, source),
            Standing::Suspect(ref accusers) => self.set_suspect(now, &rumour, accusers),
            Standing::Down => self.set_down(now, &rumour),
        }
    }

    /// Refutes what is said of us, or learns that we have been started more often than we know.
    fn hear_of_ourselves(&mut self, now: Instant, rumour: &Rumour) {
        if planted::has(Bug::NeverRefute) {
            return;
        }
        if rumour.peer.nonce != self.me.nonce {
            return self.hear_of_another_start(now, rumour, false);
        }
        let theirs = (rumour.peer.generation, rumour.incarnation);
        if theirs > (self.me.generation, self.incarnation) {
            // Somebody else has counted on: an earlier life of this board that its disk forgot.
            self.regenerate(now, rumour.peer.generation);
        } else if theirs == (self.me.generation, self.incarnation) && rumour.standing != Standing::Alive {
            self.incarnation += 1;
            self.doubt = (self.doubt + 1).min(DOUBT_MAX);
            self.events.push_back(MembershipEvent::Refuted);
            self.tell_of_ourselves(now);
        }
    }

    fn regenerate(&mut self, now: Instant, known: Generation) {
        self.me.generation = Generation(known.0.saturating_add(1));
        self.incarnation = 0;
        self.events.push_back(MembershipEvent::Regenerated(self.me.generation));
        self.tell_of_ourselves(now);
    }

    fn own_rumour(&self) -> Rumour {
        Rumour { peer: self.me, incarnation: self.incarnation, standing: Standing::Alive }
    }

    fn tell_of_ourselves(&mut self, now: Instant) {
        self.spread(now, self.own_rumour());
    }

    fn spread(&mut self, now: Instant, rumour: Rumour) {
        self.news.put(rumour);
        self.next_gossip = (self.last_gossip + GOSSIP_PERIOD / 2).max(now + EAGER);
    }

    /// Whether one more member can be remembered; the longest dead makes room.
    fn make_room(&mut self) -> bool {
        if self.members.len() < MEMBERS_MAX {
            return true;
        }
        let dead = self.members.iter().filter_map(|(id, member)| match member.state {
            State::Down { since, .. } => Some((since, *id)),
            _ => None,
        });
        dead.min().is_some_and(|(_, id)| {
            self.deaf.remove(&id);
            self.members.remove(&id).is_some()
        })
    }

    fn set_alive(&mut self, now: Instant, peer: Peer, incarnation: u32, source: Option<SocketAddr>) {
        let old = self.members.get(&peer.id);
        if old.is_some_and(|old| old.peer.generation == peer.generation && old.incarnation == incarnation) {
            return;
        }
        let was_up = old.is_some_and(Member::is_up);
        let old_peer = old.map(|old| old.peer);
        let round_trip = old.map(|old| old.round_trip).unwrap_or_default();
        let before = old.map_or(Way::default(), |old| old.way);
        let mut way = match old_peer.is_some_and(|old| old.generation == peer.generation) {
            true => before,
            false => before.of_another_start(),
        };
        way.handle_told(&old_peer.map(|old| old.addrs).unwrap_or_default(), &peer.addrs, &self.me.addrs);
        source.into_iter().for_each(|from| way.handle_source(from, &peer.addrs));
        self.suspects.remove(&peer.id);
        self.members.insert(peer.id, Member { peer, way, incarnation, state: State::Alive, round_trip });
        match old_peer.filter(|_| was_up) {
            Some(old) if old.generation == peer.generation => {
                if way.at != before.at {
                    self.events.push_back(MembershipEvent::Moved(peer.id));
                }
            }
            Some(old) => {
                self.events.push_back(MembershipEvent::Down(old));
                self.events.push_back(MembershipEvent::Up(peer));
            }
            None => {
                self.up += 1;
                // A newcomer takes a random place in what is left of the round.
                let place = self.rng.below(self.round.len() as u64 + 1) as usize;
                self.round.insert(place, peer.id);
                self.events.push_back(MembershipEvent::Up(peer));
            }
        }
        self.probes.retain(|_, probe| probe.target != peer.id || probe.is_for_another());
        self.spread(now, Rumour { peer, incarnation, standing: Standing::Alive });
    }

    fn set_suspect(&mut self, now: Instant, rumour: &Rumour, accusers: &[ZhostId]) {
        let known: Accusers = accusers.iter().copied().filter(|id| self.peer(*id).is_some()).collect();
        let id = rumour.peer.id;
        // Whoever we never heard of, or knew in an earlier life, is alive first of all.
        let news = self.members.get(&id).is_none_or(|held| {
            (held.peer.generation, held.incarnation) < (rumour.peer.generation, rumour.incarnation)
        });
        if news {
            self.set_alive(now, rumour.peer, rumour.incarnation, None);
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let first = matches!(member.state, State::Alive);
        if first && !known.is_empty() {
            member.state = State::Suspect { since: now, accusers: Accusers::new() };
            self.suspects.insert(id);
        }
        let State::Suspect { accusers, .. } = &mut member.state else { return };
        let before = accusers.len();
        for accuser in known {
            if !accusers.contains(&accuser) && accusers.len() < ACCUSERS_MAX {
                accusers.push(accuser);
            }
        }
        let (changed, accused) = (accusers.len() > before, accusers.contains(&self.me.id));
        if changed {
            let rumour = member.rumour();
            self.spread(now, rumour);
            if first {
                self.tell(id, SwimMessage::News);
            }
        }
        if first && !accused && self.rng.below(self.up as u64) < 2 * ACCUSERS_MAX as u64 {
            self.start_probe(now, id, Purpose::Confirm);
        }
    }

    fn set_down(&mut self, now: Instant, rumour: &Rumour) {
        let Some(member) = self.members.get_mut(&rumour.peer.id).filter(|member| member.is_up()) else {
            return;
        };
        let old = member.peer;
        member.peer = rumour.peer;
        member.incarnation = rumour.incarnation;
        member.state = State::Down { since: now, told: None };
        self.up -= 1;
        self.suspects.remove(&old.id);
        self.round.retain(|id| *id != old.id);
        self.probes.retain(|_, probe| probe.target != old.id || probe.is_for_another());
        self.events.push_back(MembershipEvent::Down(old));
        self.spread(now, rumour.clone());
    }

    /// We know that a member does not answer: it has to refute, or it is down after a while.
    fn accuse(&mut self, now: Instant, id: ZhostId) {
        let Some(member) = self.members.get(&id).filter(|member| member.is_up()) else { return };
        self.events.push_back(MembershipEvent::OpenLink(id));
        let mut accusers = Accusers::new();
        accusers.push(self.me.id);
        let rumour = Rumour { standing: Standing::Suspect(accusers), ..member.rumour() };
        self.set_suspect(now, &rumour, &accusers);
    }

    /// How long a suspicion lasts with so many accusers: from the longest down to the shortest with the logarithm of
    /// their number, as in Lifeguard.
    fn suspicion(&self, accusers: usize) -> Duration {
        let size = (self.up as u32 + 1).max(10).ilog10().max(1);
        let shortest = SUSPICION_MIN * size * (1 + self.doubt);
        // Whoever else could accuse: all but ourselves and those who are suspect themselves.
        let possible = self.up.saturating_sub(self.suspects.len()).min(ACCUSERS_MAX - 1);
        // In twelfths of the way from longest to shortest.
        let steps = match (accusers.saturating_sub(1), possible) {
            (_, 0) => 9,
            (confirmed, possible) if confirmed >= possible => 12,
            (0, _) => 0,
            (1, 2) => 8,
            (1, _) => 6,
            _ => 10,
        };
        let longest = shortest * SUSPICION_STRETCH;
        longest - (longest - shortest) * steps / 12
    }

    /// Those that are suspect and not being asked for the last time, and when they are to be.
    fn suspicions(&self) -> impl Iterator<Item = (Instant, ZhostId)> {
        let asked = |id: &ZhostId| self.probes.values().any(|probe| probe.is_last(*id));
        let unasked = self.suspects.iter().filter(move |id| !asked(id));
        unasked.filter_map(|id| match &self.members.get(id)?.state {
            State::Suspect { since, accusers } => Some((*since + self.suspicion(accusers.len()), *id)),
            _ => None,
        })
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.left {
            return;
        }
        self.rival_timeout(now);
        if self.stands_aside() {
            return;
        }
        self.probes_timeout(now);
        let overdue: Vec<ZhostId> =
            self.suspicions().filter(|(due, _)| *due <= now).map(|(_, id)| id).collect();
        // Asked a last time: under heavy loss the refutation may be all that is missing.
        for id in overdue {
            if !self.start_probe(now, id, Purpose::Last) {
                self.declare_down(now, id);
            }
        }
        if self.next_gossip <= now && !self.news.is_empty() {
            self.gossip(now);
        }
        if self.search.next <= now {
            self.ask_around(now);
        }
    }

    fn gossip(&mut self, now: Instant) {
        self.last_gossip = now;
        self.next_gossip = now + GOSSIP_PERIOD;
        let targets = self.random_peers(GOSSIP_FANOUT, |_| true);
        if targets.is_empty() {
            self.news = News::default();
        }
        for peer in targets {
            self.tell(peer.id, SwimMessage::News);
        }
    }

    /// Some live members that `suit`.
    fn random_peers(&mut self, count: usize, suit: impl Fn(&Peer) -> bool) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.peers().filter(|peer| suit(peer)).copied().collect();
        let mut picked = Vec::new();
        while picked.len() < count && !peers.is_empty() {
            picked.push(peers.swap_remove(self.rng.below(peers.len() as u64) as usize));
        }
        picked
    }

    /// How often a piece of news is passed on: a multiple of the logarithm of the size.
    fn transmissions_max(&self) -> u32 {
        4 + 3 * (self.up as u32 + 1).ilog2()
    }

    /// Sends a member a message where it is reached; one that is reached nowhere may be by others.
    fn tell(&mut self, to: ZhostId, message: SwimMessage) {
        if let Some(addr) = self.addr(to) {
            self.tell_at(to, addr, message);
        }
    }

    /// Sends a message with as much news as fits; a suspect hears first of all that it is one.
    fn tell_at(&mut self, to: ZhostId, addr: SocketAddr, message: SwimMessage) {
        let mut rumours = self.news.pick(to, NEWS_SIZE_MAX_BYTES, self.transmissions_max());
        if let Some(member) = self.members.get(&to)
            && !matches!(member.state, State::Alive)
            && !rumours.iter().any(|rumour| rumour.peer.id == to)
        {
            rumours.push(member.rumour());
        }
        self.send(addr, Swim { from: self.me.id, message, rumours });
    }

    fn send(&mut self, addr: SocketAddr, swim: Swim) {
        self.outbox.push_back((addr, Datagram::Swim(swim)));
    }

    /// Tells the others that we go; afterwards nothing is sent or heard any more.
    pub fn leave(&mut self) {
        let me = Rumour { standing: Standing::Down, ..self.own_rumour() };
        let peers = self.random_peers(LEAVES_MAX, |_| true);
        for addr in peers.iter().filter_map(|peer| self.addr(peer.id)).collect::<Vec<_>>() {
            let rumours = vec![me.clone()];
            self.send(addr, Swim { from: self.me.id, message: SwimMessage::News, rumours });
        }
        self.left = true;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.left {
            return None;
        }
        let rival = self.rival_poll_timeout();
        if self.stands_aside() {
            return rival;
        }
        let gossip = (!self.news.is_empty()).then_some((self.next_gossip, "pass on news"));
        let suspicion = self.suspicions().map(|(due, _)| (due, "end of a suspicion")).min();
        let probe = self.probes.values().map(|probe| (probe.due, "probe")).min();
        let round = (self.up > 0).then_some((self.next_probe, "next probe"));
        [rival, gossip, suspicion, probe, round, Some((self.search.next, "ask for peers"))]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next datagram to send.
    pub fn poll_output(&mut self) -> Option<(SocketAddr, Datagram)> {
        self.outbox.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<MembershipEvent> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests;
