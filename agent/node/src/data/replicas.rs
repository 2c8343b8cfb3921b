//! The data of spaces on other zhosts.
//!
//! The primary (the zhost that runs the space) writes first, then sends each commit to its followers, and the space goes
//! on when all that count have it on flash. Whenever the two find each other anew, a session begins: the primary walks
//! through its table, the follower says which parts differ, and those are sent whole; commits made meanwhile follow in
//! order. A follower that has everything counts from then on, and the primary's row says so; the coordinator makes a
//! replica of it ([`crate::placement::replica_sets`]). What followers do is in [`crate::copies`].

use crate::{
    disk::{DiskReply, DiskRequest, Purpose},
    facts::Facts,
    node::{Level, Node, Output},
    wire::{DataMessage, DataOrder, Frame, KeyRange},
};
use litemap::LiteMap;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{
    Instant, SpaceKey, ZhostId,
    planted::{self, Bug},
};
use zhost_exchange::{Changes, StoreError, WorkerCommand, table};
use zhost_gossip::document::{PlacementVersion, ReplicaSet};

/// How long until a follower that was lost, or refused, is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// How long a follower may be silent while it has orders, before it is attached anew.
const FOLLOWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of entries compared, or sent, at once.
const RANGE_BYTES: usize = 64 * 1024;
/// Bytes of one part of an order.
const PART_BYTES: usize = 32 * 1024;

/// Another zhost's copy, as the primary sees it.
#[derive(Debug)]
struct Follower {
    session: u64,
    /// Orders sent and carried out.
    sent: u64,
    done: u64,
    /// When it last said something, or was first asked.
    heard_at: Instant,
    /// What is being compared or replaced; nothing when the walk is over.
    walk: Option<Walk>,
    /// By the number of its order, which commit it was.
    commits: LiteMap<u64, u64>,
}

/// A walk through the table.
#[derive(Debug, Default)]
struct Walk {
    range: KeyRange,
    entries: LiteMap<Vec<u8>, Vec<u8>>,
    /// Committed since the entries were asked for.
    since: Changes,
    /// Under which number the comparison, or the replacement, was sent.
    order: Option<u64>,
    replaced: bool,
}

/// The data of a space that runs here.
#[derive(Debug)]
struct Primary {
    number: u32,
    version: PlacementVersion,
    followers: LiteMap<ZhostId, Follower>,
    /// Followers that have everything, and must have what is acknowledged.
    synced: BTreeSet<ZhostId>,
    /// A commit that waits for its followers.
    pending: Option<u64>,
    /// Commits that some follower lacks.
    latest: u64,
}

/// All replicated data of this zhost.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    primaries: LiteMap<SpaceKey, Primary>,
    /// When followers that were out of reach, or refused, are tried again.
    retry_at: Option<Instant>,
}

impl Replicas {
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.retry_at.map(|at| (at, "attach to replicas"))
    }

    /// How many other zhosts have all data of a local space at present.
    pub fn copies(&self, key: &SpaceKey) -> usize {
        let followers = self.primaries.get(key).into_iter().flat_map(|primary| primary.followers.values());
        followers.filter(|follower| follower.has_all()).count()
    }
}

pub(crate) fn hash<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for (key, value) in entries {
        for part in [key, value] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

impl Follower {
    /// Whether it has all that was committed.
    fn has_all(&self) -> bool {
        self.walk.is_none() && self.commits.is_empty()
    }
}

impl Walk {
    fn contains(&self, key: &[u8]) -> bool {
        key >= self.range.from.as_slice() && self.range.to.as_ref().is_none_or(|to| key < to.as_slice())
    }
}

impl Facts {
    /// What the placement in force says of the data of a space.
    pub(crate) fn replica_set_of(&self, key: &SpaceKey) -> Option<(&ReplicaSet, PlacementVersion)> {
        let placement = self.obeyed_placement(key.topology)?;
        let set = placement.replica_sets.iter().find(|set| set.space == key.space)?;
        Some((set, placement.version))
    }
}

impl Node {
    /// Looks after the followers of local spaces: those the placement names, as far as they are alive.
    pub(crate) fn refresh_replicas(&mut self, now: Instant) {
        let local: Vec<(SpaceKey, u32)> = {
            let replicated = |key: &&SpaceKey| self.space_spec(key).is_some_and(|spec| spec.replicas > 0);
            let local = self.host.keys().filter(replicated);
            local.filter_map(|key| Some((key.clone(), self.host.space(key)?.launch.pid.number))).collect()
        };
        self.replicas.primaries.retain(|key, _| local.iter().any(|(known, _)| known == key));
        for (key, number) in local {
            let Some((set, version)) = self.facts.replica_set_of(&key) else { continue };
            if set.primary != self.facts.id {
                self.replicas.primaries.remove(&key);
                self.output(Output::Worker(WorkerCommand::Abandon(key)));
                continue;
            }
            let wanted: BTreeSet<ZhostId> = set.replicas.iter().chain(&set.joining).copied().collect();
            let primary = self.replicas.primaries.entry(key.clone()).or_insert_with(|| Primary {
                number,
                version,
                followers: LiteMap::new(),
                synced: BTreeSet::new(),
                pending: None,
                latest: 0,
            });
            let is_new = primary.number != number;
            if is_new || primary.version != version {
                // Followers are told of the new placement; those of another start know nothing of this one's commits.
                primary.followers.clear();
                primary.version = version;
            }
            if is_new {
                primary.number = number;
                primary.pending = None;
                primary.latest = 0;
            }
            primary.followers.retain(|id, _| wanted.contains(id));
            primary.synced.retain(|id| wanted.contains(id));
            let missing: Vec<ZhostId> =
                wanted.iter().filter(|id| !primary.followers.contains_key(id)).copied().collect();
            for peer in missing {
                self.attach(now, &key, peer, version);
            }
            self.acknowledge_commits(now, &key);
        }
    }

    /// Compares the data of a local space with every replica anew; how many there are.
    pub(crate) fn repair_replicas(&mut self, now: Instant, key: &SpaceKey) -> usize {
        if let Some(primary) = self.replicas.primaries.get_mut(key) {
            primary.followers.clear();
        }
        self.refresh_replicas(now);
        self.replicas.primaries.get(key).map_or(0, |primary| primary.followers.len())
    }

    /// Who else keeps the data of a space, for people.
    pub(crate) fn describe_replicas(&self, key: &SpaceKey) -> Vec<String> {
        let Some((set, _)) = self.facts.replica_set_of(key) else { return Vec::new() };
        let primary = self.replicas.primaries.get(key);
        let state = |id: &ZhostId| match primary.and_then(|primary| primary.followers.get(id)) {
            Some(follower) if follower.has_all() => "has everything",
            Some(_) => "catches up",
            None if self.facts.membership.peer(*id).is_none() => "out of reach",
            None => "asked",
        };
        let all = set.replicas.iter().chain(&set.joining);
        all.map(|id| format!("{}: {}", self.facts.zhost_name(*id), state(id))).collect()
    }

    /// The replicas without which a local space acknowledges nothing under the placement in force.
    pub(crate) fn synced(&self, key: &SpaceKey) -> Vec<ZhostId> {
        let Some((set, version)) = self.facts.replica_set_of(key) else { return Vec::new() };
        let primary = self.replicas.primaries.get(key).filter(|primary| primary.version == version);
        let synced = primary.into_iter().flat_map(|primary| &primary.synced);
        synced.filter(|id| set.replicas.contains(id) || set.joining.contains(id)).copied().collect()
    }

    fn attach(&mut self, now: Instant, key: &SpaceKey, peer: ZhostId, version: PlacementVersion) {
        if self.facts.membership.generation(peer).is_none() {
            return;
        }
        let text = format!("attaching {} to the data of {}", self.facts.zhost_name(peer), key.space);
        self.log(Level::Debug, text);
        let session = self.rng.number();
        let follower = Follower {
            session,
            sent: 0,
            done: 0,
            heard_at: now,
            walk: Some(Walk::default()),
            commits: LiteMap::new(),
        };
        if let Some(primary) = self.replicas.primaries.get_mut(key) {
            primary.followers.insert(peer, follower);
            if let Some(topology) = self.facts.ledger.topology(key.topology) {
                let life = topology.data_life(&key.space);
                self.order(now, key, peer, &DataOrder::Attach(version, life));
            }
            self.walk_on(key, peer, KeyRange::default());
        }
    }

    /// Sends an order to a follower; gives its number.
    fn order(&mut self, now: Instant, key: &SpaceKey, peer: ZhostId, order: &DataOrder) -> Option<u64> {
        let follower = self.replicas.primaries.get_mut(key)?.followers.get_mut(&peer)?;
        if follower.sent == follower.done {
            follower.heard_at = now;
        }
        follower.sent += 1;
        self.replicas.retry_at.get_or_insert(now + FOLLOWER_TIMEOUT);
        let (session, number) = (follower.session, follower.sent);
        let bytes = order.encode();
        let parts = bytes.chunks(PART_BYTES).count();
        for (index, part) in bytes.chunks(PART_BYTES).enumerate() {
            let part = DataMessage::Part { session, last: index + 1 == parts, bytes: part.to_vec() };
            if !self.send(now, peer, &Frame::Data(key.clone(), part)) {
                self.drop_follower(now, key, peer);
                return None;
            }
        }
        Some(number)
    }

    /// A follower is out of reach, or refuses: it is attached anew after a while.
    fn drop_follower(&mut self, now: Instant, key: &SpaceKey, peer: ZhostId) {
        if let Some(primary) = self.replicas.primaries.get_mut(key) {
            primary.followers.remove(&peer);
            self.replicas.retry_at.get_or_insert(now + RETRY_PERIOD);
        }
    }

    pub(crate) fn replicas_timeout(&mut self, now: Instant) {
        if self.replicas.retry_at.is_none_or(|at| at > now) {
            return;
        }
        let mut is_waiting = false;
        for (_, primary) in self.replicas.primaries.iter_mut() {
            primary.followers.retain(|_, f| f.sent == f.done || now.since(f.heard_at) < FOLLOWER_TIMEOUT);
            is_waiting |= primary.followers.values().any(|follower| follower.sent > follower.done);
        }
        self.replicas.retry_at = is_waiting.then_some(now + RETRY_PERIOD);
        self.refresh_replicas(now);
    }

    /// Reads the next entries for a follower that has not seen all of them.
    fn walk_on(&mut self, key: &SpaceKey, peer: ZhostId, range: KeyRange) {
        let Some(primary) = self.replicas.primaries.get_mut(key) else { return };
        let Some(follower) = primary.followers.get_mut(&peer) else { return };
        let (session, from) = (follower.session, range.from.to_vec());
        follower.walk = Some(Walk { range, ..Walk::default() });
        let scan = DiskRequest::Scan { table: table::data(key), from, to: None, size_bytes: RANGE_BYTES };
        self.disk(scan, Purpose::DataScan { key: key.clone(), peer, session });
    }

    /// The next entries for a follower are read, or for a comparison that a primary ordered.
    pub(crate) fn handle_data_scan(
        &mut self,
        now: Instant,
        (key, peer, session): (SpaceKey, ZhostId, u64),
        result: Result<DiskReply, StoreError>,
    ) {
        let Some(primary) = self.replicas.primaries.get_mut(&key) else { return };
        let Some(follower) = primary.followers.get_mut(&peer).filter(|f| f.session == session) else {
            return;
        };
        let (Ok(DiskReply::Entries(entries, next)), Some(walk)) = (result, follower.walk.as_mut()) else {
            return self.drop_follower(now, &key, peer);
        };
        walk.range.to = next.map(ByteBuf::from);
        walk.entries = entries.into_iter().collect();
        let hash = hash(walk.entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
        let compare = DataOrder::Compare(walk.range.clone(), hash);
        let number = self.order(now, &key, peer, &compare);
        self.note_walk_order(&key, peer, number);
    }

    fn note_walk_order(&mut self, key: &SpaceKey, peer: ZhostId, number: Option<u64>) {
        let primary = self.replicas.primaries.get_mut(key);
        let walk = primary.and_then(|primary| primary.followers.get_mut(&peer)?.walk.as_mut());
        if let Some(walk) = walk {
            walk.order = number;
        }
    }

    /// A local space committed: its followers get it too.
    pub(crate) fn handle_wrote(
        &mut self,
        now: Instant,
        key: &SpaceKey,
        (number, commit): (u32, u64),
        changes: Changes,
    ) {
        let is_known = |primary: &Primary| primary.number == number;
        if !self.replicas.primaries.get(key).is_some_and(is_known) {
            self.refresh_replicas(now);
        }
        let Some(primary) = self.replicas.primaries.get_mut(key).filter(|primary| is_known(primary)) else {
            // It is not the primary by any placement: what it wrote is never acknowledged.
            return self.output(Output::Worker(WorkerCommand::Abandon(key.clone())));
        };
        primary.pending = Some(commit);
        primary.latest = commit;
        for walk in primary
            .followers
            .iter_mut()
            .map(|(_, follower)| follower)
            .filter_map(|follower| follower.walk.as_mut())
        {
            let within = changes.iter().filter(|(key, _)| walk.range.to.is_none() || walk.contains(key));
            let within: Vec<_> = within.map(|(key, value)| (key.clone(), value.clone())).collect();
            walk.since.extend(within);
        }
        let peers: Vec<ZhostId> = primary.followers.keys().copied().collect();
        let bytes = |(key, value): (Vec<u8>, Option<Vec<u8>>)| (ByteBuf::from(key), value.map(ByteBuf::from));
        let write = DataOrder::Write(changes.into_iter().map(bytes).collect());
        for peer in peers {
            let sent = self.order(now, key, peer, &write);
            let primary = self.replicas.primaries.get_mut(key);
            let follower = primary.and_then(|primary| primary.followers.get_mut(&peer));
            if let (Some(follower), Some(order)) = (follower, sent) {
                follower.commits.insert(order, commit);
            }
        }
        self.acknowledge_commits(now, key);
    }

    /// Tells a local space that its last commit is where it has to be, if it is.
    fn acknowledge_commits(&mut self, now: Instant, key: &SpaceKey) {
        let Some((set, _)) = self.facts.replica_set_of(key) else { return };
        let (replicas, confirmed) = (set.replicas.clone(), set.confirmed && set.primary == self.facts.id);
        let Some(primary) = self.replicas.primaries.get_mut(key) else { return };
        let complete: BTreeSet<ZhostId> =
            primary.followers.iter().filter(|(_, follower)| follower.has_all()).map(|(id, _)| *id).collect();
        let is_new = complete.difference(&primary.synced).count() > 0;
        primary.synced.extend(&complete);
        let counts = |id: &ZhostId| replicas.contains(id) || primary.synced.contains(id);
        let wait = !confirmed
            || replicas.iter().chain(&primary.synced).any(|id| counts(id) && !complete.contains(id));
        if (!wait || planted::has(Bug::AcknowledgeEarly))
            && let Some(commit) = primary.pending.take()
        {
            let number = primary.number;
            let key = key.clone();
            self.output(Output::Worker(WorkerCommand::Replicated { key, number, commit }));
        }
        if is_new {
            self.log(
                Level::Debug,
                format!("all data of {} is on {} other zhosts", key.space, complete.len()),
            );
        }
        let told = self.facts.space_row(self.facts.id, key).map(|row| row.synced.clone());
        if told.is_some_and(|told| told != self.synced(key)) {
            self.write_space_row(now, key);
        }
    }

    /// Something about the data of a space came from another who keeps it.
    pub(crate) fn handle_data(&mut self, now: Instant, peer: ZhostId, key: SpaceKey, message: DataMessage) {
        match message {
            DataMessage::Part { session, last, bytes } => {
                self.take_part(now, peer, key, session, (last, bytes))
            }
            DataMessage::Done { session, order, same } => {
                self.handle_done(now, peer, &key, session, (order, same))
            }
            DataMessage::Refused { session } => {
                let primary = self.replicas.primaries.get_mut(&key);
                let follower = primary.and_then(|primary| primary.followers.get_mut(&peer));
                if follower.is_some_and(|follower| follower.session == session) {
                    let name = self.facts.zhost_name(peer);
                    self.log(
                        Level::Debug,
                        format!("{name} does not take us for the primary of {}", key.space),
                    );
                    self.drop_follower(now, &key, peer);
                }
            }
        }
    }

    fn handle_done(
        &mut self,
        now: Instant,
        peer: ZhostId,
        key: &SpaceKey,
        session: u64,
        (order, same): (u64, bool),
    ) {
        let Some(primary) = self.replicas.primaries.get_mut(key) else { return };
        let Some(follower) = primary.followers.get_mut(&peer).filter(|f| f.session == session) else {
            return;
        };
        follower.done = order;
        follower.heard_at = now;
        follower.commits.retain(|sent, _| *sent > order);
        if let Some(walk) = follower.walk.as_mut().filter(|walk| walk.order == Some(order)) {
            if same || walk.replaced {
                match walk.range.to.take() {
                    Some(from) => return self.walk_on(key, peer, KeyRange { from, to: None }),
                    None => follower.walk = None,
                }
            } else {
                walk.replaced = true;
                let since = std::mem::take(&mut walk.since);
                for (key, value) in
                    since.into_iter().filter(|(key, _)| walk.contains(key)).collect::<Vec<_>>()
                {
                    match value {
                        Some(value) => walk.entries.insert(key, value),
                        None => walk.entries.remove(&key),
                    };
                }
                let entries = std::mem::take(&mut walk.entries).into_iter();
                let entries =
                    entries.map(|(key, value)| (ByteBuf::from(key), ByteBuf::from(value))).collect();
                let replace = DataOrder::Replace(walk.range.clone(), entries);
                let number = self.order(now, key, peer, &replace);
                self.note_walk_order(key, peer, number);
            }
        }
        self.acknowledge_commits(now, key);
    }

    /// A zhost is lost: followers there are attached anew when it is back, and its orders are void.
    pub(crate) fn lose_keeper(&mut self, now: Instant, peer: ZhostId) {
        for primary in self.replicas.primaries.iter_mut().map(|(_, primary)| primary) {
            if primary.followers.remove(&peer).is_some() {
                self.replicas.retry_at.get_or_insert(now + RETRY_PERIOD);
            }
        }
        self.copies.forget_primary(peer);
    }
}
