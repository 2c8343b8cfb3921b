//! What is promised of a cluster: a flaw names the promise that was broken.

use std::fmt;

/// A promise that the simulator looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// No full term has two leaders.
    OneLeader,
    /// No board carries out an older placement after a newer one.
    Order,
    /// No table outgrows its limit.
    Bounds,
    /// No message arrives twice or out of order.
    Delivery,
    /// What was acknowledged by as many flashes as it takes is still there.
    Kept,
    /// A space hears of each bond once, and only when it has one.
    WordOnce,
    /// A name has one holder as long as the network is whole.
    OneHolder,
    /// Boards try an agent one after the other, none after one has failed, and keep none that does not work.
    Rollout,
    /// Who lives and is heard is not taken for dead, and nobody again and again.
    Stability,
    /// No two starts of a zhost have the same number.
    Starts,
    /// Nothing panics.
    Sanity,
    /// A node that is told again what it was told does the same again.
    Replay,
    /// Those that live agree on members, term, registry, ledger and topologies.
    Agreement,
    /// What is wanted runs, exactly once.
    Running,
    /// Messages flow, and no sender lacks one that it was not told of.
    Flow,
    /// A cluster in which nothing happens is as silent as one in which nothing ever did.
    Rest,
    /// Operators are answered.
    Answer,
    /// Who is bound to what is gone is told; nothing lives on that nobody knows.
    Word,
    /// Everybody finds a name's holder, and finds nobody who is gone.
    Names,
    /// Packages and agents lie on as many flashes as they should.
    Copies,
    /// What is deleted goes, wherever it was.
    Purge,
    /// The boards take up the agent that was pushed.
    Update,
}

impl Promise {
    /// What is promised, in a few words.
    fn words(self) -> &'static str {
        match self {
            Self::OneLeader => "one leader of a full term",
            Self::Order => "placements only go forwards",
            Self::Replay => "what is told again comes to the same",
            Self::Bounds => "everything is bounded",
            Self::Delivery => "messages come once and in order",
            Self::Kept => "nothing acknowledged is lost",
            Self::WordOnce => "each bond is told of once",
            Self::OneHolder => "one holder of a name",
            Self::Rollout => "agents are tried one by one",
            Self::Stability => "nobody alive is taken for dead",
            Self::Starts => "starts are counted",
            Self::Sanity => "nothing panics",
            Self::Agreement => "those alive agree",
            Self::Running => "what is wanted runs once",
            Self::Flow => "messages flow",
            Self::Rest => "a quiet cluster rests",
            Self::Answer => "operators are answered",
            Self::Word => "who is bound is told",
            Self::Names => "names lead to who lives",
            Self::Copies => "copies are made",
            Self::Purge => "what is deleted goes",
            Self::Update => "boards take up what is pushed",
        }
    }

    /// Whether it holds at every moment. Others have to come true again once nothing goes wrong any more.
    pub fn is_safety(self) -> bool {
        self < Self::Agreement
    }

    /// How it was broken.
    pub fn broken(self, text: impl Into<String>) -> Flaw {
        Flaw { promise: self, text: text.into() }
    }
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Which promise.
    pub promise: Promise,
    /// What was seen.
    pub text: String,
}

impl Flaw {
    /// The same, with when it was seen.
    #[must_use]
    pub fn at(self, when: &str) -> Self {
        Self { text: format!("{when}: {}", self.text), ..self }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = if self.promise.is_safety() { "safety" } else { "liveness" };
        write!(f, "{sort} ({}): {}", self.promise.words(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flaw_says_which_promise_broke() {
        let flaw = Promise::Agreement.broken("z1 and z0 differ on the ledger").at("after the faults");
        assert_eq!(
            flaw.to_string(),
            "liveness (those alive agree): after the faults: z1 and z0 differ on the ledger"
        );
        assert!(Promise::Kept.is_safety() && !Promise::Purge.is_safety());
    }
}
