//! Spaces as actors: what one does to another by its pid, wherever that runs. What each sort of it means stands in files of
//! its own: calls and messages (`mail`), links and monitors (`bonds`), `names`, `spawns`.
//!
//! Whatever it is, it becomes an [`ActorMessage`] to the other's zhost, through the stream between the two, or straight back
//! into [`Actors::handle_message`] when both are here: so local and remote are the same. Spaces reach only those of their own
//! topology.

use crate::{
    effects::Effects,
    facts::Facts,
    output::{Level, Output},
    spaces::{
        bonds::{Bonds, Tie},
        context::Context,
        host::Spawner,
        mail::Mail,
        messages::measure,
        names::{Grants, Registration},
        spawns::{Spawn, Spawns},
    },
    wire::{ActorMessage, Bond},
};
use litemap::LiteMap;
use serde_bytes::ByteBuf;
use zhost_base::{
    ExitReason, Generation, Pid, Rng, SpaceKey, TopologyId, ZhostId,
    planted::{self, Bug},
};
use zhost_exchange::{Act, Ask, Refusal, WorkerCommand};

/// What a local space waits for, and of whom.
#[derive(Clone, Copy, Debug)]
struct Asking {
    serial: u32,
    whom: ZhostId,
}

/// What the spaces of this zhost have under way with others.
#[derive(Debug)]
pub(crate) struct Actors {
    /// By the number of the local space.
    asking: LiteMap<u32, Asking>,
    pub mail: Mail,
    pub bonds: Bonds,
    pub grants: Grants,
    pub spawns: Spawns,
}

impl Actors {
    pub fn new(rng: Rng) -> Self {
        Self {
            asking: LiteMap::new(),
            mail: Mail::default(),
            bonds: Bonds::default(),
            grants: Grants::default(),
            spawns: Spawns::new(rng),
        }
    }
}

impl Actors {
    /// What was under way is lost: bonds that stand are kept, the rest ends, and nobody is waited for any more. The
    /// workers tell those spaces that ask, or have sent something.
    pub fn begin_again(&mut self, cx: &Context<'_>, effects: &mut Effects) {
        self.asking.clear();
        self.mail.begin_again();
        self.spawns.begin_again();
        self.grants.begin_again(cx, effects);
        self.bonds.begin_again(cx, effects);
    }
}

impl Actors {
    /// A local space was told that nobody knows what came of its question: what was spawned here for it ends, unknown to
    /// it.
    pub fn give_up_question(
        &mut self,
        cx: &Context<'_>,
        (number, serial): (u32, u32),
        effects: &mut Effects,
    ) {
        let parent = cx.facts.pid(number);
        for (child, child_number) in cx.host.spawned_for(Spawner { parent, serial }) {
            self.bonds.part(cx.facts, number, child_number);
            effects.close(child);
        }
    }
}

/// The refusal of that number on the wire; unknown ones are failures.
fn refusal(code: i8) -> Refusal {
    match code {
        -1 => Refusal::NotFound,
        -2 => Refusal::TryAgain,
        -3 => Refusal::TooLarge,
        -4 => Refusal::Denied,
        -6 => Refusal::TimedOut,
        -7 => Refusal::Taken,
        -8 => Refusal::Full,
        _ => Refusal::Failed,
    }
}

impl Facts {
    /// The pid of a local space.
    pub(crate) fn pid(&self, number: u32) -> Pid {
        Pid { zhost: self.id, generation: self.generation, number }
    }
}

impl Actors {
    /// Tells a local space what came of its question.
    fn answer(
        &mut self,
        cx: &Context<'_>,
        (number, serial): (u32, u32),
        answer: Result<Vec<u8>, Refusal>,
        effects: &mut Effects,
    ) {
        if self.is_asking(number, serial) {
            self.asking.remove(&number);
        }
        if let Some(key) = cx.host.key_of(number).cloned() {
            effects.output(Output::Worker(WorkerCommand::Answer { key, number, serial, answer }));
        }
    }

    /// Tells a local space what another zhost answers, unless it was told meanwhile that nobody knows.
    fn pass_on(
        &mut self,
        cx: &Context<'_>,
        question: (u32, u32),
        answer: Result<Vec<u8>, Refusal>,
        effects: &mut Effects,
    ) {
        if self.is_asking(question.0, question.1) {
            self.answer(cx, question, answer, effects);
        }
    }

    /// Whether a local space still waits for the answer to this question.
    fn is_asking(&self, number: u32, serial: u32) -> bool {
        self.asking.get(&number).is_some_and(|asking| asking.serial == serial)
    }

    /// Asks a zhost something whose answer a local space waits for.
    fn ask(
        &mut self,
        whom: ZhostId,
        topology: TopologyId,
        (number, serial): (u32, u32),
        actor_message: ActorMessage,
        effects: &mut Effects,
    ) {
        self.asking.insert(number, Asking { serial, whom });
        effects.actor(whom, topology, actor_message);
    }

    /// A local space did something to others.
    pub fn handle_act(
        &mut self,
        cx: &Context<'_>,
        (key, number): (&SpaceKey, u32),
        act: Act,
        effects: &mut Effects,
    ) {
        if cx.host.key_of(number) != Some(key) {
            return;
        }
        let (topology, me) = (key.topology, cx.facts.pid(number));
        let (bonds, grants, mail) = (&mut self.bonds, &mut self.grants, &mut self.mail);
        match act {
            Act::Ask(serial, ask) => self.handle_ask(cx, key, (me, serial), ask, effects),
            Act::Send(to, payloads) => mail.send(topology, me, to, payloads, effects),
            Act::Reply(to, serial, payload) => {
                mail.note_reply(number, (to, serial));
                let result = Ok(ByteBuf::from(payload));
                effects.actor(to.zhost, topology, ActorMessage::Reply { to, serial, result });
            }
            Act::Link(other) => bonds.bind(cx, topology, (me, other), Bond::Link, effects),
            Act::Unlink(other) => bonds.unbind(topology, me, other, Bond::Link, effects),
            Act::Monitor(other) => bonds.bind(cx, topology, (me, other), Bond::Monitor, effects),
            Act::Demonitor(other) => bonds.unbind(topology, me, other, Bond::Monitor, effects),
            Act::MonitorZhost(name) => bonds.watch_zhost(cx, number, &name, effects),
            Act::Exit(other, reason) => {
                effects.actor(other.zhost, topology, ActorMessage::Exit(me, other, reason));
            }
            Act::Unregister(name) => grants.unregister(cx.facts, topology, number, &name, effects),
        }
    }

    fn handle_ask(
        &mut self,
        cx: &Context<'_>,
        key: &SpaceKey,
        (me, serial): (Pid, u32),
        ask: Ask,
        effects: &mut Effects,
    ) {
        let (topology, question) = (key.topology, (me.number, serial));
        let answer = match ask {
            Ask::CallPath(index, payload) => match cx.messages.path_target(cx.facts, key, index) {
                Some((to, path)) => {
                    let call = ActorMessage::Call { from: me, to, serial, path: Some(path), payload };
                    return self.ask(to.zhost, topology, question, call, effects);
                }
                None => Err(Refusal::TryAgain),
            },
            Ask::CallPid(to, payload) => {
                let call = ActorMessage::Call { from: me, to, serial, path: None, payload };
                return self.ask(to.zhost, topology, question, call, effects);
            }
            Ask::Spawn { link: true, .. } if self.bonds.is_full(me.number) => Err(Refusal::Full),
            Ask::Spawn { zhost, space, argument, link } => {
                match self.spawns.choose_site(cx.facts, topology, &space, zhost.as_ref()) {
                    Ok(site) => {
                        let spawn = ActorMessage::Spawn { serial, parent: me, space, argument, link };
                        return self.ask(site, topology, question, spawn, effects);
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Ask::Register(name) => match self.grants.register(cx.facts, topology, question, name) {
                Registration::Answer(answer) => answer,
                Registration::Ask(granter, claim) => {
                    return self.ask(granter, topology, question, claim, effects);
                }
            },
            Ask::Whereis(name) => {
                let holder = cx.facts.whereis(topology, &name);
                holder.map(|pid| pid.encode().to_vec()).ok_or(Refusal::NotFound)
            }
            Ask::Zhosts => {
                let mut names = Vec::new();
                for (_, profile) in cx.facts.known_zhosts() {
                    let name = profile.name.as_str();
                    names.extend_from_slice(&(name.len() as u16).to_le_bytes());
                    names.extend_from_slice(name.as_bytes());
                }
                Ok(names)
            }
        };
        self.answer(cx, question, answer, effects);
    }

    /// What a local space wanted to tell another did not leave. It hears so of questions, messages and bonds; the rest ends
    /// with the loss of that zhost.
    pub fn handle_unsent(
        &mut self,
        cx: &Context<'_>,
        to: ZhostId,
        actor_message: ActorMessage,
        effects: &mut Effects,
    ) {
        match actor_message {
            ActorMessage::Spawn { parent: me, serial, .. }
            | ActorMessage::Call { from: me, serial, .. }
            | ActorMessage::Claim(_, me, serial) => {
                let is_alive = cx.facts.membership.generation(to).is_some();
                let refusal = if is_alive { Refusal::TryAgain } else { Refusal::NotFound };
                self.answer(cx, (me.number, serial), Err(refusal), effects);
            }
            ActorMessage::Messages { from, to, payloads } => {
                self.mail.note_undelivered(cx, (from, to), measure(&payloads), false, effects);
            }
            ActorMessage::Bond(me, other, bond) => {
                self.bonds.end(cx, (other, me), bond, ExitReason::no_connection(), effects);
            }
            _ => {}
        }
    }

    /// Another zhost, or this one, has something for a space here.
    pub fn handle_message(
        &mut self,
        cx: &Context<'_>,
        peer: ZhostId,
        topology: TopologyId,
        actor_message: ActorMessage,
        effects: &mut Effects,
    ) {
        let (bonds, grants, mail) = (&mut self.bonds, &mut self.grants, &mut self.mail);
        match actor_message {
            ActorMessage::Spawn { serial, parent, space, argument, link } => {
                let spawn = Spawn { topology, serial, parent, space, argument, link };
                self.spawns.handle_spawn(cx, spawn, bonds, effects);
            }
            ActorMessage::Spawned { parent, serial, link, result } => {
                self.handle_spawned(cx, topology, (parent, serial), link, result, effects);
            }
            ActorMessage::Messages { from, to, payloads } => {
                mail.take(cx, topology, (from, to), payloads, effects);
            }
            ActorMessage::Consumed { from, to, messages, bytes } => {
                mail.note_consumed(cx, (from, to), (messages, bytes), effects);
            }
            ActorMessage::Undelivered { from, to, messages, unknown } => {
                if cx.local(topology, from).is_some() {
                    mail.note_undelivered(cx, (from, to), messages, unknown, effects);
                }
            }
            ActorMessage::Call { from, to, serial, path, payload } => {
                mail.take_call(cx, topology, (from, serial), to, (path, payload), effects);
            }
            ActorMessage::Reply { to, serial, result } => {
                if cx.local(topology, to).is_some() {
                    let answer = result.map(ByteBuf::into_vec).map_err(refusal);
                    self.pass_on(cx, (to.number, serial), answer, effects);
                }
            }
            ActorMessage::Bond(from, to, bond) => bonds.handle_bond(cx, topology, (from, to), bond, effects),
            ActorMessage::Unbond(from, to, bond) => bonds.handle_unbond(from, to, bond),
            ActorMessage::Ended(from, to, bond, exit_reason) => {
                bonds.handle_ended(cx, topology, (from, to), bond, exit_reason, effects);
            }
            ActorMessage::Exit(from, to, reason) => end_spawned(cx, topology, from, to, &reason, effects),
            ActorMessage::Claim(name, pid, serial) => {
                grants.handle_claim(cx.now, cx.facts, topology, name, (pid, serial), effects);
            }
            ActorMessage::Granted(name, pid, serial, grant) => {
                let answer = grants.handle_granted(cx, topology, name, pid, (peer, grant), effects);
                if let Some(answer) = answer {
                    self.pass_on(cx, (pid.number, serial), answer, effects);
                }
            }
            ActorMessage::Refused(pid, serial, code) => {
                if cx.local(topology, pid).is_some() {
                    self.pass_on(cx, (pid.number, serial), Err(refusal(code)), effects);
                }
            }
            ActorMessage::Release(name, pid) => grants.release(topology, &name, pid),
        }
    }

    fn handle_spawned(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        (parent, serial): (Pid, u32),
        link: bool,
        result: Result<Pid, i8>,
        effects: &mut Effects,
    ) {
        let lives = cx.local(topology, parent).is_some();
        // One that was told meanwhile that nobody knows what came of it would never hear of the child.
        let waits = lives && self.is_asking(parent.number, serial);
        let mut result = result;
        if let (Ok(child), true) = (result, link)
            && !(waits && self.bonds.tie(parent.number, child, Tie::Link))
            && !planted::has(Bug::OrphanSpawned)
        {
            // Closed, not told: one that traps exits would live on.
            let exit = ActorMessage::Exit(parent, child, "its parent cannot be linked with it".into());
            effects.actor(child.zhost, topology, exit);
            result = Err(Refusal::Full as i8);
        }
        if waits {
            let answer = result.map(|pid| pid.encode().to_vec()).map_err(refusal);
            self.answer(cx, (parent.number, serial), answer, effects);
        }
    }

    /// A local space has ended: nobody waits for it any more, and those bound to it are told.
    pub fn handle_space_ended(
        &mut self,
        cx: &Context<'_>,
        (key, number): (&SpaceKey, u32),
        exit_reason: &ExitReason,
        effects: &mut Effects,
    ) {
        let (topology, me) = (key.topology, cx.facts.pid(number));
        self.spawns.tell(cx.facts, number, Err(Refusal::Failed), effects);
        self.asking.remove(&number);
        self.mail.handle_space_ended(topology, me, effects);
        self.grants.handle_space_ended(cx.facts, topology, number, effects);
        self.bonds.handle_space_ended(topology, me, exit_reason, effects);
    }

    /// A zhost is gone, or started anew, or has given up on us: what was under way with its earlier starts ends, that is
    /// with all but the one that is `alive`. If it is `to_be_told`, it hears of its broken bonds when it is back.
    pub fn lose_zhost(
        &mut self,
        cx: &Context<'_>,
        peer: ZhostId,
        alive: Option<Generation>,
        to_be_told: bool,
        effects: &mut Effects,
    ) {
        let is_gone = |pid: &Pid| pid.zhost == peer && Some(pid.generation) != alive;
        let asking = self.asking.iter().filter(|(_, asking)| asking.whom == peer);
        let asking: Vec<(u32, u32)> = asking.map(|(number, asking)| (*number, asking.serial)).collect();
        for question in asking {
            self.answer(cx, question, Err(Refusal::TimedOut), effects);
        }
        self.mail.lose_zhost(cx, is_gone, effects);
        self.spawns.forget(peer, is_gone);
        self.bonds.lose_zhost(cx, peer, alive, to_be_told, effects);
    }
}

/// A space wants a spawned one to end.
fn end_spawned(
    cx: &Context<'_>,
    topology: TopologyId,
    from: Pid,
    to: Pid,
    reason: &str,
    effects: &mut Effects,
) {
    let Some(key) = cx.local(topology, to) else { return };
    if cx.host.space(key).is_some_and(|space| space.is_spawned()) {
        effects.log(Level::Debug, format!("{from} ends {}: {reason}", key.space));
        effects.close(key.clone());
    }
}

#[cfg(test)]
mod tests;
