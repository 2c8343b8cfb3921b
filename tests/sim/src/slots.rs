//! Slots for agents on a simulated board: which agent starts, as `zhost_init::slots` decides it on a real one.

use zhost_base::{BlobDigest, Name};
use zhost_node::{FirmwareOrder, Slots};

/// What a board was told to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Which agent.
    pub blob: BlobDigest,
    /// With which push it came.
    pub revision: u64,
    /// Whether it was started.
    pub is_started: bool,
}

/// The slots of a board; they outlive its power.
#[derive(Clone, Debug, Default)]
pub struct SimSlots {
    target: Option<Name>,
    /// The agent that starts; none is that of the image.
    pub kept: Option<BlobDigest>,
    /// The one to be tried.
    pub trial: Option<Trial>,
    failed: Option<(u64, String)>,
    /// Whoever is to write to them never comes back.
    pub hangs: bool,
    /// Agents that were started, one after the other.
    pub started: Vec<Option<BlobDigest>>,
}

impl SimSlots {
    /// Slots for agents of this target, with nothing in them.
    pub fn new(target: Name) -> Self {
        Self { target: Some(target), ..Self::default() }
    }

    /// The agent that runs, or ran last; none is that of the image.
    pub fn running(&self) -> Option<BlobDigest> {
        self.started.last().copied().flatten()
    }

    /// Whether there are any.
    pub fn is_board(&self) -> bool {
        self.target.is_some()
    }

    /// The board starts: gives what its node is told.
    pub fn boot(&mut self) -> Option<Slots> {
        let target = self.target.clone()?;
        let mut running = self.kept;
        match &mut self.trial {
            Some(trial) if !trial.is_started => {
                trial.is_started = true;
                running = Some(trial.blob);
            }
            Some(trial) => {
                self.failed = Some((trial.revision, "it was not kept".into()));
                self.trial = None;
            }
            None => {}
        }
        self.started.push(running);
        let version = target.clone();
        let (is_trial, failed) = (self.trial.is_some(), self.failed.clone());
        Some(Slots { target, running, version, is_trial, failed })
    }

    /// Does what the node wants.
    pub fn carry_out(&mut self, order: &FirmwareOrder) -> Result<(), String> {
        match order {
            FirmwareOrder::Install { blob, revision, .. } => {
                self.trial = Some(Trial { blob: *blob, revision: *revision, is_started: false });
            }
            FirmwareOrder::Keep => {
                let trial = self.trial.take().ok_or("nothing is on trial")?;
                self.kept = Some(trial.blob);
                self.failed = None;
            }
        }
        Ok(())
    }
}
