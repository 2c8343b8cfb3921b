//! GPIO lines: `/dev/gpiochipN`, second version of the character device (kernel: include/uapi/linux/gpio.h).
#![expect(unsafe_code, reason = "ioctl")]

use crate::{
    Device,
    machine::{Machine, failed, unopened},
};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    ioctl::{Opcode, Updater, ioctl, opcode},
};
use std::{
    fs::File,
    os::fd::{FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};

/// Chips and lines of a chip that are looked through for a name.
const LINES_MAX: u32 = 1024;
const CONSUMER: &[u8] = b"zhost";
/// Edges the kernel keeps for us; of further ones it drops the oldest.
const EDGES_MAX: u32 = 256;

/// `GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES`.
const ATTRIBUTE_VALUES: u32 = 2;
const FLAG_INPUT: u64 = 1 << 2;
const FLAG_OUTPUT: u64 = 1 << 3;
const FLAGS_EDGES: u64 = 1 << 4 | 1 << 5;

/// `struct gpiochip_info`.
#[repr(C)]
struct ChipInfo {
    name: [u8; 32],
    label: [u8; 32],
    lines: u32,
}

/// `struct gpio_v2_line_attribute`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attribute {
    id: u32,
    padding: u32,
    value: u64,
}

/// `struct gpio_v2_line_info`.
#[repr(C)]
struct LineInfo {
    name: [u8; 32],
    consumer: [u8; 32],
    offset: u32,
    attribute_count: u32,
    flags: u64,
    attributes: [Attribute; 10],
    padding: [u32; 4],
}

/// `struct gpio_v2_line_config_attribute`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ConfigAttribute {
    attribute: Attribute,
    mask: u64,
}

/// `struct gpio_v2_line_config`.
#[repr(C)]
struct LineConfig {
    flags: u64,
    attribute_count: u32,
    padding: [u32; 5],
    attributes: [ConfigAttribute; 10],
}

/// `struct gpio_v2_line_request`.
#[repr(C)]
struct LineRequest {
    offsets: [u32; 64],
    consumer: [u8; 32],
    config: LineConfig,
    line_count: u32,
    event_buffer_size: u32,
    padding: [u32; 5],
    fd: i32,
}

/// `struct gpio_v2_line_values`.
#[repr(C)]
struct LineValues {
    bits: u64,
    mask: u64,
}

/// Size of `struct gpio_v2_line_event`.
const EVENT_SIZE_BYTES: usize = 48;

const GET_CHIP_INFO: Opcode = opcode::read::<ChipInfo>(0xb4, 0x01);
const GET_LINE_INFO: Opcode = opcode::read_write::<LineInfo>(0xb4, 0x05);
const GET_LINE: Opcode = opcode::read_write::<LineRequest>(0xb4, 0x07);
const GET_VALUES: Opcode = opcode::read_write::<LineValues>(0xb4, 0x0e);
const SET_VALUES: Opcode = opcode::read_write::<LineValues>(0xb4, 0x0f);

// The kernel's own sizes, on every architecture.
const _: () = assert!(
    size_of::<ChipInfo>() == 68
        && size_of::<LineInfo>() == 256
        && size_of::<LineRequest>() == 592
        && size_of::<LineValues>() == 16
);

/// Which way a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It is read, and its edges are counted.
    Input,
    /// It is set.
    Output,
}

/// A line, known by its name, held once it is used.
pub struct Line {
    machine: Machine,
    name: String,
    direction: Direction,
    held: Mutex<Option<Held>>,
}

struct Held {
    line: OwnedFd,
    edges: u64,
}

fn text_of(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn chip_info(chip: &File) -> rustix::io::Result<ChipInfo> {
    let mut info = ChipInfo { name: [0; 32], label: [0; 32], lines: 0 };
    // SAFETY: GPIO_GET_CHIPINFO_IOCTL fills the structure above.
    unsafe { ioctl(chip, Updater::<GET_CHIP_INFO, ChipInfo>::new(&mut info)) }?;
    Ok(info)
}

fn line_info(chip: &File, offset: u32) -> rustix::io::Result<LineInfo> {
    let mut info = LineInfo {
        name: [0; 32],
        consumer: [0; 32],
        offset,
        attribute_count: 0,
        flags: 0,
        attributes: [Attribute::default(); 10],
        padding: [0; 4],
    };
    // SAFETY: GPIO_V2_GET_LINEINFO_IOCTL reads `offset` of the structure above and fills the rest.
    unsafe { ioctl(chip, Updater::<GET_LINE_INFO, LineInfo>::new(&mut info)) }?;
    Ok(info)
}

/// Takes a line; an output with the level it is to have from the first moment.
fn request(chip: &File, offset: u32, level: Option<bool>) -> rustix::io::Result<OwnedFd> {
    let flags = if level.is_some() { FLAG_OUTPUT } else { FLAG_INPUT | FLAGS_EDGES };
    let mut attributes = [ConfigAttribute::default(); 10];
    if level.is_some() {
        attributes[0].attribute =
            Attribute { id: ATTRIBUTE_VALUES, padding: 0, value: u64::from(level == Some(true)) };
        attributes[0].mask = 1;
    }
    let mut request = LineRequest {
        offsets: [0; 64],
        consumer: [0; 32],
        config: LineConfig {
            flags,
            attribute_count: u32::from(level.is_some()),
            padding: [0; 5],
            attributes,
        },
        line_count: 1,
        event_buffer_size: if level.is_none() { EDGES_MAX } else { 0 },
        padding: [0; 5],
        fd: -1,
    };
    request.offsets[0] = offset;
    request.consumer[..CONSUMER.len()].copy_from_slice(CONSUMER);
    // SAFETY: GPIO_V2_GET_LINE_IOCTL reads the structure above and fills in a new descriptor, which is ours alone.
    let line = unsafe {
        ioctl(chip, Updater::<GET_LINE, LineRequest>::new(&mut request))?;
        OwnedFd::from_raw_fd(request.fd)
    };
    fcntl_setfl(&line, fcntl_getfl(&line)? | OFlags::NONBLOCK)?;
    Ok(line)
}

fn values(line: &OwnedFd, set: Option<bool>) -> rustix::io::Result<bool> {
    let mut values = LineValues { bits: u64::from(set == Some(true)), mask: 1 };
    // SAFETY: both take the structure above.
    unsafe {
        match set {
            Some(_) => ioctl(line, Updater::<SET_VALUES, LineValues>::new(&mut values))?,
            None => ioctl(line, Updater::<GET_VALUES, LineValues>::new(&mut values))?,
        }
    }
    Ok(values.bits & 1 == 1)
}

/// Edges since the last look.
fn count_edges(line: &OwnedFd) -> rustix::io::Result<u64> {
    let mut events = [0; 16 * EVENT_SIZE_BYTES];
    let mut count = 0;
    loop {
        match rustix::io::read(line, &mut events) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(count),
            Ok(size) => count += (size / EVENT_SIZE_BYTES) as u64,
            Err(error) => return Err(error),
        }
    }
}

/// The chip, and the line of that name if it has one.
fn find_on(path: &Path, name: &str) -> Result<(File, Option<u32>), DeviceError> {
    let chip = File::open(path).map_err(|e| unopened(path, &e))?;
    let failed = |e| failed(path, e);
    for offset in 0..chip_info(&chip).map_err(failed)?.lines.min(LINES_MAX) {
        if text_of(&line_info(&chip, offset).map_err(failed)?.name) == name.as_bytes() {
            return Ok((chip, Some(offset)));
        }
    }
    Ok((chip, None))
}

/// A line of that name, and its chip. A chip that cannot be asked counts if no other has the line.
fn find(machine: &Machine, name: &str) -> Result<(PathBuf, File, u32), DeviceError> {
    let mut missing = DeviceError::Missing;
    for path in machine.entries("dev", "gpiochip") {
        match find_on(&path, name) {
            Ok((chip, Some(offset))) => return Ok((path, chip, offset)),
            Ok((_, None)) => {}
            Err(error) => missing = error,
        }
    }
    Err(missing)
}

/// Whether a chip of this machine has a line of that name, or may have: one that cannot be asked now.
pub(crate) fn is_there(machine: &Machine, name: &str) -> bool {
    !matches!(find(machine, name), Err(DeviceError::Missing))
}

impl Line {
    /// The line of that name, on whichever chip it is.
    pub fn new(machine: &Machine, name: &str, direction: Direction) -> Self {
        Self { machine: machine.clone(), name: name.to_owned(), direction, held: Mutex::new(None) }
    }

    fn hold(&self, level: Option<bool>) -> Result<Held, DeviceError> {
        let (path, chip, offset) = find(&self.machine, &self.name)?;
        let line = request(&chip, offset, level).map_err(|e| failed(&path, e))?;
        Ok(Held { line, edges: 0 })
    }

    fn with<T>(
        &self,
        level: Option<bool>,
        act: impl FnOnce(&mut Held) -> rustix::io::Result<T>,
    ) -> Result<T, DeviceError> {
        let mut held: MutexGuard<'_, Option<Held>> = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(self.hold(level)?);
        }
        let line = held.as_mut().ok_or(DeviceError::Missing)?;
        act(line).map_err(|error| {
            // A chip that is gone takes its lines along; one that comes back has new ones.
            if error == Errno::NODEV {
                *held = None;
            }
            failed(Path::new(&self.name), error)
        })
    }
}

impl Device for Line {
    fn read(&self, _: Instant) -> Result<Reading, DeviceError> {
        let is_held = self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        // Taking an output gives it a level; that is for a command to say.
        if self.direction == Direction::Output && !is_held {
            return Err(DeviceError::NotYet);
        }
        let (value, edges) = self.with(None, |held| {
            if self.direction == Direction::Input {
                held.edges += count_edges(&held.line)?;
            }
            Ok((values(&held.line, None)?, held.edges))
        })?;
        Ok(line_reading(value, edges))
    }

    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let value = line_command(command)?;
        self.with(Some(value), |held| values(&held.line, Some(value))).map(|_| Vec::new())
    }
}

/// What an input tells: its level, and how many edges there were since it was first read.
pub(crate) fn line_reading(value: bool, edges: u64) -> Reading {
    Reading::Json(format!("{{\"type\":\"line\",\"value\":{},\"edges\":{edges}}}", u8::from(value)))
}

/// What an output takes: `0` or `1`.
pub(crate) fn line_command(command: &[u8]) -> Result<bool, DeviceError> {
    match command {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(DeviceError::Command("expected 0 or 1".into())),
    }
}
