//! Devices as spaces see them.

use crate::actor::Refusal;
use litemap::LiteMap;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use zhost_base::{Instant, Name, Pid, recognizer::Milli};

/// What a device said.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A value with its unit, as JSON: `{"type":…,"value":…,"unit":…}`.
    Json(String),
    /// A picture.
    Frame(Frame),
    /// Bytes that mean something to the guest only: sound, what came over a bus, a secret.
    Bytes(Vec<u8>),
}

impl Reading {
    /// The value of a JSON reading in thousandths: the number behind `"value":`.
    pub fn value_milli(&self) -> Option<i64> {
        let Self::Json(json) = self else { return None };
        let (_, rest) = json.split_once("\"value\":")?;
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        match rest[..end].trim() {
            "true" => Some(1000),
            "false" => Some(0),
            number => number.parse::<Milli>().ok().map(|milli| milli.0),
        }
    }
}

/// What stands before the pixels.
const FRAME_HEAD_BYTES: usize = 20;

/// One picture of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Counts the pictures since the camera was opened.
    pub sequence: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixel format as a V4L2 FourCC, such as `GREY` or `YUYV`.
    pub fourcc: [u8; 4],
    /// The pixels, row by row, or what the format says.
    pub pixels: Arc<[u8]>,
}

impl Frame {
    /// What [`Self::encode`] gives has so many bytes.
    pub fn size_bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.pixels.len()
    }

    /// The frame as guests read it: sequence (8 bytes), width, height (4 each), FourCC, all little-endian; then the
    /// pixels.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.width.to_le_bytes());
        bytes.extend_from_slice(&self.height.to_le_bytes());
        bytes.extend_from_slice(&self.fourcc);
        bytes.extend_from_slice(&self.pixels);
        bytes
    }

    /// What subscribers are told: a picture is too large for a message.
    pub fn describe(&self) -> String {
        format!(
            "{{\"type\":\"frame\",\"sequence\":{},\"width\":{},\"height\":{},\"format\":\"{}\"}}",
            self.sequence,
            self.width,
            self.height,
            String::from_utf8_lossy(&self.fourcc).trim_end()
        )
    }
}

/// Why a device could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// There is no such device here.
    Missing,
    /// It is there and has nothing to say yet.
    NotYet,
    /// It is there but failed, for this reason.
    Failed(String),
    /// Another space has the lease.
    Leased(Pid),
    /// The command makes no sense to it.
    Command(String),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such device here"),
            Self::NotYet => f.write_str("the device has nothing to say yet"),
            Self::Failed(reason) => write!(f, "the device failed: {reason}"),
            Self::Leased(pid) => write!(f, "the space {pid} has it"),
            Self::Command(reason) => write!(f, "the device does not understand: {reason}"),
        }
    }
}

/// The devices of a zhost. Nothing here waits for more than a moment.
pub trait Devices: Send + Sync {
    /// The capabilities they make up, such as `sensors.camera`.
    fn capabilities(&self) -> Vec<Name>;

    /// Reads the device behind `capability`.
    fn read(&self, now: Instant, capability: &str) -> Result<Reading, DeviceError>;

    /// Gives the device behind `capability` a command, in its own format; its answer, likewise.
    fn command(&self, _now: Instant, _capability: &str, _command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        Err(DeviceError::Missing)
    }

    /// Who has which device for itself.
    fn leases(&self) -> &Leases;
}

/// Devices that one space has for itself at a time.
#[derive(Debug, Default)]
pub struct Leases(Mutex<LiteMap<String, Pid>>);

impl Leases {
    fn table(&self) -> std::sync::MutexGuard<'_, LiteMap<String, Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `holder` the lease, if nobody else has it.
    pub fn lock(&self, capability: &str, holder: Pid) -> Result<(), DeviceError> {
        match *self.table().entry(capability.to_owned()).or_insert(holder) {
            owner if owner == holder => Ok(()),
            owner => Err(DeviceError::Leased(owner)),
        }
    }

    /// Whether `holder` has the lease.
    pub fn is_held_by(&self, capability: &str, holder: Pid) -> bool {
        self.table().get(capability) == Some(&holder)
    }

    /// Takes the lease back; `false` if `holder` did not have it.
    pub fn release(&self, capability: &str, holder: Pid) -> bool {
        let mut table = self.table();
        let held = table.get(capability) == Some(&holder);
        if held {
            table.remove(capability);
        }
        held
    }

    /// Takes all leases of a space back.
    pub fn release_all(&self, holder: Pid) {
        self.table().retain(|_, owner| *owner != holder);
    }
}

/// A zhost without devices.
#[derive(Debug, Default)]
pub struct NoDevices(Leases);

impl Devices for NoDevices {
    fn capabilities(&self) -> Vec<Name> {
        Vec::new()
    }
    fn read(&self, _: Instant, _: &str) -> Result<Reading, DeviceError> {
        Err(DeviceError::Missing)
    }
    fn leases(&self) -> &Leases {
        &self.0
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Missing => Self::NotFound,
            DeviceError::NotYet => Self::TryAgain,
            DeviceError::Failed(_) | DeviceError::Command(_) => Self::Failed,
            DeviceError::Leased(_) => Self::Taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_thousandths() {
        let value = |json: &str| Reading::Json(json.into()).value_milli();
        assert_eq!(value(r#"{"type":"t","value":21.5,"unit":"C"}"#), Some(21_500));
        assert_eq!(value(r#"{"value":-0.0625}"#), Some(-62));
        assert_eq!(value(r#"{"value":true}"#), Some(1000));
        assert_eq!(value(r#"{"value":"x"}"#), None);
        assert_eq!(value("{}"), None);
    }

    #[test]
    fn a_lease_has_one_holder() {
        let (leases, pid) = (Leases::default(), |number| Pid { number, ..Pid::default() });
        assert_eq!(leases.lock("actuators.relay", pid(1)), Ok(()));
        assert_eq!(leases.lock("actuators.relay", pid(1)), Ok(()), "again is no harm");
        assert_eq!(leases.lock("actuators.relay", pid(2)), Err(DeviceError::Leased(pid(1))));
        assert!(!leases.release("actuators.relay", pid(2)));
        leases.release_all(pid(1));
        assert_eq!(leases.lock("actuators.relay", pid(2)), Ok(()));
    }
}
