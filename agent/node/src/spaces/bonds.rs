//! Links and monitors between spaces, and monitors of zhosts.
//!
//! Each side of a bond keeps a tie. When a space ends, the zhosts of those tied to it are told; who cannot be told any
//! more, because the two zhosts have lost each other, finds out by that, and the other side is told when it is back.
//! The tie goes with the first word about it, so that everybody hears exactly once. The table of cases stands in
//! `agent/node/ACTORS.md`.

use crate::{
    effects::Effects,
    facts::Facts,
    spaces::context::Context,
    wire::{ActorMessage, Bond},
};
use litemap::LiteMap;
use zhost_base::{
    ExitReason, Generation, Name, Pid, TopologyId, ZhostId,
    limits::BONDS_PER_SPACE_MAX,
    planted::{self, Bug},
};
use zhost_exchange::{Act, Signal};

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

/// What a local space wants to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The end of a space.
    Space(Pid, Tie),
    /// The end of a zhost.
    Zhost(Name),
}

impl Wish {
    /// What a space wishes that does this.
    pub fn of(act: &Act) -> Option<Self> {
        match act {
            Act::Link(other) => Some(Self::Space(*other, Tie::Link)),
            Act::Monitor(other) => Some(Self::Space(*other, Tie::Watches)),
            Act::MonitorZhost(name) => Some(Self::Zhost(name.clone())),
            _ => None,
        }
    }
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

    /// All ties.
    #[cfg(test)]
    pub fn ties(&self) -> impl Iterator<Item = &(u32, Pid, Tie)> {
        self.ties.keys()
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

    /// Two local spaces are linked no longer, of which neither is told.
    pub fn part(&mut self, facts: &Facts, a: u32, b: u32) {
        self.ties.remove(&(a, facts.pid(b), Tie::Link));
        self.ties.remove(&(b, facts.pid(a), Tie::Link));
    }

    /// Nothing is done about what a local space wishes: what it is told at once, since it would wait in vain.
    pub fn refuse(&self, number: u32, wish: Wish) -> Option<Signal> {
        match wish {
            Wish::Space(other, tie) if self.ties.contains_key(&(number, other, tie)) => None,
            Wish::Space(other, tie) => signal(other, tie, ExitReason::no_connection()),
            Wish::Zhost(name) => Some(Signal::ZhostDown(name)),
        }
    }

    /// What was under way about ties of local spaces is lost: those that do not stand on both sides, or belong to spaces
    /// that are here no more, are broken, and all to other zhosts, which are told by the streams that are given up.
    pub fn begin_again(&mut self, cx: &Context<'_>, effects: &mut Effects) {
        let lives = |number: u32| cx.host.key_of(number).is_some();
        self.zhosts.retain(|(watcher, _)| lives(*watcher));
        let is_dead = |zhost: ZhostId| cx.facts.membership.generation(zhost).is_none();
        for (number, zhost) in self.zhosts.extract_if(.., |(_, zhost)| is_dead(*zhost)) {
            if let Some(name) = cx.facts.name_of(zhost).cloned() {
                cx.signal(number, Signal::ZhostDown(name), effects);
            }
        }
        self.ties.retain(|(number, ..), ()| lives(*number));
        let stands = |(number, other, tie): &(u32, Pid, Tie)| {
            let opposite = match tie {
                Tie::Link => Tie::Link,
                Tie::Watches => Tie::WatchedBy,
                Tie::WatchedBy => Tie::Watches,
            };
            let is_here = *other == cx.facts.pid(other.number);
            is_here && self.ties.contains_key(&(other.number, cx.facts.pid(*number), opposite))
        };
        let broken: Vec<_> = self.ties.keys().filter(|tie| !stands(tie)).copied().collect();
        for (number, other, tie) in broken {
            self.ties.remove(&(number, other, tie));
            if let Some(signal) = signal(other, tie, ExitReason::no_connection()) {
                cx.signal(number, signal, effects);
            }
        }
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

impl Bonds {
    /// A local space binds itself to another.
    pub fn bind(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        (me, other): (Pid, Pid),
        bond: Bond,
        effects: &mut Effects,
    ) {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::Watches };
        if me == other || self.ties.contains_key(&(me.number, other, tie)) {
            return;
        }
        if !self.tie(me.number, other, tie) {
            if let Some(signal) = signal(other, tie, too_many()) {
                cx.signal(me.number, signal, effects);
            }
            return;
        }
        effects.actor(other.zhost, topology, ActorMessage::Bond(me, other, bond));
    }

    /// A local space undoes its side of a bond.
    pub fn unbind(&mut self, topology: TopologyId, me: Pid, other: Pid, bond: Bond, effects: &mut Effects) {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::Watches };
        if self.ties.remove(&(me.number, other, tie)).is_some() {
            effects.actor(other.zhost, topology, ActorMessage::Unbond(me, other, bond));
        }
    }

    /// Another space binds itself to one of ours.
    pub fn handle_bond(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        (from, to): (Pid, Pid),
        bond: Bond,
        effects: &mut Effects,
    ) {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::WatchedBy };
        let exit_reason = match cx.local(topology, to).is_some() {
            false => ExitReason::no_space(),
            true if self.tie(to.number, from, tie) => return,
            true => too_many(),
        };
        effects.actor(from.zhost, topology, ActorMessage::Ended(to, from, bond, exit_reason));
    }

    /// A space bound to one of ours ended, or is lost to it; whether ours was bound to it, and is told.
    pub fn end(
        &mut self,
        cx: &Context<'_>,
        (from, to): (Pid, Pid),
        bond: Bond,
        exit_reason: ExitReason,
        effects: &mut Effects,
    ) -> bool {
        let tie = if bond == Bond::Link { Tie::Link } else { Tie::Watches };
        if to != cx.facts.pid(to.number) || !self.undo((to.number, from, tie)) {
            return false;
        }
        if let Some(signal) = signal(from, tie, exit_reason) {
            cx.signal(to.number, signal, effects);
        }
        true
    }

    /// Another zhost says that a space bound to one of ours ended, or lost ours. In the latter case the bond may have been
    /// made anew meanwhile, and that zhost have the new one: it must go on both sides.
    pub fn handle_ended(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        (from, to): (Pid, Pid),
        bond: Bond,
        exit_reason: ExitReason,
        effects: &mut Effects,
    ) {
        let is_lost = exit_reason == ExitReason::no_connection();
        if self.end(cx, (from, to), bond, exit_reason.clone(), effects) && is_lost {
            let answer = match bond {
                Bond::Link => ActorMessage::Ended(to, from, bond, exit_reason),
                Bond::Monitor => ActorMessage::Unbond(to, from, bond),
            };
            effects.actor(from.zhost, topology, answer);
        }
    }

    /// A local space wants to be told when a zhost dies; at once, if it is dead.
    pub fn watch_zhost(&mut self, cx: &Context<'_>, number: u32, name: &Name, effects: &mut Effects) {
        let known = cx.facts.known_zhosts().find(|(_, profile)| profile.name == *name);
        let Some((zhost, _)) = known else {
            return cx.signal(number, Signal::ZhostDown(name.clone()), effects);
        };
        let watch = (number, zhost);
        if zhost != cx.facts.id && !self.zhosts.contains(&watch) {
            self.zhosts.push(watch);
        }
    }

    /// A local space ended: those tied to it are told.
    pub fn handle_space_ended(
        &mut self,
        topology: TopologyId,
        me: Pid,
        exit_reason: &ExitReason,
        effects: &mut Effects,
    ) {
        let ties: Vec<_> = self.of(me.number).copied().collect();
        self.zhosts.retain(|(watcher, _)| *watcher != me.number);
        for (number, other, tie) in ties {
            self.ties.remove(&(number, other, tie));
            let actor_message = match tie {
                Tie::Link => ActorMessage::Ended(me, other, Bond::Link, exit_reason.clone()),
                Tie::WatchedBy => ActorMessage::Ended(me, other, Bond::Monitor, exit_reason.clone()),
                Tie::Watches => ActorMessage::Unbond(me, other, Bond::Monitor),
            };
            effects.actor(other.zhost, topology, actor_message);
        }
    }

    /// Ties to a zhost are lost, but for those to its start that is `alive`: ours are told, and the other side when it is
    /// back, if that is to be.
    pub fn lose_zhost(
        &mut self,
        cx: &Context<'_>,
        peer: ZhostId,
        alive: Option<Generation>,
        tell_it: bool,
        effects: &mut Effects,
    ) {
        if planted::has(Bug::ForgetTies) {
            return;
        }
        let is_gone = |pid: &Pid| pid.zhost == peer && Some(pid.generation) != alive;
        let ties: Vec<_> = self.ties.keys().filter(|(_, other, _)| is_gone(other)).copied().collect();
        for (number, other, tie) in ties {
            self.ties.remove(&(number, other, tie));
            if tell_it && tie != Tie::Watches {
                let bond = if tie == Tie::Link { Bond::Link } else { Bond::Monitor };
                self.sever(cx.facts.pid(number), other, bond);
            }
            if let Some(signal) = signal(other, tie, ExitReason::no_connection()) {
                cx.signal(number, signal, effects);
            }
        }
    }

    /// A zhost died: who watches it is told.
    pub fn handle_zhost_down(&mut self, cx: &Context<'_>, zhost: ZhostId, effects: &mut Effects) {
        let Some(name) = cx.facts.name_of(zhost) else { return };
        for (number, _) in self.zhosts.extract_if(.., |(_, watched)| *watched == zhost) {
            cx.signal(number, Signal::ZhostDown(name.clone()), effects);
        }
    }

    /// A zhost is back: its side of the ties that ended meanwhile is told.
    pub fn handle_zhost_back(&mut self, peer: ZhostId, generation: Generation, effects: &mut Effects) {
        for (me, other, bond) in self.severed.extract_if(.., |(_, other, _)| other.zhost == peer) {
            if other.generation == generation {
                let ended = ActorMessage::Ended(me, other, bond, ExitReason::no_connection());
                // The topology does not matter: a tie is found by its two ends.
                effects.actor(peer, TopologyId([0; 16]), ended);
            }
        }
    }
}
