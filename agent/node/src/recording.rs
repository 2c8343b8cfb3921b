//! Recordings: all that a node was told since its start, so that it can be told again elsewhere, and does the same again.
//!
//! A recording is [`MAGIC`], then entries, each behind its length in four little-endian bytes and encoded by postcard: first
//! the beginning, then one for each input. With an input stands what all outputs before it come to. An entry is
//! written before the node takes its input in, so that the last one of a node that panicked is what it panicked over; one
//! that is cut off is where the power was. There is no key in a recording, but all that was opened with keys.

use crate::{config::NodeConfig, disk::Recovered, input::Input, node::Node, output::Outgoing};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt,
    hash::{Hash, Hasher},
};
use zhost_base::{Instant, Rng};

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

/// Why a recording cannot be told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// It is none, or of another version.
    NoRecording,
    /// Its entry of this number makes no sense: it is damaged, or of another version of the agent.
    Damaged(u64),
    /// The input of this number was answered otherwise than when it was recorded.
    Differs(u64),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecording => f.write_str("this is no recording of a zhost, or one of another version"),
            Self::Damaged(number) => {
                write!(f, "entry {number} makes no sense: it is damaged, or of another version of the agent")
            }
            Self::Differs(0) => f.write_str("what it says at its start is not what was recorded"),
            Self::Differs(number) => {
                write!(f, "what it says to input {number} is not what was recorded: the first difference")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

/// One input, told again.
#[derive(Debug)]
pub struct Step {
    /// Which it is, from 1 on.
    pub number: u64,
    /// When it came, by the clock of its shell.
    pub now: Instant,
    /// What the node was told.
    pub input: Input,
}

/// Tells a node again what was recorded.
pub struct Replay<'a> {
    node: Node,
    entries: &'a [u8],
    said: Fingerprint,
    outputs: Vec<Outgoing>,
    number: u64,
}

impl<'a> Replay<'a> {
    /// Starts the node of a recording.
    pub fn new(recording: &'a [u8]) -> Result<Self, ReplayError> {
        let mut entries = recording.strip_prefix(MAGIC).ok_or(ReplayError::NoRecording)?;
        let beginning = take_entry(&mut entries).ok_or(ReplayError::NoRecording)?;
        let beginning: Beginning = decode(beginning, 0)?;
        let (node, said) = (beginning.into_node(), Fingerprint::default());
        let mut replay = Self { node, entries, said, outputs: Vec::new(), number: 0 };
        replay.listen();
        Ok(replay)
    }

    /// Whose recording it is, for people.
    pub fn describe(&self) -> String {
        let (id, generation) = (self.node.id(), self.node.generation().0);
        let NodeConfig { name, cluster, version, .. } = self.node.config();
        format!("zhost {name} ({id}) of cluster {cluster}, agent {version}, its start {generation}")
    }

    /// What comes next, if anything does; [`Self::tell`] tells it the node. Fails if what the node has said so far is not what
    /// was recorded.
    pub fn next_step(&mut self) -> Result<Option<Step>, ReplayError> {
        let Some(entry) = take_entry(&mut self.entries) else { return Ok(None) };
        let number = self.number + 1;
        let (said, now, input): (u64, Instant, Input) = decode(entry, number)?;
        if said != self.said.finish() {
            return Err(ReplayError::Differs(self.number));
        }
        self.number = number;
        Ok(Some(Step { number, now, input }))
    }

    /// Tells the node this, as its shell did.
    pub fn tell(&mut self, step: Step) {
        self.node.handle(step.now, step.input);
        self.listen();
    }

    fn listen(&mut self) {
        self.outputs.clear();
        while let Some(output) = self.node.poll_output() {
            output.hash(&mut self.said);
            self.outputs.push(output);
        }
    }

    /// What the node said to the last input.
    pub fn outputs(&self) -> &[Outgoing] {
        &self.outputs
    }

    /// The node as it is now.
    pub fn node(&self) -> &Node {
        &self.node
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
