//! What spaces may count on of each other: the table of `agent/node/ACTORS.md` as a model. It sees all that passes
//! between zhosts and their spaces, and knows what each space has bound itself to, was told, and was given.

use crate::promise::{Flaw, Promise};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use zhost_base::{Instant, Name, Pid, SpaceKey, TopologyId};
use zhost_exchange::{Act, Ask, Launch, Refusal, Signal, WorkerCommand, WorkerEvent};
use zhost_node::Node;

/// How long word may take to whom it concerns, once nothing is wrong any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reasons for which one is told of a space that may well live.
const OUT_OF_REACH: [&str; 2] = ["noconnection", "too many links and monitors"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Link,
    Monitor,
}

/// A start of a space.
#[derive(Clone, Debug)]
struct Life {
    key: SpaceKey,
    index: usize,
    since: Instant,
    is_spawned: bool,
}

/// What a space has asked and was not answered.
#[derive(Clone, Debug)]
enum Asked {
    Spawn { link: bool },
    Name(Name),
}

/// All spaces of a site.
#[derive(Debug, Default)]
pub struct Cast {
    now: Instant,
    lives: BTreeMap<Pid, Life>,
    /// By board and number of the start.
    numbers: BTreeMap<(usize, u32), Pid>,
    ended: BTreeMap<Pid, Instant>,
    /// What the first is to be told of the second.
    bonds: BTreeSet<(Pid, Pid, Kind)>,
    /// When the first was told that it is linked with the second no more.
    parted: BTreeMap<(Pid, Pid), Instant>,
    asked: BTreeMap<(Pid, u32), Asked>,
    /// Spawned spaces whose parents were given them.
    given: BTreeSet<Pid>,
    /// Those that may have been linked with a child of which they were not told.
    unaware: BTreeSet<Pid>,
    /// What the first watches anew in the instant in which the second, which it watched, has ended: it is told twice.
    watched_anew: BTreeSet<(Pid, Pid)>,
    /// Whether all that were spawned are linked with their parents.
    any_unlinked: bool,
    holders: BTreeMap<(TopologyId, Name), BTreeMap<Pid, Instant>>,
    /// Whether the network is whole, and has been for a while.
    pub is_calm: bool,
}

impl Cast {
    /// A zhost tells the workers of its board something.
    pub fn see_command(&mut self, now: Instant, index: usize, command: &WorkerCommand) -> Option<Flaw> {
        self.now = now;
        match command {
            WorkerCommand::Start(launch) => self.start(index, launch),
            WorkerCommand::Signal { number, signal, .. } => {
                let me = *self.numbers.get(&(index, *number))?;
                return self.signal(me, signal);
            }
            WorkerCommand::Answer { number, serial, answer, .. } => {
                let me = *self.numbers.get(&(index, *number))?;
                let asked = self.asked.remove(&(me, *serial))?;
                return self.answer(me, asked, answer);
            }
            WorkerCommand::Resume { number, .. } => {
                let me = *self.numbers.get(&(index, *number))?;
                // Nobody knows what came of its questions; its zhost may have linked it with a child elsewhere.
                let asked = self.asked.extract_if(.., |(other, _), _| *other == me);
                let is_spawn = |asked: Asked| matches!(asked, Asked::Spawn { link: true });
                if asked.map(|(_, asked)| is_spawn(asked)).fold(false, |any, is_spawn| any | is_spawn) {
                    self.unaware.insert(me);
                }
            }
            _ => {}
        }
        None
    }

    /// A worker tells its zhost something.
    pub fn see_event(&mut self, now: Instant, index: usize, event: &WorkerEvent) {
        self.now = now;
        match event {
            WorkerEvent::Exited(_, number, _) => {
                if let Some(pid) = self.numbers.remove(&(index, *number)) {
                    self.end(pid);
                }
            }
            WorkerEvent::Acted(_, number, act) => {
                if let Some(me) = self.numbers.get(&(index, *number)).copied() {
                    self.act(me, act);
                }
            }
            _ => {}
        }
    }

    /// A board is gone, and all its spaces.
    pub fn lose_board(&mut self, now: Instant, index: usize) {
        self.now = now;
        self.numbers.retain(|(board, _), _| *board != index);
        let on_it = self.lives.iter().filter(|(_, life)| life.index == index);
        let lost: Vec<Pid> = on_it.map(|(pid, _)| *pid).collect();
        lost.into_iter().for_each(|pid| self.end(pid));
    }

    fn start(&mut self, index: usize, launch: &Launch) {
        let is_spawned = launch.key.space != launch.space;
        let life = Life { key: launch.key.clone(), index, since: self.now, is_spawned };
        self.lives.insert(launch.pid, life);
        self.numbers.insert((index, launch.pid.number), launch.pid);
    }

    fn end(&mut self, pid: Pid) {
        self.lives.remove(&pid);
        self.ended.insert(pid, self.now);
        self.given.remove(&pid);
        self.bonds.retain(|(me, ..)| *me != pid);
        self.asked.retain(|(me, _), _| *me != pid);
        self.holders.values_mut().for_each(|holders| holders.retain(|holder, _| *holder != pid));
    }

    fn act(&mut self, me: Pid, act: &Act) {
        let Some(life) = self.lives.get(&me) else { return };
        let topology = life.key.topology;
        match act {
            Act::Ask(serial, Ask::Spawn { link, .. }) => {
                self.any_unlinked |= !link;
                self.asked.insert((me, *serial), Asked::Spawn { link: *link });
            }
            Act::Ask(serial, Ask::Register(name)) => {
                self.asked.insert((me, *serial), Asked::Name(name.clone()));
            }
            Act::Link(other) => self.link(me, *other),
            Act::Monitor(other) => {
                let is_new = self.bonds.insert((me, *other, Kind::Monitor));
                if !is_new && self.ended.get(other) == Some(&self.now) {
                    self.watched_anew.insert((me, *other));
                }
            }
            Act::Unregister(name) => {
                if let Some(holders) = self.holders.get_mut(&(topology, name.clone())) {
                    holders.remove(&me);
                }
            }
            _ => {}
        }
    }

    fn link(&mut self, me: Pid, other: Pid) {
        self.bonds.insert((me, other, Kind::Link));
        self.parted.remove(&(me, other));
        if self.lives.contains_key(&other) {
            self.bonds.insert((other, me, Kind::Link));
        }
    }

    fn answer(&mut self, me: Pid, asked: Asked, answer: &Result<Vec<u8>, Refusal>) -> Option<Flaw> {
        let answer = answer.as_ref().ok()?;
        match asked {
            Asked::Spawn { link } => {
                let child = Pid::decode(answer)?;
                self.given.insert(child);
                if link {
                    self.link(me, child);
                }
                None
            }
            Asked::Name(name) => {
                let key = (self.lives.get(&me)?.key.topology, name.clone());
                let holders = self.holders.entry(key).or_default();
                let other = holders.keys().find(|pid| **pid != me).copied();
                holders.insert(me, self.now);
                let other = other.filter(|_| self.is_calm)?;
                Some(Promise::OneHolder.broken(format!("{name} is given to {me}, and {other} has it")))
            }
        }
    }

    /// Whether a space may be told of the end of another with which it has no bond that it knows.
    fn may_be_told(&mut self, me: Pid, other: Pid, kind: Kind) -> bool {
        match kind {
            Kind::Link => self.unaware.contains(&me),
            Kind::Monitor => self.watched_anew.remove(&(me, other)),
        }
    }

    fn signal(&mut self, me: Pid, signal: &Signal) -> Option<Flaw> {
        let (other, exit_reason, kind) = match signal {
            Signal::Exit(other, exit_reason) => (*other, exit_reason, Kind::Link),
            Signal::Down(other, exit_reason) => (*other, exit_reason, Kind::Monitor),
            Signal::NameLost(name) => {
                let key = (self.lives.get(&me)?.key.topology, name.clone());
                self.holders.get_mut(&key).and_then(|holders| holders.remove(&me));
                let text = format!("{me} loses {name}, and nothing was wrong");
                return self.is_calm.then(|| Promise::OneHolder.broken(text));
            }
            _ => return None,
        };
        if kind == Kind::Link {
            self.parted.insert((me, other), self.now);
        }
        // The parent of a child that nobody was given yet may end, too.
        let is_parent = kind == Kind::Link && self.is_ungiven(me);
        if is_parent {
            self.given.insert(me);
        } else if !self.bonds.remove(&(me, other, kind)) && !self.may_be_told(me, other, kind) {
            let text = format!("{me} is told of {other} ({}), and has no bond with it", exit_reason.reason);
            return Some(Promise::WordOnce.broken(text));
        }
        let lives = self.lives.contains_key(&other) && !OUT_OF_REACH.contains(&exit_reason.reason.as_str());
        lives.then(|| {
            Promise::WordOnce.broken(format!("{me} is told that {other} is gone ({})", exit_reason.reason))
        })
    }

    fn is_ungiven(&self, pid: Pid) -> bool {
        self.lives.get(&pid).is_some_and(|life| life.is_spawned) && !self.given.contains(&pid)
    }

    fn is_old(&self, at: Instant) -> bool {
        self.now.since(at) > PATIENCE
    }

    /// What somebody should have been told, after a while in which nothing was wrong.
    pub fn verdict(&self) -> Vec<Flaw> {
        let is_old = |at: &Instant| self.is_old(*at);
        let mut verdict = Vec::new();
        for (me, other, kind) in &self.bonds {
            if self.ended.get(other).is_some_and(is_old) {
                verdict.push(format!("{me} was never told that {other} is gone ({kind:?})"));
            }
            let parted = self.parted.get(&(*other, *me)).filter(|_| *kind == Kind::Link);
            if self.lives.contains_key(other) && parted.is_some_and(is_old) {
                verdict
                    .push(format!("{other} was told that it is linked with {me} no more, and that was not"));
            }
        }
        for (pid, life) in self.lives.iter().filter(|_| !self.any_unlinked) {
            if self.is_ungiven(*pid) && is_old(&life.since) {
                verdict.push(format!("{} ({pid}) lives, and nobody was given it", life.key.space));
            }
        }
        verdict.into_iter().map(|text| Promise::Word.broken(text)).collect()
    }

    /// Names that lead a board's spaces elsewhere than to those who hold them.
    pub fn names_verdict(&self, index: usize, node: &Node) -> Vec<Flaw> {
        let mut verdict = Vec::new();
        for ((topology, name), holders) in &self.holders {
            let seen = node.inspect_holder(*topology, name);
            let gone = seen.and_then(|pid| self.ended.get(&pid)).is_some_and(|at| self.is_old(*at));
            if gone {
                verdict.push(format!("z{index} finds {name} at {seen:?}, which is gone"));
            }
            for (pid, _) in holders.iter().filter(|(pid, since)| self.is_old(**since) && seen != Some(**pid))
            {
                verdict.push(format!("{pid} holds {name}, but z{index} finds {seen:?}"));
            }
        }
        verdict.into_iter().map(|text| Promise::Names.broken(text)).collect()
    }
}
