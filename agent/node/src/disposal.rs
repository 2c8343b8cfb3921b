//! Data that nobody wants any more: that of deleted topologies, and of spaces whose data an operator drops. While it is
//! being taken off the flash, its spaces do not start here.

use crate::{
    disk::{DiskReply, DiskRequest, Purpose, data_life_write},
    node::{Level, Node},
};
use litemap::LiteMap;
use zhost_base::{Instant, SpaceKey, TopologyId};
use zhost_gossip::document::Wanted;
use zhost_runtime::{StoreError, table};

/// Whose data goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waste {
    /// All of a topology's.
    Topology(TopologyId),
    /// One space's.
    Space(SpaceKey),
}

/// What is on its way off the flash.
#[derive(Debug, Default)]
pub(crate) struct Disposal {
    /// What goes, and whether the flash was told already; a space has to end first.
    going: LiteMap<Waste, bool>,
    /// To which life of its topology the data here belongs: one that was deleted and submitted again meanwhile has
    /// another.
    lives: LiteMap<TopologyId, u32>,
    /// Deleted topologies whose data is gone.
    gone: LiteMap<TopologyId, ()>,
}

impl Disposal {
    pub fn new(lives: LiteMap<TopologyId, u32>) -> Self {
        Self { lives, ..Self::default() }
    }

    /// Whether what is here is, or can become, the data of a topology in that life.
    pub fn is_at(&self, id: TopologyId, life: u32) -> bool {
        self.lives.get(&id) == Some(&life)
    }

    /// Whether a space has to wait with its start.
    pub fn holds(&self, key: &SpaceKey) -> bool {
        self.going.contains_key(&Waste::Topology(key.topology))
            || self.going.contains_key(&Waste::Space(key.clone()))
    }
}

impl Node {
    /// Drops the data of a local space: it ends, and starts with nothing.
    pub(crate) fn drop_data(&mut self, now: Instant, key: &SpaceKey) {
        self.disposal.going.insert(Waste::Space(key.clone()), false);
        self.close_space(now, key);
        self.dispose();
    }

    /// Takes up the topologies that were deleted, also those that have been submitted again since.
    pub(crate) fn refresh_disposal(&mut self) {
        let known: Vec<(TopologyId, bool, u32)> = self
            .ledger
            .topologies()
            .map(|(id, topology)| (id, topology.wanted == Wanted::Deleted, topology.life))
            .collect();
        for (id, is_deleted, life) in known {
            let ours = self.disposal.lives.get(&id).copied();
            let is_waste = if is_deleted {
                !self.disposal.gone.contains_key(&id)
            } else {
                ours.is_some_and(|ours| ours != life)
            };
            if is_waste {
                self.disposal.going.entry(Waste::Topology(id)).or_insert(false);
            } else if !is_deleted && ours.is_none() {
                self.disposal.gone.remove(&id);
                self.disposal.lives.insert(id, life);
                self.disk(DiskRequest::Commit(vec![data_life_write(id, Some(life))]), Purpose::Nothing);
            }
        }
        self.dispose();
    }

    /// Tells the flash of what no running space uses any more.
    pub(crate) fn dispose(&mut self) {
        let is_used = |waste: &Waste| match waste {
            Waste::Topology(id) => self.host.keys().any(|key| key.topology == *id),
            Waste::Space(key) => self.host.space(key).is_some(),
        };
        let ready = self.disposal.going.iter().filter(|(waste, told)| !**told && !is_used(waste));
        let ready: Vec<Waste> = ready.map(|(waste, _)| waste.clone()).collect();
        for waste in ready {
            self.disposal.going.insert(waste.clone(), true);
            let request = match &waste {
                Waste::Topology(id) => DiskRequest::DropTables(table::data_of(*id)),
                Waste::Space(key) => {
                    let (table, from) = (table::data(key), Vec::new());
                    DiskRequest::Replace { table, from, to: None, entries: Vec::new() }
                }
            };
            self.disk(request, Purpose::Disposal(waste));
        }
    }

    pub(crate) fn handle_disposed(
        &mut self,
        now: Instant,
        waste: Waste,
        result: Result<DiskReply, StoreError>,
    ) {
        self.disposal.going.remove(&waste);
        match (&waste, result) {
            (Waste::Topology(id), Ok(_)) => {
                self.disposal.gone.insert(*id, ());
                self.disposal.lives.remove(id);
                self.disk(DiskRequest::Commit(vec![data_life_write(*id, None)]), Purpose::Nothing);
                self.refresh_disposal();
            }
            (Waste::Space(key), Ok(_)) => {
                self.log(Level::Warn, format!("the data of {} is dropped", key.space))
            }
            (Waste::Space(key), Err(_)) => {
                let text =
                    format!("the data of {} is still there: the flash refused; order it again", key.space);
                self.log(Level::Warn, text);
            }
            // Tried again when something changes, or at the next start.
            (Waste::Topology(_), Err(_)) => {}
        }
        self.reconcile_spaces(now);
    }
}
