//! Stores and shows what camera and sensors tell it: how many frames and readings, and how bright the pictures are.

#![no_std]

use zspace::{Space, Text, data, net, space, sys};

/// Tells the counts every this many frames.
const REPORT_EVERY: u64 = 10;

#[derive(Default)]
struct Tally {
    frames: u64,
    brightness_sum: u64,
    readings: u64,
}

fn load(key: &str) -> u64 {
    let mut buffer = [0; 8];
    match data::get(key, &mut buffer).map(<[u8; 8]>::try_from) {
        Ok(Ok(bytes)) => u64::from_le_bytes(bytes),
        _ => 0,
    }
}

impl Tally {
    fn take(&mut self, path: &str, message: &[u8]) {
        match path {
            "frames" => {
                let text = core::str::from_utf8(message).unwrap_or_default();
                let brightness = text.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
                self.frames += 1;
                self.brightness_sum += brightness.unwrap_or(0);
                if self.frames % REPORT_EVERY == 0 {
                    self.report();
                }
            }
            "orders" => self.report(),
            _ => self.readings += 1,
        }
    }

    fn report(&self) {
        let brightness = self.brightness_sum / self.frames.max(1);
        let line = Text::<100>::format(format_args!(
            "frames={} brightness={brightness} readings={}",
            self.frames, self.readings
        ));
        sys::log(sys::Level::Info, line.as_str());
        // Whoever looks will see the next one.
        let _ = net::emit_to("counts", line.as_str().as_bytes());
    }

    fn store(&self) {
        for (key, value) in
            [("frames", self.frames), ("brightness_sum", self.brightness_sum), ("readings", self.readings)]
        {
            if data::put(key, &value.to_le_bytes()).is_err() {
                sys::log(sys::Level::Error, "a count cannot be stored");
            }
        }
    }
}

impl Space for Tally {
    fn init() -> Result<Self, i32> {
        let tally = Self {
            frames: load("frames"),
            brightness_sum: load("brightness_sum"),
            readings: load("readings"),
        };
        sys::log(sys::Level::Info, "counting");
        Ok(tally)
    }

    fn process(&mut self) -> i32 {
        let (mut buffer, mut name) = ([0; 1024], [0; 32]);
        let mut changed = false;
        while let Ok(message) = net::recv_next(&mut buffer) {
            let path = net::recv_path(&mut name).unwrap_or_default();
            self.take(path, message);
            changed = true;
        }
        if changed {
            self.store();
        }
        0
    }

    fn close(&mut self) {
        self.report();
        sys::log(sys::Level::Info, "on_close: counts are stored");
    }
}

space!(Tally);
