//! Devices as spaces see them.

use std::{fmt, sync::Arc};
use zhost_base::{Instant, Name};

/// What a sensor said.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A value with its unit, as JSON.
    Json(String),
    /// A picture.
    Frame(Frame),
}

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
    /// The pixels, row by row.
    pub pixels: Arc<[u8]>,
}

impl Frame {
    /// The frame as guests read it: sequence (8 bytes), width, height (4 each), FourCC, all little-endian; then the
    /// pixels.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.pixels.len());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.width.to_le_bytes());
        bytes.extend_from_slice(&self.height.to_le_bytes());
        bytes.extend_from_slice(&self.fourcc);
        bytes.extend_from_slice(&self.pixels);
        bytes
    }
}

/// Why a sensor could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// There is no such sensor here.
    Missing,
    /// It is there but failed, for this reason.
    Failed(String),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such sensor here"),
            Self::Failed(reason) => write!(f, "the sensor failed: {reason}"),
        }
    }
}

/// The devices of a zhost.
pub trait Devices: Send + Sync {
    /// The capabilities they make up, such as `sensors.camera`.
    fn capabilities(&self) -> Vec<Name>;

    /// Reads the sensor behind `capability`, without waiting for it.
    fn read(&self, now: Instant, capability: &str) -> Result<Reading, DeviceError>;
}

/// A zhost without devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDevices;

impl Devices for NoDevices {
    fn capabilities(&self) -> Vec<Name> {
        Vec::new()
    }
    fn read(&self, _: Instant, _: &str) -> Result<Reading, DeviceError> {
        Err(DeviceError::Missing)
    }
}
