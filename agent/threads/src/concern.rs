//! What is told of threads and tasks: how often each has failed, and why.

use crate::lock;
use std::sync::Mutex;

/// Concerns that are told of; the failures of further ones are only logged.
const CONCERNS_MAX: usize = 32;

/// Something that goes on beside the loop, or in it as a task of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// What it is called.
    pub name: String,
    /// Whether it works at present.
    pub is_well: bool,
    /// How often it has failed since the agent started.
    pub failures: u32,
    /// Why it failed last.
    pub last_error: String,
}

static CONCERNS: Mutex<Vec<Concern>> = Mutex::new(Vec::new());

/// All of them, in the order in which they were first heard of.
pub fn concerns() -> Vec<Concern> {
    lock(&CONCERNS).clone()
}

fn note(name: &str, change: impl FnOnce(&mut Concern)) {
    let mut concerns = lock(&CONCERNS);
    if let Some(concern) = concerns.iter_mut().find(|concern| concern.name == name) {
        change(concern);
    } else if concerns.len() < CONCERNS_MAX {
        let mut concern =
            Concern { name: name.into(), is_well: true, failures: 0, last_error: String::new() };
        change(&mut concern);
        concerns.push(concern);
    }
}

/// It failed.
pub fn note_failure(name: &str, error: &str) {
    log::warn!("{name}: {error}");
    note(name, |concern| {
        concern.is_well = false;
        concern.failures = concern.failures.saturating_add(1);
        concern.last_error = error.into();
    });
}

/// It works, perhaps again.
pub fn note_well(name: &str) {
    note(name, |concern| concern.is_well = true);
}
