//! Finding each other: addresses that are asked, beacons that everybody on a network hears, and what comes of them.

use super::{Addrs, DOUBT_MAX, Membership, Purpose, Rumour, State, Swim, SwimMessage};
use crate::datagram::{Datagram, PLAIN_SIZE_MAX_BYTES};
use alloc::{vec, vec::Vec};
use core::{net::SocketAddr, time::Duration};
use litemap::LiteMap;
use zhost_base::{
    Instant, ZhostId,
    id::rendezvous,
    limits::{HELLO_PEERS_MAX, HELLOS_MAX, MEMBERS_MAX},
};

/// How often a zhost without peers asks everybody it can, and one whose network has just changed.
const JOIN_PERIOD: Duration = Duration::from_secs(1);
/// How often a zhost with peers asks one address that should be a member and is not; heals partitions.
const REUNITE_PERIOD: Duration = Duration::from_secs(5);
/// How long a zhost whose network has changed looks around: the networks of others may change a little later.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// How often one of a cluster's zhosts asks everybody on its network.
const BEACON_PERIOD: Duration = Duration::from_secs(30);
/// How many answer it, about.
const BEACON_ANSWERS: u64 = 6;
/// How long a dead member is remembered.
const REMEMBER: Duration = Duration::from_secs(24 * 3600);
/// Addresses that are asked beside those of members, at most, of which we learned ourselves.
const SEEDS_MAX: usize = 64;
/// Bytes of an answer beside rumours.
const WELCOME_HEAD_MAX_BYTES: usize = 60;

/// Whom to ask, and when.
pub(super) struct Search {
    seeds: Vec<SocketAddr>,
    broadcasts: Vec<SocketAddr>,
    /// Who answered at which seed last; we ourselves, if the question came back to us.
    answered: LiteMap<SocketAddr, ZhostId>,
    /// Until when it is asked as often as if there was nobody.
    until: Instant,
    pub next: Instant,
    next_beacon: Instant,
}

impl Search {
    pub fn new(now: Instant, seeds: Vec<SocketAddr>, broadcasts: Vec<SocketAddr>) -> Self {
        let answered = LiteMap::new();
        Self { seeds, broadcasts, answered, until: now + LOOK_AROUND, next: now, next_beacon: now }
    }

    /// Addresses at which there may be members.
    pub fn seeds(&self) -> impl Iterator<Item = SocketAddr> {
        self.seeds.iter().copied()
    }

    /// There is a member at these, too: they are asked as long as nobody says otherwise.
    pub fn remember(&mut self, addrs: impl Iterator<Item = SocketAddr>) {
        for addr in addrs {
            if !self.seeds.contains(&addr) && self.seeds.len() < SEEDS_MAX {
                self.seeds.push(addr);
            }
        }
    }

    fn note_answer(&mut self, asked: SocketAddr, id: ZhostId) {
        if self.seeds.contains(&asked) {
            self.answered.insert(asked, id);
        }
    }
}

impl Membership {
    /// Our network changed: where we are reached, and at which addresses everybody on it hears. The others are told, and
    /// know that we are the same. While we have no address they keep the last ones, since nobody can be told.
    pub fn handle_network(&mut self, now: Instant, addrs: Addrs, broadcasts: Vec<SocketAddr>) {
        if addrs.is_empty() && broadcasts.is_empty() {
            // That nobody answers a machine without a network says nothing of the others.
            self.doubt = DOUBT_MAX;
        }
        let moved = addrs != self.me.addrs && !addrs.is_empty();
        if moved {
            self.me.addrs = addrs;
            self.incarnation += 1;
            self.tell_of_ourselves(now);
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                self.change_way(id, |way, told| way.try_told(told, &addrs));
            }
        }
        if moved || broadcasts != self.search.broadcasts {
            self.search.broadcasts = broadcasts;
            self.doubt = if self.up == 0 { 0 } else { self.doubt };
            self.search.until = now + LOOK_AROUND;
            self.search.next = now;
        }
    }

    /// The addresses to ask are these from now on.
    pub fn handle_seeds(&mut self, now: Instant, seeds: Vec<SocketAddr>) {
        if seeds != self.search.seeds {
            self.search.answered.retain(|addr, _| seeds.contains(addr));
            self.search.seeds = seeds;
            self.search.next = now;
        }
    }

    /// The live member that answered at a seed, ourselves included.
    pub fn answered_at(&self, seed: SocketAddr) -> Option<ZhostId> {
        let id = self.search.answered.get(&seed).copied().or_else(|| self.reached_at(seed))?;
        self.peer(id).map(|peer| peer.id)
    }

    /// When seeds are asked next.
    pub fn next_search(&self) -> Instant {
        self.search.next
    }

    /// Somebody asks who we are, at an address of ours. The answer says whom else to ask.
    pub fn handle_hello(
        &mut self,
        now: Instant,
        from: SocketAddr,
        hello: Rumour,
        asked: Option<SocketAddr>,
        supers: &[ZhostId],
    ) {
        if self.left || self.stands_aside() {
            return;
        }
        let id = hello.peer.id;
        if id == self.me.id && hello.peer.nonce != self.me.nonce {
            return self.hear_ourselves(now, hello.peer);
        }
        if id == self.me.id {
            asked.into_iter().for_each(|asked| self.search.note_answer(asked, id));
            return;
        }
        let known = self.members.get(&id).map(super::Member::rumour);
        let known = known.filter(|known| known.peer.nonce != hello.peer.nonce);
        let welcome = self.welcome(id, known, asked, supers);
        self.outbox.push_back((from, welcome));
        if self.may_be_rivals(&hello.peer) {
            // The two find out; if the one that we know is gone, we do.
            self.start_probe(now, id, Purpose::Last);
        } else {
            self.introduce(now, from, hello);
        }
    }

    /// Somebody asks everybody on its network. Some of those to whom it is new, or is elsewhere, answer.
    pub fn handle_beacon(&mut self, now: Instant, from: SocketAddr, beacon: Rumour, supers: &[ZhostId]) {
        if self.left || self.stands_aside() {
            return;
        }
        if beacon.peer.id == self.me.id {
            return self.hear_ourselves(now, beacon.peer);
        }
        let held = self.members.get(&beacon.peer.id).filter(|member| member.is_up());
        let is_known = held.is_some_and(|held| {
            held.peer.nonce == beacon.peer.nonce
                && (held.peer.generation, held.incarnation) >= (beacon.peer.generation, beacon.incarnation)
        });
        if is_known {
            self.handle_source(beacon.peer.id, from);
        } else if self.rng.below(self.up as u64 + 1) < BEACON_ANSWERS {
            self.handle_hello(now, from, beacon, None, supers);
        }
    }

    /// Ourselves, the supers and some other members, as many as fit.
    fn welcome(
        &self,
        to: ZhostId,
        known: Option<Rumour>,
        asked: Option<SocketAddr>,
        supers: &[ZhostId],
    ) -> Datagram {
        let others = self.members.values().filter(|member| member.is_up() && member.peer.id != to);
        let mut rumours: Vec<Rumour> = others.map(super::Member::rumour).collect();
        // Everybody learns of the supers; of the rest, different askers learn of different members.
        rumours.sort_by_key(|rumour| {
            let id = rumour.peer.id;
            (!supers.contains(&id), rendezvous(to.0, id))
        });
        rumours.truncate(HELLO_PEERS_MAX);
        let me = self.own_rumour();
        let said = [Some(&me), known.as_ref()].into_iter().flatten().map(Rumour::encoded_size).sum::<usize>();
        let mut room = PLAIN_SIZE_MAX_BYTES.saturating_sub(WELCOME_HEAD_MAX_BYTES + said);
        rumours.retain(|rumour| {
            let left = room.checked_sub(rumour.encoded_size());
            room = left.unwrap_or(0);
            left.is_some()
        });
        Datagram::Welcome { me, asked, to, known, rumours }
    }

    /// Somebody we asked answers.
    pub fn handle_welcome(
        &mut self,
        now: Instant,
        from: SocketAddr,
        (rumour, asked): (Rumour, Option<SocketAddr>),
        (to, known): (ZhostId, Option<Rumour>),
        others: Vec<Rumour>,
    ) {
        let welcomer = rumour.peer.id;
        if self.left || welcomer == self.me.id || to != self.me.id || self.stands_aside() {
            return;
        }
        if let Some(known) = known.filter(|known| known.peer.id == to && known.peer.nonce != self.me.nonce) {
            self.hear_of_another_start(now, &known, true);
        }
        if self.is_in_doubt() && self.up == 0 {
            // Not before we know that we are the only start.
            return;
        }
        asked.into_iter().for_each(|asked| self.search.note_answer(asked, welcomer));
        self.apply(now, rumour, Some(from));
        self.handle_source(welcomer, from);
        others.into_iter().take(HELLO_PEERS_MAX).for_each(|other| self.apply(now, other, None));
        self.tell_of_ourselves(now);
        self.tell(welcomer, SwimMessage::News);
    }

    /// Somebody says who it is. One that is down in our eyes learns it.
    pub(super) fn introduce(&mut self, now: Instant, from: SocketAddr, rumour: Rumour) {
        let id = rumour.peer.id;
        let age = rumour.age();
        self.apply(now, rumour, Some(from));
        self.handle_source(id, from);
        let is_behind = self.members.get(&id).is_some_and(|held| held.rumour().age() >= age);
        if is_behind && let Some(held) = self.verdict(now, id) {
            self.send(from, Swim { from: self.me.id, message: SwimMessage::News, rumours: vec![held] });
        }
    }

    /// Asks all seeds while there is nobody or the network is new, else one address that should be a member and is not.
    pub(super) fn ask_around(&mut self, now: Instant) {
        self.members.retain(|_, member| match member.state {
            State::Down { since, .. } => now.since(since) < REMEMBER,
            _ => true,
        });
        self.deaf.retain(|id| self.members.contains_key(id));
        let asks_all = self.up == 0 || now < self.search.until;
        self.search.next = now + if asks_all { JOIN_PERIOD } else { REUNITE_PERIOD };
        let mut missing = self.missing();
        let most = if asks_all { HELLOS_MAX } else { 1 };
        while missing.len() > most {
            missing.swap_remove(self.rng.below(missing.len() as u64) as usize);
        }
        let me = self.own_rumour();
        let hello = |asked| (asked, Datagram::Hello { me: me.clone(), asked });
        self.outbox.extend(missing.into_iter().map(hello));
        if asks_all || self.search.next_beacon <= now {
            // Each zhost the more rarely, the more there are.
            self.search.next_beacon = now + BEACON_PERIOD * (self.up as u32 + 1);
            let beacons = self.search.broadcasts.iter().map(|addr| (*addr, Datagram::Beacon(me.clone())));
            self.outbox.extend(beacons);
        }
    }

    /// Addresses at which there should be a member, and is none as far as we know.
    fn missing(&self) -> Vec<SocketAddr> {
        let down = self.members.values().filter(|member| !member.is_up());
        let down = down.flat_map(|member| member.way.at.into_iter().chain(member.peer.addrs.iter()));
        let mut missing: Vec<SocketAddr> =
            self.search.seeds.iter().copied().chain(down).take(MEMBERS_MAX).collect();
        missing.retain(|addr| self.answered_at(*addr).is_none());
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Asks a stranger who it is.
    pub(super) fn answer_stranger(&mut self, from: SocketAddr) {
        self.outbox.push_back((from, Datagram::Hello { me: self.own_rumour(), asked: from }));
    }
}
