//! The twin of a GPIO line. A recording has a line of text for each change: the millisecond, the line's name, and its
//! level; it is played again and again. What an output was set to is what is read from it.

use crate::{
    Device,
    gpio::{line_command, line_reading},
    machine::{failed, recording},
};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};

/// The line.
pub struct ReplayLine {
    /// When it changes, and to what.
    changes: Vec<(u64, bool)>,
    /// How long the whole recording is.
    period_ms: u64,
    set: AtomicBool,
}

impl ReplayLine {
    /// The line of that name in a recording.
    pub fn open(file: &Path, name: &str) -> Result<Self, DeviceError> {
        let text = recording(file)?;
        let mut line = Self { changes: Vec::new(), period_ms: 1, set: AtomicBool::new(false) };
        for text in text.lines() {
            let words: Vec<&str> = text.split_whitespace().collect();
            let [at, changed, level] = words[..] else { return Err(failed(file, format!("{text:?}"))) };
            let at: u64 = at.parse().map_err(|_| failed(file, format!("{text:?}")))?;
            line.period_ms = line.period_ms.max(at.saturating_add(1));
            if changed == name {
                line.changes.push((at, line_command(level.as_bytes())?));
            }
        }
        Ok(line)
    }
}

impl Device for ReplayLine {
    fn read(&self, now: Instant) -> Result<Reading, DeviceError> {
        let (rounds, at) = (now.as_millis() / self.period_ms, now.as_millis() % self.period_ms);
        let past = self.changes.iter().take_while(|(changed, _)| *changed <= at);
        let last = past.clone().last().or(self.changes.last().filter(|_| rounds > 0));
        let edges = rounds * self.changes.len() as u64 + past.count() as u64;
        let level = last.map_or_else(|| self.set.load(Ordering::Relaxed), |(_, level)| *level);
        Ok(line_reading(level, edges))
    }

    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        self.set.store(line_command(command)?, Ordering::Relaxed);
        Ok(Vec::new())
    }
}
