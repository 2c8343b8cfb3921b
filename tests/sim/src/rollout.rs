//! A new agent for boards, taken up by one after the other, while nothing or something goes wrong.

use crate::{
    guests,
    promise::Promise,
    scenario::{Report, Run, network},
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

/// A push, now and then, of a thousand.
const PUSH_PER_MILLE: u64 = 500;
/// How often the last one is pushed until it is durable.
const PUSHES_MAX: u32 = 20;
/// Pushes of agents that have no network, of a thousand.
const BAD_PER_MILLE: u64 = 400;

/// Join, pushes of agents good and bad and mishaps, and in the end a good one that all boards take up.
pub fn run(seed: u64, zhosts: usize, verbose: bool) -> Report {
    let mut world = World::new(seed, Machines { zhosts, cameras: 0, measured: false }, network(20, 20));
    world.verbose = verbose;
    (0..zhosts).for_each(|index| *world.slots(index) = SimSlots::new(name(TARGET)));
    let mut run = Run::new(world);
    run.power_on();
    run.wait_for_quiet("after the start");
    let mut number = 0;
    if run.flaws.is_empty() {
        run.trouble(|run| {
            if run.world.rng().chance(PUSH_PER_MILLE) {
                number += 1;
                let is_bad = run.world.rng().chance(BAD_PER_MILLE);
                run.push(number, is_bad);
                // Long enough for some board to have its turn.
                let pause = run.world.rng().below(60);
                run.world.run_for(Duration::from_secs(pause));
            }
        });
    }
    let start = run.world.now();
    let blob = run.push_durably(number + 1);
    let everywhere = |world: &World| (0..zhosts).all(|index| world.agent(index) == (Some(blob), Some(blob)));
    if !run.world.run_until(start + PATIENCE, everywhere) {
        let lacking: Vec<String> = (0..zhosts)
            .filter(|index| run.world.agent(*index).1 != Some(blob))
            .map(|i| format!("z{i}"))
            .collect();
        run.object(Promise::Update, format!("{lacking:?} have not taken up what was pushed last"));
    }
    let quiet = run.wait_for_quiet("after the rollout");
    let quiet_after = quiet.then(|| run.world.now().since(start));
    run.report(quiet_after)
}

impl Run {
    /// Pushes a good agent until enough boards know of it: of two pushes that do not know of each other one counts.
    fn push_durably(&mut self, number: u8) -> BlobDigest {
        let agent = agent(number);
        for _ in 0..PUSHES_MAX {
            if let Some(Reply::Done(durability)) = self.command(&Request::FirmwarePush(agent.clone()))
                && durability.copies >= durability.wanted
            {
                break;
            }
            self.world.run_for(Duration::from_secs(15));
        }
        zhost_mex::digest(&agent)
    }

    /// Pushes the agent of that number; a bad one has no network.
    fn push(&mut self, number: u8, is_bad: bool) -> BlobDigest {
        let agent = agent(number);
        let blob = zhost_mex::digest(&agent);
        if is_bad {
            self.world.spoil_agent(blob);
        }
        self.command(&Request::FirmwarePush(agent));
        blob
    }
}
