//! Modules from publishers: checked, never run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{SpaceKind, SpaceSpec};
use zhost_runtime::{Interpreter, Wasmi};

fuzz_target!(|bytes: &[u8]| {
    let name = "s".parse().expect("a name");
    let space = SpaceSpec { memory_bytes: 1 << 20, ..SpaceSpec::new(name, SpaceKind::Io) };
    let _ = Wasmi.check(bytes, &space, true);
});
