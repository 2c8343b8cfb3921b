//! The hardware watchdog: resets the board unless it is fed (kernel: Documentation/watchdog/watchdog-api.rst).

use crate::machine::{failed, unopened};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};
use zhost_exchange::DeviceError;

/// An armed watchdog. Dropped without [`Self::disarm`], it bites.
pub struct Watchdog {
    path: PathBuf,
    file: File,
}

impl Watchdog {
    /// Arms the watchdog.
    pub fn arm(path: &Path) -> Result<Self, DeviceError> {
        let file = OpenOptions::new().write(true).open(path).map_err(|e| unopened(path, &e))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Feeds it.
    pub fn feed(&mut self) -> Result<(), DeviceError> {
        self.file.write_all(b"1").map_err(|e| failed(&self.path, e))
    }

    /// Calls it off, if its driver allows that.
    pub fn disarm(mut self) -> Result<(), DeviceError> {
        self.file.write_all(b"V").map_err(|e| failed(&self.path, e))
    }
}
