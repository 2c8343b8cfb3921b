//! Time that stands still while the loop does not run.
//!
//! A zhost whose process was stopped, or starved of its processor, would otherwise find all its timeouts run out at
//! once and take everybody else for dead before it has read what they sent meanwhile.

use std::time::Duration;
use zhost_base::Instant;

/// A wake-up this much after it was due means that the loop did not run.
const LATE_MIN: Duration = Duration::from_millis(250);

/// Translates the shell's clock into the node's.
#[derive(Debug, Default)]
pub(crate) struct Steady {
    lost: Duration,
    /// The shell's clock at the last call.
    entered: Instant,
    /// When the node wanted to be woken, by the shell's clock.
    due: Option<Instant>,
}

impl Steady {
    /// The node's time at the shell's `now`, and whether the loop ran late.
    pub fn enter(&mut self, now: Instant) -> (Instant, bool) {
        let late = self.due.map_or(Duration::ZERO, |due| now.since(due));
        let is_late = late >= LATE_MIN;
        if is_late {
            self.lost += late;
            self.due = Some(now);
        }
        self.entered = now;
        (now - self.lost, is_late)
    }

    /// The node is to be woken at `due` by its own time; gives the shell's.
    pub fn leave(&mut self, due: Option<Instant>) {
        // What was due already when the loop ran is no sign that it did not run.
        self.due = due.map(|due| (due + self.lost).max(self.entered));
    }

    /// When the node wants to be woken, by the shell's clock.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The shell's clock at the node's `now`.
    pub fn shell_time(&self, now: Instant) -> Instant {
        now + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_does_not_count_and_small_delays_do() {
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let mut steady = Steady::default();
        assert_eq!(steady.enter(at(100)), (at(100), false));
        steady.leave(Some(at(150)));
        assert_eq!(steady.enter(at(200)), (at(200), false));
        steady.leave(Some(at(300)));
        // Stopped for four seconds.
        assert_eq!(steady.enter(at(4300)), (at(300), true));
        assert_eq!(steady.enter(at(4301)), (at(301), false));
        steady.leave(Some(at(400)));
        assert_eq!(steady.due(), Some(at(4400)));
        assert_eq!(steady.shell_time(at(400)), at(4400));
    }
}
