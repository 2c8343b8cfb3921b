//! What operators may expect of a topology, from what they were told of their writes.
//!
//! A write that n flashes hold outlives the loss of n − 1 of them. What fewer hold than were lost since may be gone, and
//! then what was there before is in force; it may also be back, from a flash that was not lost.

use zhost_control::protocol::Durability;

/// What should be true of a topology after quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its version.
    pub version: String,
    /// Its state.
    pub state: &'static str,
    /// How many of its placed spaces run.
    pub running: usize,
}

/// What an operator was told of one write.
#[derive(Clone, Debug)]
struct Write {
    /// Nothing: it was deleted.
    outcome: Option<Outcome>,
    copies: u32,
    /// Flashes that had been lost before.
    lost_before: u32,
}

/// All that operators have written of one topology.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its name.
    pub name: String,
    writes: Vec<Write>,
}

impl Expectation {
    /// A topology that nobody has written of yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), writes: Vec::new() }
    }

    /// An operator was told that so many flashes hold a write, after so many had been lost.
    pub fn note(&mut self, outcome: Option<Outcome>, durability: Durability, lost_before: u32) {
        self.writes.push(Write { outcome, copies: durability.copies, lost_before });
    }

    /// What was written last.
    pub fn last(&self) -> Option<&Outcome> {
        self.writes.last()?.outcome.as_ref()
    }

    /// The same topology is in another state, although nobody has written anything.
    pub fn change(&mut self, state: &'static str, running: usize) {
        if let Some(Write { outcome: Some(outcome), .. }) = self.writes.last_mut() {
            (outcome.state, outcome.running) = (state, running);
        }
    }

    /// What may be true when so many flashes were lost in all, the last word first.
    pub fn possible(&self, lost: u32) -> Vec<Option<&Outcome>> {
        let mut possible = Vec::new();
        for write in self.writes.iter().rev() {
            possible.push(write.outcome.as_ref());
            if write.copies > lost - write.lost_before {
                return possible;
            }
        }
        possible.push(None);
        possible
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Option<Outcome> {
        Some(Outcome { version: text.into(), state: "running", running: 3 })
    }

    fn copies(copies: u32) -> Durability {
        Durability { copies, wanted: 3 }
    }

    #[test]
    fn what_enough_flashes_hold_outlives_the_loss_of_some() {
        let mut alpha = Expectation::new("alpha");
        alpha.note(version("1"), copies(3), 0);
        alpha.note(version("2"), copies(3), 0);
        for lost in 0..3 {
            assert_eq!(alpha.possible(lost), [version("2").as_ref()], "{lost} lost");
        }
        assert_eq!(alpha.possible(3).len(), 3, "all that had it are lost");
    }

    #[test]
    fn what_only_the_lost_flash_may_hold_is_there_or_not() {
        let mut alpha = Expectation::new("alpha");
        alpha.note(version("1"), copies(3), 0);
        alpha.note(version("2"), copies(1), 0);
        assert_eq!(alpha.possible(0), [version("2").as_ref()]);
        assert_eq!(alpha.possible(1), [version("2").as_ref(), version("1").as_ref()]);
    }

    #[test]
    fn what_was_perhaps_carried_out_is_there_or_not() {
        let mut alpha = Expectation::new("alpha");
        alpha.note(version("1"), copies(3), 0);
        alpha.note(None, copies(0), 0);
        assert_eq!(alpha.possible(0), [None, version("1").as_ref()]);
    }

    #[test]
    fn a_loss_before_the_write_does_it_no_harm() {
        let mut alpha = Expectation::new("alpha");
        alpha.note(version("1"), copies(3), 0);
        alpha.note(None, copies(1), 1);
        assert_eq!(alpha.possible(1), [None]);
    }

    #[test]
    fn nobody_has_to_remember_what_nobody_else_held() {
        let mut beta = Expectation::new("beta");
        beta.note(version("1"), copies(1), 0);
        assert_eq!(beta.possible(1), [version("1").as_ref(), None]);
    }
}
