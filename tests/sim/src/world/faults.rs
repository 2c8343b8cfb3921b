//! What can be done to a world: to its boards, their disks, and the network between them.

use super::{Event, World};
use crate::{network::End, panics::Panics, promise::Promise, recording::replay};
use std::{net::SocketAddr, time::Duration};
use zhost_base::{BlobDigest, Instant};
use zhost_node::{Input, Planted};

impl World {
    /// Notes what was drawn for this site.
    pub fn tell_options(&mut self) {
        let (boards, faults) = (self.machines.len(), self.network.faults);
        let broadcasts = self.machines.iter().any(|machine| machine.has_broadcasts());
        self.note(format!("== {boards} boards; broadcasts: {broadcasts}; everywhere {faults:?}"));
    }

    /// From now on parts of boards panic now and then, as drawn from the seed; or no more.
    pub fn let_panic(&mut self, seed: Option<u64>) {
        self.panics = seed.map(|seed| Panics::new(self.now, seed));
        if self.panics.is_none() {
            self.live().into_iter().for_each(|index| self.plant(index, None));
        }
    }

    /// Plants panics in a board, or takes them out again.
    pub fn plant(&mut self, index: usize, planted: Option<Planted>) {
        self.note(format!("== panics in z{index}: {planted:?}"));
        let now = self.machines[index].clock.show(self.now);
        if self.paused(index).is_none()
            && let Some(running) = &mut self.machines[index].running
        {
            running.agent.handle(now, Input::Planted(planted));
            self.after(index);
        }
    }

    /// Ends a board's zhost, perhaps in the middle of a write; its kernel hangs up for it.
    pub fn kill(&mut self, index: usize) {
        self.note(format!("== kill z{index}"));
        self.stop_machine(index);
        for end in self.network.ends_of(index) {
            self.hang_up(end);
        }
    }

    /// Takes a board's power away: nobody hangs up.
    pub fn cut_power(&mut self, index: usize) {
        self.note(format!("== cut power of z{index}"));
        self.stop_machine(index);
        self.machines[index].has_power = false;
        for end in self.network.ends_of(index) {
            if let Some(other) = self.network.disconnect(end) {
                self.orphans.insert(other, index);
            }
        }
    }

    fn stop_machine(&mut self, index: usize) {
        let mut rng = self.rng.fork();
        self.machines[index].kill(&mut rng);
        self.tell_again(index);
        self.referee.cast.lose_board(self.now, index);
        self.set_wake(index, None);
    }

    /// Records all boards from their next start on.
    pub fn record_all(&mut self) {
        self.machines.iter_mut().for_each(|machine| machine.is_recorded = true);
    }

    /// Takes out what was recorded of a board since its last start.
    pub fn take_recording(&mut self, index: usize) -> Vec<u8> {
        self.machines[index].take_recording()
    }

    /// Tells a node again what was recorded of a board: it is to do the same.
    pub(crate) fn tell_again(&mut self, index: usize) {
        let recording = self.machines[index].take_recording();
        if let Some(Err(error)) = (!recording.is_empty()).then(|| replay(&recording)) {
            self.referee.object(Promise::Replay.broken(format!("z{index}: {error}")));
        }
    }

    /// A board with this agent has no network.
    pub fn spoil_agent(&mut self, agent: BlobDigest) {
        self.note(format!("== agent {agent} has no network"));
        self.bad_agents.insert(agent);
    }

    /// Puts another board, with an empty disk and an identity of its own, in the place of one without power.
    pub fn replace_board(&mut self, index: usize) {
        self.note(format!("== another board for z{index}"));
        self.machines[index].replace(&mut self.rng);
        self.referee.forget(index);
    }

    /// Empties the disk of a board without power, which stays who it is.
    pub fn empty_disk(&mut self, index: usize) {
        self.note(format!("== emptied disk in z{index}"));
        self.machines[index].disk.restore(Vec::new());
        self.referee.forget(index);
    }

    /// Lets a board take it for its first start when its disk is empty, as if it could not know better.
    pub fn forget_start(&mut self, index: usize) {
        self.machines[index].was_here = false;
    }

    /// Puts a copy of a board's card into another one without power.
    pub fn copy_card(&mut self, of: usize, into: usize) {
        self.note(format!("== copy of the card of z{of} in z{into}"));
        let [of, copy] = self.machines.get_disjoint_mut([of, into]).expect("two boards");
        copy.copy_card(of);
        self.has_copies = true;
        self.referee.forget(into);
    }

    /// A board's process is stopped for a while, and everything it is sent waits.
    pub fn pause(&mut self, index: usize, duration: Duration) {
        self.note(format!("== pause z{index} for {duration:?}"));
        self.machines[index].paused_until = Some(self.now + duration);
    }

    /// A board has these devices from now on.
    pub fn set_devices(&mut self, index: usize, capabilities: &[&str]) {
        self.note(format!("== z{index} has {capabilities:?}"));
        let now = self.machines[index].clock.show(self.now);
        self.machines[index].set_devices(now, capabilities);
        self.after(index);
    }

    /// What is on a board's disk, for [`Self::restore_disk`].
    pub fn backup(&self, index: usize) -> Vec<u8> {
        self.machines[index].disk.snapshot()
    }

    /// Puts an earlier content of a board's disk back; the board must be off.
    pub fn restore_disk(&mut self, index: usize, backup: Vec<u8>) {
        self.note(format!("== old disk in z{index}"));
        self.machines[index].disk.restore(backup);
        self.referee.forget(index);
    }

    /// A board's disk is full, or has room again.
    pub fn fill_disk(&mut self, index: usize, full: bool) {
        self.note(format!("== disk of z{index} full: {full}"));
        self.machines[index].disk.fill(full);
    }

    /// A board's disk takes this many times longer.
    pub fn slow_disk(&mut self, index: usize, times: u32) {
        self.note(format!("== disk of z{index} {times} times slower"));
        self.machines[index].disk_slowness = times;
    }

    /// A board takes this long to examine each KiB of a package.
    pub fn slow_processor(&mut self, index: usize, per_kib: Duration) {
        self.note(format!("== z{index} examines a KiB in {per_kib:?}"));
        self.machines[index].examination_per_kib = per_kib;
    }

    /// Gives a board another address.
    pub fn readdress(&mut self, index: usize) {
        let old = self.machines[index].addr;
        let addr = SocketAddr::new(old.ip(), old.port() + 1);
        self.note(format!("== z{index} moves to {addr}"));
        self.addresses.remove(&old);
        self.addresses.insert(addr, index);
        self.machines[index].move_to(addr);
        for end in self.network.ends_of(index) {
            if let Some(other) = self.network.disconnect(end) {
                self.orphans.insert(other, index);
                self.orphans.insert(end, other.0);
            }
        }
        let now = self.machines[index].clock.show(self.now);
        let broadcasts = self.machines[index].broadcasts();
        if let Some(running) = &mut self.machines[index].running {
            running.agent.handle(now, zhost_node::Input::Network { addrs: vec![addr], broadcasts });
        }
        self.after(index);
    }

    /// A board is told to join these when it starts, and whether it looks around on its network.
    pub fn set_join(&mut self, index: usize, join: &[SocketAddr], discover: bool) {
        self.machines[index].set_join(join, discover);
    }

    /// As many clusters may be founded, by boards that cannot hear each other.
    pub fn expect_clusters(&mut self, count: usize) {
        self.referee.expect_clusters(count);
    }

    /// Cuts the network in two: the boards listed, and the rest.
    pub fn partition(&mut self, side: &[usize]) {
        self.note(format!("== partition {side:?}"));
        for a in 0..self.machines.len() {
            for b in (0..self.machines.len()).filter(|b| side.contains(&a) != side.contains(b)) {
                self.network.cut(a, b);
            }
        }
    }

    /// Cuts the way from one board to another, and leaves the way back.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.note(format!("== cut z{from} -> z{to}"));
        self.network.cut(from, to);
    }

    /// Lets no streams be opened between two boards, for good.
    pub fn wall_off(&mut self, a: usize, b: usize) {
        self.network.wall_off(a, b);
    }

    /// Makes the way from one board to another lose that many of a thousand datagrams.
    pub fn spoil(&mut self, from: usize, to: usize, loss_per_mille: u64) {
        self.note(format!("== loss z{from} -> z{to}: {loss_per_mille}"));
        self.network.spoil(from, to, loss_per_mille);
    }

    /// Makes streams from one board to another as slow as that loss of segments makes them.
    pub fn spoil_streams(&mut self, from: usize, to: usize, loss_per_mille: u64) {
        self.note(format!("== streams, too: z{from} -> z{to}"));
        self.network.spoil_streams(from, to, loss_per_mille);
    }

    /// Bursts of loss begin with that many of a thousand datagrams.
    pub fn bursts(&mut self, per_mille: u64) {
        self.network.faults.burst_per_mille = per_mille;
    }

    /// Mends the network. Streams that were held up go on, or break, as chance has it.
    pub fn heal(&mut self) {
        self.note("== heal".into());
        for (end, bytes) in self.network.mend() {
            if self.rng.chance(500) {
                self.send_bytes(end, bytes);
                continue;
            }
            let now = self.now;
            if let Some(other) = self.network.disconnect(end) {
                self.schedule_closed(now, other, false);
                self.schedule_closed(now, end, false);
            }
        }
    }

    /// Breaks the link between two boards, if there is one: both notice at once.
    pub fn break_link(&mut self, a: usize, b: usize) {
        let found =
            self.network.ends_of(a).into_iter().find(|end| self.network.peer(*end).is_some_and(|p| p.0 == b));
        if let Some(end) = found {
            self.note(format!("== break a link z{a} - z{b}"));
            let now = self.now;
            self.hang_up(end);
            self.schedule_closed(now, end, false);
        }
    }

    pub(super) fn schedule_closed(&mut self, at: Instant, end: End, refused: bool) {
        let life = self.machines[end.0].life;
        self.schedule(at, Event::Closed { end, life, refused });
    }

    /// Lets nothing out of a board's links any more (its datagrams still pass), or lets it out again.
    pub fn mute_links(&mut self, index: usize, mute: bool) {
        self.note(format!("== links of z{index} muted: {mute}"));
        if mute {
            self.muted.insert(index);
        } else {
            self.muted.remove(&index);
            // Streams that lost bytes cannot go on.
            for end in self.network.ends_of(index) {
                let now = self.now;
                self.hang_up(end);
                self.schedule_closed(now, end, false);
            }
        }
    }
}
