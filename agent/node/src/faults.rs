//! Faults stay local: what is remembered of the parts of a node that panicked, and which topologies they leave alone.
//!
//! A part whose work panics begins again ([`crate::node`] has how each does); what it wanted done in that work is dropped.
//! If the spaces, or their placement, panic again and again over the same topology, that is left alone for a while, which
//! begins with a minute and doubles: it is placed nowhere else, or what runs of it here is closed. Anything else that panics
//! so often ends the agent, and so does a topology that panics although it is left alone: a zhost that looks alive and does
//! nothing would be in the way of those that could take over.

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};
use zhost_base::{Instant, TopologyId};

/// So many panics of a part, about the same, within this time, and it is held.
const PANICS_MAX: usize = 3;
const PANICS_WITHIN: Duration = Duration::from_secs(60);
/// For how long at first, and at most.
const HOLD_MIN: Duration = Duration::from_secs(60);
const HOLD_MAX: Duration = Duration::from_secs(16 * 60);
/// After so long without a further panic, a hold is forgotten, and the next is as short as the first.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Topologies that are remembered for having been held; further ones end the agent.
pub(crate) const HOLDS_MAX: usize = 64;
/// Panics that are remembered for the sake of how many there were lately.
const RECENT_MAX: usize = 64;
/// Characters of a panic's message that are kept.
const TEXT_MAX: usize = 200;

/// A part of the agent that faults stay in. Whatever of a node belongs to none of them (who is there, who leads, what is
/// written down for all: zmesh-controlplane) ends the agent when it panics, which then starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// Links, ways over them, and streams.
    Mesh,
    /// Where spaces belong, and how a majority agrees on it.
    Placement,
    /// The spaces of this zhost, and what they say to others.
    Spaces,
    /// Replicas, packages, data that goes.
    Data,
    /// Which agent this board runs.
    Firmware,
    /// What operators ask for.
    Operators,
}

impl Part {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Mesh, Self::Placement, Self::Spaces, Self::Data, Self::Firmware, Self::Operators];

    /// What operators know it as.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mesh => "zmesh",
            Self::Placement => "zrms",
            Self::Spaces => "zrun",
            Self::Data => "data",
            Self::Firmware => "firmware",
            Self::Operators => "zbase",
        }
    }
}

/// When in a part's work a planted panic strikes.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Before anything of it is done.
    Before,
    /// When it is done, and nothing has come of it yet.
    After,
}

/// Panics that a test has planted.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Planted {
    /// In the next work of a part.
    Once(Part, Moment),
    /// Whenever a part has to do with a topology that it does not leave alone.
    Over(Part, TopologyId),
}

/// What became of one part so far.
#[derive(Clone, Debug, Default)]
struct Record {
    restarts: u32,
    /// The message of the last panic, and when it was.
    last: Option<(String, Instant)>,
    /// It has panicked, and has still to begin again.
    is_broken: bool,
}

/// A topology that a part leaves alone for a while.
#[derive(Clone, Copy, Debug)]
struct Hold {
    until: Instant,
    lasts: Duration,
    /// Whether it is still to be released.
    is_on: bool,
}

/// A part, and the topology that its work was about, if it was about one.
pub(crate) type Scope = (Part, Option<TopologyId>);

/// All parts.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    records: [Record; Part::ALL.len()],
    recent: VecDeque<(Instant, Scope)>,
    holds: LiteMap<(Part, TopologyId), Hold>,
    #[cfg(debug_assertions)]
    planted: Option<Planted>,
}

impl Faults {
    /// Whether a part leaves a topology alone.
    pub fn is_held(&self, part: Part, topology: TopologyId) -> bool {
        self.holds.get(&(part, topology)).is_some_and(|hold| hold.is_on)
    }

    /// A part panicked: what comes of it, in a sentence. Nothing, if the agent is to end.
    pub fn handle_panic(&mut self, now: Instant, (part, about): Scope, text: &str) -> Option<String> {
        // Elsewhere nothing can be left alone.
        let about = about.filter(|_| matches!(part, Part::Spaces | Part::Placement));
        let text: String = text.chars().take(TEXT_MAX).collect();
        let record = &mut self.records[part as usize];
        record.restarts = record.restarts.saturating_add(1);
        record.is_broken = true;
        record.last = Some((text.clone(), now));
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, (part, about)));
        self.recent.retain(|(at, _)| now.since(*at) < PANICS_WITHIN);
        self.holds.retain(|_, hold| hold.is_on || now.since(hold.until) < FORGET_AFTER);
        let again = self.recent.iter().filter(|(_, other)| *other == (part, about)).count();
        let known = about.and_then(|topology| self.holds.get(&(part, topology)).copied());
        // What was left alone before is so again at the first relapse. What operators ask is one thing at a time, and each
        // is told what came of it.
        let is_enough = again >= PANICS_MAX || known.is_some();
        if !is_enough || part == Part::Operators {
            return Some(format!("{} panicked, and begins again: {text}", part.name()));
        }
        let topology = about.filter(|_| !known.is_some_and(|hold| hold.is_on))?;
        if known.is_none() && self.holds.len() >= HOLDS_MAX {
            return None;
        }
        self.recent.retain(|(_, other)| *other != (part, about));
        let lasts = known.map_or(HOLD_MIN, |hold| (hold.lasts * 2).min(HOLD_MAX));
        self.holds.insert((part, topology), Hold { until: now + lasts, lasts, is_on: true });
        let (part, seconds) = (part.name(), lasts.as_secs());
        Some(format!(
            "{part} panics again and again over one topology, and leaves it alone for {seconds} s: {text}"
        ))
    }

    /// The parts that have still to begin again.
    pub fn take_broken(&mut self) -> Vec<Part> {
        Part::ALL
            .into_iter()
            .filter(|part| std::mem::take(&mut self.records[*part as usize].is_broken))
            .collect()
    }

    /// Whether a part has panicked in the input at hand.
    pub fn is_broken(&self, part: Part) -> bool {
        self.records[part as usize].is_broken
    }

    /// Whether any part has.
    pub fn is_any_broken(&self) -> bool {
        self.records.iter().any(|record| record.is_broken)
    }

    /// Releases what was held for long enough: its part begins again, since it has missed what happened.
    pub fn handle_timeout(&mut self, now: Instant) {
        for ((part, _), hold) in self.holds.iter_mut().filter(|(_, hold)| hold.is_on && hold.until <= now) {
            hold.is_on = false;
            self.records[*part as usize].is_broken = true;
        }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let holds = self.holds.values().filter(|hold| hold.is_on);
        holds.map(|hold| hold.until).min().map(|at| (at, "release a part that is held"))
    }

    /// How often parts panicked, and the last message of each that did.
    pub fn panics(&self) -> impl Iterator<Item = (Part, u32, &str)> {
        let parts = Part::ALL.into_iter().zip(&self.records);
        parts.filter_map(|(part, record)| Some((part, record.restarts, record.last.as_ref()?.0.as_str())))
    }

    /// Whether a part leaves any topology alone.
    pub fn holds_any(&self, part: Part) -> bool {
        self.holds.iter().any(|((held, _), hold)| *held == part && hold.is_on)
    }

    /// What operators are told of a part: its state, if that is not as usual, and what has befallen it. `name` says what
    /// a topology is called.
    pub fn describe(
        &self,
        now: Instant,
        part: Part,
        name: impl Fn(TopologyId) -> String,
    ) -> (Option<String>, String) {
        let held = self.holds.iter().filter(|((held, _), hold)| *held == part && hold.is_on);
        let held: Vec<String> = held
            .map(|((_, topology), hold)| {
                let seconds = hold.until.since(now).as_secs();
                format!("leaves topology {} alone, {seconds} s more", name(*topology))
            })
            .collect();
        let state = (!held.is_empty()).then(|| held.join("; "));
        let record = &self.records[part as usize];
        let detail = match (&record.last, record.restarts) {
            (Some((text, at)), restarts) => {
                format!("; began again {restarts} times, last {} s ago: {text}", now.since(*at).as_secs())
            }
            (None, _) => String::new(),
        };
        (state, detail)
    }

    /// How many holds are remembered.
    pub fn hold_count(&self) -> usize {
        self.holds.len()
    }

    /// Plants a panic, or takes it out again.
    #[cfg(debug_assertions)]
    pub fn plant(&mut self, planted: Option<Planted>) {
        self.planted = planted;
    }

    /// Panics if that is planted.
    #[cfg(debug_assertions)]
    pub fn strike(&mut self, (part, about): Scope, moment: Moment) {
        match self.planted {
            Some(Planted::Once(of, at)) if (of, at) == (part, moment) => self.planted = None,
            Some(Planted::Over(of, topology))
                if (of, Some(topology)) == (part, about) && !self.is_held(part, topology) => {}
            _ => return,
        }
        panic!("planted in {}", part.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TopologyId = TopologyId([1; 16]);
    const WHOLE: Scope = (Part::Spaces, None);
    const OF_ONE: Scope = (Part::Spaces, Some(ONE));

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(1000 + seconds)
    }

    /// Panics at this second, after which the part begins again; whether the agent goes on.
    fn panic(faults: &mut Faults, second: u64, scope: Scope) -> bool {
        let outcome = faults.handle_panic(at(second), scope, "boom");
        faults.take_broken();
        outcome.is_some()
    }

    #[test]
    fn a_part_that_panicked_is_broken_until_it_has_begun_again_and_no_other_is() {
        let mut faults = Faults::default();
        let sentence = faults.handle_panic(at(0), WHOLE, "boom");
        assert_eq!(sentence.as_deref(), Some("zrun panicked, and begins again: boom"));
        assert!(faults.is_broken(Part::Spaces) && !faults.is_broken(Part::Data));
        assert_eq!(faults.take_broken(), [Part::Spaces]);
        assert!(!faults.is_broken(Part::Spaces) && faults.take_broken().is_empty());
        assert_eq!(faults.panics().collect::<Vec<_>>(), [(Part::Spaces, 1, "boom")]);
        let (state, detail) = faults.describe(at(5), Part::Spaces, |_| "t".into());
        assert_eq!((state, detail.as_str()), (None, "; began again 1 times, last 5 s ago: boom"));
    }

    #[test]
    fn three_panics_within_a_minute_end_the_agent_and_seldom_ones_never() {
        for part in Part::ALL {
            let mut faults = Faults::default();
            assert!((0..100).all(|number| panic(&mut faults, number * 31, (part, None))));
            let mut faults = Faults::default();
            assert!(panic(&mut faults, 0, (part, None)) && panic(&mut faults, 10, (part, None)));
            // Whoever asked is told, each time.
            assert_eq!(panic(&mut faults, 59, (part, None)), part == Part::Operators);
        }
    }

    #[test]
    fn what_is_always_about_one_topology_leaves_that_alone_where_that_can_be() {
        for part in [Part::Spaces, Part::Placement] {
            let mut faults = Faults::default();
            assert!((0..3).all(|second| panic(&mut faults, second, (part, Some(ONE)))));
            assert!(faults.is_held(part, ONE) && !faults.is_held(part, TopologyId([2; 16])));
            let (state, _) = faults.describe(at(2), part, |_| "lights".into());
            assert_eq!(state.as_deref(), Some("leaves topology lights alone, 60 s more"));
            assert!(!panic(&mut faults, 3, (part, Some(ONE))), "it panics although it is left alone");
        }
        for part in [Part::Mesh, Part::Data, Part::Firmware] {
            let mut faults = Faults::default();
            let over = |number: u8| (part, Some(TopologyId([number; 16])));
            assert!(panic(&mut faults, 0, over(1)) && panic(&mut faults, 1, over(2)));
            assert!(!panic(&mut faults, 2, over(3)), "over whatever it is");
        }
    }

    #[test]
    fn a_relapse_is_held_at_once_and_for_longer_up_to_a_limit_and_forgotten_after_an_hour() {
        let mut faults = Faults::default();
        assert!((0..3).all(|second| panic(&mut faults, second, OF_ONE)));
        for lasts in [60, 120, 240, 480, 960, 960] {
            let (due, _) = faults.poll_timeout().unwrap();
            let now = due.since(at(0)).as_secs();
            faults.handle_timeout(due);
            assert_eq!(faults.take_broken(), [Part::Spaces], "it has missed what happened");
            assert!(!faults.is_held(Part::Spaces, ONE) && faults.poll_timeout().is_none());
            assert!(panic(&mut faults, now, OF_ONE));
            let (state, _) = faults.describe(at(now), Part::Spaces, |_| "t".into());
            let next = (lasts * 2).min(960);
            assert_eq!(state, Some(format!("leaves topology t alone, {next} s more")));
        }
        let (due, _) = faults.poll_timeout().unwrap();
        faults.handle_timeout(due);
        let later = due.since(at(0)).as_secs() + FORGET_AFTER.as_secs();
        assert!(panic(&mut faults, later, OF_ONE) && !faults.is_held(Part::Spaces, ONE));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut faults = Faults::default();
        let mut goes_on = true;
        for number in 0..=HOLDS_MAX as u8 {
            for _ in 0..PANICS_MAX {
                let scope = (Part::Placement, Some(TopologyId([number; 16])));
                goes_on = faults.handle_panic(at(0), scope, &"x".repeat(9999)).is_some();
            }
        }
        assert!(!goes_on, "too many topologies: the part is at fault");
        assert!(faults.hold_count() == HOLDS_MAX && faults.recent.len() <= RECENT_MAX);
        let (_, detail) = faults.describe(at(0), Part::Placement, |_| "t".into());
        assert!(detail.len() < 2 * TEXT_MAX, "{detail}");
    }
}
