//! `--check`: whether this program works on this machine, before anything depends on it.

use crate::files;
use std::{
    hint::black_box,
    panic::{catch_unwind, set_hook, take_hook},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use zhost_runtime::{Interpreter, Wasmi};

/// A module that exports `on_process`, which returns 0.
const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x0e\x01\x0aon_process\0\0\x0a\x06\x01\x04\0\x41\0\x0b";

/// Tries what the agent cannot do without.
pub fn run() -> Result<(), String> {
    files::random().map_err(|e| format!("/dev/urandom: {e}"))?;
    // Panics that are caught make a fault cost one concern instead of the agent.
    set_hook(Box::new(|_| {}));
    let caught = thread::spawn(catches_a_panic).join();
    drop(take_hook());
    if !matches!(caught, Ok(true)) {
        return Err("a panic is not caught".into());
    }
    Wasmi.load(MODULE).map(drop).map_err(|e| format!("the interpreter: {e}"))
}

/// Plants a panic; whether it was caught and cleaned up after.
fn catches_a_panic() -> bool {
    struct Cleanup<'a>(&'a AtomicBool);
    impl Drop for Cleanup<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_clean = AtomicBool::new(false);
    let outcome = catch_unwind(|| {
        let _cleanup = Cleanup(&is_clean);
        if black_box(true) {
            panic!("planted");
        }
    });
    outcome.is_err() && is_clean.load(Ordering::Relaxed)
}
