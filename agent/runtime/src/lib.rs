//! Runs spaces.
//!
//! A [`Worker`] owns guests and gives each a slice of fuel in turn; a shell runs one worker per thread, the simulator
//! runs one inline. Guests see the world only through the imports of [`abi`], which act on their [`Context`]; what
//! leaves a context becomes a [`WorkerEvent`]. Devices and storage come in through traits.

pub mod abi;
pub mod budget;
mod context;
mod device;
mod interpreter;
mod mailbox;
mod memory_store;
mod redb_store;
mod store;
mod wasmi_engine;
mod worker;

pub use context::{Context, LogLevel, Undelivered};
pub use device::{DeviceError, Devices, Frame, NoDevices, Reading};
pub use interpreter::{Export, Guest, Interpreter, LoadError, Step};
pub use mailbox::Sender;
pub use memory_store::MemoryStore;
pub use redb_store::RedbStore;
pub use store::{Store, StoreError, Write, blob_key, table};
pub use wasmi_engine::Wasmi;
pub use worker::{Exit, Launch, Slice, Worker, WorkerCommand, WorkerEvent};
