//! Nobody answers: what was tried, and why that may be. Strangers hear nothing, so a zhost with another secret has to find
//! out by itself.

use crate::{effects::Effects, facts::Facts, output::Level};
use std::{net::SocketAddr, time::Duration};
use zhost_base::Instant;

/// How long nobody may answer before it is said.
const SAID_AFTER: Duration = Duration::from_secs(10);
/// How often it is said again.
const SAID_AGAIN: Duration = Duration::from_secs(600);
/// Addresses that are named.
const NAMED_MAX: usize = 6;

/// Whether anybody of the cluster has ever answered this start of the zhost.
#[derive(Debug)]
pub(crate) struct Solitude {
    since: Instant,
    /// When it is said next; never, once somebody has answered.
    say_at: Option<Instant>,
    was_said: bool,
}

impl Solitude {
    pub fn new(now: Instant) -> Self {
        Self { since: now, say_at: Some(now + SAID_AFTER), was_said: false }
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.say_at.map(|at| (at, "nobody answers"))
    }
}

/// How others of its cluster are looked for, and who was heard.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub cluster: &'a str,
    /// Whether on the network, too.
    pub discovers: bool,
    /// Who spoke last in a way we do not understand.
    pub heard: Option<SocketAddr>,
}

/// The sentence for people.
fn sentence(cluster: &str, seconds: u64, tried: &[SocketAddr], heard: Option<SocketAddr>) -> String {
    let named: Vec<String> = tried.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = match tried.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let asked = match tried {
        [] => String::new(),
        _ => format!("; asked {}{more}", named.join(", ")),
    };
    let reason = match heard {
        Some(addr) => format!(
            "{addr} speaks, but with another secret or of another cluster: compare `secret-file` and `cluster` here and there"
        ),
        None => "either they have another secret (`secret-file`) or cluster name (`cluster`), to which nobody answers; or no \
                 zhost runs there; or a firewall keeps UDP from passing"
            .to_owned(),
    };
    format!("nobody of the cluster {cluster} has answered for {seconds} s{asked}. {reason}")
}

impl Solitude {
    /// What an operator should know if nobody has answered for a while.
    pub fn describe(&self, now: Instant, facts: &Facts, search: Search<'_>) -> Option<String> {
        let silent_for = now.since(self.since);
        self.say_at?;
        // To one that stands aside, its other start has answered.
        if silent_for < SAID_AFTER || facts.membership.stands_aside() {
            return None;
        }
        let Search { cluster, discovers, heard } = search;
        // One that was told of nobody is the first of its cluster, which is no trouble: others may have other secrets.
        let tried: Vec<SocketAddr> = facts.membership.asked().collect();
        if tried.is_empty() && (heard.is_none() || !discovers) {
            return None;
        }
        Some(sentence(cluster, silent_for.as_secs(), &tried, heard))
    }

    /// Says so now and then.
    pub fn handle_timeout(&mut self, now: Instant, facts: &Facts, search: Search<'_>, effects: &mut Effects) {
        if self.say_at.is_some_and(|at| at <= now) {
            if let Some(sentence) = self.describe(now, facts, search) {
                effects.log(Level::Warn, sentence);
                self.was_said = true;
            }
            self.say_at = Some(now + if self.was_said { SAID_AGAIN } else { SAID_AFTER });
        }
    }

    /// Somebody of the cluster answers.
    pub fn end(&mut self, effects: &mut Effects) {
        if self.was_said {
            effects.log(Level::Info, "the cluster answers".into());
        }
        self.say_at = None;
        self.was_said = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_what_was_tried_and_why_nobody_may_answer() {
        let addrs: Vec<SocketAddr> = (1..9).map(|port| ([10, 0, 0, 1], port).into()).collect();
        let said = sentence("farm", 10, &addrs, None);
        for part in
            ["cluster farm", "10 s", "10.0.0.1:1, ", "10.0.0.1:6 and 2 more", "secret-file", "firewall"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let said = sentence("farm", 10, &[], Some(addrs[0]));
        assert!(said.contains("10.0.0.1:1 speaks") && !said.contains("asked"), "{said}");
    }
}
