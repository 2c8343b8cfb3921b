//! Modules from publishers: checked, never run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_base::{SpaceKind, SpaceSpec};
use zhost_runtime::{Interpreter, Wasmi};

fuzz_target!(|bytes: &[u8]| {
    let space = SpaceSpec {
        name: "s".parse().expect("a name"),
        kind: SpaceKind::Io,
        capabilities: Vec::new(),
        memory_bytes: 1 << 20,
        region: None,
        zhost_kind: None,
    };
    let _ = Wasmi.check(bytes, &space, true);
});
