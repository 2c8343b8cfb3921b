//! What must be true of a cluster, at every moment and after quiet.

use crate::{
    cast::Cast,
    expectation::{Expectation, Outcome},
    promise::{Flaw, Promise},
    slots::SimSlots,
    world::World,
};
use std::collections::{BTreeMap, BTreeSet};
use zhost_base::{BlobDigest, Generation, Instant, SpaceKey, TopologyId};
use zhost_exchange::WorkerCommand;
use zhost_gossip::document::{PlacementVersion, Slot};
use zhost_node::{Agent, Node};

/// Objections of one run that are kept.
const OBJECTIONS_MAX: usize = 20;

/// Watches for what may never happen.
#[derive(Debug, Default)]
pub struct Referee {
    /// Who led each full term.
    full_terms: BTreeMap<u64, BTreeSet<usize>>,
    /// Clusters beside the first one that may have been founded: each counts its terms for itself.
    further_clusters: usize,
    /// The newest placement that each board has carried out, by slot.
    executed: BTreeMap<(usize, TopologyId, Slot), PlacementVersion>,
    /// The number of the last start of each board, as long as its flash is the same.
    starts: BTreeMap<usize, Generation>,
    /// How often spaces of each topology were started.
    space_starts: BTreeMap<TopologyId, usize>,
    /// By start of a sender, what arrived of its messages.
    senders: BTreeMap<u64, Sender>,
    delivered: u64,
    /// Flashes that lost what they held, or some of it.
    lost_flashes: u32,
    /// Boards that try an agent, or are about to.
    trying: BTreeMap<usize, BlobDigest>,
    /// Where agents that do not work were tried.
    failed_on: BTreeMap<BlobDigest, usize>,
    /// The spaces, and what they have to do with each other.
    pub cast: Cast,
    objections: Vec<Flaw>,
}

/// Messages of one start of a sender, wherever they arrived.
#[derive(Debug, Default)]
struct Sender {
    /// The lowest number up to which all have arrived or are listed as missing, and those missing.
    highest: u32,
    missing: BTreeSet<u32>,
    /// How many the sender was told did not arrive, as it last said.
    told: u32,
    /// The last number at each start of a board.
    last: BTreeMap<(usize, u32), u32>,
    /// Counts deliveries at the last one.
    at: u64,
}

impl Referee {
    /// A board did something.
    pub fn see(&mut self, index: usize, node: &Node) {
        if let Some((term, true)) = node.inspect_leadership() {
            let leaders = self.full_terms.entry(term).or_default();
            if leaders.insert(index) && leaders.len() > 1 + self.further_clusters {
                let text = format!("full term {term} is led by {leaders:?}");
                self.object(Promise::OneLeader.broken(text));
            }
        }
        for (key, version) in node.inspect_orders().filter(|(key, _)| is_placed(key)) {
            let newest = self.executed.entry((index, key.topology, version.slot)).or_insert(version);
            let (old, stale) = (*newest, version < *newest);
            *newest = version.max(old);
            if stale {
                self.object(
                    Promise::Order.broken(format!("z{index} runs {key:?} by {version:?} after {old:?}")),
                );
            }
        }
    }

    /// A board starts: that start has a number of its own.
    pub fn see_start(&mut self, index: usize, generation: Generation) {
        let before = self.starts.insert(index, generation);
        if before.is_some_and(|before| before >= generation) {
            self.object(Promise::Starts.broken(format!("z{index} starts as {generation} once more")));
        }
    }

    /// A board's tables may never grow beyond their limits, and nothing is kept for connections that are gone.
    pub fn measure(&mut self, index: usize, agent: &Agent) {
        let tables = agent.node().inspect_sizes().into_iter().chain(agent.inspect_channels());
        for (what, size, limit) in tables {
            if size > limit {
                self.object(
                    Promise::Bounds.broken(format!("z{index} holds {size} {what}, more than {limit}")),
                );
            }
        }
    }

    /// A zhost tells the workers of its board something.
    pub fn see_command(&mut self, now: Instant, index: usize, command: &WorkerCommand) {
        if let WorkerCommand::Start(launch) = command {
            *self.space_starts.entry(launch.key.topology).or_default() += 1;
        }
        if let Some(flaw) = self.cast.see_command(now, index, command) {
            self.object(flaw);
        }
    }

    /// How often spaces of a topology were started.
    pub fn starts_of(&self, topology: TopologyId) -> usize {
        self.space_starts.get(&topology).copied().unwrap_or_default()
    }

    /// A message reached a mailbox: never a second time anywhere, and never after a later one at the same place.
    pub fn see_message(&mut self, place: (usize, u32), payload: &[u8]) {
        let Some((nonce, rest)) = payload.split_first_chunk() else { return };
        let Some((number, told)) = rest.split_first_chunk() else { return };
        let (nonce, number) = (u64::from_le_bytes(*nonce), u32::from_le_bytes(*number));
        let told = told.first_chunk().map_or(0, |told| u32::from_le_bytes(*told));
        self.delivered += 1;
        let sender = self.senders.entry(nonce).or_default();
        let twice = number <= sender.highest && !sender.missing.remove(&number);
        sender.missing.extend(sender.highest.saturating_add(1)..number);
        sender.highest = sender.highest.max(number);
        sender.told = sender.told.max(told);
        sender.at = self.delivered;
        let before = sender.last.insert(place, number).unwrap_or(0);
        let what = format!("message {number} of {nonce:x} arrives at z{}", place.0);
        if twice {
            self.object(Promise::Delivery.broken(format!("{what} again")));
        } else if number < before {
            self.object(Promise::Delivery.broken(format!("{what} after {before}")));
        }
    }

    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Messages that senders were told did not arrive.
    pub fn told(&self) -> u64 {
        self.senders.values().map(|sender| u64::from(sender.told)).sum()
    }

    /// Senders heard of after the first `seen` deliveries that lack more messages than they were told of.
    pub fn unexplained(&self, seen: u64) -> Verdict {
        let heard = self.senders.iter().filter(|(_, sender)| sender.at > seen);
        let lacking = heard.filter(|(_, sender)| sender.missing.len() > sender.told as usize);
        let flaw = |(nonce, sender): (&u64, &Sender)| {
            let numbers: Vec<&u32> = sender.missing.iter().take(10).collect();
            Promise::Flow.broken(format!(
                "messages {numbers:?} of {nonce:x} are missing, and it was told of {}",
                sender.told
            ))
        };
        lacking.map(flaw).collect()
    }

    /// Boards try new agents one after the other. What has failed on one is tried on no other, and kept on none.
    pub fn see_slots(&mut self, index: usize, slots: &SimSlots, bad: &BTreeSet<BlobDigest>) {
        match slots.trial {
            Some(trial) => self.trying.insert(index, trial.blob),
            None => self.trying.remove(&index),
        };
        if self.trying.len() > 1 {
            let trying: Vec<String> = self.trying.keys().map(|index| format!("z{index}")).collect();
            self.object(Promise::Rollout.broken(format!("{} try agents at once", trying.join(" and "))));
        }
        for agent in slots.started.iter().flatten().filter(|agent| bad.contains(agent)) {
            let first = *self.failed_on.entry(*agent).or_insert(index);
            let times = slots.started.iter().filter(|started| **started == Some(*agent)).count();
            if first != index || times > 1 {
                let text = format!("z{index} tries agent {agent}, which has failed on z{first}");
                self.object(Promise::Rollout.broken(text));
            }
        }
        if let Some(kept) = slots.kept.filter(|kept| bad.contains(kept)) {
            self.object(Promise::Rollout.broken(format!("z{index} keeps agent {kept}, which does not work")));
        }
    }

    /// A board lost what it knew: it got an old disk.
    pub fn forget(&mut self, index: usize) {
        self.lost_flashes += 1;
        self.starts.remove(&index);
        self.executed.retain(|(board, _, _), _| *board != index);
    }

    /// As many clusters may be founded, by boards that cannot hear each other.
    pub fn expect_clusters(&mut self, count: usize) {
        self.further_clusters = count.saturating_sub(1);
    }

    /// How many flashes lost what they held, or some of it.
    pub fn lost_flashes(&self) -> u32 {
        self.lost_flashes
    }

    /// Something happened that never may.
    pub fn object(&mut self, objection: Flaw) {
        if self.objections.len() < OBJECTIONS_MAX && !self.objections.contains(&objection) {
            self.objections.push(objection);
        }
    }

    /// What went against the rules.
    pub fn objections(&self) -> &[Flaw] {
        &self.objections
    }
}

/// Those that were spawned have a dot in their names, and are as many as they like.
fn is_placed(key: &SpaceKey) -> bool {
    !key.space.as_str().contains('.')
}

/// What is not (yet) as it should be; empty when all is well.
pub type Verdict = Vec<Flaw>;

/// Compares the boards with each other and with what is expected of them; their registries, if those rest.
pub fn judge(world: &World, expected: &[Expectation], rests: bool) -> Verdict {
    let mut verdict: Verdict = world.objections().to_vec();
    let views = world.inspect();
    let live = world.live_ids();
    let Some((first, model)) = views.iter().next() else {
        return vec![Promise::Agreement.broken("no board has power")];
    };
    let mut disagree = |text: String| verdict.push(Promise::Agreement.broken(text));
    for (index, view) in &views {
        if view.members != live {
            disagree(format!("z{index} sees {} members of {}", view.members.len(), live.len()));
        }
        let comparisons = [
            ("the term", view.leadership == model.leadership),
            ("the registry", !rests || view.registry_hash == model.registry_hash),
            ("the ledger", view.ledger_hash == model.ledger_hash),
            ("the topologies", view.topologies == model.topologies),
        ];
        let differing = comparisons.iter().filter(|(_, same)| !same);
        differing.for_each(|(what, _)| disagree(format!("z{index} and z{first} differ on {what}")));
        if !view.ready {
            disagree(format!("z{index} is not ready"));
        }
    }
    match &model.leadership {
        None => disagree("nobody leads".into()),
        Some((leader, leadership)) => {
            if !live.contains(leader) {
                disagree("a dead zhost leads".into());
            }
            let (alive, roster) = (live.len(), model.roster);
            if leadership.full != (alive * 2 > roster) {
                disagree(format!("the term is full: {}, with {alive} of {roster}", leadership.full));
            }
        }
    }
    let mut running = BTreeSet::new();
    for (index, view) in &views {
        for key in view.running.iter().filter(|key| is_placed(key)) {
            if !running.insert(key.clone()) {
                let twice = format!("space {key:?} runs twice, once on z{index}");
                verdict.push(Promise::Running.broken(twice));
            }
        }
        for key in &view.outdated {
            let outdated = format!("space {key:?} on z{index} is of a version that is not wanted any more");
            verdict.push(Promise::Running.broken(outdated));
        }
    }
    let placed = |name: &str| {
        let id = zhost_mex::topology_id(&name.parse().expect("a topology's name"));
        running.iter().filter(|key| key.topology == id).count()
    };
    for expectation in expected {
        let seen = model.topologies.get(&expectation.name);
        let seen = seen.map(|(version, state, reason)| (version, *state, reason));
        let fits = |outcome: &Option<&Outcome>| match (outcome, seen) {
            (None, None) => true,
            (Some(outcome), Some((version, state, _))) => {
                (&outcome.version, outcome.state, outcome.running)
                    == (version, state, placed(&expectation.name))
            }
            _ => false,
        };
        let possible = expectation.possible(world.lost_flashes());
        if !possible.iter().any(fits) {
            let seen = seen.map(|(version, state, reason)| (version.as_str(), state, reason));
            verdict.push(missed(&expectation.name, placed(&expectation.name), seen, possible[0]));
        }
    }
    verdict
}

/// In what a topology is not as it was left.
fn missed(
    name: &str,
    running: usize,
    seen: Option<(&str, &str, &Option<String>)>,
    wanted: Option<&Outcome>,
) -> Flaw {
    match (seen, wanted) {
        (Some(_), None) => Promise::Kept.broken(format!("topology {name} is there, and was deleted")),
        (None, _) => Promise::Kept.broken(format!("topology {name} is lost")),
        (Some((version, ..)), Some(wanted)) if version != wanted.version => {
            Promise::Kept.broken(format!("topology {name} is at {version}, not {}", wanted.version))
        }
        (Some((_, state, reason)), Some(wanted)) if state != wanted.state => {
            Promise::Running.broken(format!("topology {name} is {state} ({reason:?}), not {}", wanted.state))
        }
        (Some(_), Some(wanted)) => {
            Promise::Running.broken(format!("{running} spaces of {name} run, not {}", wanted.running))
        }
    }
}
