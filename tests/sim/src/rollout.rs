//! A new agent for boards, taken up by one after the other, while nothing or something goes wrong.

use crate::{
    guests,
    scenario::network,
    slots::SimSlots,
    world::{Machines, World},
};
use std::time::Duration;
use zhost_base::{BlobDigest, Name};
use zhost_control::protocol::{FirmwareStatus, Reply, Request};
use zhost_mex::firmware;

const BOARDS: usize = 5;
const TARGET: &str = "sim";
/// How long the boards may take, all together.
const PATIENCE: Duration = Duration::from_secs(600);

/// A site whose boards have slots.
pub struct Site {
    /// The site.
    pub world: World,
}

fn name(text: &str) -> Name {
    text.parse().expect("a fixed name")
}

/// An agent; every number is another one.
pub fn agent(number: u8) -> Vec<u8> {
    firmware::build(&name(TARGET), &name(&format!("{number}")), &[number; 100_000], &guests::publisher())
        .expect("a small program")
}

impl Site {
    /// Five boards that have found each other.
    pub fn start(seed: u64) -> Self {
        let mut world =
            World::new(seed, Machines { zhosts: BOARDS, cameras: 0, measured: false }, network(20, 10));
        for index in 0..BOARDS {
            *world.slots(index) = SimSlots::new(name(TARGET));
            world.start(index);
        }
        world.run_for(Duration::from_secs(30));
        Self { world }
    }

    /// Asks the last board, and gives its answer.
    pub fn ask(&mut self, request: &Request) -> Reply {
        let number = self.world.ask(BOARDS - 1, request);
        let end = self.world.now() + Duration::from_secs(30);
        self.world.run_until(end, |world| world.reply(number).is_some());
        self.world.reply(number).flatten().cloned().unwrap_or(Reply::Refused("no answer".into()))
    }

    /// Pushes an agent; gives its digest.
    pub fn push(&mut self, agent: &[u8]) -> BlobDigest {
        let reply = self.ask(&Request::FirmwarePush(agent.to_vec()));
        assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
        zhost_mex::digest(agent)
    }

    /// What an operator is told.
    pub fn status(&mut self) -> FirmwareStatus {
        match self.ask(&Request::FirmwareStatus) {
            Reply::Firmware(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// The boards at which an agent is between being written and being kept or given up.
    pub fn trying(&mut self) -> Vec<usize> {
        (0..BOARDS).filter(|index| self.world.slots(*index).trial.is_some()).collect()
    }

    /// Lets time pass until all boards keep this agent; gives whether they do in time. Never do two try it at once.
    pub fn is_taken_up(&mut self, blob: BlobDigest) -> bool {
        let end = self.world.now() + PATIENCE;
        while self.world.now() < end {
            self.world.run_for(Duration::from_millis(500));
            let trying = self.trying();
            assert!(trying.len() <= 1, "{trying:?} try it at once");
            if (0..BOARDS).all(|index| self.world.slots(index).kept == Some(blob)) {
                return true;
            }
        }
        false
    }

    /// Lets time pass until a board has an agent to try, and is about to begin anew with it; gives which.
    pub fn await_trial(&mut self) -> usize {
        let end = self.world.now() + PATIENCE;
        while self.world.now() < end {
            self.world.run_for(Duration::from_millis(50));
            if let Some(index) = self.trying().first() {
                return *index;
            }
        }
        panic!("nobody tries it");
    }
}
