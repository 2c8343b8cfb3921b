//! Whole clusters in one deterministic process.
//!
//! A [`World`] is a shell around [`zhost_node::Node`]s: it owns the clock, the network, the disks and the operators,
//! and draws every delay, loss and fault from one seed. The same seed gives the same trace on any machine.

pub mod actors;
pub mod bonds;
mod cast;
mod disk;
mod expectation;
pub mod family;
pub mod figures;
pub mod founding;
mod guests;
pub mod loss;
mod machine;
mod mishaps;
mod network;
mod operator;
pub mod panics;
pub mod promise;
pub mod purge;
pub mod recording;
mod referee;
pub mod repertoire;
pub mod rest;
pub mod rivals;
pub mod rollout;
pub mod scenario;
pub mod slots;
pub mod supervision;
pub mod vault;
mod world;

pub use guests::{package, package_without};
pub use machine::keys;
pub use network::NetworkFaults;
pub use referee::Verdict;
pub use world::{Machines, World};
