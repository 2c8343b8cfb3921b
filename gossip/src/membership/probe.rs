//! Asking members whether they are there: directly, then through others and over the link.

use super::{DOUBT_MAX, Member, Membership, MembershipEvent, Peer, Rumour, Standing, State, SwimMessage};
use alloc::vec::Vec;
use core::time::Duration;
use zhost_base::{Instant, ZhostId};

/// How often one member is probed, while this zhost does not doubt itself.
const PROBE_PERIOD: Duration = Duration::from_millis(600);
/// How long a probed member has before others are asked to probe it, at least and at most.
const DIRECT_MIN: Duration = Duration::from_millis(150);
const DIRECT_MAX: Duration = Duration::from_millis(300);
/// Members asked to probe on our behalf.
const HELPERS: usize = 3;
/// Between the pings to a member that is down if it does not answer.
const LAST_PACE: Duration = Duration::from_millis(40);
/// How many of them after a refusal, which is evidence, and after a suspicion, which may be the network's fault.
const REFUSED_PINGS: u32 = 4;
const LAST_PINGS: u32 = 9;
/// Probes under way at once, those for others included; further ones are not begun.
const PROBES_MAX: usize = 64;

/// Why a member is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is its turn.
    Round,
    /// Somebody accuses it.
    Confirm,
    /// Nobody listens at its address, says its kernel: it is down if it does not answer now.
    Refused,
    /// A suspicion has run out: it is down if it does not answer now.
    Last,
    /// Somebody asked us to, under this number.
    Help(ZhostId, u32),
}

impl Purpose {
    /// How often a member is pinged before it is down, if that is what comes of it.
    fn last_pings(self) -> Option<u32> {
        match self {
            Self::Refused => Some(REFUSED_PINGS),
            Self::Last => Some(LAST_PINGS),
            _ => None,
        }
    }
}

/// A member was asked and has not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub target: ZhostId,
    purpose: Purpose,
    sent_at: Instant,
    /// When the next stage begins.
    pub due: Instant,
    /// Pings sent so far, or for those that went through others: that they did.
    stage: u32,
    /// Helpers that have not said what came of theirs.
    silent_helpers: usize,
}

impl Probe {
    /// Whether this is the last time that this member is asked.
    pub fn is_last(&self, target: ZhostId) -> bool {
        self.target == target && self.purpose.last_pings().is_some()
    }

    pub fn is_for_another(&self) -> bool {
        matches!(self.purpose, Purpose::Help(..))
    }
}

impl Membership {
    /// How much longer than usual everything takes, because this zhost doubts itself.
    fn patience(&self) -> u32 {
        1 + self.doubt
    }

    fn direct_wait(&self, target: ZhostId) -> Duration {
        let rtt = Duration::from_micros(self.round_trip(target).median_us().unwrap_or(0));
        (rtt * 3).clamp(DIRECT_MIN, DIRECT_MAX) * self.patience()
    }

    /// Begins to probe a live member, unless that is done already or too many are probed; whether it did.
    pub(super) fn start_probe(&mut self, now: Instant, target: ZhostId, purpose: Purpose) -> bool {
        let Some(addr) = self.peer(target).map(|peer| peer.addr) else { return false };
        let same = |probe: &Probe| probe.target == target && probe.purpose == purpose;
        if self.probes.len() >= PROBES_MAX || self.probes.values().any(same) {
            return false;
        }
        self.serial = self.serial.wrapping_add(1);
        let wait = if purpose.last_pings().is_some() { LAST_PACE } else { self.direct_wait(target) };
        let probe = Probe { target, purpose, sent_at: now, due: now + wait, stage: 1, silent_helpers: 0 };
        self.probes.insert(self.serial, probe);
        self.tell(target, addr, SwimMessage::Ping(self.serial));
        true
    }

    /// Whom to probe next. Every other time it is the next live member by id, so that everybody is probed by somebody
    /// every two periods for certain; in between it is one after the other in a random order.
    fn next_in_round(&mut self) -> Option<ZhostId> {
        self.ring = !self.ring;
        if self.ring {
            let up = |(id, member): (&ZhostId, &Member)| member.is_up().then_some(*id);
            let mut after = self.members.iter().filter(|(id, _)| **id >= self.me.id).filter_map(up);
            return after.next().or_else(|| self.members.iter().find_map(up));
        }
        if self.round.is_empty() {
            let mut ids: Vec<ZhostId> = self.peers().map(|peer| peer.id).collect();
            while !ids.is_empty() {
                let index = self.rng.below(ids.len() as u64) as usize;
                self.round.push(ids.swap_remove(index));
            }
        }
        self.round.pop()
    }

    pub(super) fn probes_timeout(&mut self, now: Instant) {
        if self.next_probe <= now && self.up > 0 {
            self.next_probe = now + PROBE_PERIOD * self.patience();
            if let Some(target) = self.next_in_round() {
                self.start_probe(now, target, Purpose::Round);
            }
        }
        let due: Vec<u32> =
            self.probes.iter().filter(|(_, probe)| probe.due <= now).map(|(serial, _)| *serial).collect();
        for serial in due {
            if let Some(probe) = self.probes.remove(&serial) {
                self.advance(now, serial, probe);
            }
        }
    }

    /// The next stage of a probe that has not been answered.
    fn advance(&mut self, now: Instant, serial: u32, probe: Probe) {
        let Some(addr) = self.peer(probe.target).map(|peer| peer.addr) else { return };
        match probe.purpose {
            Purpose::Help(asker, number) => {
                if let Some(asker) = self.peer(asker).copied() {
                    self.tell(asker.id, asker.addr, SwimMessage::Nack(number));
                }
            }
            Purpose::Refused | Purpose::Last if Some(probe.stage) < probe.purpose.last_pings() => {
                let next = Probe { stage: probe.stage + 1, due: now + LAST_PACE, ..probe };
                self.probes.insert(serial, next);
                self.tell(probe.target, addr, SwimMessage::Ping(serial));
            }
            Purpose::Refused | Purpose::Last => self.declare_down(now, probe.target),
            Purpose::Round | Purpose::Confirm if probe.stage == 1 => {
                let end = probe.sent_at + PROBE_PERIOD * self.patience();
                let helpers = self.random_peers(HELPERS, |peer| peer.id != probe.target);
                let silent_helpers = helpers.len();
                self.probes.insert(serial, Probe { stage: 2, due: end, silent_helpers, ..probe });
                for helper in helpers {
                    self.tell(helper.id, helper.addr, SwimMessage::PingRequest(serial, probe.target));
                }
                // Whom datagrams did not reach lately is asked over a link in any case.
                self.events.push_back(match self.is_deaf(probe.target) {
                    true => MembershipEvent::OpenLink(probe.target),
                    false => MembershipEvent::AskOverLink(probe.target),
                });
            }
            Purpose::Round | Purpose::Confirm => {
                // Most helpers silent too: that points at ourselves.
                if probe.silent_helpers * 2 > HELPERS {
                    self.doubt = (self.doubt + 1).min(DOUBT_MAX);
                }
                self.accuse(now, probe.target);
            }
        }
    }

    pub(super) fn declare_down(&mut self, now: Instant, id: ZhostId) {
        if let Some(member) = self.members.get(&id) {
            let rumour = Rumour { standing: Standing::Down, ..member.rumour() };
            self.set_down(now, &rumour);
        }
    }

    /// A member answers a ping of ours, or a helper says that it answered.
    pub(super) fn handle_ack(&mut self, now: Instant, from: ZhostId, number: u32) {
        let Some(probe) = self.probes.get(&number).cloned() else { return };
        // Another board may have taken the place, and the address, of the one that was asked.
        let addr_of = |id: ZhostId| self.peer(id).map(|peer| peer.addr);
        let is_successor = from != probe.target && addr_of(from) == addr_of(probe.target);
        if is_successor || (from != probe.target && matches!(probe.purpose, Purpose::Help(..))) {
            return;
        }
        if from == probe.target
            && let Some(member) = self.members.get_mut(&from)
        {
            // A late answer to a repeated or relayed question says nothing of the way.
            if probe.stage == 1 {
                member.round_trip.measure(now.since(probe.sent_at));
            }
            self.deaf.remove(&from);
        }
        if let Purpose::Help(asker, number) = probe.purpose {
            self.probes.retain(|_, other| other.purpose != probe.purpose);
            if let Some(Peer { id, addr, .. }) = self.peer(asker).copied() {
                self.tell(id, addr, SwimMessage::Ack(number));
            }
        } else {
            self.forgive(now, probe.target);
        }
    }

    /// A member is there after all. Only itself can refute a suspicion; until it has, the suspicion begins anew.
    pub(super) fn forgive(&mut self, now: Instant, id: ZhostId) {
        if let Some(State::Suspect { since, .. }) = self.members.get_mut(&id).map(|member| &mut member.state)
        {
            *since = now;
        }
        self.probes.retain(|_, probe| probe.target != id || probe.is_for_another());
        self.doubt = self.doubt.saturating_sub(1);
    }

    pub(super) fn handle_ping_request(&mut self, now: Instant, asker: ZhostId, number: u32, target: ZhostId) {
        if target != self.me.id {
            self.start_probe(now, target, Purpose::Help(asker, number));
        }
    }

    pub(super) fn handle_nack(&mut self, number: u32) {
        if let Some(probe) = self.probes.get_mut(&number) {
            probe.silent_helpers = probe.silent_helpers.saturating_sub(1);
        }
    }
}
