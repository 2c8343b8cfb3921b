//! A thermometer with an I²C bus, LM75 and its many relatives (TMP102, DS75, …): register 0 holds the temperature, the
//! whole degrees in its first byte and 1/256 of them, of which chips fill in as many as they know, in its second.

use crate::{i2c::Bus, machine::milli_reading};
use zhost_exchange::{DeviceError, Reading};

const TEMPERATURE: u8 = 0;

/// The thermometer at an address of a bus.
pub struct Lm75<B> {
    /// The bus.
    pub bus: B,
    /// The chip's address, mostly 0x48.
    pub address: u16,
}

impl<B: Bus> Lm75<B> {
    /// The temperature.
    pub fn read(&self) -> Result<Reading, DeviceError> {
        let word = self.bus.read_word(self.address, TEMPERATURE)?;
        let [degrees, fraction] = word.to_le_bytes();
        let milli = i64::from(i16::from_be_bytes([degrees, fraction])) * 1000 / 256;
        Ok(milli_reading("temperature", milli, "C"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u16);

    impl Bus for Fixed {
        fn read_word(&self, address: u16, register: u8) -> Result<u16, DeviceError> {
            if (address, register) == (0x48, 0) { Ok(self.0) } else { Err(DeviceError::Missing) }
        }
        fn transfer(&self, _: u16, _: &[u8], _: usize) -> Result<Vec<u8>, DeviceError> {
            Err(DeviceError::Missing)
        }
    }

    #[test]
    fn the_data_sheets_examples_come_out() {
        let milli = |word| Lm75 { bus: Fixed(word), address: 0x48 }.read().unwrap().value_milli();
        // 125, 25, 0.5, -0.5 and -55 degrees, as the data sheet's table has them, the first byte low.
        assert_eq!(milli(0x007d), Some(125_000));
        assert_eq!(milli(0x0019), Some(25_000));
        assert_eq!(milli(0x8000), Some(500));
        assert_eq!(milli(0x80ff), Some(-500));
        assert_eq!(milli(0x00c9), Some(-55_000));
    }
}
