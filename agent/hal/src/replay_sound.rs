//! The twins of microphones and loudspeakers. A microphone's recording is what it hears, again and again: samples of 16
//! bits, little-endian, one channel, [`RATE_HZ`]. A loudspeaker takes what it is given, and nobody hears it.

use crate::{
    Device, Found,
    machine::failed,
    sound::{PORTION_MAX_BYTES, RATE_HZ},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};

/// Size of a recording; a larger one is refused.
const RECORDING_MAX_BYTES: u64 = 4 * 1024 * 1024;

struct Microphone {
    recording: Vec<u8>,
    /// Until when it was heard, and up to where in the recording.
    heard: Mutex<(Option<Instant>, usize)>,
}

impl Microphone {
    fn open(file: &Path) -> Result<Self, DeviceError> {
        let size = fs::metadata(file).map_err(|e| failed(file, e))?.len();
        if !(2..=RECORDING_MAX_BYTES).contains(&size) || size % 2 != 0 {
            return Err(failed(
                file,
                format!("a recording has 2 to {RECORDING_MAX_BYTES} bytes, two a sample"),
            ));
        }
        Ok(Self { recording: fs::read(file).map_err(|e| failed(file, e))?, heard: Mutex::default() })
    }
}

impl Device for Microphone {
    /// What there was to hear since the last time, at most a portion of it.
    fn read(&self, now: Instant) -> Result<Reading, DeviceError> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, at) = (*heard.0.get_or_insert(now), heard.1);
        let micros = u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX);
        let samples = micros.saturating_mul(u64::from(RATE_HZ)) / 1_000_000;
        let bytes = usize::try_from(samples)
            .map_or(PORTION_MAX_BYTES, |n| n.saturating_mul(2).min(PORTION_MAX_BYTES));
        if bytes == 0 {
            return Err(DeviceError::NotYet);
        }
        *heard = (Some(now), (at + bytes) % self.recording.len());
        Ok(Reading::Bytes(self.recording.iter().cycle().skip(at).take(bytes).copied().collect()))
    }
}

struct Speaker;

impl Device for Speaker {
    fn command(&self, _: Instant, _: &[u8]) -> Result<Vec<u8>, DeviceError> {
        Ok(Vec::new())
    }
}

/// The twin that plays this file.
pub(crate) fn find(capability: &str, file: PathBuf, hears: bool) -> Found {
    Found::new(capability.into(), file.clone(), move || {
        Ok(Some(if hears {
            Arc::new(Microphone::open(&file)?)
        } else {
            Arc::new(Speaker) as Arc<dyn Device>
        }))
    })
}
