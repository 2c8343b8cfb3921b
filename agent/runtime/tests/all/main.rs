//! Guests on a worker in virtual time.

mod bench;
mod conformance;
mod guests;
