//! What goes wrong at a site: which, when and whom is all chance.

use crate::scenario::Run;
use std::time::Duration;

/// Mishaps of one run, at most.
const MISHAPS_MAX: u64 = 5;
/// Longest pause between two of them.
const PAUSE_MAX_MS: u64 = 4000;

/// How long loss lasts that lasts: at least, and at most so much longer.
const LASTING_LOSS_MS: (u64, u64) = (60_000, 40_000);

/// What went wrong and has to be put right again.
struct Damage {
    down: Vec<usize>,
    /// One board, and what its disk once held.
    backup: (usize, Vec<u8>),
    /// Whether it comes back with that.
    has_old_disk: bool,
}

impl Run {
    /// Some mishaps, one after the other, each on top of those before, and an operator's `chore` after each; then
    /// everything is put right.
    pub(crate) fn trouble(&mut self, mut chore: impl FnMut(&mut Self)) {
        let backup = self.backup_of_one();
        self.world.let_panic(self.panics);
        let mut damage = Damage { down: Vec::new(), backup, has_old_disk: false };
        for _ in 0..=self.below(MISHAPS_MAX) {
            self.mishap(&mut damage);
            self.pass(PAUSE_MAX_MS);
            chore(self);
        }
        if self.world.rng().chance(100) {
            self.blackout(&mut damage);
        }
        self.repair(damage);
        self.world.let_panic(None);
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.world.rng().below(bound)
    }

    /// Lets up to that much time pass.
    fn pass(&mut self, most_ms: u64) {
        let pause = self.below(most_ms);
        self.world.run_for(Duration::from_millis(pause));
    }

    fn somebody(&mut self) -> usize {
        let live = self.world.live();
        self.world.rng().pick(&live).copied().unwrap_or(0)
    }

    /// Some boards, each with a chance of that many of a thousand.
    fn some(&mut self, per_mille: u64) -> Vec<usize> {
        (0..self.world.size()).filter(|_| self.world.rng().chance(per_mille)).collect()
    }

    /// The disk of one board as it is now.
    fn backup_of_one(&mut self) -> (usize, Vec<u8>) {
        let index = self.somebody();
        (index, self.world.backup(index))
    }

    fn mishap(&mut self, damage: &mut Damage) {
        match self.below(13) {
            0 | 1 if damage.down.len() < 2 => {
                let victim = self.somebody();
                self.world.kill(victim);
                damage.down.push(victim);
            }
            2 if damage.down.len() < 2 => {
                let victim = self.somebody();
                self.world.cut_power(victim);
                damage.down.push(victim);
            }
            3 => {
                let (victim, length) = (self.somebody(), self.below(8000));
                self.world.pause(victim, Duration::from_millis(length));
            }
            4 => {
                let side = self.some(400);
                self.world.partition(&side);
                self.pass(15_000);
                self.world.heal();
            }
            5 => self.cut_some_ways(),
            6 => self.flap(),
            7 => self.spoil_some_ways(),
            8 => self.hurt_a_disk(),
            9 => {
                for _ in 0..3 {
                    let (a, b) = (self.somebody(), self.somebody());
                    self.world.break_link(a, b);
                    self.pass(300);
                }
            }
            10 => {
                let victim = self.somebody();
                self.world.readdress(victim);
            }
            11 if damage.down.len() < 2 => {
                // Off, and on again perhaps with the disk of an earlier day.
                let (board, is_it) = (damage.backup.0, self.world.rng().chance(500));
                let victim =
                    if is_it && self.world.live().contains(&board) { board } else { self.somebody() };
                self.world.kill(victim);
                damage.down.push(victim);
                damage.has_old_disk |= self.world.rng().chance(500);
            }
            12 => self.spoil_lastingly(),
            _ => {}
        }
    }

    /// Ways that carry nothing in one direction.
    fn cut_some_ways(&mut self) {
        for _ in 0..=self.below(6) {
            let (from, to) = (self.somebody(), self.somebody());
            if from != to {
                self.world.cut(from, to);
            }
        }
        self.pass(12_000);
        self.world.heal();
    }

    /// A partition that comes and goes.
    fn flap(&mut self) {
        let side = self.some(400);
        for _ in 0..3 {
            self.world.partition(&side);
            self.pass(3000);
            self.world.heal();
            self.pass(1500);
        }
    }

    /// Heavy loss in one direction here and there, and bursts of it everywhere.
    fn spoil_some_ways(&mut self) {
        for _ in 0..=self.below(8) {
            let (from, to) = (self.somebody(), self.somebody());
            let loss = 300 + self.below(600);
            self.world.spoil(from, to, loss);
        }
        self.world.bursts(5);
        self.pass(10_000);
        self.world.bursts(0);
        self.world.heal();
    }

    /// For a minute or more, little or nothing gets through from one board to others, or from others to it.
    fn spoil_lastingly(&mut self) {
        let board = self.somebody();
        self.spoil_ways_of(board);
        let (least, more) = LASTING_LOSS_MS;
        let length = least + self.below(more);
        self.world.run_for(Duration::from_millis(length));
        self.world.heal();
    }

    /// Heavy loss in one direction between a board and all or some others: of datagrams, or of everything.
    pub(crate) fn spoil_ways_of(&mut self, board: usize) {
        let loss = 800 + 50 * self.below(5);
        let (is_outward, with_streams) = (self.world.rng().chance(500), self.world.rng().chance(500));
        let share = if self.world.rng().chance(500) { 1000 } else { 600 };
        for other in (0..self.world.size()).filter(|other| *other != board) {
            let (from, to) = if is_outward { (board, other) } else { (other, board) };
            if self.world.rng().chance(share) {
                self.world.spoil(from, to, loss);
                if with_streams {
                    self.world.spoil_streams(from, to, loss);
                }
            }
        }
    }

    fn hurt_a_disk(&mut self) {
        let (victim, times) = (self.somebody(), 2 + self.below(200) as u32);
        if self.world.rng().chance(500) {
            self.world.fill_disk(victim, true);
            self.pass(8000);
            self.world.fill_disk(victim, false);
        } else {
            self.world.slow_disk(victim, times);
            self.pass(8000);
            self.world.slow_disk(victim, 1);
        }
    }

    /// The whole site loses power.
    fn blackout(&mut self, damage: &mut Damage) {
        for index in self.world.live() {
            self.world.cut_power(index);
            damage.down.push(index);
        }
        self.pass(5000);
    }

    fn repair(&mut self, damage: Damage) {
        let (board, mut backup) = damage.backup;
        self.world.heal();
        for victim in damage.down {
            self.pass(8000);
            if damage.has_old_disk && victim == board {
                self.world.restore_disk(victim, std::mem::take(&mut backup));
            }
            self.world.start(victim);
        }
    }
}
