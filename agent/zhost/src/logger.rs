//! The log: one line per event on standard error, with the time in UTC.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::{io::Write, time::SystemTime};
use zhost_base::time::Utc;

struct Logger;

static LOGGER: Logger = Logger;

/// Starts logging at this level.
pub fn start(level: LevelFilter) {
    // Fails only when a logger is set already, and nobody else sets one.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("zhost") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            // A log that cannot be written must not stop the agent.
            let _ = writeln!(
                std::io::stderr(),
                "{} {:5} {}",
                Utc(unix.as_millis() as u64),
                record.level(),
                record.args()
            );
        }
    }

    fn flush(&self) {}
}
