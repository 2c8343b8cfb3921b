//! Microphones and loudspeakers: `/dev/snd/pcmC<card>D<device>` with a `c` or a `p` behind it (kernel:
//! include/uapi/sound/asound.h, Documentation/sound). Guests have samples of 16 bits, one channel, [`RATE_HZ`]; what a
//! card can do otherwise is converted here. Nothing waits: the kernel's buffer holds a second.
#![expect(unsafe_code, reason = "ioctl")]

use crate::{
    Device, Found,
    machine::{Machine, failed, unopened},
};
use rustix::{
    fs::OFlags,
    io::Errno,
    ioctl::{Getter, NoArg, Opcode, Updater, ioctl, opcode},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};

/// Samples a second, as guests have them.
pub const RATE_HZ: u32 = 16_000;
/// What is heard, or played, at once: half a second.
pub const PORTION_MAX_BYTES: usize = 16 * 1024;
/// Rates and channels that a card is asked for, one after the other.
const WISHES: [(u32, u32); 6] =
    [(RATE_HZ, 1), (RATE_HZ, 2), (48_000, 1), (48_000, 2), (44_100, 1), (44_100, 2)];
/// How much the kernel keeps.
const BUFFER_MAX_MICROS: u32 = 1_000_000;

// Parameters are numbered: first the masks, from `FIRST_INTERVAL` the intervals.
const ACCESS: usize = 0;
const FORMAT: usize = 1;
const FIRST_INTERVAL: usize = 8;
const CHANNELS: usize = 10;
const RATE: usize = 11;
const BUFFER_TIME: usize = 16;
const BUFFER_SIZE: usize = 17;
/// `SNDRV_PCM_ACCESS_RW_INTERLEAVED`.
const INTERLEAVED: u32 = 3;
/// `SNDRV_PCM_FORMAT_S16_LE`.
const SIGNED_16: u32 = 2;

/// `struct snd_interval`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Interval {
    min: u32,
    max: u32,
    flags: u32,
}

/// `struct snd_pcm_hw_params`.
#[repr(C)]
struct Parameters {
    flags: u32,
    masks: [[u32; 8]; 8],
    intervals: [Interval; 21],
    wanted: u32,
    changed: u32,
    info: u32,
    significant_bits: u32,
    rate: [u32; 2],
    fifo_size: usize,
    reserved: [u8; 64],
}

const SET_PARAMETERS: Opcode = opcode::read_write::<Parameters>(b'A', 0x11);
const GET_DELAY: Opcode = opcode::read::<isize>(b'A', 0x21);
const PREPARE: Opcode = opcode::none(b'A', 0x40);

// The kernel's own size.
const _: () = assert!(size_of::<Parameters>() == 600 + size_of::<usize>());

impl Parameters {
    /// Samples of this rate and so many channels; the rest is the card's.
    fn of(rate_hz: u32, channels: u32) -> Self {
        let any = Interval { min: 0, max: u32::MAX, flags: 0 };
        let mut parameters = Self {
            flags: 0,
            masks: [[u32::MAX; 8]; 8],
            intervals: [any; 21],
            wanted: u32::MAX,
            changed: 0,
            info: 0,
            significant_bits: 0,
            rate: [0; 2],
            fifo_size: 0,
            reserved: [0; 64],
        };
        for (mask, bit) in [(ACCESS, INTERLEAVED), (FORMAT, SIGNED_16)] {
            parameters.masks[mask] = [1 << bit, 0, 0, 0, 0, 0, 0, 0];
        }
        for (interval, value) in [(CHANNELS, channels), (RATE, rate_hz)] {
            *parameters.interval(interval) = Interval { min: value, max: value, flags: 0 };
        }
        parameters.interval(BUFFER_TIME).max = BUFFER_MAX_MICROS;
        parameters
    }

    fn interval(&mut self, number: usize) -> &mut Interval {
        &mut self.intervals[number - FIRST_INTERVAL]
    }
}

/// A card that is open.
struct Stream {
    file: File,
    rate_hz: u32,
    channels: usize,
    /// How many moments, with a sample for each channel, the kernel's buffer holds.
    buffer: usize,
}

impl Stream {
    fn open(path: &PathBuf, hears: bool) -> io::Result<Self> {
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(hears).write(!hears).custom_flags(nonblocking).open(path)?;
        let mut refusal = Errno::INVAL;
        for (rate_hz, channels) in WISHES {
            let mut parameters = Parameters::of(rate_hz, channels);
            // SAFETY: SNDRV_PCM_IOCTL_HW_PARAMS takes the structure above.
            match unsafe { ioctl(&file, Updater::<SET_PARAMETERS, Parameters>::new(&mut parameters)) } {
                Ok(()) => {
                    let buffer = parameters.interval(BUFFER_SIZE).min as usize;
                    let stream = Self { file, rate_hz, channels: channels as usize, buffer };
                    stream.prepare()?;
                    return Ok(stream);
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal.into())
    }

    /// After an overrun or an underrun, too.
    fn prepare(&self) -> rustix::io::Result<()> {
        // SAFETY: SNDRV_PCM_IOCTL_PREPARE takes nothing.
        unsafe { ioctl(&self.file, NoArg::<PREPARE>::new()) }
    }

    /// Does something again if the kernel's buffer ran over or empty.
    fn again<T>(&self, mut task: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match task() {
            Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {
                self.prepare()?;
                task()
            }
            outcome => outcome,
        }
    }

    /// What was heard since the last time, at most a portion.
    fn hear(&self) -> io::Result<Vec<u8>> {
        let moments = PORTION_MAX_BYTES / 2 * self.rate_hz as usize / RATE_HZ as usize;
        let mut bytes = vec![0; moments * self.channels * 2];
        let size = self.again(|| (&self.file).read(&mut bytes))?;
        let samples = mixed(&samples(&bytes[..size]), self.channels);
        Ok(resampled(&samples, self.rate_hz, RATE_HZ).into_iter().flat_map(i16::to_le_bytes).collect())
    }

    /// Plays a portion; `WouldBlock` if there is no room for all of it.
    fn play(&self, portion: &[u8]) -> io::Result<()> {
        let moments = resampled(&samples(portion), RATE_HZ, self.rate_hz);
        // SAFETY: SNDRV_PCM_IOCTL_DELAY gives a number.
        let delay = || unsafe { ioctl(&self.file, Getter::<GET_DELAY, isize>::new()) };
        let waiting = self.again(|| Ok(delay()?))?;
        if usize::try_from(waiting).unwrap_or(0) + moments.len() > self.buffer {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let spread =
            moments.iter().flat_map(|sample| std::iter::repeat_n(sample.to_le_bytes(), self.channels));
        let bytes: Vec<u8> = spread.flatten().collect();
        self.again(|| (&self.file).write(&bytes)).map(drop)
    }
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn mean(samples: &[i16]) -> i16 {
    let sum: i32 = samples.iter().map(|sample| i32::from(*sample)).sum();
    (sum / samples.len().max(1) as i32) as i16
}

/// One channel of several.
fn mixed(samples: &[i16], channels: usize) -> Vec<i16> {
    samples.chunks_exact(channels.max(1)).map(mean).collect()
}

/// The same at another rate: each sample is the mean of those of its time, or the one of its time.
fn resampled(samples: &[i16], from_hz: u32, to_hz: u32) -> Vec<i16> {
    let at = |index: usize| (index as u64 * u64::from(from_hz) / u64::from(to_hz)) as usize;
    let count = (samples.len() as u64 * u64::from(to_hz) / u64::from(from_hz)) as usize;
    let span = |index: usize| samples.get(at(index)..at(index + 1).max(at(index) + 1)).unwrap_or_default();
    (0..count).map(|index| mean(span(index))).collect()
}

/// A microphone or a loudspeaker. It is opened when it is used first; the kernel stops a microphone that nobody asks.
struct Sound {
    path: PathBuf,
    hears: bool,
    stream: Mutex<Option<Stream>>,
}

impl Sound {
    fn stream(&self) -> Result<MutexGuard<'_, Option<Stream>>, DeviceError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.is_none() {
            *stream = Some(Stream::open(&self.path, self.hears).map_err(|e| unopened(&self.path, &e))?);
        }
        Ok(stream)
    }

    /// Uses the stream; one that fails is opened anew the next time.
    fn with<T>(&self, task: impl FnOnce(&Stream) -> io::Result<T>) -> Result<T, DeviceError> {
        let mut stream = self.stream()?;
        let outcome = stream.as_ref().map_or(Err(io::ErrorKind::NotConnected.into()), task);
        outcome.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DeviceError::NotYet,
            _ => {
                *stream = None;
                failed(&self.path, error)
            }
        })
    }
}

impl Device for Sound {
    fn read(&self, _: Instant) -> Result<Reading, DeviceError> {
        if !self.hears {
            return Err(DeviceError::Missing);
        }
        self.with(Stream::hear).map(Reading::Bytes)
    }

    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        if self.hears {
            return Err(DeviceError::Missing);
        }
        if command.is_empty() || !command.len().is_multiple_of(2) || command.len() > PORTION_MAX_BYTES {
            return Err(DeviceError::Command(format!(
                "expected samples of 2 bytes, at most {PORTION_MAX_BYTES} bytes"
            )));
        }
        self.with(|stream| stream.play(command)).map(|()| Vec::new())
    }
}

/// Every microphone and loudspeaker.
pub fn find(machine: &Machine) -> Vec<Found> {
    let files = machine.entries("dev/snd", "pcmC").into_iter();
    let found = files.filter_map(|path| {
        let (hears, capability) = match path.to_str()?.as_bytes().last()? {
            b'c' => (true, "audio.microphone"),
            b'p' => (false, "audio.speaker"),
            _ => return None,
        };
        if machine.is_recorded() {
            return Some(crate::replay_sound::find(capability, path, hears));
        }
        let sound = Sound { path: path.clone(), hears, stream: Mutex::default() };
        Some(Found::certain(capability.into(), path, sound))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_become_one() {
        assert_eq!(mixed(&[100, 200, -32768, 32766, 7], 2), [150, -1]);
        assert_eq!(mixed(&[1, 2], 1), [1, 2]);
    }

    #[test]
    fn rates_are_converted_by_means_and_by_repetition() {
        assert_eq!(resampled(&[3, 6, 9, 30, 30, 30, 1], 48_000, 16_000), [6, 30]);
        assert_eq!(resampled(&[5, -5], 16_000, 48_000), [5, 5, 5, -5, -5, -5]);
        assert_eq!(resampled(&[1, 2, 3], 16_000, 16_000), [1, 2, 3]);
        let second = vec![7; 44_100];
        assert_eq!(resampled(&second, 44_100, 16_000), vec![7; 16_000]);
        assert_eq!(resampled(&[], 44_100, 16_000), Vec::<i16>::new());
    }
}
