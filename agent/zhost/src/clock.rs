//! The only clock of the agent.

use std::time::{Duration, SystemTime};
use zhost_base::Instant;

/// Monotonic time since the agent started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
    /// Wall clock at the start, milliseconds since 1970.
    pub unix_origin_ms: u64,
}

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { start: std::time::Instant::now(), unix_origin_ms: unix.as_millis() as u64 }
    }

    /// What the wall clock shows now, less the time since the start: it changes when the wall clock is set.
    pub fn unix_origin_now_ms(&self) -> u64 {
        let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        unix.saturating_sub(self.start.elapsed()).as_millis() as u64
    }

    /// Now, as the core counts.
    pub fn now(&self) -> Instant {
        Instant::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// When `instant` is, as the operating system counts.
    pub fn system(&self, instant: Instant) -> std::time::Instant {
        self.start + Duration::from_micros(instant.as_micros())
    }
}
