//! The data of spaces on other zhosts.
//!
//! The primary (the zhost that runs the space) writes first, then sends each commit to its followers, and the space goes
//! on when all that count have it on flash. Whenever the two find each other anew, a session begins: the primary walks
//! through its table, the follower says which parts differ, and those are sent whole; commits made meanwhile follow in
//! order. A follower that has everything counts from then on, and the primary's row says so; the coordinator makes a
//! replica of it ([`crate::placement::replica_sets`]). What followers do is in [`crate::data::copies`].

use crate::{
    disk::{DiskReply, DiskRequest, Purpose},
    effects::Effects,
    facts::Facts,
    output::{Level, Output},
    spaces::host::Host,
    wire::{DataMessage, DataOrder, KeyRange},
};
use litemap::LiteMap;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{
    Instant, Rng, SpaceKey, ZhostId,
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

/// What there is here when something happens to data.
pub(crate) struct Here<'a> {
    pub now: Instant,
    pub facts: &'a Facts,
    pub host: &'a Host,
    pub effects: &'a mut Effects,
}

/// All replicated data of this zhost.
#[derive(Debug)]
pub(crate) struct Replicas {
    rng: Rng,
    primaries: LiteMap<SpaceKey, Primary>,
    /// When followers that were out of reach, or refused, are tried again.
    retry_at: Option<Instant>,
}

impl Replicas {
    pub fn new(rng: Rng) -> Self {
        Self { rng, primaries: LiteMap::new(), retry_at: None }
    }

    /// What was under way is lost: followers are attached anew, and spaces that wait for their writes say so again.
    pub fn begin_again(&mut self, here: &mut Here<'_>) {
        self.primaries.clear();
        self.retry_at = None;
        for (key, number) in here.host.replicated(here.facts) {
            here.effects.output(Output::Worker(WorkerCommand::TellWrite { key, number }));
        }
    }

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

impl Replicas {
    /// Looks after the followers of local spaces: those the placement names, as far as they are alive.
    pub fn refresh(&mut self, here: &mut Here<'_>) {
        let local = here.host.replicated(here.facts);
        self.primaries.retain(|key, _| local.iter().any(|(known, _)| known == key));
        for (key, number) in local {
            let Some((set, version)) = here.facts.replica_set_of(&key) else { continue };
            if set.primary != here.facts.id {
                self.primaries.remove(&key);
                here.effects.output(Output::Worker(WorkerCommand::Abandon(key)));
                continue;
            }
            let wanted: BTreeSet<ZhostId> = set.replicas.iter().chain(&set.joining).copied().collect();
            // Others act upon what we have told: those of whom we said that they have everything must go on to have it.
            let told = here.facts.space_row(here.facts.id, &key);
            let told = told.filter(|row| (row.incarnation, row.placement) == (number, version));
            let primary = self.primaries.entry(key.clone()).or_insert_with(|| Primary {
                number,
                version,
                followers: LiteMap::new(),
                synced: told.map(|row| row.synced.iter().copied().collect()).unwrap_or_default(),
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
                self.attach(here, &key, peer, version);
            }
            self.acknowledge_commits(here, &key);
        }
    }

    /// Compares the data of a local space with every replica anew.
    pub fn repair(&mut self, here: &mut Here<'_>, key: &SpaceKey) {
        if let Some(primary) = self.primaries.get_mut(key) {
            primary.followers.clear();
        }
        self.refresh(here);
    }

    /// How many replicas of a local space are looked after.
    pub fn followers(&self, key: &SpaceKey) -> usize {
        self.primaries.get(key).map_or(0, |primary| primary.followers.len())
    }

    /// Who else keeps the data of a space, for people.
    pub fn describe(&self, facts: &Facts, key: &SpaceKey) -> Vec<String> {
        let Some((set, _)) = facts.replica_set_of(key) else { return Vec::new() };
        let primary = self.primaries.get(key);
        let state = |id: &ZhostId| match primary.and_then(|primary| primary.followers.get(id)) {
            Some(follower) if follower.has_all() => "has everything",
            Some(_) => "catches up",
            None if facts.membership.peer(*id).is_none() => "out of reach",
            None => "asked",
        };
        let all = set.replicas.iter().chain(&set.joining);
        all.map(|id| format!("{}: {}", facts.zhost_name(*id), state(id))).collect()
    }

    /// The replicas without which a local space acknowledges nothing under the placement in force.
    pub fn synced(&self, facts: &Facts, key: &SpaceKey) -> Vec<ZhostId> {
        let Some((set, version)) = facts.replica_set_of(key) else { return Vec::new() };
        let primary = self.primaries.get(key).filter(|primary| primary.version == version);
        let synced = primary.into_iter().flat_map(|primary| &primary.synced);
        synced.filter(|id| set.replicas.contains(id) || set.joining.contains(id)).copied().collect()
    }

    fn attach(&mut self, here: &mut Here<'_>, key: &SpaceKey, peer: ZhostId, version: PlacementVersion) {
        if here.facts.membership.generation(peer).is_none() {
            return;
        }
        let text = format!("attaching {} to the data of {}", here.facts.zhost_name(peer), key.space);
        here.effects.log(Level::Debug, text);
        let session = self.rng.number();
        let follower = Follower {
            session,
            sent: 0,
            done: 0,
            heard_at: here.now,
            walk: Some(Walk::default()),
            commits: LiteMap::new(),
        };
        if let Some(primary) = self.primaries.get_mut(key) {
            primary.followers.insert(peer, follower);
            if let Some(topology) = here.facts.ledger.topology(key.topology) {
                let life = topology.data_life(&key.space);
                self.order(here, key, peer, &DataOrder::Attach(version, life));
            }
            self.walk_on(here, key, peer, KeyRange::default());
        }
    }

    /// Sends an order to a follower; gives its number.
    fn order(
        &mut self,
        here: &mut Here<'_>,
        key: &SpaceKey,
        peer: ZhostId,
        order: &DataOrder,
    ) -> Option<u64> {
        let follower = self.primaries.get_mut(key)?.followers.get_mut(&peer)?;
        if follower.sent == follower.done {
            follower.heard_at = here.now;
        }
        follower.sent += 1;
        self.retry_at.get_or_insert(here.now + FOLLOWER_TIMEOUT);
        let (session, number) = (follower.session, follower.sent);
        let bytes = order.encode();
        let parts = bytes.chunks(PART_BYTES).count();
        let part = |(part, index): (&[u8], usize)| DataMessage::Part {
            session,
            last: index + 1 == parts,
            bytes: part.to_vec(),
        };
        here.effects.order(peer, key.clone(), bytes.chunks(PART_BYTES).zip(0..).map(part).collect());
        Some(number)
    }

    /// An order was not taken, or only a part of it.
    pub fn handle_unsent(&mut self, now: Instant, key: &SpaceKey, peer: ZhostId) {
        self.drop_follower(now, key, peer);
    }

    /// A follower is out of reach, or refuses: it is attached anew after a while.
    fn drop_follower(&mut self, now: Instant, key: &SpaceKey, peer: ZhostId) {
        if let Some(primary) = self.primaries.get_mut(key) {
            primary.followers.remove(&peer);
            self.retry_at.get_or_insert(now + RETRY_PERIOD);
        }
    }

    pub fn handle_timeout(&mut self, here: &mut Here<'_>) {
        if self.retry_at.is_none_or(|at| at > here.now) {
            return;
        }
        let mut is_waiting = false;
        for (_, primary) in self.primaries.iter_mut() {
            primary
                .followers
                .retain(|_, f| f.sent == f.done || here.now.since(f.heard_at) < FOLLOWER_TIMEOUT);
            is_waiting |= primary.followers.values().any(|follower| follower.sent > follower.done);
        }
        self.retry_at = is_waiting.then_some(here.now + RETRY_PERIOD);
        self.refresh(here);
    }

    /// Reads the next entries for a follower that has not seen all of them.
    fn walk_on(&mut self, here: &mut Here<'_>, key: &SpaceKey, peer: ZhostId, range: KeyRange) {
        let Some(primary) = self.primaries.get_mut(key) else { return };
        let Some(follower) = primary.followers.get_mut(&peer) else { return };
        let (session, from) = (follower.session, range.from.to_vec());
        follower.walk = Some(Walk { range, ..Walk::default() });
        let scan = DiskRequest::Scan { table: table::data(key), from, to: None, size_bytes: RANGE_BYTES };
        here.effects.disk(scan, Purpose::DataScan { key: key.clone(), peer, session });
    }

    /// The next entries for a follower are read: it is told to compare its own with them.
    pub fn handle_scan(
        &mut self,
        here: &mut Here<'_>,
        (key, peer, session): (SpaceKey, ZhostId, u64),
        result: Result<DiskReply, StoreError>,
    ) {
        let Some(primary) = self.primaries.get_mut(&key) else { return };
        let Some(follower) = primary.followers.get_mut(&peer).filter(|f| f.session == session) else {
            return;
        };
        let (Ok(DiskReply::Entries(entries, next)), Some(walk)) = (result, follower.walk.as_mut()) else {
            return self.drop_follower(here.now, &key, peer);
        };
        walk.range.to = next.map(ByteBuf::from);
        walk.entries = entries.into_iter().collect();
        let hash = hash(walk.entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
        let compare = DataOrder::Compare(walk.range.clone(), hash);
        let number = self.order(here, &key, peer, &compare);
        self.note_walk_order(&key, peer, number);
    }

    fn note_walk_order(&mut self, key: &SpaceKey, peer: ZhostId, number: Option<u64>) {
        let primary = self.primaries.get_mut(key);
        let walk = primary.and_then(|primary| primary.followers.get_mut(&peer)?.walk.as_mut());
        if let Some(walk) = walk {
            walk.order = number;
        }
    }

    /// A local space committed: its followers get it too.
    pub fn handle_wrote(
        &mut self,
        here: &mut Here<'_>,
        key: &SpaceKey,
        (number, commit): (u32, u64),
        changes: Changes,
    ) {
        let is_known = |primary: &Primary| primary.number == number;
        if !self.primaries.get(key).is_some_and(is_known) {
            self.refresh(here);
        }
        let Some(primary) = self.primaries.get_mut(key).filter(|primary| is_known(primary)) else {
            // It is not the primary by any placement: what it wrote is never acknowledged.
            return here.effects.output(Output::Worker(WorkerCommand::Abandon(key.clone())));
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
            let sent = self.order(here, key, peer, &write);
            let primary = self.primaries.get_mut(key);
            let follower = primary.and_then(|primary| primary.followers.get_mut(&peer));
            if let (Some(follower), Some(order)) = (follower, sent) {
                follower.commits.insert(order, commit);
            }
        }
        self.acknowledge_commits(here, key);
    }

    /// Tells a local space that its last commit is where it has to be, if it is.
    fn acknowledge_commits(&mut self, here: &mut Here<'_>, key: &SpaceKey) {
        let Some((set, _)) = here.facts.replica_set_of(key) else { return };
        let (replicas, confirmed) = (set.replicas.clone(), set.confirmed && set.primary == here.facts.id);
        let Some(primary) = self.primaries.get_mut(key) else { return };
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
            here.effects.output(Output::Worker(WorkerCommand::Replicated { key, number, commit }));
        }
        if is_new {
            here.effects.log(
                Level::Debug,
                format!("all data of {} is on {} other zhosts", key.space, complete.len()),
            );
        }
        let told = here.facts.space_row(here.facts.id, key).map(|row| row.synced.clone());
        if told.is_some_and(|told| told != self.synced(here.facts, key)) {
            here.effects.space_row(key.clone());
        }
    }

    /// A follower does not take us for the primary.
    pub fn handle_refused(&mut self, here: &mut Here<'_>, peer: ZhostId, key: &SpaceKey, session: u64) {
        let primary = self.primaries.get(key);
        let follower = primary.and_then(|primary| primary.followers.get(&peer));
        if follower.is_some_and(|follower| follower.session == session) {
            let name = here.facts.zhost_name(peer);
            let text = format!("{name} does not take us for the primary of {}", key.space);
            here.effects.log(Level::Debug, text);
            self.drop_follower(here.now, key, peer);
        }
    }

    /// A follower has carried out an order.
    pub fn handle_done(
        &mut self,
        here: &mut Here<'_>,
        peer: ZhostId,
        key: &SpaceKey,
        session: u64,
        (order, same): (u64, bool),
    ) {
        let Some(primary) = self.primaries.get_mut(key) else { return };
        let Some(follower) = primary.followers.get_mut(&peer).filter(|f| f.session == session) else {
            return;
        };
        follower.done = order;
        follower.heard_at = here.now;
        follower.commits.retain(|sent, _| *sent > order);
        if let Some(walk) = follower.walk.as_mut().filter(|walk| walk.order == Some(order)) {
            if same || walk.replaced {
                match walk.range.to.take() {
                    Some(from) => return self.walk_on(here, key, peer, KeyRange { from, to: None }),
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
                let number = self.order(here, key, peer, &replace);
                self.note_walk_order(key, peer, number);
            }
        }
        self.acknowledge_commits(here, key);
    }

    /// A zhost is lost: followers there are attached anew when it is back.
    pub fn lose_zhost(&mut self, now: Instant, peer: ZhostId) {
        for primary in self.primaries.iter_mut().map(|(_, primary)| primary) {
            if primary.followers.remove(&peer).is_some() {
                self.retry_at.get_or_insert(now + RETRY_PERIOD);
            }
        }
    }
}

#[cfg(test)]
mod tests;
