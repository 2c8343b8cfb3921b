//! What every zhost crate shares: time, ids, seeded randomness and the named limits.
//!
//! Nothing here reads a clock or asks the operating system for randomness.

#![no_std]

extern crate alloc;

pub mod batch;
pub mod id;
pub mod limits;
pub mod name;
pub mod panics;
pub mod pid;
pub mod planted;
pub mod recognizer;
pub mod rng;
pub mod round_trip;
pub mod text;
pub mod time;
pub mod topology;

pub use batch::Batch;
pub use core::time::Duration;
pub use id::{BlobDigest, Generation, TopologyId, ZhostId};
pub use name::{Name, NameError};
pub use panics::{panic_message, panic_text};
pub use pid::{ExitReason, Pid};
pub use recognizer::RecognizerSpec;
pub use rng::Rng;
pub use round_trip::RoundTrip;
pub use text::Shown;
pub use time::Instant;
pub use topology::{PathSpec, Restart, SpaceKey, SpaceKind, SpaceSpec, Start, TopologySpec, WEB_CAPABILITY};
