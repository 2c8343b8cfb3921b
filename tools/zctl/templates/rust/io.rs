//! Reads the zhost's processor load every second, and says so.

#![cfg_attr(target_arch = "wasm32", no_std)]

use zspace::{Space, Text, sensors, space, sys};

struct Meter;

impl Space for Meter {
    fn init() -> Result<Self, i32> {
        sys::log(sys::Level::Info, "hello");
        Ok(Self)
    }

    fn process(&mut self) -> i32 {
        let mut buffer = [0; 256];
        let reading = sensors::read("cpu", &mut buffer).ok().and_then(|json| core::str::from_utf8(json).ok());
        sys::log(sys::Level::Info, Text::<300>::format(format_args!("{}", reading.unwrap_or("no cpu"))).as_str());
        sys::sleep_ms(1000);
        0
    }
}

space!(Meter);

#[cfg(test)]
mod tests {
    use super::*;
    use zspace::stage;

    #[test]
    fn it_says_what_it_reads() {
        stage::set_reading("cpu", Some(br#"{"value":7}"#));
        Meter::init().unwrap().process();
        assert_eq!(stage::logs(), ["hello", r#"{"value":7}"#]);
    }
}
