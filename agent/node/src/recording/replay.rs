//! Tells a node again what was recorded of one, and finds where it does something else.

use super::{Fingerprint, Recording, Steps};
use crate::{input::Input, node::Node, output::Outgoing};
use std::{
    fmt,
    hash::{Hash, Hasher},
};
use zhost_base::Instant;

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

/// A node that is told again what was recorded.
pub struct Replay<'a> {
    node: Node,
    steps: Steps<'a>,
    said: Fingerprint,
    outputs: Vec<Outgoing>,
    number: u64,
}

impl<'a> Replay<'a> {
    /// Starts the node of a recording.
    pub fn new(recording: Recording<'a>) -> Self {
        let steps = recording.steps();
        let node = recording.beginning.into_node();
        let mut replay = Self { node, steps, said: Fingerprint::default(), outputs: Vec::new(), number: 0 };
        replay.listen();
        replay
    }

    /// What comes next, if anything does; [`Self::tell`] tells it the node. Fails if what the node has said so far is not what
    /// was recorded.
    pub fn next_step(&mut self) -> Result<Option<Step>, ReplayError> {
        let Some((said, step)) = self.steps.next().transpose()? else { return Ok(None) };
        if said != self.said.finish() {
            return Err(ReplayError::Differs(self.number));
        }
        Ok(Some(step))
    }

    /// Tells the node this, as its shell did.
    pub fn tell(&mut self, step: Step) {
        self.number = step.number;
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
}
