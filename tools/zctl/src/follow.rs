//! `zctl spaces logs -f`: asks again and again, and shows what is new.

use crate::{Failure, Outcome, profile::Profile, render, say, session};
use std::{thread, time::Duration};
use zhost_control::protocol::{LogLine, Reply, Request};

const PERIOD: Duration = Duration::from_secs(1);

/// Shows a space's log lines as they come, until nobody reads on or the zhosts do not answer.
pub fn follow(profile: &Profile, request: &Request, json: bool) -> Outcome {
    let mut seen: Vec<LogLine> = Vec::new();
    loop {
        let lines = match session::ask(profile, request, false)? {
            Reply::Logs(lines) => lines,
            Reply::Refused(reason) => return Err(Failure::Reason(reason)),
            _ => return Err(Failure::Reason("the answer makes no sense; do versions differ?".into())),
        };
        let new = news(&seen, &lines);
        if !new.is_empty() {
            let text = render::render(request, Reply::Logs(new.to_vec()), json)?;
            if !say(&text, json) {
                return Ok(String::new());
            }
        }
        seen = lines;
        thread::sleep(PERIOD);
    }
}

/// What stands in the log now and did not before: its older lines may be gone by now.
fn news<'a>(before: &[LogLine], now: &'a [LogLine]) -> &'a [LogLine] {
    let known = (0..=before.len()).map(|gone| &before[gone..]).find(|rest| now.starts_with(rest));
    &now[known.map_or(0, <[LogLine]>::len)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_shown() {
        let lines = |numbers: std::ops::Range<u64>| -> Vec<LogLine> {
            numbers.map(|n| LogLine { unix_ms: n, level: "info".into(), text: "tick".into() }).collect()
        };
        for (before, now, new) in [
            (0..0, 0..3, 0..3),
            (0..3, 0..3, 3..3),
            (0..3, 0..5, 3..5),
            (0..3, 2..6, 3..6),
            (0..3, 7..9, 7..9),
            (0..3, 0..0, 0..0),
        ] {
            assert_eq!(news(&lines(before.clone()), &lines(now.clone())), lines(new), "{before:?} {now:?}");
        }
        let same = vec![LogLine { unix_ms: 1, level: "info".into(), text: "tick".into() }; 3];
        assert_eq!(news(&same[..2], &same).len(), 1);
    }
}
