//! Recognisers: told of each reading of a sensor, they say when something happened.

use std::collections::VecDeque;
use zhost_base::{
    Duration, Instant,
    recognizer::{Edge, Figure, Milli, Rule},
};

/// A recogniser at work.
#[derive(Debug)]
pub(crate) struct Recognizer {
    rule: Rule,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Above the bound or not; nothing before the first reading.
    Level(Option<bool>),
    /// What was told last, and what may follow: since when.
    Stable {
        told: Option<i64>,
        candidate: Option<(i64, Instant)>,
    },
    Window(VecDeque<i64>),
}

fn event(what: &str, value: i64) -> Option<String> {
    Some(format!("{{\"event\":\"{what}\",\"value\":{}}}", Milli(value)))
}

impl Recognizer {
    pub fn new(rule: Rule) -> Self {
        let state = match rule {
            Rule::Threshold { .. } | Rule::Edge(_) => State::Level(None),
            Rule::Debounce { .. } => State::Stable { told: None, candidate: None },
            Rule::Window { .. } => State::Window(VecDeque::new()),
        };
        Self { rule, state }
    }

    /// Takes a value in thousandths; gives what was recognised, as JSON.
    pub fn handle(&mut self, now: Instant, value: i64) -> Option<String> {
        match (self.rule, &mut self.state) {
            (Rule::Threshold { above, below }, State::Level(was_above)) => {
                let was = was_above.unwrap_or(false);
                let is = if was { value >= below.0 } else { value > above.0 };
                *was_above = Some(is);
                if is == was { None } else { event(if is { "above" } else { "below" }, value) }
            }
            (Rule::Edge(wanted), State::Level(was_high)) => {
                let is = value != 0;
                let was = was_high.replace(is)?;
                match (was, is) {
                    (false, true) if wanted != Edge::Falling => event("rising", value),
                    (true, false) if wanted != Edge::Rising => event("falling", value),
                    _ => None,
                }
            }
            (Rule::Debounce { stable_ms }, State::Stable { told, candidate }) => {
                let since = match candidate {
                    Some((last, since)) if *last == value => *since,
                    _ => now,
                };
                *candidate = Some((value, since));
                let stable = now.since(since) >= Duration::from_millis(u64::from(stable_ms));
                if !stable || *told == Some(value) {
                    return None;
                }
                *told = Some(value);
                event("stable", value)
            }
            (Rule::Window { count, figure }, State::Window(values)) => {
                values.push_back(value);
                if values.len() < count as usize {
                    return None;
                }
                let values = std::mem::take(values);
                let sum = values.iter().fold(0_i64, |sum, value| sum.saturating_add(*value));
                match figure {
                    Figure::Mean => event("mean", sum / values.len() as i64),
                    Figure::Min => event("min", values.into_iter().min()?),
                    Figure::Max => event("max", values.into_iter().max()?),
                    Figure::Sum => event("sum", sum),
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rule: Rule, values: &[i64]) -> Vec<(usize, String)> {
        let mut recognizer = Recognizer::new(rule);
        let at = |index: usize| Instant::from_micros(1_000_000 + index as u64 * 100_000);
        let told = values.iter().enumerate().filter_map(|(index, value)| {
            recognizer.handle(at(index), value * 1000).map(|event| (index, event))
        });
        told.collect()
    }

    fn event(at: usize, what: &str, value: &str) -> (usize, String) {
        (at, format!("{{\"event\":\"{what}\",\"value\":{value}}}"))
    }

    #[test]
    fn a_threshold_has_hysteresis() {
        let rule = Rule::Threshold { above: Milli(80_000), below: Milli(70_000) };
        let expected = [event(1, "above", "81"), event(4, "below", "69"), event(5, "above", "90")];
        assert_eq!(told(rule, &[80, 81, 75, 70, 69, 90]), expected);
    }

    #[test]
    fn edges_are_told_by_their_direction() {
        let values = [1, 0, 0, 1, 1, 0];
        assert_eq!(told(Rule::Edge(Edge::Rising), &values), [event(3, "rising", "1")]);
        assert_eq!(
            told(Rule::Edge(Edge::Falling), &values),
            [event(1, "falling", "0"), event(5, "falling", "0")]
        );
        assert_eq!(told(Rule::Edge(Edge::Both), &values).len(), 3);
    }

    #[test]
    fn a_bouncing_contact_is_told_once() {
        let rule = Rule::Debounce { stable_ms: 200 };
        let expected = [event(2, "stable", "0"), event(7, "stable", "1")];
        assert_eq!(told(rule, &[0, 0, 0, 1, 0, 1, 1, 1, 1, 1]), expected);
    }

    #[test]
    fn a_window_tells_once_when_full() {
        let values = [1, 2, 6, 3, 3, 4];
        let window = |figure| told(Rule::Window { count: 3, figure }, &values);
        assert_eq!(window(Figure::Mean), [event(2, "mean", "3"), event(5, "mean", "3.333")]);
        assert_eq!(window(Figure::Min), [event(2, "min", "1"), event(5, "min", "3")]);
        assert_eq!(window(Figure::Max), [event(2, "max", "6"), event(5, "max", "4")]);
        assert_eq!(window(Figure::Sum), [event(2, "sum", "9"), event(5, "sum", "10")]);
    }
}
