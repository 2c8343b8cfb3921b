//! Recordings: all that a node was told since its start, so that it can be told again elsewhere, and does the same again.
//!
//! A recording is [`MAGIC`], then entries, each behind its length in four little-endian bytes and encoded by postcard: first
//! the beginning, then one for each input. With an input stands what all outputs before it come to. An entry is
//! written before the node takes its input in, so that the last one of a node that panicked is what it panicked over; one
//! that is cut off is where the power was. There is no key in a recording, but all that was opened with keys.

use crate::{config::NodeConfig, disk::Recovered, input::Input, node::Node, output::Outgoing};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::hash::{Hash, Hasher};
use zhost_base::{Instant, Rng};

mod replay;

pub use replay::{Replay, ReplayError, Step};

const MAGIC: &[u8] = b"zhost recording 1\n";
const LENGTH_SIZE_BYTES: usize = 4;

/// Where a recording is written: takes the next bytes of it, or says that it takes no more, for good.
pub type Tape = Box<dyn FnMut(&[u8]) -> bool>;

/// What a node starts with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Beginning {
    pub now: Instant,
    /// What it draws from this is no secret: keys have draws of their own.
    pub seed: [u8; 32],
    pub config: NodeConfig,
    pub recovered: Recovered,
}

impl Beginning {
    pub fn into_node(self) -> Node {
        Node::new(self.now, self.config, self.recovered, Rng::new(self.seed))
    }
}

/// What all outputs up to a point come to (FNV-1a of 64 bits), the same on processors of any width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.write(&(number as u64).to_le_bytes());
    }

    fn write_isize(&mut self, number: isize) {
        self.write(&(number as i64).to_le_bytes());
    }
}

/// Writes a recording as long as its tape takes it.
pub(crate) struct Recorder {
    tape: Option<Tape>,
    said: Fingerprint,
}

impl Recorder {
    /// Begins a recording, if there is a tape for one.
    pub fn new(tape: Option<Tape>, beginning: &Beginning) -> Self {
        let mut recorder = Self { tape, said: Fingerprint::default() };
        recorder.write(MAGIC);
        recorder.write_entry(beginning);
        recorder
    }

    /// Records nothing more.
    pub fn stop(&mut self) {
        self.tape = None;
    }

    /// The node is told this.
    pub fn handle_input(&mut self, now: Instant, input: &Input) {
        self.write_entry(&(self.said.finish(), now, input));
    }

    /// The node says this.
    pub fn handle_output(&mut self, output: &Outgoing) {
        if self.tape.is_some() {
            output.hash(&mut self.said);
        }
    }

    fn write_entry(&mut self, entry: &impl Serialize) {
        if self.tape.is_none() {
            return;
        }
        match postcard::to_allocvec(entry) {
            Ok(bytes) => {
                // An input has come in a frame, from the flash or from a worker: it is far below 4 GiB.
                let length = (bytes.len() as u32).to_le_bytes();
                self.write(&[&length, bytes.as_slice()].concat());
            }
            // Without it nothing behind it could be told again.
            Err(_) => self.tape = None,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.tape = self.tape.take().and_then(|mut tape| tape(bytes).then_some(tape));
    }
}

/// A recording that was read.
#[derive(Debug)]
pub struct Recording<'a> {
    beginning: Beginning,
    entries: &'a [u8],
}

impl<'a> Recording<'a> {
    /// Reads the beginning of a recording.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ReplayError> {
        let mut entries = bytes.strip_prefix(MAGIC).ok_or(ReplayError::NoRecording)?;
        let beginning = take_entry(&mut entries).ok_or(ReplayError::NoRecording)?;
        Ok(Self { beginning: decode(beginning, 0)?, entries })
    }

    /// What the node was told, up to where the recording ends or is cut off.
    pub fn steps(&self) -> Steps<'a> {
        Steps { entries: self.entries, number: 0 }
    }

    /// Whose it is, for people.
    pub fn describe(&self) -> String {
        let Beginning { config: NodeConfig { id, name, cluster, version, .. }, recovered, .. } =
            &self.beginning;
        let start = recovered.generation.0;
        format!("zhost {name} ({id}) of cluster {cluster}, agent {version}, its start {start}")
    }
}

/// The steps of a recording, each with what all outputs before it came to.
#[derive(Debug)]
pub struct Steps<'a> {
    entries: &'a [u8],
    number: u64,
}

impl Iterator for Steps<'_> {
    type Item = Result<(u64, Step), ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = take_entry(&mut self.entries)?;
        self.number += 1;
        let number = self.number;
        Some(decode(entry, number).map(|(said, now, input)| (said, Step { number, now, input })))
    }
}

/// The next entry, if it is whole.
fn take_entry<'a>(entries: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = entries.split_first_chunk::<LENGTH_SIZE_BYTES>()?;
    let (entry, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *entries = rest;
    Some(entry)
}

fn decode<T: DeserializeOwned>(entry: &[u8], number: u64) -> Result<T, ReplayError> {
    postcard::from_bytes(entry).map_err(|_| ReplayError::Damaged(number))
}
