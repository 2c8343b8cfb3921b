//! What programs print: gathered into lines of the space's log.

use crate::context::Context;
use zhost_base::limits::LOG_LINE_SIZE_MAX_BYTES;
use zhost_exchange::LogLevel;

/// Lines that have begun, of standard output and of standard error.
#[derive(Debug, Default)]
pub(crate) struct Output([Vec<u8>; 2]);

const LEVELS: [LogLevel; 2] = [LogLevel::Info, LogLevel::Warn];

impl Context {
    /// A program printed; without `sys.log` nobody hears it.
    pub(crate) fn print(&mut self, stream: usize, text: &[u8]) {
        if !self.declares("sys.log") {
            return;
        }
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            let line = &mut self.output.0[stream];
            let room = LOG_LINE_SIZE_MAX_BYTES.saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end_line(stream);
            }
        }
    }

    fn end_line(&mut self, stream: usize) {
        let line = std::mem::take(&mut self.output.0[stream]);
        self.log(LEVELS[stream], line.trim_ascii_end());
    }

    /// What was printed last had no end of line, and nothing will follow.
    pub(crate) fn end_output(&mut self) {
        for stream in 0..LEVELS.len() {
            if !self.output.0[stream].is_empty() {
                self.end_line(stream);
            }
        }
    }
}
