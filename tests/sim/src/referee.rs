//! What must be true of a cluster, at every moment and after quiet.

use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use zhost_base::TopologyId;
use zhost_gossip::document::{PlacementVersion, Slot};
use zhost_node::Node;

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
    /// By start of a sender, what arrived of its messages.
    senders: BTreeMap<u64, Sender>,
    delivered: u64,
    objections: Vec<String>,
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
        if let Some((term, true)) = node.inspect_reign() {
            let leaders = self.full_terms.entry(term).or_default();
            if leaders.insert(index) && leaders.len() > 1 + self.further_clusters {
                let text = format!("full term {term} is led by {leaders:?}");
                self.object(text);
            }
        }
        for (key, version) in node.inspect_orders() {
            let newest = self.executed.entry((index, key.topology, version.slot)).or_insert(version);
            let (old, stale) = (*newest, version < *newest);
            *newest = version.max(old);
            if stale {
                self.object(format!("z{index} runs {key:?} by {version:?} after {old:?}"));
            }
        }
    }

    /// A board's tables may never grow beyond their limits.
    pub fn measure(&mut self, index: usize, node: &Node) {
        for (what, size, limit) in node.inspect_sizes() {
            if size > limit {
                self.object(format!("z{index} holds {size} {what}, more than {limit}"));
            }
        }
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
        if twice {
            self.object(format!("message {number} of {nonce:x} arrives at z{} again", place.0));
        } else if number < before {
            self.object(format!("message {number} of {nonce:x} arrives at z{} after {before}", place.0));
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
            format!("messages {numbers:?} of {nonce:x} are missing, and it was told of {}", sender.told)
        };
        lacking.map(flaw).collect()
    }

    /// A board lost what it knew: it got an old disk.
    pub fn forget(&mut self, index: usize) {
        self.executed.retain(|(board, _, _), _| *board != index);
    }

    /// As many clusters may be founded, by boards that cannot hear each other.
    pub fn expect_clusters(&mut self, count: usize) {
        self.further_clusters = count.saturating_sub(1);
    }

    /// Something went against the rules.
    pub fn object(&mut self, objection: String) {
        if self.objections.len() < OBJECTIONS_MAX && !self.objections.contains(&objection) {
            self.objections.push(objection);
        }
    }

    /// What went against the rules.
    pub fn objections(&self) -> &[String] {
        &self.objections
    }
}

/// What should be true of one topology after quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its name.
    pub name: String,
    /// The version that was acknowledged last.
    pub version: String,
    /// Its state.
    pub state: &'static str,
    /// How many of its spaces run.
    pub running: usize,
}

/// What is not (yet) as it should be; empty when all is well.
pub type Verdict = Vec<String>;

/// Compares the boards with each other and with what is expected of them.
pub fn judge(world: &World, expected: &[Expectation]) -> Verdict {
    let mut verdict: Verdict = world.objections().to_vec();
    let views = world.inspect();
    let live = world.live_ids();
    let Some((first, model)) = views.iter().next() else { return vec!["no board has power".into()] };
    for (index, view) in &views {
        if view.members != live {
            verdict.push(format!("z{index} sees {} members of {}", view.members.len(), live.len()));
        }
        let comparisons = [
            ("the reign", view.reign == model.reign),
            ("the registry", view.registry_hash == model.registry_hash),
            ("the ledger", view.ledger_hash == model.ledger_hash),
            ("the topologies", view.topologies == model.topologies),
        ];
        let differing = comparisons.iter().filter(|(_, same)| !same);
        verdict.extend(differing.map(|(what, _)| format!("z{index} and z{first} differ on {what}")));
        if !view.ready {
            verdict.push(format!("z{index} is not ready"));
        }
    }
    match &model.reign {
        None => verdict.push("nobody leads".into()),
        Some((leader, reign)) => {
            if !live.contains(leader) {
                verdict.push("a dead zhost leads".into());
            }
            if reign.full != (live.len() * 2 > model.roster) {
                verdict.push(format!(
                    "the term is full: {}, with {} of {}",
                    reign.full,
                    live.len(),
                    model.roster
                ));
            }
        }
    }
    for expectation in expected {
        match model.topologies.get(&expectation.name) {
            None => verdict.push(format!("topology {} is lost", expectation.name)),
            Some((version, _, _)) if *version != expectation.version => {
                verdict.push(format!(
                    "topology {} is at {version}, not {}",
                    expectation.name, expectation.version
                ));
            }
            Some((_, state, reason)) if *state != expectation.state => {
                verdict.push(format!(
                    "topology {} is {state} ({reason:?}), not {}",
                    expectation.name, expectation.state
                ));
            }
            Some(_) => {}
        }
    }
    let mut seen = BTreeSet::new();
    for (index, view) in &views {
        for key in &view.running {
            if !seen.insert(key.clone()) {
                verdict.push(format!("space {key:?} runs twice, once on z{index}"));
            }
        }
    }
    for expectation in expected {
        let Ok(name) = expectation.name.parse() else { continue };
        let id = zhost_mex::topology_id(&name);
        let running = seen.iter().filter(|key| key.topology == id).count();
        if running != expectation.running {
            verdict
                .push(format!("{running} spaces of {} run, not {}", expectation.name, expectation.running));
        }
    }
    verdict
}
