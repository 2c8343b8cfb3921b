//! Faults stay local: what is remembered of the parts of a node that panicked, and which of them are held.
//!
//! A part whose work panics begins again ([`crate::node`] has how each does); what it wanted done in that work is dropped.
//! One that panics again and again is held for a while, which begins with a minute and doubles: if it was always about
//! the same topology, only what concerns that topology, so that the rest of the part goes on.

use litemap::LiteMap;
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
/// Topologies that are remembered for having been held; further ones hold the whole part.
pub(crate) const HOLDS_MAX: usize = 64;
/// Panics that are remembered for the sake of how many there were lately.
const RECENT_MAX: usize = 64;
/// Characters of a panic's message that are kept.
const TEXT_MAX: usize = 200;

/// A part of the agent that faults stay in. Whatever of a node belongs to none of them (who is there, who leads, what is
/// written down for all: zmesh-controlplane) ends the agent when it panics, which then starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before anything of it is done.
    Before,
    /// When it is done, and nothing has come of it yet.
    After,
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

/// A part that does nothing about a topology, or at all, for a while.
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
    holds: LiteMap<Scope, Hold>,
    #[cfg(debug_assertions)]
    planted: Option<(Part, Moment)>,
}

impl Faults {
    /// Whether work of that scope is to be left alone: its part has just panicked, or is held.
    pub fn is_out(&self, scope: Scope) -> bool {
        self.is_broken(scope.0) || self.is_held(scope)
    }

    /// Whether a part is held, altogether or as far as a topology is concerned.
    pub fn is_held(&self, (part, about): Scope) -> bool {
        let holds = |about| self.holds.get(&(part, about)).is_some_and(|hold| hold.is_on);
        !self.holds.is_empty() && (holds(None) || about.is_some() && holds(about))
    }

    /// A part panicked; a sentence about what comes of it.
    pub fn handle_panic(&mut self, now: Instant, scope: Scope, text: &str) -> String {
        let (part, about) = scope;
        let text: String = text.chars().take(TEXT_MAX).collect();
        let record = &mut self.records[part as usize];
        record.restarts = record.restarts.saturating_add(1);
        record.is_broken = true;
        record.last = Some((text.clone(), now));
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, scope));
        self.recent.retain(|(at, _)| now.since(*at) < PANICS_WITHIN);
        self.holds.retain(|_, hold| hold.is_on || now.since(hold.until) < FORGET_AFTER);
        let again = self.recent.iter().filter(|(_, other)| *other == scope).count();
        // Whoever was held before is held again at the first relapse. What operators ask is one thing at a time, and each is told
        // what came of it.
        let is_held = again >= PANICS_MAX || self.holds.contains_key(&scope);
        if !is_held || part == Part::Operators {
            return format!("{} panicked, and begins again: {text}", part.name());
        }
        self.recent.retain(|(_, other)| *other != scope);
        let is_known = self.holds.contains_key(&scope);
        let scope = if is_known || self.holds.len() < HOLDS_MAX { scope } else { (part, None) };
        let lasts = self.holds.get(&scope).map_or(HOLD_MIN, |hold| (hold.lasts * 2).min(HOLD_MAX));
        self.holds.insert(scope, Hold { until: now + lasts, lasts, is_on: true });
        let what = if about.is_some() { ", for one topology" } else { "" };
        format!("{} panics again and again, and is held for {} s{what}: {text}", part.name(), lasts.as_secs())
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

    /// Whether a part is held, if only for one topology.
    pub fn is_held_for_any(&self, part: Part) -> bool {
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
            .map(|((_, about), hold)| {
                let seconds = hold.until.since(now).as_secs();
                let whom = about.map_or(String::new(), |id| format!(" for topology {}", name(id)));
                format!("held{whom}, {seconds} s more")
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

    /// Has the next work of a part panic, or none.
    #[cfg(debug_assertions)]
    pub fn plant(&mut self, planted: Option<(Part, Moment)>) {
        self.planted = planted;
    }

    /// Panics if that is planted.
    #[cfg(debug_assertions)]
    pub fn strike(&mut self, part: Part, moment: Moment) {
        if self.planted == Some((part, moment)) {
            self.planted = None;
            panic!("planted in {}", part.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Scope = (Part::Spaces, None);
    const ONE: Scope = (Part::Spaces, Some(TopologyId([1; 16])));

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(1000 + seconds)
    }

    /// Panics at these seconds, after each of which the part begins again.
    fn after(scope: Scope, seconds: &[u64]) -> Faults {
        let mut faults = Faults::default();
        for second in seconds {
            faults.handle_timeout(at(*second));
            faults.handle_panic(at(*second), scope, "boom");
            faults.take_broken();
        }
        faults
    }

    #[test]
    fn a_part_that_panicked_is_out_until_it_has_begun_again_and_no_other_is() {
        let mut faults = Faults::default();
        let sentence = faults.handle_panic(at(0), WHOLE, "boom");
        assert_eq!(sentence, "zrun panicked, and begins again: boom");
        assert!(faults.is_out(WHOLE) && faults.is_out(ONE) && !faults.is_out((Part::Data, None)));
        assert_eq!(faults.take_broken(), [Part::Spaces]);
        assert!(!faults.is_out(WHOLE) && faults.take_broken().is_empty());
        assert_eq!(faults.panics().collect::<Vec<_>>(), [(Part::Spaces, 1, "boom")]);
        let (state, detail) = faults.describe(at(5), Part::Spaces, |_| "t".into());
        assert_eq!((state, detail.as_str()), (None, "; began again 1 times, last 5 s ago: boom"));
    }

    #[test]
    fn three_panics_within_a_minute_hold_the_part_and_seldom_ones_never() {
        let seldom: Vec<u64> = (0..100).map(|number| number * 31).collect();
        assert!(!after(WHOLE, &seldom).is_out(WHOLE));
        let mut faults = after(WHOLE, &[0, 10, 59]);
        assert!(faults.is_out(WHOLE) && faults.is_out(ONE) && !faults.is_out((Part::Mesh, None)));
        let (state, _) = faults.describe(at(60), Part::Spaces, |_| "t".into());
        assert_eq!(state.as_deref(), Some("held, 59 s more"));
        let (due, _) = faults.poll_timeout().unwrap();
        assert_eq!(due, at(59) + HOLD_MIN);
        faults.handle_timeout(due);
        assert_eq!(faults.take_broken(), [Part::Spaces], "it has missed what happened");
        assert!(!faults.is_out(WHOLE) && faults.poll_timeout().is_none());
    }

    #[test]
    fn what_is_always_about_one_topology_holds_only_that() {
        let faults = after(ONE, &[0, 1, 2]);
        assert!(faults.is_out(ONE) && !faults.is_out(WHOLE));
        assert!(!faults.is_out((Part::Spaces, Some(TopologyId([2; 16])))));
        let (state, _) = faults.describe(at(2), Part::Spaces, |_| "lights".into());
        assert_eq!(state.as_deref(), Some("held for topology lights, 60 s more"));
    }

    #[test]
    fn a_relapse_is_held_at_once_and_for_longer_up_to_a_limit_and_forgotten_after_an_hour() {
        let mut faults = after(WHOLE, &[0, 1, 2]);
        let mut now = at(2);
        for lasts in [60, 120, 240, 480, 960, 960] {
            let (due, _) = faults.poll_timeout().unwrap();
            assert_eq!(due.since(now).as_secs(), lasts);
            faults.handle_timeout(due);
            faults.take_broken();
            assert!(!faults.is_out(WHOLE));
            now = due + Duration::from_secs(1);
            faults.handle_panic(now, WHOLE, "boom");
            faults.take_broken();
        }
        let (due, _) = faults.poll_timeout().unwrap();
        faults.handle_timeout(due);
        faults.take_broken();
        faults.handle_panic(due + FORGET_AFTER, WHOLE, "boom");
        faults.take_broken();
        assert!(!faults.is_out(WHOLE));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut faults = Faults::default();
        for number in 0..=2 * HOLDS_MAX as u8 {
            for _ in 0..PANICS_MAX {
                faults.handle_panic(at(0), (Part::Data, Some(TopologyId([number; 16]))), &"x".repeat(9999));
            }
        }
        assert!(faults.hold_count() <= HOLDS_MAX + 1, "{}", faults.hold_count());
        assert!(faults.recent.len() <= RECENT_MAX);
        faults.take_broken();
        assert!(faults.is_out((Part::Data, None)), "too many topologies: the part is at fault");
        let (_, detail) = faults.describe(at(0), Part::Data, |_| "t".into());
        assert!(detail.len() < 2 * TEXT_MAX, "{detail}");
    }
}
