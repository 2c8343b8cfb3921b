//! Threads beside the loop: what panics or hangs in one costs what it does, for a while, and is seen.
//!
//! A [`Thread`] runs one body at a time and is looked at by whoever misses what it does. [`keep`] is for threads that are
//! always there, [`once`] for those that do one thing; the loop looks after both ([`look_after`]). What failed runs again
//! after a wait that doubles; a run that hangs cannot be ended, but it is given up, and another takes its place.

mod concern;

pub use concern::{Concern, concerns, note_failure, note_well};

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use zhost_base::{Instant, panic_text};

/// First wait before what failed runs again; doubles with every failure in a row.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait. What ran for longer than this has not failed in a row.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Size of a stack, unless one is asked for.
const STACK_SIZE_BYTES: usize = 2 * 1024 * 1024;
/// Threads of one name that hang and were given up; with so many, no further one is started.
pub const STUCK_MAX: usize = 3;
/// Looks further apart than this mean that the whole process stood still: that nothing moved tells nothing.
const LOOKS_APART_MAX: Duration = Duration::from_secs(10);

type Body = dyn Fn(&Run) -> Result<(), String> + Send + Sync;
type Lost = dyn FnMut(&str) -> bool + Send;

/// What becomes of a run that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// It is given up.
    GiveUp,
    /// It holds what no other can have: it is shown, and waited for.
    Show,
}

/// How a thread is looked after.
#[derive(Clone, Copy, Debug)]
pub struct Care {
    /// A run that shows no sign of life for so long hangs.
    pub patience: Duration,
    /// What becomes of it then.
    pub on_hang: Hang,
    /// Size of its stack.
    pub stack_size_bytes: usize,
}

impl Care {
    /// For a thread whose runs can be given up.
    pub const fn replaceable(patience: Duration) -> Self {
        Self { patience, on_hang: Hang::GiveUp, stack_size_bytes: STACK_SIZE_BYTES }
    }

    /// For a thread whose place no other can take.
    pub const fn irreplaceable(patience: Duration) -> Self {
        Self { on_hang: Hang::Show, ..Self::replaceable(patience) }
    }
}

/// A thread that may be replaced by another.
pub struct Thread {
    name: String,
    care: Care,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the runs; those with a lower number were given up.
    run: u64,
    is_busy: bool,
    /// The run waits for work: that it does not move says nothing.
    is_resting: bool,
    has_moved: bool,
    moved_at: Option<Instant>,
    began_at: Option<Instant>,
    outcome: Option<Result<(), String>>,
    /// The last run ended well.
    is_done: bool,
    /// Runs that were given up and have not come back.
    stuck: usize,
    failures: u32,
    error: String,
    retry_at: Option<Instant>,
}

/// How a thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its body runs.
    Busy,
    /// Its body may run.
    Idle,
    /// Its body failed for this reason, and is not to run again yet.
    Failed(String),
}

/// What a body knows of its own run.
pub struct Run {
    thread: Arc<Thread>,
    number: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long to wait after so many failures in a row.
pub fn backoff(failures: u32) -> Duration {
    (BACKOFF_MIN * 2_u32.pow(failures.saturating_sub(1).min(6))).min(BACKOFF_MAX)
}

impl Run {
    /// A sign of life. No: another run has taken this one's place, which is to end.
    pub fn goes_on(&self) -> bool {
        self.sign(false)
    }

    /// Waits for work from now on, until the next sign of life; whatever that takes, it does not hang.
    pub fn rests(&self) -> bool {
        self.sign(true)
    }

    fn sign(&self, is_resting: bool) -> bool {
        let mut state = lock(&self.thread.state);
        let is_current = state.run == self.number;
        if is_current {
            state.is_resting = is_resting;
            state.has_moved = true;
        }
        is_current
    }

    fn end(self, outcome: Result<(), String>) {
        let mut state = lock(&self.thread.state);
        match state.run == self.number {
            true => state.outcome = Some(outcome),
            false => state.stuck -= 1,
        }
    }
}

impl Thread {
    /// A thread of this name.
    pub fn new(name: &str, care: Care) -> Arc<Self> {
        Arc::new(Self { name: name.into(), care, state: Mutex::default() })
    }

    /// How it is now.
    pub fn look(&self, now: Instant) -> Standing {
        let mut state = lock(&self.state);
        if let Some(outcome) = state.outcome.take() {
            state.is_busy = false;
            match outcome {
                Ok(()) => {
                    (state.is_done, state.failures) = (true, 0);
                    self.forget_error(&mut state);
                }
                Err(error) => self.fail(now, &mut state, error),
            }
        }
        if state.is_busy {
            self.watch(now, &mut state);
        }
        match state.retry_at {
            _ if state.is_busy => Standing::Busy,
            Some(at) if at > now => Standing::Failed(state.error.clone()),
            _ => Standing::Idle,
        }
    }

    /// Whether the run under way still moves.
    fn watch(&self, now: Instant, state: &mut State) {
        state.began_at.get_or_insert(now);
        if std::mem::take(&mut state.has_moved) || state.is_resting || state.moved_at.is_none() {
            state.moved_at = Some(now);
            self.forget_error(state);
            return;
        }
        if now.since(state.moved_at.unwrap_or(now)) < self.care.patience {
            return;
        }
        let error = format!("it has not moved for {} s", self.care.patience.as_secs());
        match self.care.on_hang {
            Hang::GiveUp => {
                state.run += 1;
                state.stuck += 1;
                state.is_busy = false;
                self.fail(now, state, error);
            }
            Hang::Show if state.error.is_empty() => {
                note_failure(&self.name, &error);
                state.error = error;
            }
            Hang::Show => {}
        }
    }

    fn forget_error(&self, state: &mut State) {
        if !std::mem::take(&mut state.error).is_empty() {
            note_well(&self.name);
        }
    }

    fn fail(&self, now: Instant, state: &mut State, error: String) {
        if state.began_at.is_some_and(|at| now.since(at) > BACKOFF_MAX) {
            state.failures = 0;
        }
        state.failures += 1;
        state.retry_at = Some(now + backoff(state.failures));
        note_failure(&self.name, &error);
        state.error = error;
    }

    /// Runs `body` in a thread of its own; its panic is an error.
    pub fn start(
        self: &Arc<Self>,
        body: impl FnOnce(&Run) -> Result<(), String> + Send + 'static,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.is_busy || state.stuck >= STUCK_MAX {
            return Err(io::Error::other(format!("{} threads of it hang already", state.stuck)));
        }
        let run = Run { thread: self.clone(), number: state.run + 1 };
        let work = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| body(&run)));
            run.end(outcome.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()))));
        };
        let builder = thread::Builder::new().name(self.name.clone());
        builder.stack_size(self.care.stack_size_bytes).spawn(work)?;
        let (stuck, failures, error) = (state.stuck, state.failures, std::mem::take(&mut state.error));
        *state = State { run: state.run + 1, is_busy: true, stuck, failures, error, ..State::default() };
        Ok(())
    }

    /// Looks, and runs what `body` makes if nothing runs and nothing speaks against it.
    pub fn look_and_start<B>(self: &Arc<Self>, now: Instant, body: impl FnOnce() -> B) -> Result<(), String>
    where
        B: FnOnce(&Run) -> Result<(), String> + Send + 'static,
    {
        match self.look(now) {
            Standing::Busy => Ok(()),
            Standing::Failed(error) => Err(error),
            Standing::Idle => self.start(body()).map_err(|error| error.to_string()),
        }
    }

    /// Whether no run of it was given up that has not come back.
    pub fn is_whole(&self) -> bool {
        lock(&self.state).stuck == 0
    }

    /// The process stood still meanwhile.
    fn forgive(&self) {
        lock(&self.state).has_moved = true;
    }
}

/// A thread that is always there.
struct Kept {
    thread: Arc<Thread>,
    body: Arc<Body>,
}

/// A thread that does one thing.
struct Errand {
    thread: Arc<Thread>,
    /// Told why nothing comes of it, until it has taken note.
    lost: Option<Box<Lost>>,
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());
static ERRANDS: Mutex<Vec<Errand>> = Mutex::new(Vec::new());
static LOOKED_AT: Mutex<Option<Instant>> = Mutex::new(None);

/// Keeps a thread: `body` runs again when it failed, panicked or, if it can be replaced, hung; not when it has ended well.
pub fn keep(
    name: &str,
    care: Care,
    body: impl Fn(&Run) -> Result<(), String> + Send + Sync + 'static,
) -> io::Result<()> {
    let kept = Kept { thread: Thread::new(name, care), body: Arc::new(body) };
    kept.start()?;
    note_well(name);
    lock(&KEPT).push(kept);
    Ok(())
}

impl Kept {
    fn start(&self) -> io::Result<()> {
        let body = self.body.clone();
        self.thread.start(move |run| body(run))
    }

    /// Whether there is still something to look after.
    fn look(&self, now: Instant) -> bool {
        let standing = self.thread.look(now);
        if lock(&self.thread.state).is_done {
            return false;
        }
        if standing == Standing::Idle
            && let Err(error) = self.start()
        {
            self.thread.fail(now, &mut lock(&self.thread.state), error.to_string());
        }
        true
    }
}

/// Does one thing in a thread of its own. If it panics, or shows no sign of life for `patience`, `lost` is told why, again
/// and again until it says yes; what it does after that, it is to leave undone ([`Run::goes_on`]).
pub fn once(
    name: &str,
    patience: Duration,
    body: impl FnOnce(&Run) + Send + 'static,
    lost: impl FnMut(&str) -> bool + Send + 'static,
) -> io::Result<()> {
    let mut errands = lock(&ERRANDS);
    let stuck = errands.iter().filter(|errand| errand.lost.is_none() && errand.thread.name == name).count();
    if stuck >= STUCK_MAX {
        return Err(io::Error::other(format!("{stuck} threads of it hang already")));
    }
    let thread = Thread::new(name, Care::replaceable(patience));
    thread.start(move |run| {
        body(run);
        Ok(())
    })?;
    errands.push(Errand { thread, lost: Some(Box::new(lost)) });
    Ok(())
}

impl Errand {
    /// Whether there is still something to look after.
    fn look(&mut self, now: Instant) -> bool {
        let standing = self.thread.look(now);
        if standing == Standing::Busy {
            return true;
        }
        let error = lock(&self.thread.state).error.clone();
        let is_told = error.is_empty() || self.lost.as_mut().is_none_or(|lost| lost(&error));
        if is_told {
            self.lost = None;
        }
        !is_told || lock(&self.thread.state).stuck > 0
    }
}

/// Looks after all threads that are kept, or at an errand.
pub fn look_after(now: Instant) {
    let before = lock(&LOOKED_AT).replace(now);
    let stood_still = before.is_some_and(|before| now.since(before) > LOOKS_APART_MAX);
    let look = |thread: &Thread| {
        if stood_still {
            thread.forgive();
        }
    };
    lock(&KEPT).retain(|kept| {
        look(&kept.thread);
        kept.look(now)
    });
    lock(&ERRANDS).retain_mut(|errand| {
        look(&errand.thread);
        errand.look(now)
    });
}

#[cfg(test)]
mod tests;
