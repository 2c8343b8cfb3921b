//! The state of a topology, computed alike on every zhost from ledger and registry.

use crate::facts::Facts;
use litemap::LiteMap;
use std::collections::VecDeque;
use zhost_base::{SpaceKey, TopologyId, limits::TRANSITIONS_MAX};
use zhost_gossip::{
    document::{Home, TopologyDocument, Wanted},
    row::SpaceState,
};

/// The states of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopologyState {
    /// Submitted, and not all spaces have been running yet.
    Pending,
    /// All spaces are running.
    Running,
    /// Was running; some spaces are not, and recovery is in progress.
    Degraded,
    /// Stopped by the operator.
    Stopped,
    /// Some space can run nowhere; the reason is given.
    Failed,
}

impl TopologyState {
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// The state changes this zhost saw.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    changes: LiteMap<TopologyId, VecDeque<(u64, TopologyState)>>,
}

impl Histories {
    pub fn of(&self, id: TopologyId) -> impl Iterator<Item = &(u64, TopologyState)> {
        self.changes.get(&id).into_iter().flatten()
    }
}

impl Facts {
    /// The state of a topology, and why it is not running if it failed.
    pub(crate) fn topology_state(
        &self,
        id: TopologyId,
        topology: &TopologyDocument,
    ) -> (TopologyState, Option<String>) {
        if topology.wanted != Wanted::Running {
            return (TopologyState::Stopped, None);
        }
        let Some(placement) = self.obeyed_placement(id).filter(|p| p.revision == topology.revision) else {
            return (TopologyState::Pending, None);
        };
        let mut all_running = true;
        for (space, home) in topology.spec.spaces.iter().zip(&placement.homes) {
            let zhost = match home {
                Home::Nowhere(reason) => return (TopologyState::Failed, Some(reason.to_string())),
                Home::OnDemand => continue,
                Home::On(zhost) => *zhost,
            };
            let key = SpaceKey { topology: id, space: space.name.clone() };
            let row = self.space_row(zhost, &key).filter(|row| row.revision == topology.revision);
            match row.map(|row| row.state).filter(|_| !self.is_judged_failed(zhost)) {
                Some(SpaceState::Held) => {
                    let reason = format!(
                        "space '{}' crashed too often and is held; see `zctl spaces status {0}`",
                        space.name
                    );
                    return (TopologyState::Failed, Some(reason));
                }
                Some(SpaceState::Running | SpaceState::Ended) => {}
                _ => all_running = false,
            }
        }
        let state = match (all_running, placement.settled) {
            (true, _) => TopologyState::Running,
            (false, true) => TopologyState::Degraded,
            (false, false) => TopologyState::Pending,
        };
        (state, None)
    }
}

impl Histories {
    /// Notes the states that changed.
    pub fn record(&mut self, facts: &Facts, unix_ms: u64) {
        let states =
            facts.ledger.topologies().map(|(id, topology)| (id, facts.topology_state(id, topology).0));
        let states: Vec<_> = states.collect();
        self.changes.retain(|id, _| states.iter().any(|(known, _)| known == id));
        for (id, state) in states {
            let changes = self.changes.entry(id).or_default();
            if changes.back().is_some_and(|(_, last)| *last == state) {
                continue;
            }
            if changes.len() >= TRANSITIONS_MAX {
                changes.pop_front();
            }
            changes.push_back((unix_ms, state));
        }
    }
}
