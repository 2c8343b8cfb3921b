//! I²C buses: `/dev/i2c-N` (kernel: Documentation/i2c/dev-interface.rst, include/uapi/linux/i2c-dev.h).
#![expect(unsafe_code, reason = "ioctl")]

use crate::{
    Device,
    machine::{failed, unopened},
};
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl};
use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use zhost_base::Instant;
use zhost_exchange::DeviceError;

/// Bytes written or read in one transfer; more are refused.
const TRANSFER_MAX_BYTES: usize = 4096;

const I2C_SLAVE: Opcode = 0x0703;
const I2C_RDWR: Opcode = 0x0707;
const I2C_SMBUS: Opcode = 0x0720;
const I2C_M_RD: u16 = 1;
const I2C_SMBUS_READ: u8 = 1;
const I2C_SMBUS_WRITE: u8 = 0;
const I2C_SMBUS_WORD_DATA: u32 = 3;

/// `struct i2c_msg`.
#[repr(C)]
struct Message {
    address: u16,
    flags: u16,
    size: u16,
    bytes: *mut u8,
}

/// `struct i2c_rdwr_ioctl_data`.
#[repr(C)]
struct Transfer {
    messages: *mut Message,
    count: u32,
}

/// `struct i2c_smbus_ioctl_data`.
#[repr(C)]
struct SmbusTransfer {
    direction: u8,
    command: u8,
    kind: u32,
    data: *mut SmbusData,
}

/// `union i2c_smbus_data`: of the words and blocks it can be, a block is the largest.
#[repr(C, align(2))]
struct SmbusData([u8; 34]);

/// A bus that drivers of chips use.
pub trait Bus: Send + Sync {
    /// Reads a word from a chip's register, the first byte in its low half (SMBus "read word").
    fn read_word(&self, address: u16, register: u8) -> Result<u16, DeviceError>;

    /// Writes to a chip, then reads from it, without letting go of the bus.
    fn transfer(&self, address: u16, write: &[u8], read_size: usize) -> Result<Vec<u8>, DeviceError>;
}

/// A bus of this computer, opened when it is first used.
pub struct LinuxBus {
    file: PathBuf,
    opened: Mutex<Option<File>>,
}

impl LinuxBus {
    /// The bus behind this file.
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), opened: Mutex::new(None) }
    }

    /// Uses the bus; whoever comes at the same time waits for the end of the transfer.
    fn with<T>(&self, act: impl FnOnce(&File) -> rustix::io::Result<T>) -> Result<T, DeviceError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            let file = OpenOptions::new().read(true).write(true).open(&self.file);
            *opened = Some(file.map_err(|e| unopened(&self.file, &e))?);
        }
        let file = opened.as_ref().ok_or(DeviceError::Missing)?;
        act(file).map_err(|error| match error {
            // A bus that was unplugged and plugged in again is another one.
            rustix::io::Errno::NODEV => {
                *opened = None;
                DeviceError::Missing
            }
            error => failed(&self.file, error),
        })
    }
}

impl Bus for LinuxBus {
    fn read_word(&self, address: u16, register: u8) -> Result<u16, DeviceError> {
        self.with(|file| smbus_word(file, address, register, None))
    }

    fn transfer(&self, address: u16, write: &[u8], read_size: usize) -> Result<Vec<u8>, DeviceError> {
        if write.len() > TRANSFER_MAX_BYTES || read_size > TRANSFER_MAX_BYTES {
            return Err(DeviceError::Command(format!(
                "a transfer has at most {TRANSFER_MAX_BYTES} bytes each way"
            )));
        }
        let (mut out, mut back) = (write.to_vec(), vec![0; read_size]);
        let message = |flags, bytes: &mut Vec<u8>| Message {
            address,
            flags,
            size: bytes.len() as u16,
            bytes: bytes.as_mut_ptr(),
        };
        let mut messages = Vec::new();
        if !out.is_empty() || back.is_empty() {
            messages.push(message(0, &mut out));
        }
        if !back.is_empty() {
            messages.push(message(I2C_M_RD, &mut back));
        }
        let simple = self.with(|file| match (write, read_size) {
            ([register], 2) => {
                smbus_word(file, address, *register, None).map(|word| Some(word.to_le_bytes().to_vec()))
            }
            ([register, low, high], 0) => {
                let word = u16::from_le_bytes([*low, *high]);
                smbus_word(file, address, *register, Some(word)).map(|_| Some(Vec::new()))
            }
            _ => Ok(None),
        });
        // These also the adapters do that know words only.
        if let Some(answer) = simple? {
            return Ok(answer);
        }
        self.with(|file| {
            let mut transfer = Transfer { messages: messages.as_mut_ptr(), count: messages.len() as u32 };
            // SAFETY: I2C_RDWR takes the structure above; its messages, and the buffers with their sizes in these,
            // outlive the call.
            unsafe { ioctl(file, Updater::<I2C_RDWR, Transfer>::new(&mut transfer)) }
        })?;
        Ok(back)
    }
}

/// Reads or writes a word of a chip's register.
fn smbus_word(file: &File, address: u16, register: u8, write: Option<u16>) -> rustix::io::Result<u16> {
    let mut data = SmbusData([0; 34]);
    data.0[..2].copy_from_slice(&write.unwrap_or_default().to_ne_bytes());
    let mut transfer = SmbusTransfer {
        direction: if write.is_some() { I2C_SMBUS_WRITE } else { I2C_SMBUS_READ },
        command: register,
        kind: I2C_SMBUS_WORD_DATA,
        data: &raw mut data,
    };
    // SAFETY: I2C_SLAVE takes a number; I2C_SMBUS takes the structure above, whose data, which outlives the call, is as
    // large as the kernel's union.
    unsafe {
        ioctl(file, IntegerSetter::<I2C_SLAVE>::new_usize(usize::from(address)))?;
        ioctl(file, Updater::<I2C_SMBUS, SmbusTransfer>::new(&mut transfer))?;
    }
    Ok(u16::from_ne_bytes([data.0[0], data.0[1]]))
}

/// A bus that a space has for itself: a command is the chip's address, how many bytes to read, and what to write.
pub struct RawBus<B>(pub B);

impl<B: Bus> Device for RawBus<B> {
    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let [address, read_size, write @ ..] = command else {
            return Err(DeviceError::Command(
                "expected an address, a number of bytes to read, and bytes to write".into(),
            ));
        };
        self.0.transfer(u16::from(*address), write, usize::from(*read_size))
    }
}
