//! The time of day: boards whose clock stops with the power take it from their neighbours.
//!
//! Nobody's clock is ever put back, and nobody puts a clock that its board keeps going (with a battery, or by its
//! operating system). The others have a time that is late or none, so that of two such clocks the later one is right.

use crate::{
    node::Node,
    output::{Level, Output},
    wire::Hop,
};
use std::time::Duration;
use zhost_base::{Instant, ZhostId, limits::UNIX_EARLIEST_MS};

/// How often neighbours are told the time.
const TELL_PERIOD: Duration = Duration::from_secs(600);
/// Clocks that differ by less are left alone.
const TOLERANCE_MS: u64 = 1000;

/// How much a clock is worth.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum ClockTrust {
    /// It goes on from the last time that was put on flash: late, unless others set it.
    #[default]
    Kept,
    /// It was put by a neighbour that has the time.
    Heard,
    /// It goes on without power, or somebody else cares for it.
    Own,
}

/// What we know of the time of day.
#[derive(Debug, Default)]
pub(crate) struct TimeOfDay {
    trust: ClockTrust,
    tell_at: Option<Instant>,
}

impl TimeOfDay {
    pub fn new(now: Instant, trust: ClockTrust) -> Self {
        Self { trust, tell_at: Some(now + TELL_PERIOD) }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.tell_at.map(|at| (at, "tell the time"))
    }
}

/// Whether a clock is to be put to a time it was told.
fn is_better(ours: (u64, ClockTrust), theirs: (u64, ClockTrust)) -> bool {
    let (our_ms, our_trust) = ours;
    let (their_ms, their_trust) = theirs;
    let is_later = their_ms > our_ms.saturating_add(TOLERANCE_MS);
    their_ms >= UNIX_EARLIEST_MS && is_later && our_trust < ClockTrust::Own && their_trust >= our_trust
}

impl Node {
    /// Tells a neighbour the time, if we know it.
    pub(crate) fn tell_time(&mut self, now: Instant, peer: ZhostId) {
        if self.config.unix_origin_ms > 0 {
            let hop = Hop::Clock { unix_ms: self.unix_ms(now), trust: self.time_of_day.trust };
            self.mesh.links.send(peer, &hop);
        }
    }

    fn tell_everybody(&mut self, now: Instant) {
        let peers: Vec<ZhostId> = self.mesh.links.peers().collect();
        peers.into_iter().for_each(|peer| self.tell_time(now, peer));
    }

    pub(crate) fn clock_timeout(&mut self, now: Instant) {
        if self.time_of_day.tell_at.is_some_and(|at| at <= now) {
            self.time_of_day.tell_at = Some(now + TELL_PERIOD);
            self.tell_everybody(now);
        }
    }

    /// A neighbour tells us the time.
    pub(crate) fn handle_told_time(&mut self, now: Instant, peer: ZhostId, unix_ms: u64, trust: ClockTrust) {
        // Without a time of our own, any is better.
        let ours = match self.config.unix_origin_ms {
            0 => (0, ClockTrust::Kept),
            _ => (self.unix_ms(now), self.time_of_day.trust),
        };
        if !is_better(ours, (unix_ms, trust)) {
            return;
        }
        self.log(Level::Info, format!("the time is that of {} now", self.facts.zhost_name(peer)));
        self.time_of_day.trust = trust.min(ClockTrust::Heard);
        self.config.unix_origin_ms = unix_ms.saturating_sub(self.unix_ms(now) - self.config.unix_origin_ms);
        self.output(Output::SetClock(unix_ms));
        self.tell_everybody(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ClockTrust::{Heard, Kept, Own};

    const NOON: u64 = UNIX_EARLIEST_MS + 1_000_000_000;

    #[test]
    fn only_later_times_from_clocks_worth_as_much_are_taken() {
        let hour = 3_600_000;
        assert!(is_better((0, Kept), (NOON, Kept)));
        assert!(is_better((NOON - hour, Kept), (NOON, Kept)), "of two kept times the later one");
        assert!(is_better((NOON - hour, Kept), (NOON, Own)));
        assert!(is_better((NOON - hour, Heard), (NOON, Heard)));
        assert!(!is_better((NOON, Kept), (NOON - hour, Own)), "never back");
        assert!(!is_better((NOON - hour, Own), (NOON, Own)), "a clock of its own is left alone");
        assert!(!is_better((NOON - hour, Heard), (NOON, Kept)), "who only kept it may be days late or wrong");
        assert!(!is_better((NOON - TOLERANCE_MS, Kept), (NOON, Own)), "nearly the same");
        assert!(!is_better((0, Kept), (UNIX_EARLIEST_MS - 1, Own)), "no time at all");
    }
}
