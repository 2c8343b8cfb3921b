//! Data that nobody wants any more: that of deleted topologies, and of spaces whose data an operator dropped. Every zhost
//! finds out by comparing to which life its data belongs with the ledger, at once or when it is back. Until its data is
//! gone, and that is noted on flash, a space does not start here, and its primary elsewhere finds no place here.

use crate::{
    disk::{DiskReply, DiskRequest, Purpose, data_life_write, data_version_write},
    effects::Effects,
    facts::Facts,
    output::Level,
    spaces::host::Host,
};
use litemap::LiteMap;
use std::collections::BTreeSet;
use zhost_base::{
    SpaceKey, TopologyId,
    planted::{self, Bug},
};
use zhost_exchange::{StoreError, table};
use zhost_gossip::{
    document::{DataLife, TopologyDocument},
    ledger::Ledger,
};

/// Whose data goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waste {
    /// All of a topology's.
    Topology(TopologyId),
    /// One space's.
    Space(SpaceKey),
}

impl Waste {
    pub fn covers(&self, key: &SpaceKey) -> bool {
        match self {
            Self::Topology(id) => key.topology == *id,
            Self::Space(space) => key == space,
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A space has to end first.
    Waits,
    /// The flash was told.
    Told,
}

/// What is on its way off the flash.
#[derive(Debug, Default)]
pub(crate) struct Disposal {
    going: LiteMap<Waste, Step>,
    /// What the flash was told of before this began again, and has not answered since.
    doubtful: BTreeSet<Waste>,
    /// To which life the data here belongs, by space. Where none is noted there is no data.
    lives: LiteMap<SpaceKey, DataLife>,
}

impl Disposal {
    pub fn new(lives: LiteMap<SpaceKey, DataLife>) -> Self {
        Self { lives, ..Self::default() }
    }

    /// What the flash answers may have been lost. Nothing is told it a second time before it has answered all it was told
    /// until now: what goes twice could be new data.
    pub fn begin_again(&mut self) {
        let told = self.going.iter().filter(|(_, step)| **step == Step::Told);
        self.doubtful = told.map(|(waste, _)| waste.clone()).collect();
    }

    /// The flash has answered all it was told when this began again: what it has said nothing of is found anew.
    pub fn end_doubts(&mut self) {
        for waste in std::mem::take(&mut self.doubtful) {
            self.going.remove(&waste);
        }
    }

    /// To which life the data of a space here belongs.
    pub fn life(&self, key: &SpaceKey) -> Option<DataLife> {
        self.lives.get(key).copied()
    }

    /// Whether what is here is, or can become, the data of a space in that life. Of two orders that cross each other one
    /// counts; what is here may then belong to a later life than the ledger knows, and is kept.
    pub fn is_at(&self, key: &SpaceKey, life: DataLife) -> bool {
        self.life(key).is_some_and(|ours| ours >= life) && !self.holds(key)
    }

    /// Whether data of a space is on its way off the flash.
    pub fn holds(&self, key: &SpaceKey) -> bool {
        self.going.contains_key(&Waste::Topology(key.topology))
            || self.going.contains_key(&Waste::Space(key.clone()))
    }

    /// What there is to be done about the data of a listed topology: what goes, and the spaces of which there is none
    /// yet.
    fn compare(&self, id: TopologyId, topology: &TopologyDocument) -> (Vec<Waste>, Vec<SpaceKey>) {
        let is_older =
            |(key, life): (&SpaceKey, &DataLife)| key.topology == id && life.deletions < topology.deletions;
        if self.lives.iter().any(is_older) {
            return (vec![Waste::Topology(id)], Vec::new());
        }
        let keeping = topology.spec.spaces.iter().filter(|space| space.keeps_data());
        let keys = keeping.map(|space| SpaceKey { topology: id, space: space.name.clone() });
        let (known, new): (Vec<SpaceKey>, Vec<SpaceKey>) = keys.partition(|key| self.lives.contains_key(key));
        let is_waste = |key: &SpaceKey| self.life(key) < Some(topology.data_life(&key.space));
        (known.into_iter().filter(is_waste).map(Waste::Space).collect(), new)
    }

    /// The data of topologies that are listed no more.
    fn orphans(&self, ledger: &Ledger) -> Vec<Waste> {
        let is_listed = |id: TopologyId| {
            ledger.topology(id).is_some_and(TopologyDocument::is_listed) || planted::has(Bug::KeepWaste)
        };
        let mut ids: Vec<_> =
            self.lives.keys().map(|key| key.topology).filter(|id| !is_listed(*id)).collect();
        ids.dedup();
        ids.into_iter().map(Waste::Topology).collect()
    }
}

impl Disposal {
    /// Takes up what the ledger says of data here: of this nobody may order anything any more, and it goes as soon as no
    /// space uses it.
    pub fn refresh(&mut self, facts: &Facts, host: &Host, effects: &mut Effects) -> Vec<Waste> {
        let (waste, new): (Vec<_>, Vec<_>) =
            facts.ledger.topologies().map(|(id, topology)| self.compare(id, topology)).unzip();
        // What the ledger does not list may be new to us, until we are in step with the cluster.
        let orphans = if facts.ready { self.orphans(&facts.ledger) } else { Vec::new() };
        let waste = waste.into_iter().flatten().chain(orphans);
        let waste: Vec<_> = waste.filter(|waste| !self.going.contains_key(waste)).collect();
        for waste in &waste {
            if let Waste::Space(key) = waste {
                effects.close(key.clone());
            }
            self.going.insert(waste.clone(), Step::Waits);
        }
        for key in new.into_iter().flatten() {
            if !self.holds(&key) {
                self.going.insert(Waste::Space(key.clone()), Step::Told);
                note_life(facts, key, effects);
            }
        }
        self.dispose(host, effects);
        waste
    }

    /// Tells the flash of what no running space uses any more.
    pub fn dispose(&mut self, host: &Host, effects: &mut Effects) {
        let is_used = |waste: &Waste| host.keys().any(|key| waste.covers(key));
        let ready = self.going.iter().filter(|(waste, step)| **step == Step::Waits && !is_used(waste));
        let ready: Vec<Waste> = ready.map(|(waste, _)| waste.clone()).collect();
        for waste in ready {
            self.going.insert(waste.clone(), Step::Told);
            let request = match &waste {
                Waste::Topology(id) => DiskRequest::DropTables(table::data_of(*id)),
                Waste::Space(key) => {
                    let (table, from) = (table::data(key), Vec::new());
                    DiskRequest::Replace { table, from, to: None, entries: Vec::new() }
                }
            };
            effects.disk(request, Purpose::Disposal(waste));
        }
    }

    /// Data is off the flash, or the flash refused; then it is tried again when something changes, or at the next start.
    /// Whether it was.
    pub fn handle_disposed(
        &mut self,
        facts: &Facts,
        waste: Waste,
        result: Result<DiskReply, StoreError>,
        effects: &mut Effects,
    ) -> bool {
        self.doubtful.remove(&waste);
        match (waste, result) {
            (waste, Err(error)) => {
                effects.log(Level::Warn, format!("data that is to go is still there: {error}"));
                self.going.remove(&waste);
                return false;
            }
            (Waste::Space(key), Ok(_)) => {
                effects.log(Level::Warn, format!("the data of {} is dropped", key.space));
                note_life(facts, key, effects);
            }
            (Waste::Topology(id), Ok(_)) => {
                let ours = self.lives.keys().filter(|key| key.topology == id);
                let writes = ours.flat_map(|key| [data_life_write(key, None), data_version_write(key, None)]);
                let writes = writes.collect();
                effects.disk(DiskRequest::Commit(writes), Purpose::Life(Waste::Topology(id), None));
            }
        }
        true
    }

    /// It is on flash to which life the data here belongs, or that there is none; or the flash refused, and it is tried
    /// again when something changes, or at the next start.
    pub fn handle_life_noted(&mut self, waste: &Waste, life: Option<DataLife>, is_noted: bool) {
        self.doubtful.remove(waste);
        self.going.remove(waste);
        match (waste, life) {
            _ if !is_noted => {}
            (Waste::Topology(id), _) => self.lives.retain(|key, _| key.topology != *id),
            (Waste::Space(key), Some(life)) => {
                self.lives.insert(key.clone(), life);
            }
            (Waste::Space(_), None) => {}
        }
    }
}

/// Has it noted on flash that what is here of a space's data, which is nothing, belongs to its present life.
fn note_life(facts: &Facts, key: SpaceKey, effects: &mut Effects) {
    let topology = facts.ledger.topology(key.topology);
    let life = topology.map(|topology| topology.data_life(&key.space));
    let write = data_life_write(&key, life);
    effects.disk(DiskRequest::Commit(vec![write]), Purpose::Life(Waste::Space(key), life));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_panic_nothing_is_told_twice_before_the_flash_has_answered_what_it_was_told() {
        let key = |name: &str| SpaceKey { topology: TopologyId([1; 16]), space: name.parse().unwrap() };
        let (answered, lost, waits) = (key("answered"), key("lost"), key("waits"));
        let mut disposal = Disposal::default();
        for (key, step) in [(&answered, Step::Told), (&lost, Step::Told), (&waits, Step::Waits)] {
            disposal.going.insert(Waste::Space(key.clone()), step);
        }
        disposal.begin_again();
        assert!([&answered, &lost, &waits].iter().all(|key| disposal.holds(key)), "no space starts yet");
        // The flash has answered about one, which is on its way again.
        let waste = Waste::Space(answered.clone());
        disposal.handle_life_noted(&waste, Some(DataLife { deletions: 1, drops: 0 }), true);
        disposal.going.insert(waste, Step::Told);
        disposal.end_doubts();
        let held = [&answered, &lost, &waits].map(|key| disposal.holds(key));
        assert_eq!(held, [true, false, true], "what was answered, or never told, is under way");
    }
}
