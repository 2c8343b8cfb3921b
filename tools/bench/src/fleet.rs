//! Members that gossip with each other, one on each host: what they send while nothing happens, and how long
//! it takes them to learn of a death.
//!
//! What a member knows is read from what it says: each line that announces something names the member it is
//! about.

use crate::{
    Outcome,
    net::Hosts,
    process::{Process, Scratch, watch},
    report::{Detection, PeerResult},
};
use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Members in the fleets measured here.
pub const MEMBERS: usize = 10;

const JOINED_WITHIN: Duration = Duration::from_secs(30);
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Long enough that what happens every 30 s (serf's full exchange) counts once for each member.
const IDLE_PERIOD: Duration = Duration::from_secs(30);
const KILLS: usize = 3;
const KNOWN_WITHIN: Duration = Duration::from_secs(90);
const BETWEEN_KILLS: Duration = Duration::from_secs(2);

/// How members announce what they know; the name of the member follows after a space.
pub struct Words {
    /// Somebody is there.
    pub joined: &'static str,
    /// Somebody is dead.
    pub failed: &'static str,
}

/// The name of a member. None begins with another's name.
pub fn member(index: usize) -> String {
    format!("member-{index:02}")
}

/// Starts a fleet, the first member first, and enters into the result what it shows.
pub fn measure(
    result: &mut PeerResult,
    words: &Words,
    command: impl Fn(&Hosts, usize) -> Outcome<Command>,
) -> Outcome {
    let (hosts, scratch) = (Hosts::switched(MEMBERS)?, Scratch::create()?);
    result.hosts = hosts.describe();
    let start = |index| Process::start(&mut command(&hosts, index)?, &scratch.file(&member(index)));
    let mut members = (0..MEMBERS).map(start).collect::<Outcome<Vec<_>>>()?;
    let joined = watch(JOINED_WITHIN, || all_know_all(&members, words.joined));
    joined.map_err(|reason| {
        format!("the members did not all join: {reason}; the last one: {}", members[MEMBERS - 1].last_words())
    })?;
    thread::sleep(SETTLED_AFTER);
    let idle = hosts.sent_per_second(MEMBERS, IDLE_PERIOD);
    result.idle_bytes_per_second_per_node = idle.as_ref().ok().copied();
    result.detection = Some(detect(&mut members, words.failed)?);
    idle.map(drop)
}

fn all_know_all(members: &[Process], joined: &str) -> Outcome<Option<()>> {
    let knows_all = |(index, process): (usize, &Process)| {
        let said = process.said()?;
        let mut others = (0..MEMBERS).filter(|other| *other != index);
        Ok(others.all(|other| said.contains(&format!("{joined} {}", member(other)))))
    };
    all(members.iter().enumerate().map(knows_all))
}

/// Kills the last members, one after another.
fn detect(members: &mut Vec<Process>, failed: &str) -> Outcome<Detection> {
    let mut all_known_ms = Vec::new();
    for _ in 0..KILLS {
        let Some(mut victim) = members.pop() else { break };
        let start = Instant::now();
        victim.kill()?;
        let news = format!("{failed} {}", member(members.len()));
        let known = watch(KNOWN_WITHIN, || all(members.iter().map(|one| Ok(one.said()?.contains(&news)))));
        known.map_err(|reason| format!("a death was not known to all: {reason}"))?;
        all_known_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        thread::sleep(BETWEEN_KILLS);
    }
    Ok(Detection { nodes: MEMBERS, all_known_ms })
}

/// Something if all answers are yes.
fn all(mut answers: impl Iterator<Item = Outcome<bool>>) -> Outcome<Option<()>> {
    let all = answers.try_fold(true, |so_far, answer| Ok::<_, String>(so_far && answer?))?;
    Ok(all.then_some(()))
}
