//! The log: one line per event on standard error, with the time in UTC.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::{io::Write, time::SystemTime};

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
            let _ = writeln!(std::io::stderr(), "{} {:5} {}", time_of_day(unix.as_millis() as u64), record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Date and time of milliseconds since 1970, after Howard Hinnant's "chrono-compatible low-level date algorithms".
fn time_of_day(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::time_of_day;

    #[test]
    fn dates_are_right_across_leap_days() {
        assert_eq!(time_of_day(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time_of_day(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time_of_day(1_795_271_696_789), "2026-11-21T14:34:56.789Z");
    }
}
