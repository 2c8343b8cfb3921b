//! Slots for agents: two partitions beside the data, and a file there that says which of them starts.
//!
//! The agent of the image always starts first. It hands over to that of a slot, which is the same process from then on.
//! A new one is tried once: unless it is kept, the next start, whatever led to it, is with the former one.

use crate::board::{DATA_DIR, data_device};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};
use zhost_base::limits::FIRMWARE_SIZE_MAX_BYTES;

/// Which slot starts.
const STATE_FILE: &str = "/data/slots";
/// Tells the agent of a slot that it is one.
const VARIABLE: &str = "SLOT";
/// Why an agent that was tried once is not tried again.
const NOT_KEPT: &str = "it did not find the cluster in time, or the board began anew before";

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The second partition.
    A,
    /// The third.
    B,
}

/// An agent that is to be tried, or is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    slot: Slot,
    revision: u64,
    is_started: bool,
}

/// What is known of the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The one that starts; none is the agent of the image.
    keep: Option<Slot>,
    trial: Option<Trial>,
    /// The push whose agent was given up last, and why.
    pub failed: Option<(u64, String)>,
}

impl Slot {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    fn partition(self) -> io::Result<PathBuf> {
        let number = match self {
            Self::A => "2",
            Self::B => "3",
        };
        let data = data_device().map_err(io::Error::other)?;
        let name = data.file_name().unwrap_or_default();
        let own = Path::new("/sys/class/block").join(name).canonicalize()?;
        let disk = own.parent().unwrap_or(&own);
        for entry in fs::read_dir(disk)? {
            let entry = entry?;
            let found = fs::read_to_string(entry.path().join("partition")).unwrap_or_default();
            if found.trim() == number {
                return Ok(Path::new("/dev").join(entry.file_name()));
            }
        }
        Err(io::Error::other(format!("the flash card has no partition {number}")))
    }

    /// What was written to it last.
    pub fn read(self) -> io::Result<Vec<u8>> {
        let mut partition = File::open(self.partition()?)?;
        let mut size = [0; 4];
        partition.read_exact(&mut size)?;
        let size = u32::from_le_bytes(size) as usize;
        if size > FIRMWARE_SIZE_MAX_BYTES {
            return Err(io::Error::other(format!("slot {self} holds no agent")));
        }
        let mut bytes = vec![0; size];
        partition.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes to it; on flash when it returns.
    pub fn write(self, bytes: &[u8]) -> io::Result<()> {
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut partition = OpenOptions::new().write(true).open(self.partition()?)?;
        partition.write_all(&size.to_le_bytes())?;
        partition.write_all(bytes)?;
        partition.sync_all()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

impl State {
    /// Reads the file; what makes no sense in it is as if it were not there.
    pub fn load() -> Self {
        Self::parse(&fs::read_to_string(STATE_FILE).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for line in text.lines() {
            let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
            match (what, Slot::parse(first), first.parse(), second.parse()) {
                ("keep", slot, ..) => state.keep = slot,
                ("try" | "tried", Some(slot), _, Ok(revision)) => {
                    state.trial = Some(Trial { slot, revision, is_started: what == "tried" });
                }
                ("failed", _, Ok(revision), _) => state.failed = Some((revision, second.to_owned())),
                _ => {}
            }
        }
        state
    }

    /// Writes the file, so that a power cut leaves either the old or the new one.
    pub fn save(&self) -> io::Result<()> {
        let unfinished = Path::new(STATE_FILE).with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(self.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(unfinished, STATE_FILE)?;
        File::open(DATA_DIR)?.sync_all()
    }

    /// Which agent starts now. One that is tried, is tried now or never.
    pub fn choose(&mut self) -> Option<Slot> {
        match &mut self.trial {
            Some(trial) if !trial.is_started => {
                trial.is_started = true;
                return Some(trial.slot);
            }
            Some(_) => self.give_up(NOT_KEPT),
            None => {}
        }
        self.keep
    }

    /// The agent on trial is none.
    pub fn give_up(&mut self, reason: &str) {
        if let Some(trial) = self.trial.take() {
            self.failed = Some((trial.revision, reason.replace('\n', " ")));
        }
    }

    /// The slot that may be overwritten.
    pub fn free(&self) -> Slot {
        if self.keep == Some(Slot::A) { Slot::B } else { Slot::A }
    }

    /// The agent in this slot is to be tried at the next start.
    pub fn plan(&mut self, slot: Slot, revision: u64) {
        self.trial = Some(Trial { slot, revision, is_started: false });
    }

    /// Whether the agent in this slot is on trial.
    pub fn is_trial(&self, slot: Slot) -> bool {
        self.trial.is_some_and(|trial| trial.slot == slot)
    }

    /// The agent on trial starts from now on.
    pub fn keep(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.keep = Some(trial.slot);
            self.failed = None;
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(slot) = self.keep {
            writeln!(f, "keep {slot}")?;
        }
        if let Some(Trial { slot, revision, is_started }) = self.trial {
            writeln!(f, "{} {slot} {revision}", if is_started { "tried" } else { "try" })?;
        }
        if let Some((revision, reason)) = &self.failed {
            writeln!(f, "failed {revision} {reason}")?;
        }
        Ok(())
    }
}

/// The slot this process came from, if it is not the agent of the image.
pub fn own() -> Option<Slot> {
    Slot::parse(&std::env::var(VARIABLE).ok()?)
}

/// Becomes the agent of a slot; returns if that cannot be done.
pub fn become_agent_of(slot: Slot, program: &[u8]) -> io::Error {
    let run = || -> io::Result<io::Error> {
        let mut file = File::from(memfd_create("agent", MemfdFlags::CLOEXEC)?);
        file.write_all(program)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let name = std::env::args_os().next().unwrap_or_default();
        Ok(Command::new(path).arg0(name).env(VARIABLE, slot.to_string()).exec())
    };
    run().unwrap_or_else(|error| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if the board began anew.
    fn restarted(state: &State) -> State {
        State::parse(&state.to_string())
    }

    #[test]
    fn a_new_agent_is_tried_once_and_kept_if_somebody_says_so() {
        let mut state = State::default();
        assert_eq!(state.choose(), None);
        state.plan(state.free(), 7);
        let mut state = restarted(&state);
        assert_eq!(state.choose(), Some(Slot::A));
        assert!(state.is_trial(Slot::A));
        state.keep();
        let mut state = restarted(&state);
        assert_eq!((state.choose(), state.free(), state.failed.clone()), (Some(Slot::A), Slot::B, None));
        state.plan(state.free(), 8);
        assert_eq!(restarted(&state).choose(), Some(Slot::B));
    }

    #[test]
    fn whatever_ends_a_trial_leads_back_to_the_former_agent() {
        let mut state = State { keep: Some(Slot::B), ..State::default() };
        state.plan(state.free(), 9);
        assert_eq!(state.choose(), Some(Slot::A));
        let mut state = restarted(&state);
        assert_eq!(state.choose(), Some(Slot::B));
        assert_eq!(state.failed, Some((9, NOT_KEPT.into())));
        assert_eq!(restarted(&state), state);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_as_good_as_none() {
        for text in ["", "keep c\n", "try a\n", "try a x\n", "failed\n", "\u{fffd}\0 keep"] {
            assert_eq!(State::parse(text), State::default(), "{text:?}");
        }
    }
}
