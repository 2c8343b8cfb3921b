//! Counts how often it was started, for as long as its zhost has its flash.

#![cfg_attr(target_arch = "wasm32", no_std)]

use zspace::{Space, Text, data, space, sys};

struct Counter;

impl Space for Counter {
    fn init() -> Result<Self, i32> {
        let mut buffer = [0; 4];
        let before = data::get("starts", &mut buffer).ok().and_then(|bytes| bytes.try_into().ok());
        let starts = before.map_or(0, u32::from_le_bytes) + 1;
        data::put("starts", &starts.to_le_bytes()).map_err(|_| 1)?;
        sys::log(sys::Level::Info, Text::<64>::format(format_args!("hello, for the {starts}. time")).as_str());
        Ok(Self)
    }

    fn process(&mut self) -> i32 {
        sys::sleep_ms(60_000);
        0
    }
}

space!(Counter);

#[cfg(test)]
mod tests {
    use super::*;
    use zspace::stage;

    #[test]
    fn it_counts_its_starts() {
        Counter::init().unwrap();
        Counter::init().unwrap();
        assert_eq!(stage::logs(), ["hello, for the 1. time", "hello, for the 2. time"]);
    }
}
