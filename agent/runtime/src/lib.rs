//! Runs spaces.
//!
//! A [`Worker`] owns guests and gives each a slice of fuel in turn; a shell runs one worker per thread, the simulator
//! runs one inline. Guests see the world only through the imports of [`abi`], which act on their [`Context`]; what
//! leaves a context becomes a [`WorkerEvent`]. Devices and storage come in through traits.

pub mod abi;
mod actor;
pub mod budget;
mod context;
mod data;
mod device;
mod examination;
mod exchange;
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

pub use actor::{Act, Ask, Signal};
pub use context::{Context, LogLevel, Refusal, Report, Undelivered};
pub use data::Changes;
pub use device::{DeviceError, Devices, Frame, Leases, NoDevices, Reading};
pub use examination::examine;
pub use exchange::{Exit, Launch, Usage, WorkerCommand, WorkerEvent};
pub use interpreter::{Export, Guest, Interpreter, LoadError, Program, Step};
pub use mailbox::{Consumed, Kind, Origin, Sender};
pub use memory_store::MemoryStore;
pub use program::read_blob;
pub use redb_store::RedbStore;
pub use store::{Entries, Store, StoreError, Write, blob_key, table};
pub use wasmi_engine::{STRETCH_STACK_BYTES, Wasmi};
pub use worker::{Slice, Worker};
