//! The log: one line per event on standard error, with the time in UTC.
//!
//! Whoever reads it may be slow, or not read at all. Lines wait in a queue for a thread that writes them; what the queue
//! does not hold is dropped and counted, and nothing in the agent ever waits for a reader.

use crate::kinds::Kinds;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::{
    io::Write,
    panic::PanicHookInfo,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use zhost_base::time::Utc;
use zhost_threads::{Care, Run};

/// Lines that wait to be written; further ones are dropped, and counted.
const LINES_MAX: usize = 256;
/// Size of a line; the rest is cut.
const LINE_SIZE_MAX_BYTES: usize = 1024;
/// A write that takes longer is shown in `zctl status`.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long the end of the process waits for its last lines to be read.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// Lines on their way to a reader.
struct Queue {
    lines: SyncSender<String>,
    waiting: Arc<Mutex<Receiver<String>>>,
    /// Lines that are not written yet.
    pending: AtomicUsize,
    lost: AtomicUsize,
}

impl Queue {
    fn new() -> Self {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        Self { lines, waiting, pending: AtomicUsize::new(0), lost: AtomicUsize::new(0) }
    }

    fn put(&self, line: String) {
        self.pending.fetch_add(1, Ordering::AcqRel);
        if self.lines.try_send(line).is_err() {
            self.pending.fetch_sub(1, Ordering::AcqRel);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what comes, however long each line takes, until nobody sends any more.
    fn write_to(&self, out: &mut dyn Write, run: &Run) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while run.rests()
            && let Ok(line) = waiting.recv()
        {
            run.goes_on();
            // A log that cannot be written must not stop the agent.
            let _ = out.write_all(line.as_bytes());
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let _ = out.write_all(line_of(Level::Warn, &lost_text(lost)).as_bytes());
            }
            self.pending.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits until everything is written, but not for a reader who does not read.
    fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.pending.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(FLUSH_LOOK);
        }
    }
}

fn lost_text(lost: usize) -> String {
    format!("{lost} lines lost: they were not read in time")
}

/// One line, whatever is in the text.
fn line_of(level: Level, text: &str) -> String {
    let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut line = format!("{} {level:5} {text}", Utc(unix.as_millis() as u64));
    if line.len() >= LINE_SIZE_MAX_BYTES {
        line.truncate(line.floor_char_boundary(LINE_SIZE_MAX_BYTES - 1));
    }
    if line.contains(char::is_control) {
        line = line.replace(char::is_control, " ");
    }
    line.push('\n');
    line
}

struct Logger {
    queue: Queue,
    kinds: Mutex<Kinds>,
    since: Instant,
}

static LOGGER: std::sync::OnceLock<Logger> = std::sync::OnceLock::new();

/// Starts logging at this level; called again, sets the level.
pub fn start(level: LevelFilter) {
    log::set_max_level(level);
    if LOGGER.get().is_some() {
        return;
    }
    let logger =
        LOGGER.get_or_init(|| Logger { queue: Queue::new(), kinds: Mutex::default(), since: Instant::now() });
    // Fails only when a logger is set already, and nobody else sets one.
    let _ = log::set_logger(logger);
    // The default hook would wait for the reader, in whichever thread panics.
    std::panic::set_hook(Box::new(note_panic));
    let write = move |run: &Run| {
        logger.queue.write_to(&mut std::io::stderr(), run);
        Ok(())
    };
    if let Err(error) = zhost_threads::keep("log", Care::irreplaceable(WRITE_WITHIN), write) {
        eprintln!("zhost: no thread writes the log: {error}");
    }
}

/// Says why the agent ends; on standard error itself while there is no log.
pub fn complain(text: &str) {
    match LOGGER.get() {
        Some(_) => log::error!("{text}"),
        None => eprintln!("zhost: {text}"),
    }
}

/// Gives the reader a moment to read what is left: before the process ends, or becomes another.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.queue.flush(FLUSH_WITHIN);
    }
}

fn note_panic(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    log::error!("thread '{}' {info}", current.name().unwrap_or("?"));
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("zhost") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, text) = (record.level(), record.args().to_string());
        // Developers want all of it, and what spaces say (`[name] …`) is counted by the runtime.
        let is_counted = level <= Level::Info && !text.starts_with('[');
        // Who finds it taken does not wait: it may be this very thread, in a panic.
        if is_counted && let Ok(mut kinds) = self.kinds.try_lock() {
            let now = zhost_base::Instant::from_micros(self.since.elapsed().as_micros() as u64);
            let (is_shown, reports) = kinds.admit(now, &text);
            drop(kinds);
            reports.iter().for_each(|report| self.queue.put(line_of(Level::Warn, report)));
            if !is_shown {
                return;
            }
        }
        self.queue.put(line_of(level, &text));
    }

    fn flush(&self) {
        self.queue.flush(FLUSH_WITHIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use zhost_threads::Thread;

    /// A reader that reads when it is told to, and passes on what it has read.
    struct Reader {
        gate: mpsc::Receiver<()>,
        read: mpsc::Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.gate.recv();
            let _ = self.read.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_that_are_counted_and_nobody_waits_for_him() {
        let queue = Arc::new(Queue::new());
        let (open, gate) = mpsc::channel();
        let (read, lines) = mpsc::channel();
        let written = queue.clone();
        let thread = Thread::new("log", Care::irreplaceable(WRITE_WITHIN));
        let write = move |run: &Run| {
            written.write_to(&mut Reader { gate, read }, run);
            Ok(())
        };
        thread.start(write).unwrap();
        let all = 3 * LINES_MAX;
        (0..all).for_each(|number| queue.put(format!("line {number}")));
        queue.flush(Duration::from_millis(1));
        assert!(queue.pending.load(Ordering::Acquire) > 0, "the end of the process does not wait, either");
        // From now on he reads all.
        drop(open);
        let mut read = Vec::new();
        let lost = loop {
            let line = lines.recv_timeout(Duration::from_secs(10)).expect("what was kept is written");
            match line.split_once(" lines lost") {
                Some((before, _)) => {
                    break before.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
                }
                None => read.push(line),
            }
        };
        let rest = all - lost - read.len();
        read.extend((0..rest).map(|_| lines.recv_timeout(Duration::from_secs(10)).unwrap()));
        assert_eq!(read[0], "line 0");
        assert!((LINES_MAX..=LINES_MAX + 1).contains(&read.len()), "{} were kept", read.len());
        queue.flush(Duration::from_secs(10));
        assert_eq!(queue.pending.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_line_is_one_line_and_has_a_limit() {
        let line = line_of(Level::Info, &format!("a\nb\u{1b}[31m{}", "ü".repeat(LINE_SIZE_MAX_BYTES)));
        assert!(line.len() <= LINE_SIZE_MAX_BYTES && line.ends_with('\n'), "{} bytes", line.len());
        assert!(line.contains("INFO  a b [31mü"), "{line}");
        assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1);
    }
}
