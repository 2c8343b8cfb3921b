//! Nobody answers: what was tried, and why that may be. Strangers hear nothing, so a zhost with another secret has to find
//! out by itself.

use crate::{node::Node, output::Level};
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

    /// Somebody is there.
    pub fn end(&mut self) {
        self.say_at = None;
        self.was_said = false;
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.say_at.map(|at| (at, "nobody answers"))
    }
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

impl Node {
    /// What an operator should know if nobody has answered for a while.
    pub(crate) fn describe_solitude(&self, now: Instant) -> Option<String> {
        let silent_for = now.since(self.solitude.since);
        self.solitude.say_at?;
        // To one that stands aside, its other start has answered.
        if silent_for < SAID_AFTER || self.facts.membership.stands_aside() {
            return None;
        }
        let heard = self.gossip.foreign_speaker();
        // One that was told of nobody is the first of its cluster, which is no trouble: others may have other secrets.
        let tried: Vec<SocketAddr> = self.facts.membership.asked().collect();
        if tried.is_empty() && (heard.is_none() || !self.config.discover) {
            return None;
        }
        Some(sentence(self.config.cluster.as_str(), silent_for.as_millis() as u64 / 1000, &tried, heard))
    }

    pub(crate) fn solitude_timeout(&mut self, now: Instant) {
        if self.solitude.say_at.is_some_and(|at| at <= now) {
            if let Some(sentence) = self.describe_solitude(now) {
                self.log(Level::Warn, sentence);
                self.solitude.was_said = true;
            }
            let pause = if self.solitude.was_said { SAID_AGAIN } else { SAID_AFTER };
            self.solitude.say_at = Some(now + pause);
        }
    }

    /// Somebody of the cluster answers.
    pub(crate) fn end_solitude(&mut self) {
        if self.solitude.was_said {
            self.log(Level::Info, "the cluster answers".into());
        }
        self.solitude.end();
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
