//! What must be true of a cluster, at every moment and after quiet.

use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};

/// Watches for what may never happen.
#[derive(Debug, Default)]
pub struct Referee {
    /// Who led each full term.
    full_terms: BTreeMap<u64, usize>,
    objections: Vec<String>,
}

impl Referee {
    /// A board leads this term.
    pub fn see_reign(&mut self, index: usize, reign: Option<(u64, bool)>) {
        if let Some((term, true)) = reign {
            let leader = *self.full_terms.entry(term).or_insert(index);
            if leader != index {
                self.objections.push(format!("full term {term} is led by z{leader} and z{index}"));
            }
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
