//! A flash card that is copied to a second board, or moved to one.

use crate::{
    guests,
    scenario::network,
    world::{Machines, World},
};
use std::time::Duration;
use zhost_control::protocol::{Reply, Request};

const IDLES: &str = r#"(module
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (func (export "on_process") (result i32) (call $sleep (i32.const -1)) (i32.const 0)))"#;

/// How long until a copy must have been found out.
const FOUND_WITHIN: Duration = Duration::from_secs(12);

/// How often a board is asked that says nothing.
const ASKS: usize = 3;

/// A site on which a space runs, with a last board that has no power yet.
pub struct Site {
    /// The boards.
    pub world: World,
    /// The board that runs the space.
    pub home: usize,
    /// The board without power.
    pub spare: usize,
}

impl Site {
    /// A site of so many boards, beside the spare one; nothing if the space does not start.
    pub fn start(seed: u64, zhosts: usize) -> Option<Self> {
        let machines = Machines { zhosts: zhosts + 1, cameras: 0, measured: false };
        let mut world = World::new(seed, machines, network(50, 50));
        (0..zhosts).for_each(|index| world.start(index));
        let topology = "apiVersion: samoza/v1\nkind: Topology\nmetadata: {name: lone}\nspaces:\n  \
                        - {name: space, type: IO}\n";
        let package = guests::assemble("lone", 1, topology, &[("space", IDLES.to_owned())]);
        world.run_for(Duration::from_secs(20));
        world.ask(0, &Request::TopoSubmit(package));
        world.run_for(Duration::from_secs(40));
        let home = (0..zhosts).find(|index| world.runs(*index, "lone", "space"))?;
        Some(Self { world, home, spare: zhosts })
    }

    /// Lets time pass; how often it was seen that the space does not run exactly once.
    pub fn watch(&mut self, duration: Duration) -> usize {
        let end = self.world.now() + duration;
        let mut odd = 0;
        while self.world.now() < end {
            self.world.run_for(Duration::from_millis(500));
            odd += usize::from(self.homes().len() != 1);
        }
        odd
    }

    /// The boards that run the space.
    pub fn homes(&self) -> Vec<usize> {
        self.world.live().into_iter().filter(|index| self.world.runs(*index, "lone", "space")).collect()
    }

    /// Copies the card of the board with the space to the spare one, while it runs or while it does not, and starts both.
    pub fn copy(&mut self, while_it_runs: bool) {
        if while_it_runs {
            self.world.copy_card(self.home, self.spare);
            self.world.start(self.spare);
        } else {
            self.world.kill(self.home);
            self.world.run_for(Duration::from_secs(2));
            self.world.copy_card(self.home, self.spare);
            self.world.start(self.home);
            self.world.run_for(Duration::from_secs(20));
            self.world.start(self.spare);
        }
        self.world.run_for(FOUND_WITHIN);
    }

    /// Who says in the log that a zhost runs twice.
    pub fn witnesses(&self) -> Vec<usize> {
        let says = |index: &usize| {
            let name = format!(" z{index} Warn");
            self.world.trace().any(|line| line.contains(&name) && line.contains("runs twice"))
        };
        (0..self.world.size()).filter(says).collect()
    }

    /// What a board answers to a request that writes, and whether it names the copy in its list of zhosts.
    pub fn ask(&mut self, index: usize) -> (Option<String>, bool) {
        // On such a network an operator has to ask again now and then.
        let mut reply = |request: &Request| {
            (0..ASKS).find_map(|_| {
                let number = self.world.ask(index, request);
                self.world.run_for(Duration::from_secs(15));
                self.world.reply(number).flatten().cloned()
            })
        };
        let refusal = match reply(&Request::TopoStop("nothing".into())) {
            Some(Reply::Refused(reason)) => Some(reason),
            _ => None,
        };
        let names_it = match reply(&Request::Zhosts) {
            Some(Reply::Zhosts(zhosts)) => zhosts.iter().any(|zhost| zhost.conflict.is_some()),
            _ => false,
        };
        (refusal, names_it)
    }
}
