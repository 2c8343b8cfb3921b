//! Hardware backends, one file each, behind the runtime's device traits.
//!
//! | backend | capability | what it reads |
//! |---|---|---|
//! | [`kernel`] | `sensors.cpu`, `sensors.memory`, `sensors.uptime` | `/proc` of the running kernel |
//! | [`replay_camera`] | `sensors.camera` | a recorded sequence of PGM pictures |

pub mod kernel;
pub mod replay_camera;

use std::{collections::BTreeMap, sync::Arc};
use zhost_base::{Instant, Name};
use zhost_runtime::{DeviceError, Devices, Leases, Reading};

/// One sensor.
pub trait Sensor: Send + Sync {
    /// Reads it, without waiting for it.
    fn read(&self, now: Instant) -> Result<Reading, DeviceError>;

    /// Gives it a command, if it is one that takes any.
    fn command(&self, _now: Instant, _command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        Err(DeviceError::Missing)
    }
}

/// The sensors of a board, by capability.
#[derive(Default)]
pub struct Board {
    sensors: BTreeMap<Name, Arc<dyn Sensor>>,
    leases: Leases,
}

impl Board {
    /// A board with the sensors that every Linux kernel has.
    pub fn discover() -> Self {
        let mut board = Self::default();
        board.add("sensors.cpu", Arc::new(kernel::Cpu::default()));
        board.add("sensors.memory", Arc::new(kernel::Memory));
        board.add("sensors.uptime", Arc::new(kernel::Uptime));
        board
    }

    /// Adds a sensor under the capability that unlocks it; one that is there already is replaced.
    pub fn add(&mut self, capability: &str, sensor: Arc<dyn Sensor>) {
        if let Ok(name) = capability.parse() {
            self.sensors.insert(name, sensor);
        }
    }
}

impl Devices for Board {
    fn capabilities(&self) -> Vec<Name> {
        self.sensors.keys().cloned().collect()
    }

    fn read(&self, now: Instant, capability: &str) -> Result<Reading, DeviceError> {
        let sensor = self.sensors.iter().find(|(name, _)| name.as_str() == capability);
        sensor.ok_or(DeviceError::Missing)?.1.read(now)
    }

    fn command(&self, now: Instant, capability: &str, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let device = self.sensors.iter().find(|(name, _)| name.as_str() == capability);
        device.ok_or(DeviceError::Missing)?.1.command(now, command)
    }

    fn leases(&self) -> &Leases {
        &self.leases
    }
}
