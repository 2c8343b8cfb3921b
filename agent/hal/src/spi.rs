//! SPI devices: `/dev/spidevB.C` (kernel: Documentation/spi/spidev.rst, include/uapi/linux/spi/spidev.h). A command is
//! what is shifted out, its answer, of the same length, what is shifted in.
#![expect(unsafe_code, reason = "ioctl")]

use crate::{
    Device,
    machine::{failed, unopened},
};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::{fs::OpenOptions, path::PathBuf};
use zhost_base::Instant;
use zhost_exchange::DeviceError;

/// Bytes of one transfer: what the kernel's driver takes unless told otherwise.
const TRANSFER_MAX_BYTES: usize = 4096;

/// `struct spi_ioc_transfer`.
#[repr(C)]
#[derive(Default)]
struct Transfer {
    tx: u64,
    rx: u64,
    size: u32,
    speed_hz: u32,
    delay_us: u16,
    bits_per_word: u8,
    deselects: u8,
    tx_lines: u8,
    rx_lines: u8,
    word_delay_us: u8,
    padding: u8,
}

/// `SPI_IOC_MESSAGE(1)`.
const SPI_IOC_MESSAGE_1: Opcode = opcode::write::<Transfer>(b'k', 0);

/// A device on an SPI bus.
pub struct Spi {
    /// Its file.
    pub file: PathBuf,
    /// The clock's speed; 0 is the device's own.
    pub speed_hz: u32,
}

impl Device for Spi {
    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        if command.is_empty() || command.len() > TRANSFER_MAX_BYTES {
            return Err(DeviceError::Command(format!("a transfer has 1 to {TRANSFER_MAX_BYTES} bytes")));
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.file);
        let file = file.map_err(|e| unopened(&self.file, &e))?;
        let mut answer = vec![0; command.len()];
        let transfer = Transfer {
            tx: command.as_ptr().addr() as u64,
            rx: answer.as_mut_ptr().expose_provenance() as u64,
            size: command.len() as u32,
            speed_hz: self.speed_hz,
            ..Transfer::default()
        };
        command.as_ptr().expose_provenance();
        // SAFETY: SPI_IOC_MESSAGE(1) takes one structure as above; both buffers have its size and outlive the call.
        unsafe { ioctl(&file, Setter::<SPI_IOC_MESSAGE_1, Transfer>::new(transfer)) }
            .map_err(|e| failed(&self.file, e))?;
        Ok(answer)
    }
}
