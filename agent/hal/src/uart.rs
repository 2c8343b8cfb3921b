//! Serial lines, raw: a command writes its bytes, and an empty one writes none; the answer is what has come meanwhile.

use crate::{
    Device,
    machine::{failed, unopened},
};
use rustix::{
    fs::OFlags,
    io::Errno,
    termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr},
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use zhost_base::Instant;
use zhost_exchange::DeviceError;

/// Bytes given out at once; more wait for the next command.
const ANSWER_MAX_BYTES: usize = 4096;

/// Opens a serial line at this speed, raw: reads and writes never wait, and what comes is not looked at.
pub fn open(file: &Path, baud: u32) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(file)?;
    let mut settings = tcgetattr(&opened)?;
    settings.make_raw();
    // Nobody minds the wires of a modem.
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.set_speed(baud)?;
    tcsetattr(&opened, OptionalActions::Now, &settings)?;
    Ok(opened)
}

/// A serial line, opened when it is first used.
pub struct Uart {
    file: PathBuf,
    baud: u32,
    opened: Mutex<Option<File>>,
}

impl Uart {
    /// The line behind this file, at that speed.
    pub fn new(file: &Path, baud: u32) -> Self {
        Self { file: file.to_owned(), baud, opened: Mutex::new(None) }
    }

    fn exchange(&self, file: &File, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        if !command.is_empty() {
            let written = rustix::io::write(file, command).map_err(|e| failed(&self.file, e))?;
            if written < command.len() {
                return Err(failed(&self.file, format!("took {written} of {} bytes", command.len())));
            }
        }
        let mut answer = vec![0; ANSWER_MAX_BYTES];
        let size = match rustix::io::read(file, &mut answer) {
            Ok(size) => size,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(failed(&self.file, error)),
        };
        answer.truncate(size);
        Ok(answer)
    }
}

impl Device for Uart {
    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            *opened = Some(open(&self.file, self.baud).map_err(|e| unopened(&self.file, &e))?);
        }
        let file = opened.as_ref().ok_or(DeviceError::Missing)?;
        let answer = self.exchange(file, command);
        if answer.is_err() {
            // A cable that was pulled: opened anew next time.
            *opened = None;
        }
        answer
    }
}
