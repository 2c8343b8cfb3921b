//! Tells a node again what was recorded of one, and says whether it does the same.

use crate::panic_text;
use std::{
    fmt::Debug,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};
use zhost_base::Instant;
use zhost_node::{Recording, Replay, ReplayError};

/// Characters of an input or an output that a trace shows.
const SHOWN_MAX: usize = 300;

/// Tells what is in a file, up to this input; with a trace, each is shown with what the node says to it.
pub fn run(file: &Path, until: Option<u64>, trace: bool) -> Result<(), String> {
    let recording = fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let named = |error: ReplayError| format!("{}: {error}", file.display());
    let recording = Recording::read(&recording).map_err(named)?;
    println!("{}", recording.describe());
    let mut replay = Replay::new(recording);
    let (mut last, mut began_at) = (0, None);
    let mut now = Instant::ZERO;
    while until.is_none_or(|until| last < until) {
        let step = match replay.next_step() {
            Ok(Some(step)) => step,
            Ok(None) => break,
            Err(error) => {
                replay.outputs().iter().for_each(|output| println!("  > {}", shown(output)));
                return Err(format!("{} (at {now})", named(error)));
            }
        };
        (last, now) = (step.number, step.now);
        began_at.get_or_insert(now);
        let input = shown(&step.input);
        if trace {
            println!("{last} at {now}: {input}");
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| replay.tell(step))) {
            return Err(format!("input {last} at {now} panics: {}\n  {input}", panic_text(panic.as_ref())));
        }
        if trace {
            replay.outputs().iter().for_each(|output| println!("  > {}", shown(output)));
        }
    }
    let seconds = began_at.map_or(0.0, |began_at| now.since(began_at).as_secs_f64());
    println!("{last} inputs of {seconds:.1} s told again: all that was said is what was recorded");
    Ok(())
}

fn shown(what: &impl Debug) -> String {
    let text = format!("{what:?}");
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}
