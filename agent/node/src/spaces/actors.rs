//! Spaces as actors: what one does to another by its pid, wherever that runs.
//!
//! Whatever it is, it becomes an [`ActorMessage`] to the other's zhost, through the stream between the two, or straight back
//! into [`Node::handle_actor_message`] when both are here: so local and remote are the same. Spaces reach only those of their
//! own topology.

use crate::{
    facts::Facts,
    node::{Node, Output},
    spaces::{
        bonds::Bonds,
        names::Grants,
        spawns::{Spawn, Spawns},
    },
    wire::{ActorMessage, Frame},
};
use litemap::LiteMap;
use serde_bytes::ByteBuf;
use zhost_base::{Batch, ExitReason, Generation, Instant, Name, Pid, SpaceKey, TopologyId, ZhostId};
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
#[derive(Debug, Default)]
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
}

impl Actors {
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
pub(crate) fn refusal(code: i8) -> Refusal {
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

impl Node {
    /// The local space with that pid, if it is one of that topology and lives.
    pub(crate) fn local(&self, topology: TopologyId, pid: Pid) -> Option<&SpaceKey> {
        let key = self.host.key_of(pid.number)?;
        (pid == self.facts.pid(pid.number) && key.topology == topology).then_some(key)
    }

    /// Whether there is such a space here and somebody in it: in a UI space nobody reads what comes to a pid.
    fn takes_mail(&self, topology: TopologyId, to: Pid) -> bool {
        self.local(topology, to).is_some_and(|key| !self.web.serves(key))
    }

    pub(crate) fn signal(&mut self, number: u32, signal: Signal) {
        if let Some(key) = self.host.key_of(number).cloned() {
            self.output(Output::Worker(WorkerCommand::Signal { key, number, signal }));
        }
    }

    pub(crate) fn answer_space(&mut self, number: u32, serial: u32, answer: Result<Vec<u8>, Refusal>) {
        if self.actors.asking.get(&number).is_some_and(|asking| asking.serial == serial) {
            self.actors.asking.remove(&number);
        }
        if let Some(key) = self.host.key_of(number).cloned() {
            self.output(Output::Worker(WorkerCommand::Answer { key, number, serial, answer }));
        }
    }

    /// Sends an actor message to a zhost, this one included. Whether it was taken.
    pub(crate) fn send_actor_message(
        &mut self,
        now: Instant,
        to: ZhostId,
        topology: TopologyId,
        actor_message: ActorMessage,
    ) -> bool {
        if to == self.facts.id {
            self.handle_actor_message(now, self.facts.id, topology, actor_message);
            return true;
        }
        self.send(now, to, &Frame::Actor(topology, actor_message))
    }

    /// Whether a local space still waits for the answer to this question.
    pub(crate) fn is_asking(&self, number: u32, serial: u32) -> bool {
        self.actors.asking.get(&number).is_some_and(|asking| asking.serial == serial)
    }

    /// Remembers whom a local space asked.
    pub(crate) fn note_asking(&mut self, number: u32, serial: u32, whom: ZhostId) {
        self.actors.asking.insert(number, Asking { serial, whom });
    }

    /// A local space did something to others.
    pub(crate) fn handle_act(&mut self, now: Instant, key: &SpaceKey, number: u32, act: Act) {
        if self.host.key_of(number) != Some(key) {
            return;
        }
        let (topology, me) = (key.topology, self.facts.pid(number));
        match act {
            Act::Ask(serial, ask) => self.handle_ask(now, key, me, serial, ask),
            Act::Send(to, payloads) => self.send_direct(now, topology, me, to, payloads),
            Act::Reply(to, serial, payload) => {
                if let Some(calls) = self.actors.called.get_mut(&number) {
                    calls.retain(|call| (call.from, call.serial) != (to, serial));
                }
                let result = Ok(ByteBuf::from(payload));
                self.send_actor_message(now, to.zhost, topology, ActorMessage::Reply { to, serial, result });
            }
            Act::Link(other) => self.bind(now, topology, me, other, crate::wire::Bond::Link),
            Act::Unlink(other) => self.unbind(now, topology, me, other, crate::wire::Bond::Link),
            Act::Monitor(other) => self.bind(now, topology, me, other, crate::wire::Bond::Monitor),
            Act::Demonitor(other) => self.unbind(now, topology, me, other, crate::wire::Bond::Monitor),
            Act::MonitorZhost(name) => self.watch_zhost(number, &name),
            Act::Exit(other, reason) => {
                self.send_actor_message(now, other.zhost, topology, ActorMessage::Exit(me, other, reason));
            }
            Act::Unregister(name) => self.unregister(now, topology, number, &name),
        }
    }

    fn handle_ask(&mut self, now: Instant, key: &SpaceKey, me: Pid, serial: u32, ask: Ask) {
        let (topology, number) = (key.topology, me.number);
        match ask {
            Ask::CallPath(index, payload) => match self.path_target(key, index) {
                Some((to, path)) => {
                    let call = ActorMessage::Call { from: me, to, serial, path: Some(path), payload };
                    self.ask_zhost(now, to.zhost, topology, (number, serial), call);
                }
                None => self.answer_space(number, serial, Err(Refusal::TryAgain)),
            },
            Ask::CallPid(to, payload) => {
                let call = ActorMessage::Call { from: me, to, serial, path: None, payload };
                self.ask_zhost(now, to.zhost, topology, (number, serial), call);
            }
            Ask::Spawn { link: true, .. } if self.actors.bonds.is_full(number) => {
                self.answer_space(number, serial, Err(Refusal::Full));
            }
            Ask::Spawn { zhost, space, argument, link } => {
                match self.spawn_site(topology, &space, zhost.as_ref()) {
                    Ok(site) => {
                        let spawn = ActorMessage::Spawn { serial, parent: me, space, argument, link };
                        self.ask_zhost(now, site, topology, (number, serial), spawn);
                    }
                    Err(refusal) => self.answer_space(number, serial, Err(refusal)),
                }
            }
            Ask::Register(name) => self.register(now, topology, (number, serial), name),
            Ask::Whereis(name) => {
                let holder = self.facts.whereis(topology, &name);
                let answer = holder.map(|pid| pid.encode().to_vec()).ok_or(Refusal::NotFound);
                self.answer_space(number, serial, answer);
            }
            Ask::Zhosts => {
                let mut names = Vec::new();
                for (_, profile) in self.facts.known_zhosts() {
                    let name = profile.name.as_str();
                    names.extend_from_slice(&(name.len() as u16).to_le_bytes());
                    names.extend_from_slice(name.as_bytes());
                }
                self.answer_space(number, serial, Ok(names));
            }
        }
    }

    /// Sends an actor message whose answer a local space waits for.
    pub(crate) fn ask_zhost(
        &mut self,
        now: Instant,
        to: ZhostId,
        topology: TopologyId,
        (number, serial): (u32, u32),
        actor_message: ActorMessage,
    ) {
        self.note_asking(number, serial, to);
        if !self.send_actor_message(now, to, topology, actor_message) {
            let is_alive = self.facts.membership.generation(to).is_some();
            let refusal = if is_alive { Refusal::TryAgain } else { Refusal::NotFound };
            self.answer_space(number, serial, Err(refusal));
        }
    }

    fn send_direct(&mut self, now: Instant, topology: TopologyId, me: Pid, to: Pid, payloads: Batch) {
        let (messages, bytes) = (payloads.len() as u32, payloads.content_bytes() as u32);
        let sum = self.actors.sent.entry((me.number, to)).or_default();
        *sum = (sum.0 + messages, sum.1.saturating_add(bytes));
        for payloads in crate::spaces::messages::in_portions(payloads) {
            let portion = (payloads.len() as u32, payloads.content_bytes() as u32);
            let actor_message = ActorMessage::Messages { from: me, to, payloads };
            if !self.send_actor_message(now, to.zhost, topology, actor_message) {
                self.note_undelivered(me, to, portion, false);
            }
        }
    }

    /// Messages of a local space did not arrive.
    fn note_undelivered(&mut self, from: Pid, to: Pid, (messages, bytes): (u32, u32), unknown: bool) {
        self.note_direct_consumed(from, to, (messages, bytes));
        let undelivered = match unknown {
            true => Undelivered { lost: 0, unknown: messages },
            false => Undelivered { lost: messages, unknown: 0 },
        };
        self.messages.undelivered += u64::from(messages);
        self.signal(from.number, Signal::Undelivered(to, undelivered));
    }

    fn note_direct_consumed(&mut self, from: Pid, to: Pid, (messages, bytes): (u32, u32)) {
        let slot = (from.number, to);
        if let Some(sum) = self.actors.sent.get_mut(&slot) {
            *sum = (sum.0.saturating_sub(messages), sum.1.saturating_sub(bytes));
            if sum.0 == 0 {
                self.actors.sent.remove(&slot);
            }
            self.signal(from.number, Signal::Credit(to, messages, bytes));
        }
    }

    /// Another zhost, or this one, has something for a space here.
    pub(crate) fn handle_actor_message(
        &mut self,
        now: Instant,
        peer: ZhostId,
        topology: TopologyId,
        actor_message: ActorMessage,
    ) {
        match actor_message {
            ActorMessage::Spawn { serial, parent, space, argument, link } => {
                self.handle_spawn(now, Spawn { topology, serial, parent, space, argument, link });
            }
            ActorMessage::Spawned { parent, serial, link, result } => {
                self.handle_spawned(now, topology, parent, (serial, link), result);
            }
            ActorMessage::Messages { from, to, payloads } => {
                self.take_direct(now, topology, from, to, payloads)
            }
            ActorMessage::Consumed { from, to, messages, bytes } => {
                self.note_direct_consumed(from, to, (messages, bytes));
            }
            ActorMessage::Undelivered { from, to, messages, unknown } => {
                if self.local(topology, from).is_some() {
                    self.note_undelivered(from, to, messages, unknown);
                }
            }
            ActorMessage::Call { from, to, serial, path, payload } => {
                self.take_call(now, topology, (from, serial), to, (path, payload));
            }
            ActorMessage::Reply { to, serial, result } => {
                if self.local(topology, to).is_some() {
                    self.answer_space(to.number, serial, result.map(ByteBuf::into_vec).map_err(refusal));
                }
            }
            ActorMessage::Bond(from, to, bond) => self.handle_bond(now, topology, from, to, bond),
            ActorMessage::Unbond(from, to, bond) => self.actors.bonds.handle_unbond(from, to, bond),
            ActorMessage::Ended(from, to, bond, exit_reason) => {
                self.handle_ended(from, to, bond, exit_reason)
            }
            ActorMessage::Exit(from, to, reason) => self.end_spawned(now, topology, from, to, &reason),
            ActorMessage::Claim(name, pid, serial) => self.handle_claim(now, topology, name, pid, serial),
            ActorMessage::Granted(name, pid, serial, grant) => {
                self.handle_granted(now, topology, name, (pid, serial), (peer, grant));
            }
            ActorMessage::Refused(pid, serial, code) => {
                if self.local(topology, pid).is_some() {
                    self.answer_space(pid.number, serial, Err(refusal(code)));
                }
            }
            ActorMessage::Release(name, pid) => self.actors.grants.release(topology, &name, pid),
        }
    }

    fn take_direct(&mut self, now: Instant, topology: TopologyId, from: Pid, to: Pid, payloads: Batch) {
        let (messages, bytes) = (payloads.len() as u32, payloads.content_bytes() as u32);
        let has_room = self.actors.direct_of(to.number).saturating_add(messages) <= DIRECT_PER_SPACE_MAX;
        if !self.takes_mail(topology, to) || !has_room {
            let undelivered =
                ActorMessage::Undelivered { from, to, messages: (messages, bytes), unknown: false };
            self.send_actor_message(now, from.zhost, topology, undelivered);
            return;
        }
        let sum = self.actors.received.entry((to.number, from)).or_default();
        *sum = (sum.0 + messages, sum.1.saturating_add(bytes));
        self.signal(to.number, Signal::Message(from, payloads));
    }

    fn fail_call(&mut self, now: Instant, topology: TopologyId, call: Called) {
        let reply =
            ActorMessage::Reply { to: call.from, serial: call.serial, result: Err(Refusal::Failed as i8) };
        self.send_actor_message(now, call.from.zhost, topology, reply);
    }

    /// A local space took a call out of its mailbox: it cannot reply to the one it took before any more.
    fn handle_call_taken(&mut self, now: Instant, key: &SpaceKey, taken: (Pid, u32)) {
        let Some(number) = self.host.space(key).map(|space| space.launch.pid.number) else { return };
        let Some(calls) = self.actors.called.get_mut(&number) else { return };
        let missed = calls.iter().position(|call| call.is_taken).map(|at| calls.remove(at));
        if let Some(call) = calls.iter_mut().find(|call| (call.from, call.serial) == taken) {
            call.is_taken = true;
        }
        if let Some(call) = missed {
            self.fail_call(now, key.topology, call);
        }
    }

    /// A local space consumed what came to its pid.
    pub(crate) fn handle_direct_consumed(&mut self, now: Instant, key: &SpaceKey, consumed: &Consumed) {
        let from = match consumed.origin {
            Origin::Direct(from) => from,
            Origin::Call(caller, serial) => return self.handle_call_taken(now, key, (caller, serial)),
            _ => return,
        };
        let Some(number) = self.host.space(key).map(|space| space.launch.pid.number) else { return };
        let slot = (number, from);
        let Some(sum) = self.actors.received.get_mut(&slot) else { return };
        let Consumed { messages, bytes, .. } = *consumed;
        *sum = (sum.0.saturating_sub(messages), sum.1.saturating_sub(bytes));
        if sum.0 == 0 {
            self.actors.received.remove(&slot);
        }
        let to = self.facts.pid(number);
        self.send_actor_message(
            now,
            from.zhost,
            key.topology,
            ActorMessage::Consumed { from, to, messages, bytes },
        );
    }

    fn take_call(
        &mut self,
        now: Instant,
        topology: TopologyId,
        (from, serial): (Pid, u32),
        to: Pid,
        (path, payload): (Option<Name>, Vec<u8>),
    ) {
        let refuse = |refusal: Refusal| ActorMessage::Reply { to: from, serial, result: Err(refusal as i8) };
        if !self.takes_mail(topology, to) {
            self.send_actor_message(now, from.zhost, topology, refuse(Refusal::NotFound));
            return;
        }
        let calls = self.actors.called.entry(to.number).or_default();
        let waiting = calls.iter().filter(|call| !call.is_taken);
        let (count, bytes) =
            waiting.fold((0, 0), |(count, bytes), call| (count + 1, bytes + call.size_bytes));
        let fits = count == 0 || bytes + payload.len() <= CALLS_PER_SPACE_MAX_BYTES;
        if count >= CALLS_PER_SPACE_MAX || !fits {
            self.send_actor_message(now, from.zhost, topology, refuse(Refusal::TryAgain));
            return;
        }
        calls.push(Called { from, serial, size_bytes: payload.len(), is_taken: false });
        self.signal(to.number, Signal::Call(from, serial, path, payload));
    }

    /// A local space has ended: nobody waits for it any more, and those bound to it are told.
    pub(crate) fn forget_actor(
        &mut self,
        now: Instant,
        key: &SpaceKey,
        number: u32,
        exit_reason: &ExitReason,
    ) {
        let (topology, me) = (key.topology, self.facts.pid(number));
        self.tell_spawned(now, number, Err(Refusal::Failed));
        self.actors.asking.remove(&number);
        for call in self.actors.called.remove(&number).unwrap_or_default() {
            self.fail_call(now, topology, call);
        }
        self.actors.sent.retain(|(sender, _), _| *sender != number);
        let received: Vec<_> = self.actors.received_by(number).copied().collect();
        for (slot, messages) in received {
            self.actors.received.remove(&slot);
            let undelivered = ActorMessage::Undelivered { from: slot.1, to: me, messages, unknown: true };
            self.send_actor_message(now, slot.1.zhost, topology, undelivered);
        }
        self.release_names(now, topology, number);
        self.break_ties(now, topology, number, exit_reason);
    }

    /// A zhost is gone, or started anew, or has given up on us: what was under way with its earlier starts ends.
    pub(crate) fn lose_zhost(
        &mut self,
        now: Instant,
        peer: ZhostId,
        alive: Option<Generation>,
        tell_it: bool,
    ) {
        let is_gone = |pid: &Pid| pid.zhost == peer && Some(pid.generation) != alive;
        let asking = self.actors.asking.iter().filter(|(_, asking)| asking.whom == peer);
        let asking: Vec<(u32, u32)> = asking.map(|(number, asking)| (*number, asking.serial)).collect();
        for (number, serial) in asking {
            self.answer_space(number, serial, Err(Refusal::TimedOut));
        }
        // Those that were not taken still lie in mailboxes, and count.
        for (_, calls) in self.actors.called.iter_mut() {
            calls.retain(|call| !call.is_taken || !is_gone(&call.from));
        }
        let sent: Vec<_> = self.actors.sent.iter().filter(|((_, to), _)| is_gone(to)).collect();
        let sent: Vec<_> = sent.into_iter().map(|(slot, sum)| (*slot, *sum)).collect();
        for ((number, to), messages) in sent {
            let me = self.facts.pid(number);
            self.note_undelivered(me, to, messages, true);
        }
        self.actors.received.retain(|(_, from), _| !is_gone(from));
        self.actors.spawns.forget(peer, is_gone);
        self.lose_ties(peer, alive, tell_it);
        self.lose_keeper(now, peer);
    }
}
