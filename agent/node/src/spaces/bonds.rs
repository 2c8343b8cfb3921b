//! Links and monitors between spaces, and monitors of zhosts.
//!
//! Each side of a bond keeps a tie. When a space ends, the zhosts of those tied to it are told; who cannot be told any
//! more, because the two zhosts have lost each other, finds out by that, and the other side is told when it is back.
//! The tie goes with the first word about it, so that everybody hears exactly once. The table of cases stands in
//! `agent/node/ACTORS.md`.

use crate::{
    node::Node,
    wire::{ActorMessage, Bond},
};
use litemap::LiteMap;
use zhost_base::{
    ExitReason, Generation, Instant, Name, Pid, TopologyId, ZhostId,
    limits::BONDS_PER_SPACE_MAX,
    planted::{self, Bug},
};
use zhost_exchange::Signal;

/// Broken ties of which zhosts that are away are to be told; the oldest make room.
const SEVERED_MAX: usize = 4096;

/// What a local space has to do with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tie {
    /// Linked.
    Link,
    /// Wants to be told of its end.
    Watches,
    /// The other wants to be told of ours.
    WatchedBy,
}

/// All ties of this zhost.
#[derive(Debug, Default)]
pub(crate) struct Bonds {
    ties: LiteMap<(u32, Pid, Tie), ()>,
    /// Who wants to be told when a zhost dies; at most once a live zhost and space.
    zhosts: Vec<(u32, ZhostId)>,
    /// Ties that ended for us while the other's zhost was out of reach: its side is told when it is back.
    severed: Vec<(Pid, Pid, Bond)>,
}

impl Bonds {
    /// Ties a local space to another; `false` if it has too many ties.
    pub fn tie(&mut self, number: u32, other: Pid, tie: Tie) -> bool {
        if !self.ties.contains_key(&(number, other, tie)) && self.is_full(number) {
            return false;
        }
        self.ties.insert((number, other, tie), ());
        true
    }

    /// Whether the space can be tied to no further one.
    pub fn is_full(&self, number: u32) -> bool {
        self.of(number).count() >= BONDS_PER_SPACE_MAX
    }

    /// A tie goes with the first word about it; whether there was one.
    fn undo(&mut self, tie: (u32, Pid, Tie)) -> bool {
        let was_there = self.ties.contains_key(&tie);
        if !planted::has(Bug::KeepTies) {
            self.ties.remove(&tie);
        }
        was_there
    }

    fn of(&self, number: u32) -> impl Iterator<Item = &(u32, Pid, Tie)> {
        let least = (number, Pid::default(), Tie::Link);
        let first = self.ties.find_index(&least).unwrap_or_else(|index| index);
        self.ties.as_slice()[first..].iter().map(|(tie, ())| tie).take_while(move |tie| tie.0 == number)
    }

    fn sever(&mut self, me: Pid, other: Pid, bond: Bond) {
        if self.severed.len() >= SEVERED_MAX {
            self.severed.remove(0);
        }
        self.severed.push((me, other, bond));
    }

    /// Another's side of a bond was undone.
    pub fn handle_unbond(&mut self, from: Pid, to: Pid, bond: Bond) {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::WatchedBy };
        self.ties.remove(&(to.number, from, tie));
    }
}

fn too_many() -> ExitReason {
    ExitReason { normal: false, reason: "too many links and monitors".into() }
}

fn signal(other: Pid, tie: Tie, exit_reason: ExitReason) -> Option<Signal> {
    match tie {
        Tie::Link => Some(Signal::Exit(other, exit_reason)),
        Tie::Watches => Some(Signal::Down(other, exit_reason)),
        Tie::WatchedBy => None,
    }
}

impl Node {
    /// A local space binds itself to another.
    pub(crate) fn bind(&mut self, now: Instant, topology: TopologyId, me: Pid, other: Pid, bond: Bond) {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::Watches };
        if me == other || self.actors.bonds.ties.contains_key(&(me.number, other, tie)) {
            return;
        }
        if !self.actors.bonds.tie(me.number, other, tie) {
            if let Some(signal) = signal(other, tie, too_many()) {
                self.signal(me.number, signal);
            }
            return;
        }
        if !self.send_actor_message(now, other.zhost, topology, ActorMessage::Bond(me, other, bond)) {
            self.handle_ended(other, me, bond, ExitReason::no_connection());
        }
    }

    pub(crate) fn unbind(&mut self, now: Instant, topology: TopologyId, me: Pid, other: Pid, bond: Bond) {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::Watches };
        if self.actors.bonds.ties.remove(&(me.number, other, tie)).is_some() {
            self.send_actor_message(now, other.zhost, topology, ActorMessage::Unbond(me, other, bond));
        }
    }

    /// Another space binds itself to one of ours.
    pub(crate) fn handle_bond(&mut self, now: Instant, topology: TopologyId, from: Pid, to: Pid, bond: Bond) {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::WatchedBy };
        let exit_reason = match self.local(topology, to).is_some() {
            false => ExitReason::no_space(),
            true if self.actors.bonds.tie(to.number, from, tie) => return,
            true => too_many(),
        };
        self.send_actor_message(now, from.zhost, topology, ActorMessage::Ended(to, from, bond, exit_reason));
    }

    /// A space bound to one of ours ended, or is lost to it.
    pub(crate) fn handle_ended(&mut self, from: Pid, to: Pid, bond: Bond, exit_reason: ExitReason) {
        let ties: &[Tie] = if bond == Bond::Link { &[Tie::Link] } else { &[Tie::Watches] };
        for tie in ties {
            if to == self.facts.pid(to.number)
                && self.actors.bonds.undo((to.number, from, *tie))
                && let Some(signal) = signal(from, *tie, exit_reason.clone())
            {
                self.signal(to.number, signal);
            }
        }
    }

    /// A local space wants to be told when a zhost dies; at once, if it is dead.
    pub(crate) fn watch_zhost(&mut self, number: u32, name: &Name) {
        let known = self.facts.known_zhosts().find(|(_, profile)| profile.name == *name);
        let Some((zhost, _)) = known else {
            return self.signal(number, Signal::ZhostDown(name.clone()));
        };
        let watch = (number, zhost);
        if zhost != self.facts.id && !self.actors.bonds.zhosts.contains(&watch) {
            self.actors.bonds.zhosts.push(watch);
        }
    }

    /// A local space ended: those tied to it are told.
    pub(crate) fn break_ties(
        &mut self,
        now: Instant,
        topology: TopologyId,
        number: u32,
        exit_reason: &ExitReason,
    ) {
        let me = self.facts.pid(number);
        let ties: Vec<_> = self.actors.bonds.of(number).copied().collect();
        self.actors.bonds.zhosts.retain(|(watcher, _)| *watcher != number);
        for (number, other, tie) in ties {
            self.actors.bonds.ties.remove(&(number, other, tie));
            let actor_message = match tie {
                Tie::Link => ActorMessage::Ended(me, other, Bond::Link, exit_reason.clone()),
                Tie::WatchedBy => ActorMessage::Ended(me, other, Bond::Monitor, exit_reason.clone()),
                Tie::Watches => ActorMessage::Unbond(me, other, Bond::Monitor),
            };
            self.send_actor_message(now, other.zhost, topology, actor_message);
        }
    }

    /// Ties to a zhost are lost: ours are told, and the other side when it is back.
    pub(crate) fn lose_ties(&mut self, peer: ZhostId, alive: Option<Generation>, tell_it: bool) {
        if planted::has(Bug::ForgetTies) {
            return;
        }
        let is_gone = |pid: &Pid| pid.zhost == peer && Some(pid.generation) != alive;
        let ties: Vec<_> =
            self.actors.bonds.ties.keys().filter(|(_, other, _)| is_gone(other)).copied().collect();
        for (number, other, tie) in ties {
            self.actors.bonds.ties.remove(&(number, other, tie));
            if tell_it && tie != Tie::Watches {
                let bond = if tie == Tie::Link { Bond::Link } else { Bond::Monitor };
                let me = self.facts.pid(number);
                self.actors.bonds.sever(me, other, bond);
            }
            if let Some(signal) = signal(other, tie, ExitReason::no_connection()) {
                self.signal(number, signal);
            }
        }
    }

    /// A zhost died: who watches it is told.
    pub(crate) fn tell_zhost_down(&mut self, zhost: ZhostId) {
        let watchers: Vec<u32> = {
            let watches = self.actors.bonds.zhosts.iter().filter(|(_, watched)| *watched == zhost);
            watches.map(|(number, _)| *number).collect()
        };
        let Some(name) = self.facts.name_of(zhost).cloned() else { return };
        for number in watchers {
            self.actors.bonds.zhosts.retain(|watch| *watch != (number, zhost));
            self.signal(number, Signal::ZhostDown(name.clone()));
        }
    }

    /// A zhost is back: its side of the ties that ended meanwhile is told.
    pub(crate) fn tell_severed(&mut self, now: Instant, peer: ZhostId, generation: Generation) {
        let severed = std::mem::take(&mut self.actors.bonds.severed);
        let (theirs, others): (Vec<_>, Vec<_>) =
            severed.into_iter().partition(|(_, other, _)| other.zhost == peer);
        self.actors.bonds.severed = others;
        for (me, other, bond) in theirs {
            if other.generation == generation {
                let ended = ActorMessage::Ended(me, other, bond, ExitReason::no_connection());
                // The topology does not matter: a tie is found by its two ends.
                self.send_actor_message(now, peer, zhost_base::TopologyId([0; 16]), ended);
            }
        }
    }
}
