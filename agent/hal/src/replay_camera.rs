//! A camera that plays recorded pictures: binary PGM (`P5`) pictures, one behind the other in one file, as Netpbm
//! defines it. For laptops and tests; the pictures repeat for ever.

use crate::Device;
use std::{fmt, fs, io, path::Path, sync::Arc, time::Duration};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Frame, Reading};

/// Size of a recording; a larger one is refused.
const RECORDING_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Pixels of one picture.
const PIXELS_MAX: usize = 1920 * 1080;

struct Picture {
    width: u32,
    height: u32,
    pixels: Arc<[u8]>,
}

/// The camera.
pub struct ReplayCamera {
    pictures: Vec<Picture>,
    period: Duration,
}

impl fmt::Debug for ReplayCamera {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplayCamera of {} pictures", self.pictures.len())
    }
}

impl ReplayCamera {
    /// Opens a recording that is played with one picture per `period`.
    pub fn open(file: &Path, period: Duration) -> io::Result<Self> {
        if fs::metadata(file)?.len() > RECORDING_MAX_BYTES {
            return Err(io::Error::other(format!("a recording has at most {RECORDING_MAX_BYTES} bytes")));
        }
        let pictures = parse(&fs::read(file)?)
            .ok_or_else(|| io::Error::other("not a sequence of binary PGM pictures"))?;
        Ok(Self { pictures, period })
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Picture>> {
    let mut pictures = Vec::new();
    while !bytes.is_empty() {
        let (picture, rest) = parse_picture(bytes)?;
        pictures.push(picture);
        bytes = rest;
    }
    (!pictures.is_empty()).then_some(pictures)
}

fn parse_picture(bytes: &[u8]) -> Option<(Picture, &[u8])> {
    let rest = bytes.strip_prefix(b"P5")?;
    let (width, rest) = parse_number(rest)?;
    let (height, rest) = parse_number(rest)?;
    let (max, rest) = parse_number(rest)?;
    let rest = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b" "))?;
    let size =
        (width as usize).checked_mul(height as usize).filter(|size| (1..=PIXELS_MAX).contains(size))?;
    if max != 255 {
        return None;
    }
    let (pixels, rest) = rest.split_at_checked(size)?;
    Some((Picture { width, height, pixels: pixels.into() }, rest))
}

fn parse_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let bytes = &bytes[start..];
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((number, &bytes[end..]))
}

impl Device for ReplayCamera {
    fn read(&self, now: Instant) -> Result<Reading, DeviceError> {
        let sequence = now.as_micros() / (self.period.as_micros() as u64).max(1);
        let picture = &self.pictures[(sequence % self.pictures.len() as u64) as usize];
        let Picture { width, height, .. } = *picture;
        Ok(Reading::Frame(Frame {
            sequence,
            width,
            height,
            fourcc: *b"GREY",
            pixels: picture.pixels.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_follow_each_other_and_repeat() {
        let pictures = parse(b"P5 2 1 255\nabP5\n1 1\n255\nc").unwrap();
        let camera = ReplayCamera { pictures, period: Duration::from_millis(100) };
        let pixels = |ms: u64| match camera.read(Instant::from_micros(ms * 1000)).unwrap() {
            Reading::Frame(frame) => (frame.sequence, frame.pixels.to_vec()),
            _ => panic!("a camera gives frames"),
        };
        assert_eq!(pixels(0), (0, b"ab".to_vec()));
        assert_eq!(pixels(150), (1, b"c".to_vec()));
        assert_eq!(pixels(200), (2, b"ab".to_vec()));
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        for bytes in [
            &b""[..],
            b"P6 1 1 255\nabc",
            b"P5 2 2 255\nabc",
            b"P5 0 1 255\n",
            b"P5 99999 99999 255\n",
            b"P5 1 1 65535\nab",
        ] {
            assert!(parse(bytes).is_none());
        }
    }
}
