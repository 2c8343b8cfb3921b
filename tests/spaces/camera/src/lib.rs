//! Watches a camera: tells the brightness of every picture along the path `frames`.

#![no_std]

use zspace::{Refusal, Space, Text, net, sensors, space, sys};

/// Room for a picture of 320 × 240 grey pixels.
const BUFFER_BYTES: usize = 20 + 320 * 240;
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
                let message = Text::<64>::format(format_args!("{} {brightness}", frame.sequence));
                // A picture nobody can take now is dropped; the next one follows soon.
                let _ = net::emit_to("frames", message.as_str().as_bytes());
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
