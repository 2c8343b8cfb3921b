//! Asking members whether they are there: directly, then through others and over the link.

use super::{DOUBT_MAX, Member, Membership, MembershipEvent, Rumour, Standing, State, SwimMessage};
use alloc::vec::Vec;
use core::{net::SocketAddr, time::Duration};
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
        if self.peer(target).is_none() {
            return false;
        }
        let same = |probe: &Probe| probe.target == target && probe.purpose == purpose;
        if self.probes.len() >= PROBES_MAX || self.probes.values().any(same) {
            return false;
        }
        self.serial = self.serial.wrapping_add(1);
        let wait = match (purpose.last_pings(), self.addr(target)) {
            (Some(_), _) => LAST_PACE,
            (None, Some(_)) => self.direct_wait(target),
            // We know of no address, but others may.
            (None, None) => Duration::ZERO,
        };
        let probe = Probe { target, purpose, sent_at: now, due: now + wait, stage: 1, silent_helpers: 0 };
        self.probes.insert(self.serial, probe);
        self.tell(target, SwimMessage::Ping(self.serial));
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
        if self.peer(probe.target).is_none() {
            return;
        }
        match probe.purpose {
            Purpose::Help(asker, number) => self.tell(asker, SwimMessage::Nack(number)),
            Purpose::Refused | Purpose::Last if Some(probe.stage) < probe.purpose.last_pings() => {
                let next = Probe { stage: probe.stage + 1, due: now + LAST_PACE, ..probe };
                self.probes.insert(serial, next);
                self.ping_everywhere(probe.target, serial);
                // It may be that only our own way there is bad, and those to most helpers: others are asked each time.
                if probe.purpose == Purpose::Last && probe.stage % 2 == 1 {
                    self.ask_helpers(serial, probe.target);
                }
            }
            Purpose::Refused | Purpose::Last => self.declare_down(now, probe.target),
            Purpose::Round | Purpose::Confirm if probe.stage == 1 => {
                let end = probe.sent_at + PROBE_PERIOD * self.patience();
                self.ping_elsewhere(probe.target, serial);
                let silent_helpers = self.ask_helpers(serial, probe.target);
                self.probes.insert(serial, Probe { stage: 2, due: end, silent_helpers, ..probe });
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

    /// Has others ask a member that does not answer us; how many.
    fn ask_helpers(&mut self, serial: u32, target: ZhostId) -> usize {
        let helpers = self.helpers(target);
        helpers.iter().for_each(|helper| self.tell(*helper, SwimMessage::PingRequest(serial, target)));
        helpers.len()
    }

    /// Who is to ask a member that does not answer us: whoever got an answer last time, or did so for us from another (it
    /// may be on two networks), and some others.
    fn helpers(&mut self, target: ZhostId) -> Vec<ZhostId> {
        let via = |member: &Member| {
            member.way.via.filter(|id| *id != target && self.members.get(id).is_some_and(Member::is_up))
        };
        let proved = self.members.get(&target).and_then(via);
        let proved = proved.or_else(|| self.members.values().find_map(via));
        let others = self.random_peers(HELPERS, |peer| peer.id != target && Some(peer.id) != proved);
        proved.into_iter().chain(others.iter().map(|peer| peer.id)).take(HELPERS).collect()
    }

    /// Asks a member that does not answer where it is thought to be at its other addresses.
    fn ping_elsewhere(&mut self, target: ZhostId, serial: u32) {
        let at = self.addr(target);
        for addr in self.addrs(target).into_iter().filter(|addr| Some(*addr) != at) {
            self.tell_at(target, addr, SwimMessage::Ping(serial));
        }
    }

    fn ping_everywhere(&mut self, target: ZhostId, serial: u32) {
        self.tell(target, SwimMessage::Ping(serial));
        self.ping_elsewhere(target, serial);
    }

    pub(super) fn declare_down(&mut self, now: Instant, id: ZhostId) {
        if let Some(member) = self.members.get(&id) {
            let rumour = Rumour { standing: Standing::Down, ..member.rumour() };
            self.set_down(now, &rumour);
        }
    }

    /// A member answers a ping of ours, or a helper says that it answered; and from which address.
    pub(super) fn handle_ack(&mut self, now: Instant, (from, addr): (ZhostId, SocketAddr), number: u32) {
        let Some(probe) = self.probes.get(&number).cloned() else { return };
        // Another board may have taken the place, and the address, of the one that was asked.
        let is_successor = from != probe.target && self.addr(from) == self.addr(probe.target);
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
            self.handle_answer(from, addr, probe.stage == 1);
        } else {
            self.note_helper(probe.target, from);
        }
        if let Purpose::Help(asker, number) = probe.purpose {
            self.probes.retain(|_, other| other.purpose != probe.purpose);
            self.tell(asker, SwimMessage::Ack(number));
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
