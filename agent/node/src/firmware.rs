//! Which agent the boards run: each takes up a new one in its turn, and gives it up if it does not find the cluster with
//! it.
//!
//! Nobody directs this. From the same ledger, registry and membership every zhost sees whose turn it is ([`next`]): the
//! first board by id that does not run what it is to run, once everybody in the roster is there, nobody has failed since
//! the operator's push, and nobody is at it. A board that is away stops the others, since it may be the one that did not
//! come back.

use crate::{
    data::blobs::Blobs,
    effects::Effects,
    facts::Facts,
    output::{Ending, Level, Output},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zhost_base::{
    BlobDigest, Instant, Name, ZhostId,
    limits::FIRMWARE_REASON_MAX_BYTES,
    planted::{self, Bug},
};
use zhost_control::protocol::{FirmwareLine, FirmwareStatus};
use zhost_gossip::{
    document::{FirmwareDocument, FirmwareImage, Placement},
    row::{Attempt, FirmwareRow, Row, RowKey},
};

/// How long the shell may take to put an agent into its slot; then it has failed, and nobody waits for it.
pub const INSTALLED_WITHIN: Duration = Duration::from_secs(180);
/// How long a new agent has to find the cluster.
const TRIAL: Duration = Duration::from_secs(120);

/// Where a board keeps agents beside that of its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Which agents it can run, as Rust calls it.
    pub target: Name,
    /// The one that runs; none is that of the image.
    pub running: Option<BlobDigest>,
    /// What that is called.
    pub version: Name,
    /// Whether that is on trial.
    pub is_trial: bool,
    /// The push whose agent was given up last, and why.
    pub failed: Option<(u64, String)>,
}

/// What the shell is to do with the slots; it says [`Input::Firmware`](crate::Input::Firmware) then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FirmwareOrder {
    /// Write this blob to the slot that is not in use, and try it at the next start.
    Install {
        /// The signed agent.
        blob: BlobDigest,
        /// Its size.
        size_bytes: u32,
        /// The operator's push it came with.
        revision: u64,
    },
    /// The agent on trial is good: start it from now on.
    Keep,
}

/// The agents of a board.
pub(crate) struct Firmware {
    /// Where they are kept, if they are.
    slots: Option<Slots>,
    attempt: Attempt,
    trial_until: Option<Instant>,
    /// Until when the one under way is to be in its slot, and of which push it is.
    installing: Option<(Instant, u64)>,
    /// Whether somebody of the cluster holds the same ledger.
    is_in_step: bool,
    /// Whether the shell is told to keep the agent on trial.
    is_keeping: bool,
}

/// A zhost of the roster, as far as agents are concerned.
struct Board {
    id: ZhostId,
    name: Name,
    is_there: bool,
    row: Option<FirmwareRow>,
}

/// What is to happen next.
#[derive(Debug, PartialEq, Eq)]
enum Next<'a> {
    /// Every board runs what it is to run.
    Done,
    /// Nothing, until the operator pushes again.
    Halted(String),
    /// Something else must happen first.
    Waits(String),
    /// This board takes up this agent.
    Turn(ZhostId, &'a FirmwareImage),
}

/// The agent a board is to take up.
fn lacking<'a>(document: &'a FirmwareDocument, board: &Board) -> Option<&'a FirmwareImage> {
    let row = board.row.as_ref()?;
    let image = document.images.iter().find(|image| image.target == row.target)?;
    (row.running != Some(image.blob)).then_some(image)
}

/// What is to happen next among these boards, which are sorted by id.
fn next<'a>(document: &'a FirmwareDocument, boards: &[Board]) -> Next<'a> {
    let counts = |revision: u64| revision == document.revision && !planted::has(Bug::IgnoreFailure);
    let failure = |board: &Board| match &board.row.as_ref()?.attempt {
        Attempt::Failed { revision, reason } if counts(*revision) => {
            Some(format!("{} does not run it: {reason}", board.name))
        }
        _ => None,
    };
    if let Some(failure) = boards.iter().find_map(failure) {
        return Next::Halted(failure);
    }
    if let Some(absent) = boards.iter().find(|board| !board.is_there) {
        return Next::Waits(format!("{} is away", absent.name));
    }
    let is_at_it = |board: &&Board| {
        board.row.as_ref().is_some_and(|row| matches!(row.attempt, Attempt::Installing | Attempt::Trying))
    };
    if let Some(board) = boards.iter().find(is_at_it).filter(|_| !planted::has(Bug::TryTogether)) {
        return Next::Waits(format!("{} takes it up", board.name));
    }
    match boards.iter().find_map(|board| Some((board.id, lacking(document, board)?))) {
        Some(_) if document.halted => Next::Halted("an operator halted it".into()),
        Some((id, image)) => Next::Turn(id, image),
        None => Next::Done,
    }
}

impl Firmware {
    pub fn new(now: Instant, slots: Option<Slots>) -> Self {
        let is_trial = slots.as_ref().is_some_and(|slots| slots.is_trial);
        let failed = slots.as_ref().and_then(|slots| slots.failed.clone());
        let attempt = match failed {
            _ if is_trial => Attempt::Trying,
            Some((revision, reason)) => failed_attempt(revision, reason),
            None => Attempt::Settled,
        };
        Self {
            slots,
            attempt,
            trial_until: is_trial.then(|| now + TRIAL),
            installing: None,
            is_in_step: false,
            is_keeping: false,
        }
    }

    /// Whether the agent that runs has still to show that it works.
    pub fn is_on_trial(&self) -> bool {
        self.trial_until.is_some()
    }

    /// What was under way is lost. What the board is at has a time of its own, which goes on.
    pub fn begin_again(&mut self) {
        self.is_in_step = false;
        self.is_keeping = false;
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let trial = self.trial_until.map(|until| (until, "the trial of a new agent"));
        let installing = self.installing.map(|(until, _)| (until, "the installation of an agent"));
        trial.into_iter().chain(installing).min()
    }
}

fn failed_attempt(revision: u64, mut reason: String) -> Attempt {
    let end = (0..=FIRMWARE_REASON_MAX_BYTES).rev().find(|end| reason.is_char_boundary(*end));
    reason.truncate(end.unwrap_or_default());
    Attempt::Failed { revision, reason }
}

impl Facts {
    fn boards(&self) -> Vec<Board> {
        let board = |(id, entry): (ZhostId, &zhost_gossip::document::RosterEntry)| Board {
            id,
            name: entry.name.clone(),
            is_there: id == self.id
                || self.membership.peer(id).is_some() && self.registry.row(id, &RowKey::Profile).is_some(),
            row: match self.registry.row(id, &RowKey::Firmware) {
                Some(Row::Firmware(row)) => Some(row.clone()),
                _ => None,
            },
        };
        let mut boards: Vec<Board> = self.ledger.roster().map(board).collect();
        boards.sort_by_key(|board| board.id);
        boards
    }

    /// A space whose data has fewer copies than it should: no board may go away meanwhile.
    fn space_lacking_replicas(&self) -> Option<&Name> {
        let placements = self.ledger.topologies().filter_map(|(id, topology)| {
            let wanted = |placement: &Placement| placement.revision == topology.revision;
            Some((topology, self.obeyed_placement(id).filter(|placement| wanted(placement))?))
        });
        placements.into_iter().find_map(|(topology, placement)| {
            let lacks = placement.replica_sets.iter().find(|set| {
                let spec = topology.spec.spaces.iter().find(|space| space.name == set.space);
                let wanted = spec.map_or(0, |spec| usize::from(spec.replicas));
                !set.joining.is_empty() || set.replicas.len() < wanted
            });
            lacks.map(|set| &set.space)
        })
    }

    fn next_firmware<'a>(&self, document: &'a FirmwareDocument) -> Next<'a> {
        match (next(document, &self.boards()), self.space_lacking_replicas()) {
            (Next::Turn(..), Some(space)) => {
                Next::Waits(format!("{space} has fewer replicas than it should"))
            }
            (next, _) => next,
        }
    }

    /// What operators are told of agents.
    pub(crate) fn firmware_status(&self) -> FirmwareStatus {
        let none = FirmwareDocument::default();
        let document = self.ledger.firmware().unwrap_or(&none);
        let (state, reason) = match self.next_firmware(document) {
            _ if document.images.is_empty() => ("none pushed", String::new()),
            Next::Done => ("done", String::new()),
            Next::Halted(reason) => ("halted", reason),
            Next::Waits(reason) => ("waits", reason),
            Next::Turn(id, _) => ("goes on", format!("{} is next", self.zhost_name(id))),
        };
        let lines = self.boards().into_iter().map(|board| FirmwareLine {
            zhost: self.zhost_name(board.id),
            zhost_id: board.id.to_string(),
            target: board.row.as_ref().map_or("-".into(), |row| row.target.to_string()),
            running: board.row.as_ref().map_or("-".into(), |row| row.version.to_string()),
            state: describe(document, &board),
        });
        FirmwareStatus {
            revision: document.revision,
            state: state.into(),
            reason,
            images: document
                .images
                .iter()
                .map(|image| (image.target.to_string(), image.version.to_string()))
                .collect(),
            zhosts: lines.collect(),
        }
    }
}

impl Firmware {
    /// Writes what we say of our agent, if we have slots for others.
    pub fn announce(&self, facts: &Facts, effects: &mut Effects) {
        let Some(slots) = &self.slots else { return };
        let row = Row::Firmware(FirmwareRow {
            target: slots.target.clone(),
            running: slots.running,
            version: slots.version.clone(),
            attempt: self.attempt.clone(),
        });
        if facts.registry.row(facts.id, &RowKey::Firmware) != Some(&row) {
            effects.row(RowKey::Firmware, row);
        }
    }

    /// The blob of the agent that we are to take up one day.
    pub fn needed(&self, facts: &Facts) -> Option<(BlobDigest, u32)> {
        let slots = self.slots.as_ref()?;
        let images = &facts.ledger.firmware()?.images;
        let image = images.iter().find(|image| image.target == slots.target)?;
        (slots.running != Some(image.blob)).then_some((image.blob, image.size_bytes))
    }

    /// Somebody who knows the cluster holds the same ledger as we do. Whether that is news.
    pub fn note_in_step(&mut self) -> bool {
        !std::mem::replace(&mut self.is_in_step, true)
    }

    /// Keeps the agent on trial once it has found the cluster; takes another up when it is our turn, and we stay.
    pub fn refresh(
        &mut self,
        now: Instant,
        facts: &Facts,
        blobs: &Blobs,
        stays: bool,
        effects: &mut Effects,
    ) {
        self.announce(facts, effects);
        if self.slots.is_none() || !facts.ready || !stays {
            return;
        }
        if self.attempt == Attempt::Trying {
            return self.consider_keeping(facts, effects);
        }
        let Some(document) = facts.ledger.firmware() else { return };
        let Next::Turn(id, image) = facts.next_firmware(document) else { return };
        if id != facts.id || !blobs.is_complete(image.blob) {
            return;
        }
        let revision = document.revision;
        effects.log(Level::Info, format!("taking up agent {} of push {revision}", image.version));
        self.attempt = Attempt::Installing;
        self.installing = Some((now + INSTALLED_WITHIN, revision));
        self.announce(facts, effects);
        let order = FirmwareOrder::Install { blob: image.blob, size_bytes: image.size_bytes, revision };
        effects.output(Output::Firmware(order));
    }

    fn consider_keeping(&mut self, facts: &Facts, effects: &mut Effects) {
        let is_alone = facts.ledger.roster().all(|(id, _)| id == facts.id);
        let is_found = is_alone || self.is_in_step || planted::has(Bug::KeepUntried);
        if is_found && !self.is_keeping {
            self.is_keeping = true;
            effects.output(Output::Firmware(FirmwareOrder::Keep));
        }
    }

    /// The shell has done what it was told with the slots, or could not.
    pub fn handle_done(
        &mut self,
        facts: &Facts,
        order: &FirmwareOrder,
        result: Result<(), String>,
        effects: &mut Effects,
    ) {
        let under_way = self.installing.map(|(_, revision)| revision);
        match (order, result) {
            (FirmwareOrder::Install { revision, .. }, _) if under_way != Some(*revision) => {
                effects.log(Level::Warn, format!("the agent of push {revision} is in its slot too late"));
            }
            (FirmwareOrder::Install { .. }, Ok(())) => {
                self.installing = None;
                effects.log(Level::Info, "the agent is in its slot: beginning anew with it".into());
                effects.end(Ending::Restart);
            }
            (FirmwareOrder::Install { revision, .. }, Err(reason)) => {
                self.fail_installation(*revision, reason, effects);
            }
            (FirmwareOrder::Keep, Ok(())) => {
                effects.log(Level::Info, "the new agent has found the cluster, and stays".into());
                self.attempt = Attempt::Settled;
                self.trial_until = None;
            }
            // The trial ends in time, and the next start is with the former agent.
            (FirmwareOrder::Keep, Err(reason)) => {
                effects.log(Level::Warn, format!("the new agent cannot be kept: {reason}"));
            }
        }
        self.announce(facts, effects);
    }

    fn fail_installation(&mut self, revision: u64, reason: String, effects: &mut Effects) {
        effects.log(Level::Warn, format!("the agent is not taken up: {reason}"));
        self.installing = None;
        self.attempt = failed_attempt(revision, reason);
    }

    /// Gives up what takes too long.
    pub fn handle_timeout(&mut self, now: Instant, facts: &Facts, effects: &mut Effects) {
        if let Some((_, revision)) = self.installing.filter(|(until, _)| *until <= now) {
            let reason = format!("it was not in its slot after {} s", INSTALLED_WITHIN.as_secs());
            self.fail_installation(revision, reason, effects);
            self.announce(facts, effects);
        }
        if self.trial_until.is_some_and(|until| until <= now) {
            self.trial_until = None;
            let text = "the new agent does not find the cluster: back to the former one".into();
            effects.log(Level::Warn, text);
            effects.end(Ending::Restart);
        }
    }
}

fn describe(document: &FirmwareDocument, board: &Board) -> String {
    let Some(row) = &board.row else {
        return if board.is_there { "has no slots for agents".into() } else { "away".into() };
    };
    match &row.attempt {
        Attempt::Installing => "takes it up".into(),
        Attempt::Trying => "tries it".into(),
        Attempt::Failed { revision, reason } if *revision == document.revision => format!("failed: {reason}"),
        _ if lacking(document, board).is_some() => "waits for its turn".into(),
        _ => "as it should be".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn image(target: &str, number: u8) -> FirmwareImage {
        FirmwareImage {
            target: name(target),
            version: name("2"),
            blob: BlobDigest([number; 32]),
            size_bytes: 9,
        }
    }

    fn document() -> FirmwareDocument {
        FirmwareDocument { revision: 3, halted: false, images: vec![image("a64", 1), image("a32", 2)] }
    }

    fn board(id: u64, target: &str, running: Option<u8>, attempt: Attempt) -> Board {
        let running = running.map(|number| BlobDigest([number; 32]));
        let row = FirmwareRow { target: name(target), running, version: name("1"), attempt };
        Board { id: ZhostId(id), name: name(&format!("z{id}")), is_there: true, row: Some(row) }
    }

    fn failed(revision: u64) -> Attempt {
        failed_attempt(revision, "silent".into())
    }

    #[test]
    fn boards_take_it_up_one_after_the_other_each_that_of_its_target() {
        let document = document();
        let mut boards =
            vec![board(1, "a64", None, Attempt::Settled), board(2, "a32", None, Attempt::Settled)];
        boards.push(Board { id: ZhostId(3), name: name("laptop"), is_there: true, row: None });
        boards.push(board(4, "x86", None, Attempt::Settled));
        assert_eq!(next(&document, &boards), Next::Turn(ZhostId(1), &document.images[0]));
        for attempt in [Attempt::Installing, Attempt::Trying] {
            boards[0] = board(1, "a64", Some(1), attempt);
            assert_eq!(next(&document, &boards), Next::Waits("z1 takes it up".into()));
        }
        boards[0] = board(1, "a64", Some(1), Attempt::Settled);
        assert_eq!(next(&document, &boards), Next::Turn(ZhostId(2), &document.images[1]));
        boards[1] = board(2, "a32", Some(2), Attempt::Settled);
        assert_eq!(next(&document, &boards), Next::Done);
    }

    #[test]
    fn the_first_failure_stops_all_others_until_the_next_push() {
        let mut document = document();
        let boards = [board(1, "a64", None, failed(3)), board(2, "a32", None, Attempt::Settled)];
        assert_eq!(next(&document, &boards), Next::Halted("z1 does not run it: silent".into()));
        document.revision = 4;
        assert_eq!(next(&document, &boards), Next::Turn(ZhostId(1), &document.images[0]));
    }

    #[test]
    fn nobody_goes_while_somebody_is_away() {
        let document = document();
        let mut boards = [board(1, "a64", None, Attempt::Settled), board(2, "a32", None, Attempt::Settled)];
        boards[1].is_there = false;
        assert_eq!(next(&document, &boards), Next::Waits("z2 is away".into()));
    }

    #[test]
    fn an_operator_can_halt_it() {
        let document = FirmwareDocument { halted: true, ..document() };
        let boards = [board(1, "a64", None, Attempt::Settled)];
        assert_eq!(next(&document, &boards), Next::Halted("an operator halted it".into()));
    }

    #[test]
    fn long_reasons_are_cut() {
        let Attempt::Failed { reason, .. } = failed_attempt(1, "ü".repeat(FIRMWARE_REASON_MAX_BYTES)) else {
            panic!("not a failure");
        };
        assert_eq!(reason.len(), FIRMWARE_REASON_MAX_BYTES);
    }
}
