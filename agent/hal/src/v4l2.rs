//! Cameras: `/dev/videoN` (kernel: Documentation/userspace-api/media/v4l, include/uapi/linux/videodev2.h). Frames are
//! captured into buffers that the driver shares with us.
#![expect(unsafe_code, reason = "ioctl and mmap")]

use crate::{
    Device, Found,
    camera::{Camera, Pictures},
    machine::{Machine, failed, unopened},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    ioctl::{Opcode, Setter, Updater, ioctl, opcode},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};
use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    ptr::null_mut,
    str::FromStr,
    sync::Arc,
};
use zhost_exchange::{DeviceError, Frame};

/// Formats in the order in which they are wanted; a driver that knows none of them gives what it has.
const FORMATS: [[u8; 4]; 3] = [*b"GREY", *b"YUYV", *b"MJPG"];
/// Formats of a driver that are looked through.
const FORMATS_MAX: u32 = 64;
/// Buffers that the driver fills in turn.
const BUFFERS: u32 = 3;
/// Size of a frame; a camera with larger ones is refused.
const FRAME_MAX_BYTES: u32 = 8 * 1024 * 1024;
/// A camera that gives no picture for so long has failed.
const FRAME_WITHIN_SECS: i64 = 5;
/// Pictures in a row that the driver says are damaged; then the camera has failed.
const DAMAGED_MAX: usize = 32;

const CAPTURE: u32 = 1;
const MEMORY_MMAP: u32 = 1;
const CAN_CAPTURE: u32 = 1;
const CAN_STREAM: u32 = 0x0400_0000;
const HAS_DEVICE_CAPS: u32 = 0x8000_0000;
/// `V4L2_BUF_FLAG_ERROR`: there is no picture, or only half of one.
const FLAG_ERROR: u32 = 0x40;

/// `struct v4l2_capability`.
#[repr(C)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
struct FormatDescription {
    index: u32,
    kind: u32,
    flags: u32,
    description: [u8; 32],
    format: [u8; 4],
    code: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_format`, whose union is as aligned as the pointers that some of its members hold.
#[repr(C)]
struct Format {
    kind: u32,
    align: [usize; 0],
    width: u32,
    height: u32,
    format: [u8; 4],
    field: u32,
    line_size: u32,
    size: u32,
    rest: [u32; 44],
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
struct RequestBuffers {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

/// `struct v4l2_buffer`, with the time as the kernel's first interface has it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    index: u32,
    kind: u32,
    used: u32,
    flags: u32,
    field: u32,
    time: [usize; 2],
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    offset: usize,
    size: u32,
    reserved: [u32; 2],
}

const QUERY_CAPABILITY: Opcode = opcode::read::<Capability>(b'V', 0);
const ENUM_FORMAT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
const GET_FORMAT: Opcode = opcode::read_write::<Format>(b'V', 4);
const SET_FORMAT: Opcode = opcode::read_write::<Format>(b'V', 5);
const REQUEST_BUFFERS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
const QUERY_BUFFER: Opcode = opcode::read_write::<Buffer>(b'V', 9);
const QUEUE: Opcode = opcode::read_write::<Buffer>(b'V', 15);
const DEQUEUE: Opcode = opcode::read_write::<Buffer>(b'V', 17);
const STREAM_ON: Opcode = opcode::write::<i32>(b'V', 18);

// The kernel's own sizes.
const _: () = assert!(
    size_of::<Capability>() == 104
        && size_of::<FormatDescription>() == 64
        && size_of::<Format>() == 200 + size_of::<usize>()
        && size_of::<RequestBuffers>() == 20
        && size_of::<Buffer>() == if size_of::<usize>() == 8 { 88 } else { 68 }
);

/// What pictures are asked for: `WIDTHxHEIGHT`, and perhaps a format, such as `640x480 MJPG`. Drivers give the nearest
/// that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    width: u32,
    height: u32,
    format: Option<[u8; 4]>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { width: 320, height: 240, format: None }
    }
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "expected WIDTHxHEIGHT, and perhaps a format of up to four letters: 640x480 MJPG".to_owned();
        let (size, format) = text.split_once(' ').unwrap_or((text, ""));
        let (width, height) = size.split_once('x').ok_or_else(wrong)?;
        let side = |text: &str| text.parse().ok().filter(|side| (1..=8192).contains(side)).ok_or_else(wrong);
        let format = match format.trim().as_bytes() {
            [] => None,
            letters if letters.len() <= 4 => {
                // Shorter names, such as `Y16`, end in spaces.
                let mut name = [b' '; 4];
                name[..letters.len()].copy_from_slice(letters);
                Some(name)
            }
            _ => return Err(wrong()),
        };
        Ok(Self { width: side(width)?, height: side(height)?, format })
    }
}

/// Every device that captures pictures. They are called `camera`, `camera-1`, `camera-2` and so on.
pub fn find(machine: &Machine) -> Vec<Found> {
    let files = machine.entries("dev", "video").into_iter();
    let wish = machine.camera();
    let found = files.map(|path| {
        Found::new("sensors.camera".into(), path.clone(), move || {
            let file = open(&path).map_err(|e| unopened(&path, &e))?;
            // What does not answer as a video device does is none.
            let is_camera = captures(&file).unwrap_or(false);
            let name = path.to_string_lossy().into_owned();
            let start = move || {
                let file = open(&path).map_err(|e| unopened(&path, &e))?;
                let capture = Capture::start(&path, file, wish).map_err(|e| failed(&path, e))?;
                Ok(Box::new(capture) as Box<dyn Pictures>)
            };
            Ok(is_camera.then(|| Arc::new(Camera::new(&name, start)) as Arc<dyn Device>))
        })
    });
    found.collect()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn captures(file: &File) -> rustix::io::Result<bool> {
    let mut capability = Capability {
        driver: [0; 16],
        card: [0; 32],
        bus_info: [0; 32],
        version: 0,
        capabilities: 0,
        device_caps: 0,
        reserved: [0; 3],
    };
    // SAFETY: VIDIOC_QUERYCAP fills the structure above.
    unsafe { ioctl(file, Updater::<QUERY_CAPABILITY, Capability>::new(&mut capability)) }?;
    let own = match capability.capabilities & HAS_DEVICE_CAPS {
        0 => capability.capabilities,
        _ => capability.device_caps,
    };
    Ok(own & CAN_CAPTURE != 0 && own & CAN_STREAM != 0)
}

/// A buffer that the driver fills.
struct Mapping {
    start: *mut core::ffi::c_void,
    size: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this start and size, and nobody holds a reference into it.
        let _ = unsafe { munmap(self.start, self.size) };
    }
}

/// A camera that is capturing.
struct Capture {
    path: PathBuf,
    file: File,
    format: Format,
    mappings: Vec<Mapping>,
}

impl Capture {
    fn start(path: &Path, file: File, wish: Wish) -> io::Result<Self> {
        let format = negotiate(&file, wish)?;
        if format.size > FRAME_MAX_BYTES {
            return Err(io::Error::other(format!("its pictures have more than {FRAME_MAX_BYTES} bytes")));
        }
        let mut request =
            RequestBuffers { count: BUFFERS, kind: CAPTURE, memory: MEMORY_MMAP, capabilities: 0, flags: 0 };
        // SAFETY: VIDIOC_REQBUFS takes the structure above.
        unsafe { ioctl(&file, Updater::<REQUEST_BUFFERS, RequestBuffers>::new(&mut request)) }?;
        let mut capture = Self { path: path.to_owned(), file, format, mappings: Vec::new() };
        for index in 0..request.count {
            let mut buffer = capture.buffer(index);
            // SAFETY: VIDIOC_QUERYBUF takes the structure above; the driver says where its buffer is to be mapped, and
            // the mapping lives as long as the file is open.
            let start = unsafe {
                ioctl(&capture.file, Updater::<QUERY_BUFFER, Buffer>::new(&mut buffer))?;
                let (size, offset) = (buffer.size as usize, buffer.offset as u32);
                mmap(null_mut(), size, ProtFlags::READ, MapFlags::SHARED, &capture.file, u64::from(offset))?
            };
            capture.mappings.push(Mapping { start, size: buffer.size as usize });
            capture.queue(buffer)?;
        }
        // SAFETY: VIDIOC_STREAMON takes a number.
        unsafe { ioctl(&capture.file, Setter::<STREAM_ON, i32>::new(CAPTURE as i32)) }?;
        Ok(capture)
    }

    fn buffer(&self, index: u32) -> Buffer {
        Buffer {
            index,
            kind: CAPTURE,
            used: 0,
            flags: 0,
            field: 0,
            time: [0; 2],
            timecode: [0; 4],
            sequence: 0,
            memory: MEMORY_MMAP,
            offset: 0,
            size: 0,
            reserved: [0; 2],
        }
    }

    fn queue(&self, mut buffer: Buffer) -> rustix::io::Result<()> {
        // SAFETY: VIDIOC_QBUF takes the structure above.
        unsafe { ioctl(&self.file, Updater::<QUEUE, Buffer>::new(&mut buffer)) }
    }

    /// Waits for the next picture that is whole.
    fn next_whole(&mut self) -> io::Result<Arc<[u8]>> {
        for _ in 0..DAMAGED_MAX {
            if let Some(picture) = self.dequeue()? {
                return Ok(picture);
            }
        }
        Err(io::Error::other("its pictures are damaged"))
    }

    fn dequeue(&mut self) -> io::Result<Option<Arc<[u8]>>> {
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        if poll(&mut ready, Some(&Timespec { tv_sec: FRAME_WITHIN_SECS, tv_nsec: 0 }))? == 0 {
            return Err(io::Error::other("it gives no pictures"));
        }
        let mut buffer = self.buffer(0);
        // SAFETY: VIDIOC_DQBUF takes the structure above.
        unsafe { ioctl(&self.file, Updater::<DEQUEUE, Buffer>::new(&mut buffer)) }?;
        if buffer.flags & FLAG_ERROR != 0 {
            return self.queue(self.buffer(buffer.index)).map(|()| None).map_err(io::Error::from);
        }
        let mapping =
            self.mappings.get(buffer.index as usize).ok_or_else(|| io::Error::other("an unknown buffer"))?;
        let used = (buffer.used as usize).min(mapping.size);
        // SAFETY: the mapping is readable for its whole size, and the driver leaves a dequeued buffer alone.
        let picture: Arc<[u8]> =
            unsafe { std::slice::from_raw_parts(mapping.start.cast::<u8>(), used) }.into();
        self.queue(buffer)?;
        Ok(Some(picture))
    }
}

/// Settles on a format and a size with the driver.
fn negotiate(file: &File, wish: Wish) -> rustix::io::Result<Format> {
    let known: Vec<[u8; 4]> = (0..FORMATS_MAX).map_while(|index| format_at(file, index)).collect();
    let wanted = wish.format.into_iter().chain(FORMATS).find(|format| known.contains(format));
    let mut format = Format {
        kind: CAPTURE,
        align: [],
        width: wish.width,
        height: wish.height,
        format: wanted.unwrap_or_default(),
        field: 0,
        line_size: 0,
        size: 0,
        rest: [0; 44],
    };
    // SAFETY: VIDIOC_S_FMT and VIDIOC_G_FMT take the structure above.
    unsafe {
        match wanted {
            Some(_) => ioctl(file, Updater::<SET_FORMAT, Format>::new(&mut format))?,
            None => ioctl(file, Updater::<GET_FORMAT, Format>::new(&mut format))?,
        }
    }
    Ok(format)
}

fn format_at(file: &File, index: u32) -> Option<[u8; 4]> {
    let mut description = FormatDescription {
        index,
        kind: CAPTURE,
        flags: 0,
        description: [0; 32],
        format: [0; 4],
        code: 0,
        reserved: [0; 3],
    };
    // SAFETY: VIDIOC_ENUM_FMT takes the structure above.
    let found = unsafe { ioctl(file, Updater::<ENUM_FORMAT, FormatDescription>::new(&mut description)) };
    found.ok().map(|()| description.format)
}

impl Pictures for Capture {
    fn next(&mut self) -> Result<Frame, DeviceError> {
        let pixels = self.next_whole().map_err(|e| failed(&self.path, e))?;
        let Format { width, height, format, .. } = self.format;
        Ok(Frame { sequence: 0, width, height, fourcc: format, pixels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_written_as_people_say_them() {
        let wish =
            |width, height, format: Option<&[u8; 4]>| Ok(Wish { width, height, format: format.copied() });
        assert_eq!("640x480".parse(), wish(640, 480, None));
        assert_eq!("1280x720 MJPG".parse(), wish(1280, 720, Some(b"MJPG")));
        assert_eq!("640x480 Y16".parse(), wish(640, 480, Some(b"Y16 ")));
        for wrong in ["", "640", "640x", "0x480", "640x99999", "640x480 JPEG2", "640 x 480"] {
            assert!(wrong.parse::<Wish>().is_err(), "{wrong}");
        }
    }
}
