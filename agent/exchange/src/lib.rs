//! What passes between a node and the workers that run its spaces, as plain types, and the traits by which stores and devices
//! come in. A node decides with these and knows no interpreter; a worker carries out with them and knows no node.

mod actor;
mod capabilities;
mod device;
mod mail;
mod store;
mod worker;

pub use actor::{Act, Ask, Refusal, Signal, Undelivered};
pub use capabilities::BASE_CAPABILITIES;
pub use device::{DeviceError, Devices, Frame, Leases, NoDevices, Reading};
pub use mail::{Consumed, Origin, Sender};
pub use store::{Changes, Entries, Store, StoreError, Write, blob_key, table};
pub use worker::{Exit, Launch, LogLevel, Presence, Report, Usage, WorkerCommand, WorkerEvent};
