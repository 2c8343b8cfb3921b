//! Hardware backends, one file each, behind the device traits of `agent/exchange`.
//!
//! | backend | capability | what it is |
//! |---|---|---|
//! | [`kernel`] | `sensors.cpu`, `sensors.memory`, `sensors.uptime` | `/proc` of the running kernel |
//! | [`v4l2`] | `sensors.camera`, `sensors.camera-1`, … | cameras |
//! | [`sound`] | `audio.microphone`, `audio.speaker`, `audio.microphone-1`, … | sound cards |
//! | [`thermal`], [`hwmon`], [`iio`], [`one_wire`] | `sensors.<driver>-<channel>` and the like | what the kernel's drivers measure |
//! | [`gpio`] | `sensors.<name>`, `actuators.<name>` | lines by name, with edges |
//! | [`i2c`], [`lm75`] | `actuators.<name>`, `sensors.<name>` | a bus, and a thermometer on one |
//! | [`spi`], [`uart`], [`pwm`] | `actuators.<name>` | what they are called |
//! | [`secrets`] | `secrets.<name>` | files that only the zhost may read |
//! | [`watchdog`] | (the agent's own) | resets a board that hangs |
//!
//! What the kernel knows is found, also later; what is wired by hand is told ([`wiring`]). Each backend has a twin that
//! plays a recording: a copy of `/sys` for those that read attributes, `replay_…` for the others.

pub mod background;
pub mod gpio;
pub mod hwmon;
pub mod i2c;
pub mod iio;
pub mod kernel;
pub mod lm75;
pub mod machine;
pub mod one_wire;
pub mod pwm;
pub mod replay_bytes;
pub mod replay_camera;
pub mod replay_gpio;
pub mod replay_i2c;
pub mod replay_sound;
pub mod secrets;
pub mod sound;
pub mod spi;
pub mod thermal;
pub mod uart;
pub mod v4l2;
pub mod watchdog;
pub mod wiring;

mod board;
mod camera;

pub use board::Board;
pub use machine::Machine;
pub use wiring::Wire;

use std::{path::PathBuf, sync::Arc};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};

/// One device.
pub trait Device: Send + Sync {
    /// Reads it, without waiting for it.
    fn read(&self, _now: Instant) -> Result<Reading, DeviceError> {
        Err(DeviceError::Missing)
    }

    /// Gives it a command, if it is one that takes any.
    fn command(&self, _now: Instant, _command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        Err(DeviceError::Missing)
    }
}

/// What a closer look shows: nothing if it is none of ours, an error if that cannot be told now.
type Opened = Result<Option<Arc<dyn Device>>, DeviceError>;

/// A device that may be there.
pub struct Found {
    /// The capability that unlocks it.
    capability: String,
    /// The file it is known by.
    source: PathBuf,
    /// Looks closer, if it is not known yet.
    open: Box<dyn FnOnce() -> Opened>,
}

impl Found {
    fn new(capability: String, source: PathBuf, open: impl FnOnce() -> Opened + 'static) -> Self {
        Self { capability, source, open: Box::new(open) }
    }

    /// A device that is certainly one.
    fn certain(capability: String, source: PathBuf, device: impl Device + 'static) -> Self {
        Self::new(capability, source, move || Ok(Some(Arc::new(device))))
    }
}
