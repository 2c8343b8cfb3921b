//! Runs spaces.
//!
//! A [`Worker`] owns guests and gives each a slice of fuel in turn; a shell runs one worker per thread, the simulator
//! runs one inline. Guests see the world only through the imports of [`abi`], which act on their [`Context`]; what
//! leaves a context becomes a [`WorkerEvent`](zhost_exchange::WorkerEvent). Devices and storage come in through traits.

pub mod abi;
mod actor;
pub mod budget;
mod context;
mod data;
mod examination;
mod imports;
mod interpreter;
mod mailbox;
mod memory_store;
mod program;
mod recognizer;
mod redb_store;
mod sensing;
mod start;
mod store;
mod unsupported;
mod wasi;
mod wasmi_engine;
mod worker;

pub use context::Context;
pub use examination::examine;
pub use interpreter::{Export, Guest, Interpreter, LoadError, Program, Step};
pub use mailbox::Kind;
pub use memory_store::MemoryStore;
pub use program::read_blob;
pub use redb_store::RedbStore;
pub use wasmi_engine::{STRETCH_STACK_BYTES, Wasmi};
pub use worker::{Slice, Worker};
