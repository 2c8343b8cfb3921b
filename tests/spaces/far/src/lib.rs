//! The other end of `near`: echoes what asks for an echo, and counts the rest.

#![no_std]

use zspace::{Space, Text, net, space, sys};

const MESSAGE_SIZE_BYTES: usize = 64;

struct Far {
    counted: u64,
    first_us: u64,
    last_us: u64,
}

impl Space for Far {
    fn init() -> Result<Self, i32> {
        Ok(Self { counted: 0, first_us: 0, last_us: 0 })
    }

    fn process(&mut self) -> i32 {
        let mut buffer = [0; MESSAGE_SIZE_BYTES];
        while let Ok(message) = net::recv_next(&mut buffer) {
            match message.first() {
                Some(b'e') => drop(net::emit_to("back", message)),
                Some(b'c') => {
                    self.last_us = sys::now_us();
                    if self.counted == 0 {
                        self.first_us = self.last_us;
                    }
                    self.counted += 1;
                }
                Some(b'd') => {
                    let elapsed = self.last_us - self.first_us;
                    let line = Text::<100>::format(format_args!(
                        "counted messages={} elapsed_us={elapsed}",
                        self.counted
                    ));
                    sys::log(sys::Level::Info, line.as_str());
                }
                _ => {}
            }
        }
        0
    }
}

space!(Far);
