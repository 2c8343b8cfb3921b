//! Who is alive: SWIM on the `foca` crate (Das, Gupta and Motivala, "SWIM", 2002).
//!
//! Two things stand here because foca 2.0 leaves them open: a suspect-to-down timer is obeyed only while the member
//! is still suspected in that incarnation (foca would tell a live, already refuted member that it is dead), and a
//! zhost that was declared dead by mistake comes back with a higher *renewal* instead of a higher generation.

use crate::datagram::{Datagram, PLAIN_SIZE_MAX_BYTES};
use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::{
    net::SocketAddr,
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};
use foca::{
    Config, Foca, Identity, Member, NoCustomBroadcast, Notification, PeriodicParams, PostcardCodec, State,
    Timer,
};
use serde::{Deserialize, Serialize};
use zhost_base::{Generation, Instant, Rng, ZhostId, limits::MEMBERS_MAX};

/// How often a zhost without peers asks its seeds.
const JOIN_PERIOD: Duration = Duration::from_secs(1);
/// How often a zhost with peers asks one address that should be a member and is not; heals partitions.
const REUNITE_PERIOD: Duration = Duration::from_secs(5);
/// How often one member is probed.
const PROBE_PERIOD: Duration = Duration::from_millis(600);
/// How long a probed member may take before others are asked to probe it.
const PROBE_RTT: Duration = Duration::from_millis(200);
/// Suspicion lasts this long in clusters of up to a hundred, and grows with the logarithm of the size.
const SUSPICION: Duration = Duration::from_millis(1500);
/// Envelope bytes around a SWIM packet.
const ENVELOPE_BYTES: usize = 8;

/// A zhost as the membership protocol knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Who it is.
    pub id: ZhostId,
    /// Which start of it.
    pub generation: Generation,
    /// How often that start has had to refute its death.
    pub renewal: u16,
    /// Where it receives gossip datagrams.
    pub addr: SocketAddr,
}

impl Identity for Peer {
    type Addr = ZhostId;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> ZhostId {
        self.id
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.generation, self.renewal, self.addr) > (adversary.generation, adversary.renewal, adversary.addr)
    }
}

/// What the rest of the zhost should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// This start of a zhost is now alive.
    Up(Peer),
    /// This zhost is no longer alive.
    Down(Peer),
    /// We were declared dead by mistake and came back.
    Refuted,
    /// The cluster knows a later start of us than we do: our disk was rolled back. We now run as this generation,
    /// which must be persisted.
    Regenerated(Generation),
}

/// The membership state machine.
pub struct Membership {
    foca: Foca<Peer, PostcardCodec, Rng, NoCustomBroadcast>,
    timers: BTreeMap<(Instant, u64), Timer<Peer>>,
    timer_count: u64,
    alive: BTreeMap<ZhostId, Peer>,
    seeds: Vec<SocketAddr>,
    next_join: Instant,
    rng: Rng,
    outbox: VecDeque<(SocketAddr, Datagram)>,
    events: VecDeque<MembershipEvent>,
    left: bool,
}

/// Collects what foca wants done during one call.
#[derive(Default)]
struct Effects {
    packets: Vec<(SocketAddr, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Peer>)>,
    rejoined: bool,
}

impl foca::Runtime<Peer> for &mut Effects {
    fn notify(&mut self, notification: Notification<'_, Peer>) {
        if let Notification::Rejoin(_) = notification {
            self.rejoined = true;
        }
    }
    fn send_to(&mut self, to: Peer, data: &[u8]) {
        self.packets.push((to.addr, data.to_vec()));
    }
    fn submit_after(&mut self, event: Timer<Peer>, after: Duration) {
        self.timers.push((after, event));
    }
}

fn config(members: usize) -> Config {
    let nonzero = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    let every = |secs, members| {
        Some(PeriodicParams { frequency: Duration::from_secs(secs), num_members: nonzero(members) })
    };
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: nonzero(3),
        max_transmissions: NonZeroU8::new(10).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: SUSPICION * members.max(10).ilog10(),
        remove_down_after: Some(Duration::from_secs(24 * 3600)),
        max_packet_size: nonzero(PLAIN_SIZE_MAX_BYTES - ENVELOPE_BYTES),
        notify_down_members: true,
        periodic_announce: every(30, 1),
        periodic_announce_to_down_members: every(5, 2),
        periodic_gossip: Some(PeriodicParams {
            frequency: Duration::from_millis(200),
            num_members: nonzero(3),
        }),
    }
}

impl Membership {
    /// The membership as `me` sees it, knowing nobody yet; `seeds` are addresses to ask.
    pub fn new(now: Instant, me: Peer, seeds: Vec<SocketAddr>, mut rng: Rng) -> Self {
        let foca = Foca::new(me, config(1), rng.fork(), PostcardCodec);
        Self {
            foca,
            timers: BTreeMap::new(),
            timer_count: 0,
            alive: BTreeMap::new(),
            seeds,
            next_join: now,
            rng,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            left: false,
        }
    }

    /// Ourselves.
    pub fn me(&self) -> &Peer {
        self.foca.identity()
    }

    /// The other live members.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.alive.values()
    }

    /// The live member of that id, ourselves included.
    pub fn peer(&self, id: ZhostId) -> Option<&Peer> {
        if id == self.me().id { Some(self.me()) } else { self.alive.get(&id) }
    }

    /// The generation in which `id` is alive.
    pub fn generation(&self, id: ZhostId) -> Option<Generation> {
        self.peer(id).map(|peer| peer.generation)
    }

    /// More addresses at which members may be found, such as those of the last run.
    pub fn add_seed(&mut self, addr: SocketAddr) {
        if !self.seeds.contains(&addr) && self.seeds.len() < MEMBERS_MAX {
            self.seeds.push(addr);
        }
    }

    /// A SWIM packet arrived.
    pub fn handle_swim(&mut self, now: Instant, packet: &[u8]) {
        if self.left {
            return;
        }
        // Errors are packets that make no sense or are too late; foca's state is unchanged or good.
        self.with_foca(now, |foca, effects| drop(foca.handle_data(packet, effects)));
    }

    /// Somebody asks who we are.
    pub fn handle_hello(&mut self, now: Instant, peer: Peer) {
        if self.left || peer.id == self.me().id {
            return;
        }
        let known = self.known_generation(peer.id);
        self.outbox.push_back((peer.addr, Datagram::Welcome { peer: *self.me(), to: peer.id, known }));
        self.introduce(now, peer);
    }

    /// Somebody we asked answers.
    pub fn handle_welcome(&mut self, now: Instant, peer: Peer, to: ZhostId, known: Generation) {
        if self.left || peer.id == self.me().id || to != self.me().id {
            return;
        }
        if known > self.me().generation {
            let generation = Generation(known.0.saturating_add(1));
            let me = Peer { generation, renewal: 0, ..*self.me() };
            self.with_foca(now, |foca, effects| drop(foca.change_identity(me, effects)));
            self.events.push_back(MembershipEvent::Regenerated(generation));
        }
        self.introduce(now, peer);
        self.with_foca(now, |foca, effects| drop(foca.announce(peer, effects)));
    }

    fn known_generation(&self, id: ZhostId) -> Generation {
        let known = self.foca.iter_membership_state().filter(|member| member.id().id == id);
        known.map(|member| member.id().generation).max().unwrap_or_default()
    }

    fn introduce(&mut self, now: Instant, peer: Peer) {
        if self.alive.len() < MEMBERS_MAX || self.alive.contains_key(&peer.id) {
            let member = core::iter::once(Member::alive(peer));
            self.with_foca(now, |foca, effects| drop(foca.apply_many(member, true, effects)));
        }
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.left {
            return;
        }
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let timer = entry.remove();
            if self.is_due_truly(&timer) {
                self.with_foca(now, |foca, effects| drop(foca.handle_timer(timer, effects)));
            }
        }
        if self.next_join <= now {
            self.ask_around(now);
        }
    }

    /// The guard on foca's suspect-to-down timer, see the module's head.
    fn is_due_truly(&self, timer: &Timer<Peer>) -> bool {
        let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer else { return true };
        self.foca.iter_members().any(|member| {
            member.id() == member_id
                && member.incarnation() == *incarnation
                && member.state() == State::Suspect
        })
    }

    fn ask_around(&mut self, now: Instant) {
        let hello = Datagram::Hello(*self.me());
        if self.alive.is_empty() {
            let own = self.me().addr;
            self.outbox
                .extend(self.seeds.iter().filter(|seed| **seed != own).map(|seed| (*seed, hello.clone())));
            self.next_join = now + JOIN_PERIOD;
        } else {
            let own = self.me().addr;
            let missing: Vec<SocketAddr> = self
                .seeds
                .iter()
                .copied()
                .filter(|seed| *seed != own && !self.alive.values().any(|peer| peer.addr == *seed))
                .collect();
            if let Some(addr) = self.rng.pick(&missing) {
                self.outbox.push_back((*addr, hello));
            }
            self.next_join = now + REUNITE_PERIOD;
        }
    }

    /// Tells the others that we go; afterwards nothing is sent or heard any more.
    pub fn leave(&mut self, now: Instant) {
        self.with_foca(now, |foca, effects| drop(foca.leave_cluster(effects)));
        self.left = true;
        self.timers.clear();
    }

    fn with_foca(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Foca<Peer, PostcardCodec, Rng, NoCustomBroadcast>, &mut Effects),
    ) {
        let mut effects = Effects::default();
        act(&mut self.foca, &mut effects);
        self.outbox.extend(effects.packets.into_iter().map(|(addr, packet)| (addr, Datagram::Swim(packet))));
        for (after, timer) in effects.timers {
            self.timer_count += 1;
            self.timers.insert((now + after, self.timer_count), timer);
        }
        if effects.rejoined {
            // foca stays silent until somebody talks to it, so introduce the renewed self.
            self.events.push_back(MembershipEvent::Refuted);
            let hello = Datagram::Hello(*self.me());
            self.outbox.extend(self.alive.values().map(|peer| (peer.addr, hello.clone())));
        }
        self.compare_members();
    }

    /// Turns foca's member list into events; a restart shows as down, then up.
    fn compare_members(&mut self) {
        let mut current: BTreeMap<ZhostId, Peer> = BTreeMap::new();
        for member in self.foca.iter_members() {
            current.insert(member.id().id, *member.id());
        }
        if current == self.alive {
            return;
        }
        for (id, old) in &self.alive {
            if current.get(id).is_none_or(|new| new.generation != old.generation) {
                self.events.push_back(MembershipEvent::Down(*old));
            }
        }
        for (id, new) in &current {
            if self.alive.get(id).is_none_or(|old| new.generation != old.generation) {
                self.events.push_back(MembershipEvent::Up(*new));
            }
        }
        if current.len() != self.alive.len() {
            // Only the suspicion changes, which foca always accepts.
            let _ = self.foca.set_config(config(current.len() + 1));
        }
        self.alive = current;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.left {
            return None;
        }
        let timer = self.timers.first_key_value().map(|((due, _), _)| (*due, "swim timer"));
        let join = (self.next_join, "ask for peers");
        Some(timer.map_or(join, |timer| timer.min(join)))
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
