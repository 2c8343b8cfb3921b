//! The data of spaces that run elsewhere: a follower carries out what the primary orders, one order after the other, and
//! says when it is on flash. It obeys only the primary of the latest placement it knows.

use crate::{
    data::{
        disposal::Disposal,
        replicas::{Here, hash},
    },
    disk::{DiskReply, DiskRequest, Purpose, data_version_write},
    effects::Effects,
    wire::{DataMessage, DataOrder, Frame, KeyRange},
};
use litemap::LiteMap;
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use zhost_base::{
    SpaceKey, TopologyId, ZhostId,
    planted::{self, Bug},
};
use zhost_exchange::{StoreError, Write, table};
use zhost_gossip::document::PlacementVersion;

/// Bytes of one order: what a space may write in one call, and a little more; a primary that sends more is forgotten.
const ORDER_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Orders that wait; a primary sends far fewer, and is forgotten if it does not.
const ORDERS_WAITING_MAX: usize = 64;

/// The data of a space that runs elsewhere.
#[derive(Debug)]
struct Copy {
    primary: ZhostId,
    session: u64,
    /// What has come of the order that is on its way.
    partial: Vec<u8>,
    waiting: VecDeque<DataOrder>,
    /// The order that is being carried out.
    busy: Option<DataOrder>,
    done: u64,
}

/// All copies on this zhost.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    of: LiteMap<SpaceKey, Copy>,
    /// By which placement the data here was last written from elsewhere.
    versions: LiteMap<SpaceKey, PlacementVersion>,
}

impl Copies {
    pub fn new(versions: LiteMap<SpaceKey, PlacementVersion>) -> Self {
        Self { versions, ..Self::default() }
    }

    /// What was under way is lost: primaries are told, and begin anew.
    pub fn begin_again(&mut self, effects: &mut Effects) {
        for (key, copy) in std::mem::take(&mut self.of) {
            let refused = DataMessage::Refused { session: copy.session };
            effects.send(copy.primary, Frame::Data(key, refused));
        }
    }

    /// Nobody orders anything about the data of these spaces by what was agreed so far.
    pub fn forget_sessions(&mut self, of: impl Fn(&SpaceKey) -> bool) {
        self.of.retain(|key, _| !of(key));
    }

    /// The data of a topology is gone.
    pub fn forget_versions(&mut self, id: TopologyId) {
        self.versions.retain(|key, _| key.topology != id);
    }

    /// What a primary that is lost has ordered is void.
    pub fn forget_primary(&mut self, peer: ZhostId) {
        self.of.retain(|_, copy| copy.primary != peer);
    }
}

impl Copies {
    /// Whether a zhost may order us to write the data of a space, as the primary by that placement.
    fn obeys(
        &self,
        here: &Here<'_>,
        disposal: &Disposal,
        key: &SpaceKey,
        peer: ZhostId,
        version: PlacementVersion,
    ) -> bool {
        let known = self.versions.get(key).is_none_or(|known| *known <= version);
        let placed = here
            .facts
            .replica_set_of(key)
            .is_none_or(|(set, placed)| placed < version || (placed == version && set.primary == peer));
        // A space that still runs here writes for itself.
        let is_free = here.host.space(key).is_none() && !disposal.holds(key);
        (known && placed && is_free) || planted::has(Bug::ObeyAnybody)
    }

    /// A part of an order of a primary, or of one that says it is.
    pub fn take_part(
        &mut self,
        here: &mut Here<'_>,
        disposal: &Disposal,
        (peer, key): (ZhostId, SpaceKey),
        session: u64,
        (last, bytes): (bool, Vec<u8>),
    ) {
        let is_new = self.of.get(&key).is_none_or(|copy| (copy.primary, copy.session) != (peer, session));
        if is_new {
            // A session begins with the order to attach; what is left of another is nobody's business any more.
            // Data of an earlier life is about to go; it is no place for new data.
            let life =
                here.facts.ledger.topology(key.topology).map(|topology| topology.data_life(&key.space));
            let life = life.filter(|life| disposal.is_at(&key, *life));
            let attach = DataOrder::decode(&bytes).filter(|_| last);
            let Some(DataOrder::Attach(version, theirs)) = attach.filter(|_| life.is_some()) else {
                here.effects.send(peer, Frame::Data(key, DataMessage::Refused { session }));
                return;
            };
            if life != Some(theirs) || !self.obeys(here, disposal, &key, peer, version) {
                here.effects.send(peer, Frame::Data(key, DataMessage::Refused { session }));
                return;
            }
            let busy = Some(DataOrder::Attach(version, theirs));
            let (partial, waiting) = (Vec::new(), VecDeque::new());
            let copy = Copy { primary: peer, session, partial, waiting, busy, done: 0 };
            self.of.insert(key.clone(), copy);
            self.versions.insert(key.clone(), version);
            let write = data_version_write(&key, Some(version));
            here.effects.disk(DiskRequest::Commit(vec![write]), Purpose::DataOrder { key, session });
            return;
        }
        let Some(copy) = self.of.get_mut(&key) else { return };
        copy.partial.extend_from_slice(&bytes);
        let too_much = copy.partial.len() > ORDER_BYTES_MAX || copy.waiting.len() >= ORDERS_WAITING_MAX;
        if too_much {
            return self.refuse(here, &key, peer, session);
        }
        if last {
            match DataOrder::decode(&std::mem::take(&mut copy.partial)) {
                Some(order) => copy.waiting.push_back(order),
                None => return self.refuse(here, &key, peer, session),
            }
        }
        self.carry_out_order(here, disposal, &key);
    }

    /// Ends a session: the primary may begin another.
    fn refuse(&mut self, here: &mut Here<'_>, key: &SpaceKey, peer: ZhostId, session: u64) {
        self.of.remove(key);
        here.effects.send(peer, Frame::Data(key.clone(), DataMessage::Refused { session }));
    }

    /// Begins the next order of a primary.
    fn carry_out_order(&mut self, here: &mut Here<'_>, disposal: &Disposal, key: &SpaceKey) {
        let is_free = |copy: &&mut Copy| copy.busy.is_none();
        let Some(copy) = self.of.get_mut(key).filter(is_free) else { return };
        let Some(order) = copy.waiting.pop_front() else { return };
        let (session, peer) = (copy.session, copy.primary);
        let version = self.versions.get(key).copied();
        // Another primary may have been made since it attached, or the space may run here now.
        if !version.is_some_and(|version| self.obeys(here, disposal, key, peer, version)) {
            return self.refuse(here, key, peer, session);
        }
        let Some(copy) = self.of.get_mut(key) else { return };
        let table = table::data(key);
        let bounds = |range: &KeyRange| (range.from.to_vec(), range.to.as_ref().map(|to| to.to_vec()));
        let request = match &order {
            DataOrder::Attach(version, _) => {
                DiskRequest::Commit(vec![data_version_write(key, Some(*version))])
            }
            DataOrder::Compare(range, _) => {
                let (from, to) = bounds(range);
                DiskRequest::Scan { table, from, to, size_bytes: ORDER_BYTES_MAX }
            }
            DataOrder::Replace(range, entries) => {
                let (from, to) = bounds(range);
                let entries = entries.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                DiskRequest::Replace { table, from, to, entries }
            }
            DataOrder::Write(changes) => {
                let write = |(key, value): &(ByteBuf, Option<ByteBuf>)| Write {
                    table: table.clone(),
                    key: key.to_vec(),
                    value: value.as_ref().map(|value| value.to_vec()),
                };
                DiskRequest::Commit(changes.iter().map(write).collect())
            }
        };
        copy.busy = Some(order);
        here.effects.disk(request, Purpose::DataOrder { key: key.clone(), session });
    }

    /// An order of a primary was carried out, or failed.
    pub fn handle_order_done(
        &mut self,
        here: &mut Here<'_>,
        disposal: &Disposal,
        key: SpaceKey,
        session: u64,
        result: Result<DiskReply, StoreError>,
    ) {
        let Some(copy) = self.of.get_mut(&key).filter(|copy| copy.session == session) else {
            return;
        };
        let peer = copy.primary;
        let (Some(order), Ok(reply)) = (copy.busy.take(), result) else {
            return self.refuse(here, &key, peer, session);
        };
        copy.done += 1;
        let done = copy.done;
        let same = match (&order, &reply) {
            (DataOrder::Compare(_, theirs), DiskReply::Entries(entries, None)) => {
                hash(entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))) == *theirs
            }
            _ => false,
        };
        let version = self.versions.get(&key).copied();
        // Another primary may have been made since.
        if version.is_some_and(|version| self.obeys(here, disposal, &key, peer, version)) {
            let done = DataMessage::Done { session, order: done, same };
            here.effects.send(peer, Frame::Data(key.clone(), done));
            self.carry_out_order(here, disposal, &key);
        } else {
            self.refuse(here, &key, peer, session);
        }
    }
}
