//! Two spaces of one module, for `cargo xtask bench spaces`: a boss that spawns a thousand drones on its own zhost and
//! tells how long that took, and a drone, which idles.

#![no_std]

use zspace::{Space, Text, proc, space, sys};

const DRONES: u32 = 1000;
const LONG_MS: u32 = 60_000;

struct Swarm {
    is_boss: bool,
    drones: u32,
}

impl Space for Swarm {
    fn init() -> Result<Self, i32> {
        let mut buffer = [0; 16];
        let is_boss = !sys::argument(&mut buffer).is_ok_and(|argument| !argument.is_empty());
        Ok(Self { is_boss, drones: 0 })
    }

    fn process(&mut self) -> i32 {
        if self.is_boss && self.drones == 0 {
            let mut buffer = [0; 32];
            let name =
                sys::config("zhost", &mut buffer).ok().and_then(|name| core::str::from_utf8(name).ok());
            let begin = sys::now_us();
            while self.drones < DRONES && proc::spawn(name, "drone", b"drone").is_ok() {
                self.drones += 1;
            }
            let elapsed = sys::now_us() - begin;
            let line = Text::<64>::format(format_args!("spawned={} elapsed_us={elapsed}", self.drones));
            sys::log(sys::Level::Info, line.as_str());
        }
        sys::sleep_ms(LONG_MS);
        0
    }
}

space!(Swarm);
