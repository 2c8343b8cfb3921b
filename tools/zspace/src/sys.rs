//! Time, logging, randomness.

use crate::{Refusal, imports, outcome};

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the author.
    Debug = 0,
    /// For the operator, nothing wrong.
    Info = 1,
    /// Something is odd.
    Warn = 2,
    /// Something failed.
    Error = 3,
}

/// Writes a line to the space's log. Needs `sys.log`.
pub fn log(level: Level, text: &str) {
    imports::log(level as i32, text.as_ptr(), text.len());
}

/// Milliseconds since 1970, if the zhost's clock is set.
pub fn time_ms() -> Option<u64> {
    u64::try_from(imports::time_ms()).ok().filter(|ms| *ms > 0)
}

/// Monotonic microseconds.
pub fn now_us() -> u64 {
    imports::now_us() as u64
}

/// After this call of `process`, calls it again no sooner than this, unless a message comes.
pub fn sleep_ms(ms: u32) {
    imports::sleep(ms);
}

/// Gives the other spaces a turn now.
pub fn yield_now() {
    imports::yield_now();
}

/// Sends a message to oneself.
pub fn self_emit(data: &[u8]) -> Result<(), Refusal> {
    outcome(imports::self_emit(data.as_ptr(), data.len())).map(drop)
}

/// Fills a buffer with randomness.
pub fn random(buffer: &mut [u8]) {
    imports::random(buffer.as_mut_ptr(), buffer.len());
}

/// Waits, after this call of `process`, until something comes.
pub fn sleep_until_called() {
    imports::sleep(u32::MAX);
}

fn read(result: i32, buffer: &[u8]) -> Result<&[u8], Refusal> {
    buffer.get(..outcome(result)?).ok_or(Refusal::Failed)
}

/// The value of a key of `config:` in `topology.yaml`.
pub fn config<'a>(key: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let result = imports::config(key.as_ptr(), key.len(), buffer.as_mut_ptr(), buffer.len());
    read(result, buffer)
}

/// A secret that the zhost keeps. Needs `secrets.<name>`.
pub fn secret<'a>(name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let result = imports::secret(name.as_ptr(), name.len(), buffer.as_mut_ptr(), buffer.len());
    read(result, buffer)
}

/// What the space that spawned this one said.
pub fn argument(buffer: &mut [u8]) -> Result<&[u8], Refusal> {
    let result = imports::argument(buffer.as_mut_ptr(), buffer.len());
    read(result, buffer)
}

/// Tells the operator how one is: well or not, how busy in percent, and in one's own words.
pub fn report(healthy: bool, saturation_percent: u8, text: &str) {
    imports::report(i32::from(healthy), u32::from(saturation_percent), text.as_ptr(), text.len());
}
