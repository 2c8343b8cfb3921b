//! The twin of an I²C bus: chips of which some registers are known. A recording has a line for each: the chip's
//! address, the register, and the word in it, in hexadecimal digits; what is written is what is read later.

use crate::{
    i2c::Bus,
    machine::{failed, recording},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};
use zhost_exchange::DeviceError;

/// The bus.
pub struct ReplayBus(Mutex<BTreeMap<(u16, u8), u16>>);

impl ReplayBus {
    /// Reads a recording.
    pub fn open(file: &Path) -> Result<Self, DeviceError> {
        let parse = |line: &str| {
            let mut words = line.split_whitespace().map(|word| u16::from_str_radix(word, 16));
            match (words.next()?, words.next()?, words.next()?) {
                (Ok(address), Ok(register), Ok(word)) => {
                    Some(((address, u8::try_from(register).ok()?), word))
                }
                _ => None,
            }
        };
        let text = recording(file)?;
        let registers = text.lines().map(|line| parse(line).ok_or_else(|| failed(file, format!("{line:?}"))));
        Ok(Self(Mutex::new(registers.collect::<Result<_, _>>()?)))
    }
}

impl Bus for ReplayBus {
    fn read_word(&self, address: u16, register: u8) -> Result<u16, DeviceError> {
        let registers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registers.get(&(address, register)).copied().ok_or(DeviceError::Missing)
    }

    fn transfer(&self, address: u16, write: &[u8], read_size: usize) -> Result<Vec<u8>, DeviceError> {
        let mut registers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *write.first().ok_or_else(|| DeviceError::Command("no register".into()))?;
        for (pair, register) in write[1..].chunks_exact(2).zip(first..=u8::MAX) {
            registers.insert((address, register), u16::from_le_bytes([pair[0], pair[1]]));
        }
        let words = (first..=u8::MAX).map_while(|register| registers.get(&(address, register)));
        Ok(words.flat_map(|word| word.to_le_bytes()).take(read_size).collect())
    }
}
