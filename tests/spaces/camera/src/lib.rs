//! Watches a camera: tells the brightness of every picture along the path `frames`, and shows every fifth picture along `pictures`.

#![no_std]

use zspace::{Refusal, Space, Text, net, sensors, space, sys};

/// Room for a picture of 320 × 240 grey pixels.
const BUFFER_BYTES: usize = 20 + 320 * 240;
/// Pictures between those that are shown.
const SHOW_EVERY: u64 = 5;
const PERIOD_MS: u32 = 100;

struct Camera {
    buffer: [u8; BUFFER_BYTES],
}

impl Space for Camera {
    fn init() -> Result<Self, i32> {
        sys::log(sys::Level::Info, "watching the camera");
        Ok(Self { buffer: [0; BUFFER_BYTES] })
    }

    fn process(&mut self) -> i32 {
        match sensors::read_frame("camera", &mut self.buffer) {
            Ok(frame) => {
                let sum: u64 = frame.pixels.iter().map(|pixel| u64::from(*pixel)).sum();
                let brightness = sum / (frame.pixels.len() as u64).max(1);
                let (sequence, size) = (frame.sequence, sensors::FRAME_HEADER_BYTES + frame.pixels.len());
                let message = Text::<64>::format(format_args!("{sequence} {brightness}"));
                // A picture nobody can take now is dropped; the next one follows soon.
                let _ = net::emit_to("frames", message.as_str().as_bytes());
                if sequence % SHOW_EVERY == 0 {
                    let _ = net::emit_to("pictures", &self.buffer[..size]);
                }
            }
            Err(Refusal::TryAgain) => {}
            Err(_) => sys::log(sys::Level::Warn, "the camera cannot be read"),
        }
        sys::sleep_ms(PERIOD_MS);
        0
    }

    fn close(&mut self) {
        sys::log(sys::Level::Info, "on_close: no longer watching");
    }
}

space!(Camera);
