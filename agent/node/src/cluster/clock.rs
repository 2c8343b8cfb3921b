//! The time of day: boards whose clock stops with the power take it from their neighbours.
//!
//! Nobody's clock is ever put back, and nobody puts a clock that its board keeps going (with a battery, or by its
//! operating system). The others have a time that is late or none, so that of two such clocks the later one is right.

use crate::{
    effects::Effects,
    facts::Facts,
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
    /// What the clock on the wall shows at the origin of the shell's monotonic clock, milliseconds since 1970; 0 if it is not
    /// set.
    origin_ms: u64,
    trust: ClockTrust,
    tell_at: Option<Instant>,
}

/// Whether a clock is to be put to a time it was told.
fn is_better(ours: (u64, ClockTrust), theirs: (u64, ClockTrust)) -> bool {
    let (our_ms, our_trust) = ours;
    let (their_ms, their_trust) = theirs;
    let is_later = their_ms > our_ms.saturating_add(TOLERANCE_MS);
    their_ms >= UNIX_EARLIEST_MS && is_later && our_trust < ClockTrust::Own && their_trust >= our_trust
}

impl TimeOfDay {
    pub fn new(now: Instant, trust: ClockTrust, origin_ms: u64) -> Self {
        Self { origin_ms, trust, tell_at: Some(now + TELL_PERIOD) }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.tell_at.map(|at| (at, "tell the time"))
    }

    /// The clock on the wall, as far as it is set, when the shell's monotonic clock shows this.
    pub fn unix_ms(&self, shell_ms: u64) -> u64 {
        self.origin_ms.saturating_add(shell_ms)
    }

    /// The clock on the wall may have been set.
    pub fn handle_set(&mut self, origin_ms: u64) {
        self.origin_ms = origin_ms;
    }

    /// Tells a neighbour the time, if we know it.
    pub fn tell(&self, shell_ms: u64, peer: ZhostId, effects: &mut Effects) {
        if self.origin_ms > 0 {
            effects.hop(peer, Hop::Clock { unix_ms: self.unix_ms(shell_ms), trust: self.trust });
        }
    }

    /// Tells all neighbours now and then.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        shell_ms: u64,
        peers: impl Iterator<Item = ZhostId>,
        effects: &mut Effects,
    ) {
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_at = Some(now + TELL_PERIOD);
            peers.for_each(|peer| self.tell(shell_ms, peer, effects));
        }
    }

    /// A neighbour tells us the time; if it is better than ours, our neighbours hear of it.
    pub fn handle_told(
        &mut self,
        facts: &Facts,
        (peer, unix_ms, trust): (ZhostId, u64, ClockTrust),
        shell_ms: u64,
        peers: impl Iterator<Item = ZhostId>,
        effects: &mut Effects,
    ) {
        // Without a time of our own, any is better.
        let ours = match self.origin_ms {
            0 => (0, ClockTrust::Kept),
            _ => (self.unix_ms(shell_ms), self.trust),
        };
        if !is_better(ours, (unix_ms, trust)) {
            return;
        }
        effects.log(Level::Info, format!("the time is that of {} now", facts.zhost_name(peer)));
        self.trust = trust.min(ClockTrust::Heard);
        self.origin_ms = unix_ms.saturating_sub(shell_ms);
        effects.output(Output::SetClock(unix_ms));
        peers.for_each(|peer| self.tell(shell_ms, peer, effects));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{effects::Effect, facts::fixture};
    use ClockTrust::{Heard, Kept, Own};
    use std::collections::VecDeque;

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

    /// What the shell's clock of a zhost shows: each was started at another time.
    fn shell_ms(of: usize) -> u64 {
        1000 * of as u64
    }

    /// A chain of zhosts, each of which is the neighbour of the next: what each shows after these have told what they
    /// know, beside how often it put its clock.
    fn chain(clocks: &[(u64, ClockTrust)]) -> Vec<(u64, usize)> {
        let facts = fixture::facts(&[ZhostId(0)], []);
        let new = |(of, (ms, trust)): (usize, &(u64, ClockTrust))| {
            TimeOfDay::new(Instant::ZERO, *trust, ms.saturating_sub(shell_ms(of)))
        };
        let mut times: Vec<TimeOfDay> = clocks.iter().enumerate().map(new).collect();
        let mut put = vec![0; clocks.len()];
        let neighbours = |of: usize| {
            let near = [of.checked_sub(1), Some(of + 1).filter(|next| *next < clocks.len())];
            near.into_iter().flatten().map(|near| ZhostId(near as u64))
        };
        let mut told = VecDeque::new();
        let mut say = |of: usize, time: &TimeOfDay, effects: Effects, told: &mut VecDeque<_>| {
            for effect in effects {
                match effect {
                    Effect::Hop(to, Hop::Clock { unix_ms, trust }) => {
                        told.push_back((of, to, unix_ms, trust))
                    }
                    Effect::Output(Output::SetClock(unix_ms)) => {
                        assert_eq!(unix_ms, time.unix_ms(shell_ms(of)));
                        put[of] += 1;
                    }
                    Effect::Log(..) => {}
                    effect => panic!("the time of day wants {effect:?}"),
                }
            }
        };
        for (of, time) in times.iter_mut().enumerate() {
            let mut effects = Effects::default();
            time.handle_timeout(Instant::ZERO + TELL_PERIOD, shell_ms(of), neighbours(of), &mut effects);
            say(of, time, effects, &mut told);
        }
        for _ in 0..100 * clocks.len() {
            let Some((from, to, unix_ms, trust)) = told.pop_front() else { break };
            let (of, mut effects) = (to.0 as usize, Effects::default());
            let word = (ZhostId(from as u64), unix_ms, trust);
            times[of].handle_told(&facts, word, shell_ms(of), neighbours(of), &mut effects);
            say(of, &times[of], effects, &mut told);
        }
        assert!(told.is_empty(), "it goes round for ever");
        times.iter().enumerate().map(|(of, time)| time.unix_ms(shell_ms(of))).zip(put).collect()
    }

    #[test]
    fn one_clock_that_goes_on_is_everybodys_and_nobody_talks_for_ever() {
        let shown =
            |clocks: &[(u64, ClockTrust)]| chain(clocks).into_iter().map(|(ms, _)| ms).collect::<Vec<_>>();
        for count in [3, 7, 20] {
            let mut clocks: Vec<_> =
                (0..count).map(|of| (NOON - 3_600_000 * (of as u64 + 1), Kept)).collect();
            clocks[0] = (NOON, Own);
            clocks[count / 2].0 = 0;
            assert_eq!(shown(&clocks), vec![NOON; count]);
            let put: Vec<usize> = chain(&clocks).into_iter().map(|(_, put)| put).collect();
            assert!(put[0] == 0 && put[1..].iter().all(|put| *put > 0), "{put:?}");
            // Of two that go on, neither is put; between them the later one counts.
            clocks[count - 1] = (NOON - 60_000, Own);
            let shown = shown(&clocks);
            assert_eq!((shown[0], shown[count - 1]), (NOON, NOON - 60_000));
            assert_eq!(shown[1..count - 1], vec![NOON; count - 2]);
            assert!(chain(&vec![(0, Kept); count]).iter().all(|(_, put)| *put == 0), "nobody has the time");
        }
    }
}
