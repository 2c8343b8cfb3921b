//! What can be seen of a world from outside: what its boards know, keep and send, and what the referee says.

use super::World;
use crate::{machine::UNIX_ORIGIN_MS, promise::Flaw, referee};
use std::collections::{BTreeMap, BTreeSet};
use zhost_base::{BlobDigest, SpaceKey, ZhostId};
use zhost_node::{Inspection, Part};

fn store_key(topology: &str) -> Option<SpaceKey> {
    let topology = zhost_mex::topology_id(&topology.parse().ok()?);
    Some(SpaceKey { topology, space: "store".parse().ok()? })
}

impl World {
    /// Boards with power.
    pub fn live(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|index| self.machines[*index].running.is_some()).collect()
    }

    /// What the nodes with power see.
    pub fn inspect(&self) -> BTreeMap<usize, Inspection> {
        let live = self
            .machines
            .iter()
            .enumerate()
            .filter_map(|(index, m)| Some((index, m.running.as_ref()?.agent.node().inspect())));
        live.collect()
    }

    /// The last message along a path that the store space of a topology keeps on the disk of the board that runs it.
    pub fn stored_count(&self, topology: &str, path: &str) -> Option<u32> {
        let key = store_key(topology)?;
        let live = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        let running =
            live.into_iter().find(|running| running.agent.node().inspect().running.contains(&key))?;
        let value = running.store.get(&zhost_exchange::table::data(&key), path.as_bytes()).ok()??;
        Some(u32::from_le_bytes(value.try_into().ok()?))
    }

    /// How often spaces of a topology were started.
    pub fn starts_of(&self, topology: &str) -> usize {
        let Ok(topology) = topology.parse() else { return 0 };
        let id = zhost_mex::topology_id(&topology);
        self.referee.starts_of(id)
    }

    /// What a space has in its store on a board.
    pub fn stored(&self, index: usize, topology: &str, space: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let (Ok(topology), Ok(space)) = (topology.parse(), space.parse()) else { return BTreeMap::new() };
        let key = SpaceKey { topology: zhost_mex::topology_id(&topology), space };
        let Some(running) = &self.machines[index].running else { return BTreeMap::new() };
        let entries = running.store.scan(&zhost_exchange::table::data(&key), b"", usize::MAX);
        entries.unwrap_or_default().into_iter().collect()
    }

    /// The blobs that a board with power says it has.
    pub fn blobs(&self, index: usize) -> Vec<BlobDigest> {
        let running = self.machines[index].running.as_ref();
        running.map(|running| running.agent.node().inspect_blobs().collect()).unwrap_or_default()
    }

    /// The agent that runs on a board, and the one that starts from now on.
    pub fn agent(&self, index: usize) -> (Option<BlobDigest>, Option<BlobDigest>) {
        let slots = &self.machines[index].slots;
        (slots.running(), slots.kept)
    }

    /// Whether all of a blob is on a board's flash.
    pub fn has_blob(&self, index: usize, blob: BlobDigest) -> bool {
        let Some(running) = &self.machines[index].running else { return false };
        let pieces =
            running.store.scan(zhost_exchange::table::BLOBS, &blob.0, usize::MAX).unwrap_or_default();
        let pieces = pieces.into_iter().take_while(|(key, _)| key.starts_with(&blob.0));
        let bytes: Vec<u8> = pieces.flat_map(|(_, piece)| piece).collect();
        zhost_mex::digest(&bytes) == blob
    }

    /// What spaces should have been told, or should see, after a while in which nothing was wrong.
    pub fn cast_verdict(&self) -> referee::Verdict {
        let live =
            self.machines.iter().enumerate().filter_map(|(index, m)| Some((index, m.running.as_ref()?)));
        let views =
            live.flat_map(|(index, running)| self.referee.cast.names_verdict(index, running.agent.node()));
        self.referee.cast.verdict().into_iter().chain(views).collect()
    }

    /// Messages delivered so far.
    pub fn delivered(&self) -> u64 {
        self.referee.delivered()
    }

    /// Messages that senders were told did not arrive.
    pub fn told_undelivered(&self) -> u64 {
        self.referee.told()
    }

    /// Packets that boards with power passed on for others.
    pub fn relayed(&self) -> u64 {
        let live = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        live.map(|running| running.agent.node().inspect_relayed()).sum()
    }

    /// Senders that have sent more than before `seen` and lack messages that they were not told of.
    pub fn unexplained(&self, seen: u64) -> referee::Verdict {
        self.referee.unexplained(seen)
    }

    /// What went against the rules so far.
    pub fn objections(&self) -> &[Flaw] {
        self.referee.objections()
    }

    /// How many flashes lost what they held, or some of it.
    pub fn lost_flashes(&self) -> u32 {
        self.referee.lost_flashes()
    }

    /// Whether a board runs this space.
    pub fn runs(&self, index: usize, topology: &str, space: &str) -> bool {
        let view = self.machines[index].running.as_ref().map(|running| running.agent.node().inspect());
        let (Ok(topology), Ok(space)) = (topology.parse(), space.parse::<zhost_base::Name>()) else {
            return false;
        };
        let topology = zhost_mex::topology_id(&topology);
        view.is_some_and(|view| view.running.iter().any(|key| key.topology == topology && key.space == space))
    }

    /// Bytes a board sent so far, with the headers of IP, UDP and TCP.
    pub fn sent_bytes(&self, index: usize) -> u64 {
        self.sent_bytes[index]
    }

    /// Datagrams and writes to streams that a board sent so far.
    pub fn sent_packets(&self, index: usize) -> u64 {
        self.sent_packets[index]
    }

    /// Whom a board suspects of not answering.
    pub fn suspects(&self, index: usize) -> BTreeSet<ZhostId> {
        let running = self.machines[index].running.as_ref();
        running.map_or_else(BTreeSet::new, |running| running.agent.node().inspect_suspects().collect())
    }

    /// Rows that a board's present start wrote about itself.
    pub fn rows_written(&self, index: usize) -> u64 {
        self.machines[index].running.as_ref().map_or(0, |running| running.agent.node().inspect_rows_written())
    }

    /// Bytes that a board's present start sent, by kind.
    pub fn traffic(&self, index: usize) -> BTreeMap<String, u64> {
        let running = self.machines[index].running.as_ref();
        running.map_or_else(BTreeMap::new, |running| running.agent.node().inspect_traffic(self.now).collect())
    }

    /// How many boards there are.
    pub fn size(&self) -> usize {
        self.machines.len()
    }

    /// How many other boards have all data of a space that runs on this one.
    pub fn copies(&self, index: usize, topology: &str, space: &str) -> usize {
        let (Ok(topology), Ok(space)) = (topology.parse(), space.parse()) else { return 0 };
        let key = SpaceKey { topology: zhost_mex::topology_id(&topology), space };
        self.machines[index].running.as_ref().map_or(0, |running| running.agent.node().inspect_copies(&key))
    }

    /// How many spaces of a board were spawned by others.
    pub fn spawned(&self, index: usize) -> usize {
        self.machines[index].running.as_ref().map_or(0, |running| running.agent.node().inspect_spawned())
    }

    /// How many global names the spaces of a board hold.
    pub fn names_held(&self, index: usize) -> usize {
        self.machines[index].running.as_ref().map_or(0, |running| running.agent.node().inspect_names())
    }

    /// The most calls that lie in the mailbox of any space.
    pub fn calls_waiting(&self) -> usize {
        let live = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        let sizes = live.flat_map(|running| running.agent.node().inspect_sizes());
        sizes.filter(|(what, ..)| *what == "calls in one mailbox").map(|(_, size, _)| size).max().unwrap_or(0)
    }

    /// How far a board's time of day is off, if it has power.
    pub fn clock_error_ms(&self, index: usize) -> u64 {
        let machine = &self.machines[index];
        let right = UNIX_ORIGIN_MS + self.now.as_millis();
        let shown = machine
            .running
            .as_ref()
            .map_or(right, |running| running.agent.node().inspect_unix_ms(machine.clock.show(self.now)));
        shown.abs_diff(right)
    }

    /// Whether a board started with a clock of its own.
    pub fn has_time(&self, index: usize) -> bool {
        self.machines[index].has_time()
    }

    /// Who a board is, if it has power.
    pub fn id(&self, index: usize) -> Option<ZhostId> {
        Some(self.machines[index].running.as_ref()?.agent.node().id())
    }

    /// Whether a board takes a zhost for alive.
    pub fn sees(&self, index: usize, id: ZhostId) -> bool {
        self.machines[index].running.as_ref().is_some_and(|running| running.agent.node().inspect_member(id))
    }

    /// How often a board took a zhost for dead.
    pub fn deaths_seen_by(&self, index: usize) -> u64 {
        self.machines[index].running.as_ref().map_or(0, |running| running.agent.node().inspect_deaths())
    }

    /// How often any board took a zhost for dead.
    pub fn deaths_seen(&self) -> u64 {
        (0..self.machines.len()).map(|index| self.deaths_seen_by(index)).sum()
    }

    /// Bytes a board has asked to be written to its store.
    pub fn flash_bytes(&self, index: usize) -> u64 {
        self.flash_bytes[index]
    }

    /// Whether all boards with power agree on members, term, registry and ledger, and see exactly each other.
    pub fn is_agreed(&self) -> bool {
        let mut views = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        let Some(first) = views.next().map(|running| running.agent.node().inspect_agreement()) else {
            return false;
        };
        first.members == self.live().len()
            && first.leader.is_some()
            && views.all(|running| running.agent.node().inspect_agreement() == first)
    }

    /// Ids of the boards with power.
    pub fn live_ids(&self) -> BTreeSet<ZhostId> {
        self.machines.iter().filter_map(|machine| Some(machine.running.as_ref()?.agent.node().id())).collect()
    }

    /// How often a part of a board panicked since its start.
    pub fn panics(&self, index: usize, part: Part) -> u32 {
        let running = self.machines[index].running.as_ref();
        let mut all = running.into_iter().flat_map(|running| running.agent.node().inspect_panics());
        all.find(|(other, ..)| *other == part).map_or(0, |(_, count, _)| count)
    }

    /// Whether a part of a board works, and leaves nothing alone.
    pub fn works(&self, index: usize, part: Part) -> bool {
        self.machines[index].running.as_ref().is_some_and(|running| running.agent.node().inspect_works(part))
    }
}
