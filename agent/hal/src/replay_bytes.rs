//! The twin of an SPI device or a serial line: whatever it is told, it answers with the recording's next bytes, as many
//! as it was told, and begins anew at the end.

use crate::{Device, machine::failed};
use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};
use zhost_base::Instant;
use zhost_exchange::DeviceError;

/// Size of a recording; a larger one is refused.
const RECORDING_MAX_BYTES: u64 = 1024 * 1024;

/// The device.
pub struct ReplayBytes {
    recording: Vec<u8>,
    at: Mutex<usize>,
}

impl ReplayBytes {
    /// Opens a recording.
    pub fn open(file: &Path) -> Result<Self, DeviceError> {
        let size = fs::metadata(file).map_err(|e| failed(file, e))?.len();
        if !(1..=RECORDING_MAX_BYTES).contains(&size) {
            return Err(failed(file, format!("a recording has 1 to {RECORDING_MAX_BYTES} bytes")));
        }
        Ok(Self { recording: fs::read(file).map_err(|e| failed(file, e))?, at: Mutex::new(0) })
    }
}

impl Device for ReplayBytes {
    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.recording.iter().cycle().skip(*at).take(command.len()).copied().collect();
        *at = (*at + command.len()) % self.recording.len();
        Ok(answer)
    }
}
