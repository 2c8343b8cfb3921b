//! What comes to a space by its pid, and what it sends so: calls and direct messages, with credit for the latter.

use crate::{
    effects::Effects,
    spaces::{
        context::Context,
        messages::{MAILBOX_MAX_MESSAGES, in_portions, measure},
    },
    wire::ActorMessage,
};
use litemap::LiteMap;
use zhost_base::{Batch, Name, Pid, SpaceKey, TopologyId};
use zhost_exchange::{Consumed, Origin, Refusal, Signal, Undelivered};

/// Calls a space has not taken out of its mailbox; further ones are to be tried again.
pub(crate) const CALLS_PER_SPACE_MAX: usize = 256;
/// Bytes of them, or one call.
const CALLS_PER_SPACE_MAX_BYTES: usize = 1024 * 1024;
/// Direct messages a space has not consumed yet; more come back.
pub(crate) const DIRECT_PER_SPACE_MAX: u32 = MAILBOX_MAX_MESSAGES;

/// A call that a local space has not answered.
#[derive(Debug)]
struct Called {
    from: Pid,
    serial: u32,
    size_bytes: usize,
    /// Whether it was taken out of the mailbox.
    is_taken: bool,
}

/// What the spaces of this zhost have in their mailboxes from others' pids, and what they sent to such.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Calls that a local space has not answered.
    called: LiteMap<u32, Vec<Called>>,
    /// Direct messages of a local space that were not consumed yet: how many, of how many bytes.
    sent: LiteMap<(u32, Pid), (u32, u32)>,
    /// The same of messages to a local space.
    received: LiteMap<(u32, Pid), (u32, u32)>,
    /// Messages that did not arrive, or perhaps not.
    pub undelivered: u64,
}

impl Mail {
    /// What was under way is lost; those who sent it are told by others that nobody knows.
    pub fn begin_again(&mut self) {
        *self = Self { undelivered: self.undelivered, ..Self::default() };
    }

    /// The most calls that one space has not taken out of its mailbox.
    pub fn calls_max(&self) -> usize {
        let waiting = |calls: &Vec<Called>| calls.iter().filter(|call| !call.is_taken).count();
        self.called.values().map(waiting).max().unwrap_or(0)
    }

    /// Calls and messages to its pid that a local space has not taken out of its mailbox.
    pub fn waiting(&self, number: u32) -> u32 {
        let calls = self.called.get(&number).map_or(0, |calls| calls.iter().filter(|c| !c.is_taken).count());
        self.direct_of(number).saturating_add(calls as u32)
    }

    /// Messages to its pid that a local space has not consumed.
    pub fn direct_of(&self, number: u32) -> u32 {
        self.received_by(number).map(|(_, (messages, _))| *messages).sum()
    }

    fn received_by(&self, number: u32) -> impl Iterator<Item = &((u32, Pid), (u32, u32))> {
        let first = self.received.find_index(&(number, Pid::default())).unwrap_or_else(|index| index);
        self.received.as_slice()[first..].iter().take_while(move |((to, _), _)| *to == number)
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.received.is_empty() && self.called.values().all(Vec::is_empty)
    }

    /// A local space sends messages.
    pub fn send(&mut self, topology: TopologyId, me: Pid, to: Pid, payloads: Batch, effects: &mut Effects) {
        let (messages, bytes) = measure(&payloads);
        let sum = self.sent.entry((me.number, to)).or_default();
        *sum = (sum.0 + messages, sum.1.saturating_add(bytes));
        for payloads in in_portions(payloads) {
            effects.actor(to.zhost, topology, ActorMessage::Messages { from: me, to, payloads });
        }
    }

    /// Messages of a local space did not arrive, or nobody knows.
    pub fn note_undelivered(
        &mut self,
        cx: &Context<'_>,
        (from, to): (Pid, Pid),
        (messages, bytes): (u32, u32),
        unknown: bool,
        effects: &mut Effects,
    ) {
        self.note_consumed(cx, (from, to), (messages, bytes), effects);
        let undelivered = match unknown {
            true => Undelivered { lost: 0, unknown: messages },
            false => Undelivered { lost: messages, unknown: 0 },
        };
        self.undelivered += u64::from(messages);
        cx.signal(from.number, Signal::Undelivered(to, undelivered), effects);
    }

    /// Messages of a local space were consumed: it may send as many more.
    pub fn note_consumed(
        &mut self,
        cx: &Context<'_>,
        (from, to): (Pid, Pid),
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

    /// A local space replies to a call.
    pub fn note_reply(&mut self, number: u32, to: (Pid, u32)) {
        if let Some(calls) = self.called.get_mut(&number) {
            calls.retain(|call| (call.from, call.serial) != to);
        }
    }

    /// Messages for a local space.
    pub fn take(
        &mut self,
        cx: &Context<'_>,
        topology: TopologyId,
        (from, to): (Pid, Pid),
        payloads: Batch,
        effects: &mut Effects,
    ) {
        let (messages, bytes) = measure(&payloads);
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

    /// A call of a local space.
    pub fn take_call(
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

    /// A local space has ended: of what it did not reply to, or consume, those who sent it are told.
    pub fn handle_space_ended(&mut self, topology: TopologyId, me: Pid, effects: &mut Effects) {
        for call in self.called.remove(&me.number).unwrap_or_default() {
            call.fail(topology, effects);
        }
        self.sent.retain(|(sender, _), _| *sender != me.number);
        let received: Vec<_> = self.received_by(me.number).copied().collect();
        for (slot, messages) in received {
            self.received.remove(&slot);
            let undelivered = ActorMessage::Undelivered { from: slot.1, to: me, messages, unknown: true };
            effects.actor(slot.1.zhost, topology, undelivered);
        }
    }

    /// What was under way with pids that are gone ends: of messages to them nobody knows.
    pub fn lose_zhost(&mut self, cx: &Context<'_>, is_gone: impl Fn(&Pid) -> bool, effects: &mut Effects) {
        // Those that were not taken still lie in mailboxes, and count.
        for (_, calls) in self.called.iter_mut() {
            calls.retain(|call| !call.is_taken || !is_gone(&call.from));
        }
        let sent = self.sent.iter().filter(|((_, to), _)| is_gone(to));
        let sent: Vec<_> = sent.map(|(slot, sum)| (*slot, *sum)).collect();
        for ((number, to), messages) in sent {
            self.note_undelivered(cx, (cx.facts.pid(number), to), messages, true, effects);
        }
        self.received.retain(|(_, from), _| !is_gone(from));
    }
}

impl Called {
    /// Nobody will reply to it.
    fn fail(self, topology: TopologyId, effects: &mut Effects) {
        let (to, serial, result) = (self.from, self.serial, Err(Refusal::Failed as i8));
        effects.actor(to.zhost, topology, ActorMessage::Reply { to, serial, result });
    }
}
