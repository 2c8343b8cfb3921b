//! Lines of the log that say the same of different things: after some of a kind, the next are counted instead.

use std::time::Duration;
use zhost_base::Instant;

/// Lines of one kind that are shown at once; further ones as they are spared.
const BURST: u32 = 20;
/// One more of a kind is shown after that.
const SPARED_EVERY: Duration = Duration::from_secs(1);
/// Kinds that are told apart; the one that was seen longest ago makes room.
const KINDS_MAX: usize = 64;
/// Of lines left out it is told at last when there was none of their kind for so long.
const QUIET_FOR: Duration = Duration::from_secs(5);

struct Kind {
    hash: u64,
    left: u32,
    spared_at: Instant,
    seen_at: Instant,
    left_out: u32,
    /// The last line that was left out.
    example: String,
}

/// The kinds of lines seen lately.
#[derive(Default)]
pub struct Kinds(Vec<Kind>);

/// Words with digits in them are of the thing (addresses, ids, numbers), the others of the kind. FNV-1a.
fn hash(text: &str) -> u64 {
    let words = text.split_ascii_whitespace().filter(|word| !word.bytes().any(|byte| byte.is_ascii_digit()));
    let bytes = words.flat_map(str::bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Kind {
    /// What is to be told of the lines that were left out.
    fn report(&mut self) -> Option<String> {
        let (count, example) = (std::mem::take(&mut self.left_out), std::mem::take(&mut self.example));
        (count > 0).then(|| format!("{count} more like this were left out: {example}"))
    }
}

impl Kinds {
    /// Whether a line is to be shown; and what is to be shown before, of those that were not.
    pub fn admit(&mut self, now: Instant, text: &str) -> (bool, Vec<String>) {
        let mut reports: Vec<String> = Vec::new();
        let quiet = self.0.iter_mut().filter(|kind| now.since(kind.seen_at) >= QUIET_FOR);
        reports.extend(quiet.filter_map(Kind::report));
        let hash = hash(text);
        let index = self.0.iter().position(|kind| kind.hash == hash).unwrap_or_else(|| {
            if self.0.len() == KINDS_MAX {
                let oldest = (0..KINDS_MAX).min_by_key(|index| self.0[*index].seen_at).unwrap_or(0);
                reports.extend(self.0.swap_remove(oldest).report());
            }
            let (left_out, example) = (0, String::new());
            self.0.push(Kind { hash, left: BURST, spared_at: now, seen_at: now, left_out, example });
            self.0.len() - 1
        });
        let kind = &mut self.0[index];
        let spared = now.since(kind.spared_at).as_secs() / SPARED_EVERY.as_secs();
        kind.spared_at += SPARED_EVERY * spared as u32;
        kind.left = kind.left.saturating_add(spared as u32).min(BURST);
        kind.seen_at = now;
        let is_shown = kind.left > 0;
        if is_shown {
            kind.left -= 1;
            reports.extend(kind.report());
        } else {
            kind.left_out += 1;
            kind.example = text.to_owned();
        }
        (is_shown, reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn a_flood_of_one_kind_is_counted_and_other_lines_pass() {
        let mut kinds = Kinds::default();
        let mut shown = 0;
        for n in 0..600 {
            let line = format!("127.0.0.1:{n} is no zhost of this cluster");
            let (is_shown, reports) = kinds.admit(at(n * 100), &line);
            shown += usize::from(is_shown);
            // What was left out before this one is told with the next that is shown.
            assert!(reports.is_empty() || is_shown);
            if n % 20 == 0 {
                assert!(kinds.admit(at(n * 100), &format!("zhost {n} is up")).0, "another kind, seldom");
            }
        }
        assert_eq!(shown, 20 + 59, "of 600 in a minute");
        let (is_shown, reports) = kinds.admit(at(70_000), "something else");
        assert!(is_shown);
        assert_eq!(reports.len(), 1, "at last it is told how many there were: {reports:?}");
        assert!(
            reports.iter().any(|report| report.contains("more like this") && report.contains("127.0.0.1:"))
        );
    }

    #[test]
    fn no_line_is_left_out_without_being_counted() {
        let mut kinds = Kinds::default();
        let (mut shown, mut counted) = (0, 0);
        for n in 0..20_000_u64 {
            // Kinds that come and go, more than are told apart.
            let word: String =
                (n / 40 % 200).to_string().chars().map(|c| (b'a' + (c as u8 - b'0')) as char).collect();
            let (is_shown, reports) = kinds.admit(at(n * 10), &word);
            shown += u64::from(is_shown);
            counted += reports.iter().map(|report| count(report)).sum::<u64>();
        }
        counted += kinds.0.iter_mut().filter_map(Kind::report).map(|report| count(&report)).sum::<u64>();
        assert_eq!(shown + counted, 20_000);
        assert!(kinds.0.len() <= KINDS_MAX);
    }

    fn count(report: &str) -> u64 {
        report.split_once(' ').unwrap().0.parse().unwrap()
    }
}
