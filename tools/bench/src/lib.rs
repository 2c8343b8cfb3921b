//! Measures zhost and other people's distributed systems in one uniform way.
//!
//! Two kinds of peer are measured. *Talkers* carry 64-byte messages between two applications on different
//! hosts ([`talk`], [`pair`]); *fleets* are members that gossip with each other ([`fleet`]). Hosts are
//! network namespaces where we may make them ([`zhost_cluster::net`]).
//!
//! A program that calls [`run_all`] starts its `main` with [`side::run_if_asked`], since it runs itself again
//! as the applications of the peers that have no program of their own.

pub mod certificates;
pub mod fleet;
pub mod pair;
pub mod peers;
pub mod report;
pub mod setup;
pub mod side;
pub mod stream;
pub mod table;
pub mod talk;

pub use peers::run_all;
pub use report::{Detection, PeerResult, RoundTrip};

pub use zhost_cluster::Outcome;
use zhost_cluster::{net, process};
