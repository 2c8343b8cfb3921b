//! When a crashed space may start again.

use std::{collections::VecDeque, time::Duration};
use zhost_base::{Instant, Rng};

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The gate: this many crashes within this time, and the space is held.
const CRASHES_MAX: usize = 5;
const CRASHES_WITHIN: Duration = Duration::from_secs(60);

/// What is to become of a crashed space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Start it again then.
    RestartAt(Instant),
    /// Leave it until the operator or a new version says otherwise.
    Hold,
}

/// The crashes of one space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supervision {
    crashes: VecDeque<Instant>,
}

impl Supervision {
    /// The space crashed now. The wait doubles with every recent crash, with up to a quarter of jitter on top.
    pub fn handle_crash(&mut self, now: Instant, rng: &mut Rng) -> Decision {
        self.crashes.retain(|at| now.since(*at) < CRASHES_WITHIN);
        self.crashes.push_back(now);
        if self.crashes.len() >= CRASHES_MAX {
            return Decision::Hold;
        }
        let backoff = (BACKOFF_MIN * 2_u32.pow(self.crashes.len() as u32 - 1)).min(BACKOFF_MAX);
        let jitter = Duration::from_micros(rng.below(backoff.as_micros() as u64 / 4 + 1));
        Decision::RestartAt(now + backoff + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_the_gate_closes() {
        let (mut supervision, mut rng) = (Supervision::default(), Rng::from_number(1));
        let mut now = Instant::ZERO;
        let mut last = Duration::ZERO;
        for crash in 1..CRASHES_MAX {
            let Decision::RestartAt(at) = supervision.handle_crash(now, &mut rng) else {
                panic!("held at crash {crash}")
            };
            assert!(at.since(now) > last);
            last = at.since(now);
            now = at;
        }
        assert_eq!(supervision.handle_crash(now, &mut rng), Decision::Hold);
    }

    #[test]
    fn rare_crashes_never_close_the_gate() {
        let (mut supervision, mut rng) = (Supervision::default(), Rng::from_number(1));
        for crash in 0..100 {
            let now = Instant::from_micros(crash * 20_000_000);
            assert!(matches!(supervision.handle_crash(now, &mut rng), Decision::RestartAt(_)));
        }
    }
}
