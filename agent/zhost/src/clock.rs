//! The only clock of the agent.

use std::time::{Duration, SystemTime};
use zhost_base::{Instant, limits::UNIX_EARLIEST_MS};

/// Monotonic time since the agent started.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Milliseconds since 1970 at the start, by the wall clock as it is now: it may be set meanwhile. 0 while it is not.
    pub fn unix_origin_ms(&self) -> u64 {
        let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        match unix.as_millis() as u64 {
            UNIX_EARLIEST_MS.. => unix.saturating_sub(self.0.elapsed()).as_millis() as u64,
            _ => 0,
        }
    }

    /// Now, as the core counts.
    pub fn now(&self) -> Instant {
        Instant::from_micros(self.0.elapsed().as_micros() as u64)
    }

    /// When `instant` is, as the operating system counts.
    pub fn system(&self, instant: Instant) -> std::time::Instant {
        self.0 + Duration::from_micros(instant.as_micros())
    }
}
