//! Recordings, as they are pulled from boards and sent by whoever has them. A node is not run on them: what it is told comes of
//! its own shell.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_node::Recording;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(recording) = Recording::read(bytes) {
        let _ = recording.steps().count();
    }
});
