//! Sensors that take their time: a thread reads them, and whoever asks gets the reading made last.

use crate::Device;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};
use zhost_threads::{Care, Run, Standing, Thread};

/// A reading that is older is made anew when it is asked for.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// One that is older still is not given out any more.
const STALE_AFTER: Duration = Duration::from_secs(5);
/// A reading that takes longer hangs, and is tried anew.
const READ_WITHIN: Duration = Duration::from_secs(10);

type Read = dyn Fn() -> Result<Reading, DeviceError> + Send + Sync;

#[derive(Default)]
struct State {
    /// The last reading, and when it was asked for.
    last: Option<(Instant, Result<Reading, DeviceError>)>,
    asked_at: Option<Instant>,
}

/// A sensor that is read in the background.
pub struct Background {
    read: Arc<Read>,
    thread: Arc<Thread>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Background {
    /// A sensor of this name that `read` reads, however long it takes.
    pub fn new(name: &str, read: impl Fn() -> Result<Reading, DeviceError> + Send + Sync + 'static) -> Self {
        let thread = Thread::new(name, Care::replaceable(READ_WITHIN));
        Self { read: Arc::new(read), thread, state: Arc::default() }
    }

    /// Makes a reading that counts as of now.
    fn start(&self, now: Instant) -> Standing {
        let (read, shared) = (self.read.clone(), self.state.clone());
        let task = move |thread: &Run| {
            let reading = read();
            if thread.goes_on() {
                lock(&shared).last = Some((now, reading));
            }
            Ok(())
        };
        match self.thread.start(task) {
            Ok(()) => Standing::Busy,
            Err(error) => Standing::Failed(error.to_string()),
        }
    }
}

impl Device for Background {
    /// The last reading; [`DeviceError::NotYet`] until there is one of late.
    fn read(&self, now: Instant) -> Result<Reading, DeviceError> {
        let mut standing = self.thread.look(now);
        let is_fresh = lock(&self.state).asked_at.is_some_and(|at| now.since(at) < FRESH_FOR);
        if !is_fresh && standing == Standing::Idle {
            lock(&self.state).asked_at = Some(now);
            standing = self.start(now);
        }
        let last = lock(&self.state).last.clone();
        match (last.filter(|(asked_at, _)| now.since(*asked_at) < STALE_AFTER), standing) {
            (Some((_, reading)), _) => reading,
            (None, Standing::Failed(error)) => Err(DeviceError::Failed(error)),
            (None, _) => Err(DeviceError::NotYet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::{
            atomic::{AtomicU32, Ordering},
            mpsc,
        },
        thread,
    };

    /// Reads until something else than "not yet" comes: the thread has to take its turn.
    fn read(sensor: &Background, now: Instant) -> Result<Reading, DeviceError> {
        loop {
            match sensor.read(now) {
                Err(DeviceError::NotYet) => thread::yield_now(),
                other => return other,
            }
        }
    }

    #[test]
    fn nobody_waits_for_a_slow_sensor() {
        let (release, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let sensor =
            Background::new("slow", move || gate.lock().unwrap().recv().map_err(|_| DeviceError::Missing));
        assert_eq!(sensor.read(Instant::ZERO), Err(DeviceError::NotYet));
        release.send(Reading::Bytes(vec![7])).unwrap();
        assert_eq!(read(&sensor, Instant::ZERO), Ok(Reading::Bytes(vec![7])));
        // One that is made anew leaves the old one until it is there.
        let later = Instant::ZERO + FRESH_FOR;
        assert_eq!(sensor.read(later), Ok(Reading::Bytes(vec![7])));
        assert_eq!(sensor.read(Instant::ZERO + STALE_AFTER), Err(DeviceError::NotYet), "an old one is none");
    }

    #[test]
    fn a_driver_that_panics_is_an_error_and_is_asked_again() {
        let asked = AtomicU32::new(0);
        let sensor = Background::new("panicking", move || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("planted"),
            _ => Ok(Reading::Bytes(vec![7])),
        });
        let error = DeviceError::Failed("it panicked: planted".into());
        assert_eq!(read(&sensor, Instant::ZERO), Err(error));
        assert_eq!(read(&sensor, Instant::ZERO + FRESH_FOR), Ok(Reading::Bytes(vec![7])));
    }

    #[test]
    fn a_driver_that_hangs_is_an_error_and_is_asked_again() {
        let (release, gate) = mpsc::channel::<()>();
        let (hang, hanging) = mpsc::channel();
        let (asked, gate) = (AtomicU32::new(0), Mutex::new(gate));
        let sensor = Background::new("hanging", move || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => {
                // It comes back when somebody else was asked long ago.
                hang.send(()).unwrap();
                let _ = gate.lock().unwrap().recv();
                Ok(Reading::Bytes(vec![0]))
            }
            _ => Ok(Reading::Bytes(vec![7])),
        });
        // It is watched from the first look after it began.
        (0..2).for_each(|_| assert_eq!(sensor.read(Instant::ZERO), Err(DeviceError::NotYet)));
        hanging.recv().unwrap();
        let late = Instant::ZERO + READ_WITHIN;
        let error = DeviceError::Failed("it has not moved for 10 s".into());
        assert_eq!(sensor.read(late), Err(error));
        assert_eq!(read(&sensor, late + FRESH_FOR), Ok(Reading::Bytes(vec![7])));
        drop(release);
        while !sensor.thread.is_whole() {
            thread::yield_now();
        }
        assert_eq!(
            sensor.read(late + FRESH_FOR),
            Ok(Reading::Bytes(vec![7])),
            "what comes late is not given out"
        );
    }
}
