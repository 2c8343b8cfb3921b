//! Spaces as actors: what one does to another by its pid, wherever that runs.
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
        names::{Grants, Registration},
        spawns::{Spawn, Spawns},
    },
    wire::{ActorMessage, Bond},
};
use litemap::LiteMap;
use serde_bytes::ByteBuf;
use zhost_base::{
    Batch, ExitReason, Generation, Name, Pid, Rng, SpaceKey, TopologyId, ZhostId,
    planted::{self, Bug},
};
use zhost_exchange::{Act, Ask, Consumed, Origin, Refusal, Signal, Undelivered, WorkerCommand};

/// Calls a space has not taken out of its mailbox; further ones are to be tried again.
pub(crate) const CALLS_PER_SPACE_MAX: usize = 256;
/// Bytes of them, or one call.
const CALLS_PER_SPACE_MAX_BYTES: usize = 1024 * 1024;
/// Direct messages a space has not consumed yet; more come back.
const DIRECT_PER_SPACE_MAX: u32 = crate::spaces::messages::MAILBOX_MAX_MESSAGES;

/// A call that a local space has not answered.
#[derive(Debug)]
struct Called {
    from: Pid,
    serial: u32,
    size_bytes: usize,
    /// Whether it was taken out of the mailbox.
    is_taken: bool,
}

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
    /// Calls that a local space has not answered.
    called: LiteMap<u32, Vec<Called>>,
    /// Direct messages of a local space that were not consumed yet: how many, of how many bytes.
    sent: LiteMap<(u32, Pid), (u32, u32)>,
    /// The same of messages to a local space.
    received: LiteMap<(u32, Pid), (u32, u32)>,
    pub bonds: Bonds,
    pub grants: Grants,
    pub spawns: Spawns,
    /// Direct messages that did not arrive, or perhaps not.
    pub undelivered: u64,
}

impl Actors {
    pub fn new(rng: Rng) -> Self {
        Self {
            asking: LiteMap::new(),
            called: LiteMap::new(),
            sent: LiteMap::new(),
            received: LiteMap::new(),
            bonds: Bonds::default(),
            grants: Grants::default(),
            spawns: Spawns::new(rng),
            undelivered: 0,
        }
    }

    /// The most calls that one space has not taken out of its mailbox.
    pub fn calls_max(&self) -> usize {
        let waiting = |calls: &Vec<Called>| calls.iter().filter(|call| !call.is_taken).count();
        self.called.values().map(waiting).max().unwrap_or(0)
    }

    /// Calls and messages to its pid that a local space has not taken out of its mailbox.
    pub fn mail_of(&self, number: u32) -> u32 {
        let calls = self.called.get(&number).map_or(0, |calls| calls.iter().filter(|c| !c.is_taken).count());
        self.direct_of(number).saturating_add(calls as u32)
    }

    fn direct_of(&self, number: u32) -> u32 {
        self.received_by(number).map(|(_, (messages, _))| *messages).sum()
    }

    fn received_by(&self, number: u32) -> impl Iterator<Item = &((u32, Pid), (u32, u32))> {
        let first = self.received.find_index(&(number, Pid::default())).unwrap_or_else(|index| index);
        self.received.as_slice()[first..].iter().take_while(move |((to, _), _)| *to == number)
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
        let (bonds, grants) = (&mut self.bonds, &mut self.grants);
        match act {
            Act::Ask(serial, ask) => self.handle_ask(cx, key, (me, serial), ask, effects),
            Act::Send(to, payloads) => self.send_direct(topology, me, to, payloads, effects),
            Act::Reply(to, serial, payload) => {
                if let Some(calls) = self.called.get_mut(&number) {
                    calls.retain(|call| (call.from, call.serial) != (to, serial));
                }
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

    fn send_direct(
        &mut self,
        topology: TopologyId,
        me: Pid,
        to: Pid,
        payloads: Batch,
        effects: &mut Effects,
    ) {
        let (messages, bytes) = (payloads.len() as u32, payloads.content_bytes() as u32);
        let sum = self.sent.entry((me.number, to)).or_default();
        *sum = (sum.0 + messages, sum.1.saturating_add(bytes));
        for payloads in crate::spaces::messages::in_portions(payloads) {
            effects.actor(to.zhost, topology, ActorMessage::Messages { from: me, to, payloads });
        }
    }

    /// What a local space wanted to tell another did not leave: it is told so, if it waits for anything. What else there is
    /// finds out by the loss of that zhost.
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
                let portion = (payloads.len() as u32, payloads.content_bytes() as u32);
                self.note_undelivered(cx, from, to, portion, false, effects);
            }
            ActorMessage::Bond(me, other, bond) => {
                self.bonds.end(cx, (other, me), bond, ExitReason::no_connection(), effects);
            }
            _ => {}
        }
    }

    /// Messages of a local space did not arrive.
    fn note_undelivered(
        &mut self,
        cx: &Context<'_>,
        from: Pid,
        to: Pid,
        (messages, bytes): (u32, u32),
        unknown: bool,
        effects: &mut Effects,
    ) {
        self.note_consumed(cx, from, to, (messages, bytes), effects);
        let undelivered = match unknown {
            true => Undelivered { lost: 0, unknown: messages },
            false => Undelivered { lost: messages, unknown: 0 },
        };
        self.undelivered += u64::from(messages);
        cx.signal(from.number, Signal::Undelivered(to, undelivered), effects);
    }

    fn note_consumed(
        &mut self,
        cx: &Context<'_>,
        from: Pid,
        to: Pid,
        (messages, bytes): (u32, u32),
        effects: &mut Effects,
    ) {
        let slot = (from.number, to);
        if let Some(sum) = self.sent.get_mut(&slot) {
            *sum = (sum.0.saturating_sub(messages), sum.1.saturating_sub(bytes));
            if sum.0 == 0 {
                self.sent.remove(&slot);
            }
            cx.signal(from.number, Signal::Credit(to, messages, bytes), effects);
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
        let (bonds, grants) = (&mut self.bonds, &mut self.grants);
        match actor_message {
            ActorMessage::Spawn { serial, parent, space, argument, link } => {
                let spawn = Spawn { topology, serial, parent, space, argument, link };
                self.spawns.handle_spawn(cx, spawn, bonds, effects);
            }
            ActorMessage::Spawned { parent, serial, link, result } => {
                self.handle_spawned(cx, topology, (parent, serial), link, result, effects);
            }
            ActorMessage::Messages { from, to, payloads } => {
                self.take_direct(cx, topology, from, to, payloads, effects);
            }
            ActorMessage::Consumed { from, to, messages, bytes } => {
                self.note_consumed(cx, from, to, (messages, bytes), effects);
            }
            ActorMessage::Undelivered { from, to, messages, unknown } => {
                if cx.local(topology, from).is_some() {
                    self.note_undelivered(cx, from, to, messages, unknown, effects);
                }
            }
            ActorMessage::Call { from, to, serial, path, payload } => {
                self.take_call(cx, topology, (from, serial), to, (path, payload), effects);
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

    fn take_direct(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        from: Pid,
        to: Pid,
        payloads: Batch,
        effects: &mut Effects,
    ) {
        let (messages, bytes) = (payloads.len() as u32, payloads.content_bytes() as u32);
        let has_room = self.direct_of(to.number).saturating_add(messages) <= DIRECT_PER_SPACE_MAX;
        if !cx.takes_mail(topology, to) || !has_room {
            let undelivered =
                ActorMessage::Undelivered { from, to, messages: (messages, bytes), unknown: false };
            return effects.actor(from.zhost, topology, undelivered);
        }
        let sum = self.received.entry((to.number, from)).or_default();
        *sum = (sum.0 + messages, sum.1.saturating_add(bytes));
        cx.signal(to.number, Signal::Message(from, payloads), effects);
    }

    /// A local space took a call out of its mailbox: it cannot reply to the one it took before any more.
    fn handle_call_taken(
        &mut self,
        cx: &Context<'_>,
        key: &SpaceKey,
        taken: (Pid, u32),
        effects: &mut Effects,
    ) {
        let Some(number) = cx.host.space(key).map(|space| space.launch.pid.number) else { return };
        let Some(calls) = self.called.get_mut(&number) else { return };
        let missed = calls.iter().position(|call| call.is_taken).map(|at| calls.remove(at));
        if let Some(call) = calls.iter_mut().find(|call| (call.from, call.serial) == taken) {
            call.is_taken = true;
        }
        if let Some(call) = missed {
            call.fail(key.topology, effects);
        }
    }

    /// A local space consumed what came to its pid.
    pub fn handle_consumed(
        &mut self,
        cx: &Context<'_>,
        key: &SpaceKey,
        consumed: &Consumed,
        effects: &mut Effects,
    ) {
        let from = match consumed.origin {
            Origin::Direct(from) => from,
            Origin::Call(caller, serial) => {
                return self.handle_call_taken(cx, key, (caller, serial), effects);
            }
            _ => return,
        };
        let Some(number) = cx.host.space(key).map(|space| space.launch.pid.number) else { return };
        let slot = (number, from);
        let Some(sum) = self.received.get_mut(&slot) else { return };
        let Consumed { messages, bytes, .. } = *consumed;
        *sum = (sum.0.saturating_sub(messages), sum.1.saturating_sub(bytes));
        if sum.0 == 0 {
            self.received.remove(&slot);
        }
        let to = cx.facts.pid(number);
        effects.actor(from.zhost, key.topology, ActorMessage::Consumed { from, to, messages, bytes });
    }

    fn take_call(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        (from, serial): (Pid, u32),
        to: Pid,
        (path, payload): (Option<Name>, Vec<u8>),
        effects: &mut Effects,
    ) {
        let refuse = |refusal: Refusal| ActorMessage::Reply { to: from, serial, result: Err(refusal as i8) };
        if !cx.takes_mail(topology, to) {
            return effects.actor(from.zhost, topology, refuse(Refusal::NotFound));
        }
        let calls = self.called.entry(to.number).or_default();
        let waiting = calls.iter().filter(|call| !call.is_taken);
        let (count, bytes) =
            waiting.fold((0, 0), |(count, bytes), call| (count + 1, bytes + call.size_bytes));
        let fits = count == 0 || bytes + payload.len() <= CALLS_PER_SPACE_MAX_BYTES;
        if count >= CALLS_PER_SPACE_MAX || !fits {
            return effects.actor(from.zhost, topology, refuse(Refusal::TryAgain));
        }
        calls.push(Called { from, serial, size_bytes: payload.len(), is_taken: false });
        cx.signal(to.number, Signal::Call(from, serial, path, payload), effects);
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
        for call in self.called.remove(&number).unwrap_or_default() {
            call.fail(topology, effects);
        }
        self.sent.retain(|(sender, _), _| *sender != number);
        let received: Vec<_> = self.received_by(number).copied().collect();
        for (slot, messages) in received {
            self.received.remove(&slot);
            let undelivered = ActorMessage::Undelivered { from: slot.1, to: me, messages, unknown: true };
            effects.actor(slot.1.zhost, topology, undelivered);
        }
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
        // Those that were not taken still lie in mailboxes, and count.
        for (_, calls) in self.called.iter_mut() {
            calls.retain(|call| !call.is_taken || !is_gone(&call.from));
        }
        let sent = self.sent.iter().filter(|((_, to), _)| is_gone(to));
        let sent: Vec<_> = sent.map(|(slot, sum)| (*slot, *sum)).collect();
        for ((number, to), messages) in sent {
            self.note_undelivered(cx, cx.facts.pid(number), to, messages, true, effects);
        }
        self.received.retain(|(_, from), _| !is_gone(from));
        self.spawns.forget(peer, is_gone);
        self.bonds.lose_zhost(cx, peer, alive, to_be_told, effects);
    }
}

impl Called {
    /// Nobody will reply to it.
    fn fail(self, topology: TopologyId, effects: &mut Effects) {
        let (to, serial, result) = (self.from, self.serial, Err(Refusal::Failed as i8));
        effects.actor(to.zhost, topology, ActorMessage::Reply { to, serial, result });
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
    if cx.host.space(key).is_some_and(|space| space.is_spawned) {
        effects.log(Level::Debug, format!("{from} ends {}: {reason}", key.space));
        effects.close(key.clone());
    }
}

#[cfg(test)]
mod tests;
