//! Sensors that take their time: a thread reads them, and whoever asks gets the reading made last.

use crate::Device;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use zhost_base::Instant;
use zhost_runtime::{DeviceError, Reading};

/// A reading that is older is made anew when it is asked for.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// One that is older still is not given out any more.
const STALE_AFTER: Duration = Duration::from_secs(5);

type Read = dyn Fn() -> Result<Reading, DeviceError> + Send + Sync;

#[derive(Default)]
struct State {
    /// The last reading, and when it was asked for.
    last: Option<(Instant, Result<Reading, DeviceError>)>,
    asked_at: Option<Instant>,
    is_reading: bool,
}

/// A sensor that is read in the background.
pub struct Background {
    read: Arc<Read>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Background {
    /// A sensor that `read` reads, however long it takes.
    pub fn new(read: impl Fn() -> Result<Reading, DeviceError> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), state: Arc::default() }
    }
}

impl Device for Background {
    /// The last reading; [`DeviceError::NotYet`] until there is one of late.
    fn read(&self, now: Instant) -> Result<Reading, DeviceError> {
        let mut state = lock(&self.state);
        let is_fresh = state.asked_at.is_some_and(|at| now.since(at) < FRESH_FOR);
        if !is_fresh && !state.is_reading {
            let (read, shared) = (self.read.clone(), self.state.clone());
            let task = move || {
                let reading = read();
                let mut state = lock(&shared);
                state.last = Some((now, reading));
                state.is_reading = false;
            };
            state.asked_at = Some(now);
            state.is_reading = thread::Builder::new().name("sensor".into()).spawn(task).is_ok();
        }
        let last = state.last.clone().filter(|(asked_at, _)| now.since(*asked_at) < STALE_AFTER);
        last.map_or(Err(DeviceError::NotYet), |(_, reading)| reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn nobody_waits_for_a_slow_sensor() {
        let (release, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let sensor = Background::new(move || gate.lock().unwrap().recv().map_err(|_| DeviceError::Missing));
        assert_eq!(sensor.read(Instant::ZERO), Err(DeviceError::NotYet));
        release.send(Reading::Bytes(vec![7])).unwrap();
        // The thread is told, and has to take its turn.
        while sensor.read(Instant::ZERO) == Err(DeviceError::NotYet) {
            thread::yield_now();
        }
        assert_eq!(sensor.read(Instant::ZERO), Ok(Reading::Bytes(vec![7])));
        // One that is made anew leaves the old one until it is there.
        let later = Instant::ZERO + FRESH_FOR;
        assert_eq!(sensor.read(later), Ok(Reading::Bytes(vec![7])));
        assert_eq!(sensor.read(Instant::ZERO + STALE_AFTER), Err(DeviceError::NotYet), "an old one is none");
    }
}
