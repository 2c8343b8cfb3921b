//! Reads the zhost's own sensors and passes the readings on along the paths `readings` and `shown`.

#![no_std]

use zspace::{Space, net, sensors, space, sys};

const PERIOD_MS: u32 = 500;

struct Sensors;

impl Space for Sensors {
    fn init() -> Result<Self, i32> {
        sys::log(sys::Level::Info, "reading cpu, memory and uptime");
        Ok(Self)
    }

    fn process(&mut self) -> i32 {
        let mut buffer = [0; 256];
        for name in ["cpu", "memory", "uptime"] {
            match sensors::read(name, &mut buffer) {
                // A reading nobody can take now is dropped; the next one follows soon.
                Ok(json) => {
                    for path in ["readings", "shown"] {
                        let _ = net::emit_to(path, json);
                    }
                }
                Err(_) => sys::log(sys::Level::Warn, "a sensor cannot be read"),
            }
        }
        sys::sleep_ms(PERIOD_MS);
        0
    }

    fn close(&mut self) {
        sys::log(sys::Level::Info, "on_close: no longer reading");
    }
}

space!(Sensors);
