//! Guests on a worker in virtual time.

mod bench;
mod conformance;
mod containment;
mod guests;
mod resume;
mod smith;
mod start;
mod wasi;
