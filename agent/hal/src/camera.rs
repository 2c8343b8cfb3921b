//! A camera: pictures are taken by a thread that runs as long as somebody looks, whatever they are taken from.

use crate::Device;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Frame, Reading};
use zhost_threads::{Care, Run, Thread};

/// A camera that nobody has read for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// A driver that neither gives a picture nor fails for so long hangs, and is opened anew.
const FROZEN_AFTER: Duration = Duration::from_secs(20);

/// Where pictures come from.
pub(crate) trait Pictures {
    /// Waits for the next one; its number does not matter.
    fn next(&mut self) -> Result<Frame, DeviceError>;
}

type Open = dyn Fn() -> Result<Box<dyn Pictures>, DeviceError> + Send + Sync;

/// A camera.
pub(crate) struct Camera {
    open: Arc<Open>,
    thread: Arc<Thread>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    latest: Option<Frame>,
    failure: Option<DeviceError>,
    /// When somebody last asked.
    asked_at: Option<Instant>,
    /// Pictures of earlier runs: numbers go on.
    pictures: u64,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Camera {
    /// A camera that is opened when somebody looks.
    pub fn new(
        name: &str,
        open: impl Fn() -> Result<Box<dyn Pictures>, DeviceError> + Send + Sync + 'static,
    ) -> Self {
        let thread = Thread::new(name, Care::replaceable(FROZEN_AFTER));
        Self { open: Arc::new(open), thread, shared: Arc::default() }
    }
}

/// Takes pictures for as long as somebody looks.
fn run(open: &Open, shared: &Mutex<Shared>, thread: &Run) -> Result<(), DeviceError> {
    let mut pictures = open()?;
    // Looked at by wall time: no reading, no clock of the core's.
    let mut asked = (lock(shared).asked_at, std::time::Instant::now());
    loop {
        let frame = pictures.next()?;
        let mut shared = lock(shared);
        // Another may have taken over while the driver hung.
        if !thread.goes_on() {
            return Ok(());
        }
        shared.pictures += 1;
        shared.latest = Some(Frame { sequence: shared.pictures, ..frame });
        if shared.asked_at != asked.0 {
            asked = (shared.asked_at, std::time::Instant::now());
        } else if asked.1.elapsed() > IDLE_MAX {
            shared.latest = None;
            return Ok(());
        }
    }
}

impl Device for Camera {
    /// The latest picture; [`DeviceError::NotYet`] until there is one.
    fn read(&self, now: Instant) -> Result<Reading, DeviceError> {
        lock(&self.shared).asked_at = Some(now);
        let body = || {
            let (open, shared) = (self.open.clone(), self.shared.clone());
            let before = &mut *lock(&self.shared);
            (before.latest, before.failure) = (None, None);
            move |thread: &Run| {
                run(open.as_ref(), &shared, thread).map_err(|error| {
                    lock(&shared).failure = Some(error.clone());
                    error.to_string()
                })
            }
        };
        let outcome = self.thread.look_and_start(now, body);
        let mut shared = lock(&self.shared);
        match outcome {
            Ok(()) => shared.latest.clone().map(Reading::Frame).ok_or(DeviceError::NotYet),
            Err(error) => {
                shared.latest = None;
                Err(shared.failure.clone().unwrap_or(DeviceError::Failed(error)))
            }
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

    /// Pictures of a driver that is told what to do at each.
    struct Driver(mpsc::Receiver<What>);

    enum What {
        Give(u8),
        Panic,
    }

    impl Pictures for Driver {
        fn next(&mut self) -> Result<Frame, DeviceError> {
            match self.0.recv().map_err(|_| DeviceError::Missing)? {
                What::Give(pixel) => {
                    let pixels = Arc::new([pixel]);
                    Ok(Frame { sequence: 0, width: 1, height: 1, fourcc: *b"GREY", pixels })
                }
                What::Panic => panic!("planted"),
            }
        }
    }

    /// A camera whose drivers, one for each time that it is opened, are told what to do.
    fn camera(name: &str) -> (Camera, Vec<mpsc::Sender<What>>) {
        let (tell, told): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel()).unzip();
        let told = Mutex::new(told);
        let open = move || {
            let driver = Driver(told.lock().unwrap().remove(0));
            Ok(Box::new(driver) as Box<dyn Pictures>)
        };
        (Camera::new(name, open), tell)
    }

    /// Reads until something else than "not yet" comes: the thread has to take its turn.
    fn read(camera: &Camera, now: Instant) -> Result<(u64, u8), DeviceError> {
        loop {
            match camera.read(now) {
                Err(DeviceError::NotYet) => thread::yield_now(),
                Ok(Reading::Frame(frame)) => return Ok((frame.sequence, frame.pixels[0])),
                Ok(other) => panic!("{other:?}"),
                Err(error) => return Err(error),
            }
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_panic_of_the_driver_leaves_no_frozen_picture_and_the_camera_begins_anew() {
        let (camera, tell) = camera("panicking camera");
        tell[0].send(What::Give(7)).unwrap();
        assert_eq!(read(&camera, at(1)), Ok((1, 7)));
        tell[0].send(What::Panic).unwrap();
        while camera.read(at(1)).is_ok() {
            thread::yield_now();
        }
        assert_eq!(read(&camera, at(1)), Err(DeviceError::Failed("it panicked: planted".into())));
        tell[1].send(What::Give(8)).unwrap();
        assert_eq!(read(&camera, at(3)), Ok((2, 8)));
    }

    #[test]
    fn a_driver_that_hangs_leaves_no_frozen_picture_and_what_it_gives_late_is_not_shown() {
        let (camera, tell) = camera("hanging camera");
        tell[0].send(What::Give(7)).unwrap();
        assert_eq!(read(&camera, at(0)), Ok((1, 7)));
        let seen = AtomicU32::new(0);
        for seconds in 1..20 {
            seen.fetch_add(u32::from(camera.read(at(seconds)).is_ok()), Ordering::Relaxed);
        }
        assert!(seen.load(Ordering::Relaxed) > 0);
        let hung = DeviceError::Failed("it has not moved for 20 s".into());
        assert_eq!(camera.read(at(21)), Err(hung));
        tell[1].send(What::Give(8)).unwrap();
        assert_eq!(read(&camera, at(23)), Ok((2, 8)));
        tell[0].send(What::Give(9)).unwrap();
        tell[1].send(What::Give(10)).unwrap();
        loop {
            match read(&camera, at(24)).unwrap() {
                (_, 8) => thread::yield_now(),
                other => break assert_eq!(other, (3, 10)),
            }
        }
    }

    #[test]
    fn what_is_gone_is_missing_and_not_tried_again_at_once() {
        let (camera, mut tell) = camera("missing camera");
        tell.remove(0);
        assert_eq!(read(&camera, at(0)), Err(DeviceError::Missing));
        tell[0].send(What::Give(8)).unwrap();
        assert_eq!(camera.read(at(0)), Err(DeviceError::Missing));
        assert_eq!(read(&camera, at(1)), Ok((1, 8)));
    }
}
