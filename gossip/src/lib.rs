//! What keeps a cluster of one mind: membership, election, registry and ledger, all pure.
//!
//! - [`membership`] says who is alive (SWIM and Lifeguard).
//! - [`registry`] holds the rows every zhost writes about itself ([`row`]).
//! - [`election`] turns the registry and the roster into a term with its supers.
//! - [`ledger`] holds what the operator wants ([`document`]), on everybody's flash.
//! - [`seal`] and [`datagram`] are how it travels.

#![no_std]

extern crate alloc;

pub mod datagram;
pub mod document;
pub mod election;
pub mod ledger;
pub mod membership;
pub mod registry;
pub mod row;
pub mod seal;
