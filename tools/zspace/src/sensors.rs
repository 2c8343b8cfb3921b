//! Sensors of the zhost. Each needs its own capability, `sensors.<name>`.

use crate::{Refusal, imports, outcome};

/// Size of the header before a frame's pixels.
pub const FRAME_HEADER_BYTES: usize = 20;

/// A camera's picture.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Counts the pictures since the camera was opened.
    pub sequence: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixel format.
    pub fourcc: [u8; 4],
    /// The pixels, row by row.
    pub pixels: &'a [u8],
}

/// Reads a sensor into `buffer`: JSON, or a camera's next frame as bytes.
pub fn read<'a>(name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let size = outcome(imports::sensors::read(name.as_ptr(), name.len(), buffer.as_mut_ptr(), buffer.len()))?;
    buffer.get(..size).ok_or(Refusal::Failed)
}

/// Reads a camera; [`Refusal::TryAgain`] when there is no new picture yet.
pub fn read_frame<'a>(name: &str, buffer: &'a mut [u8]) -> Result<Frame<'a>, Refusal> {
    let bytes = read(name, buffer)?;
    let (header, pixels) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or(Refusal::Failed)?;
    let [s0, s1, s2, s3, s4, s5, s6, s7, w0, w1, w2, w3, h0, h1, h2, h3, fourcc @ ..] = *header;
    Ok(Frame {
        sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        width: u32::from_le_bytes([w0, w1, w2, w3]),
        height: u32::from_le_bytes([h0, h1, h2, h3]),
        fourcc,
        pixels,
    })
}

/// Has the sensor's readings put into the mailbox, every so often.
pub fn subscribe(name: &str, period_ms: u32) -> Result<(), Refusal> {
    outcome(imports::sensors::subscribe(name.as_ptr(), name.len(), period_ms)).map(drop)
}

/// Ends that.
pub fn unsubscribe(name: &str) -> Result<(), Refusal> {
    outcome(imports::sensors::unsubscribe(name.as_ptr(), name.len())).map(drop)
}

/// Has what a recogniser of the package recognises put into the mailbox.
pub fn recognize(name: &str) -> Result<(), Refusal> {
    outcome(imports::events::subscribe(name.as_ptr(), name.len())).map(drop)
}

/// Ends that.
pub fn ignore(name: &str) -> Result<(), Refusal> {
    outcome(imports::events::unsubscribe(name.as_ptr(), name.len())).map(drop)
}
