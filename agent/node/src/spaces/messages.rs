//! Messages between spaces, along declared paths, wherever the target runs.
//!
//! Each path has credit for its target's mailbox. A sender gets a full window when its target is running (anew), and
//! gets back what the target consumes; so no path waits for another. What was accepted and did not reach its target is
//! told to the sender: as lost if it certainly did not arrive, as unknown if the target may have died holding it.
//!
//! Messages to another zhost travel in the stream between the two, under the number of a *channel* that the sender
//! opens for a path.

use crate::{
    facts::Facts,
    node::{Level, Node, Output},
    wire::{Flow, Frame},
};
use litemap::LiteMap;
use zhost_base::{
    Batch, Generation, Instant, Name, Pid, SpaceKey, TopologyId, ZhostId,
    limits::{CHANNELS_MAX, MESSAGE_SIZE_MAX_BYTES, PATH_WINDOW_MESSAGES},
    planted::{self, Bug},
};
use zhost_exchange::{Sender, Undelivered, WorkerCommand};
use zhost_gossip::row::{Row, RowKey, SpaceState};
use zhost_link::stream::Abandoned;

/// Messages one mailbox holds over all paths and restarts of senders; more are returned.
pub(crate) const MAILBOX_MAX_MESSAGES: u32 = PATH_WINDOW_MESSAGES * 8;

/// One start of a space on a zhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub zhost: ZhostId,
    pub incarnation: u32,
}

/// Where a path of a local space leads at present.
#[derive(Debug, Default)]
struct Outgoing {
    /// The start of the sending space for which this was set up.
    sender: u32,
    target: Option<Target>,
    /// The number under which messages go to another zhost.
    channel: Option<u32>,
    /// Tells this window from those before it, whose credit may still come.
    window: u32,
    /// Accepted from the sender and not reported as consumed.
    outstanding: u32,
}

/// What a number of another zhost's stands for.
#[derive(Clone, Debug)]
struct Channel {
    to: SpaceKey,
    /// Which start of the sending space.
    sender: u32,
    flow: Flow,
    /// The start of the zhost that opened it.
    generation: Generation,
}

/// The paths of local spaces, and the channels of others.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    outgoing: LiteMap<(SpaceKey, u8), Outgoing>,
    channels: LiteMap<(ZhostId, u32), Channel>,
    /// Channels we opened so far.
    channel_count: u32,
    /// Windows we opened so far.
    windows: u32,
    /// Consumed and not yet reported: messages and bytes.
    credits: LiteMap<(ZhostId, TopologyId, Flow), (u32, u32)>,
    pub sent: u64,
    pub received: u64,
    pub undelivered: u64,
}

/// How many messages, and of how many bytes.
fn measure(payloads: &Batch) -> (u32, u32) {
    (payloads.len() as u32, payloads.content_bytes() as u32)
}

/// Messages in portions that fit a frame which relays can carry: as many bytes as one message may have.
pub(crate) fn in_portions(payloads: Batch) -> Vec<Batch> {
    if payloads.packed_bytes() <= MESSAGE_SIZE_MAX_BYTES {
        return vec![payloads];
    }
    let mut portions: Vec<Batch> = Vec::new();
    for payload in payloads.iter() {
        let fits = |portion: &&mut Batch| portion.packed_bytes() + payload.len() <= MESSAGE_SIZE_MAX_BYTES;
        match portions.last_mut().filter(fits) {
            Some(portion) => portion.push(payload),
            None => portions.push(Batch::from_iter([payload])),
        }
    }
    portions
}

/// By channel, how many messages frames hold, and of how many bytes.
fn count_messages(frames: &[Vec<u8>]) -> LiteMap<u32, (u32, u32)> {
    let mut counts: LiteMap<u32, (u32, u32)> = LiteMap::new();
    for frame in frames {
        if let Some(Frame::Messages { channel, payloads }) = Frame::decode(frame) {
            let sum = counts.entry(channel).or_default();
            let (messages, bytes) = measure(&payloads);
            *sum = (sum.0 + messages, sum.1 + bytes);
        }
    }
    counts
}

impl Messages {
    pub fn forget_sender(&mut self, key: &SpaceKey) {
        self.outgoing.retain(|(sender, _), _| sender != key);
    }
}

impl Facts {
    /// Where a space runs.
    pub(crate) fn locate(&self, key: &SpaceKey) -> Option<Target> {
        let row_key = RowKey::Space(key.clone());
        self.registry.owners().find_map(|(zhost, _)| match self.registry.row(zhost, &row_key)? {
            Row::Space(row) if row.state == SpaceState::Running && !self.is_judged_failed(zhost) => {
                Some(Target { zhost, incarnation: row.incarnation })
            }
            _ => None,
        })
    }
}

impl Node {
    /// Tells the senders on this zhost which of their targets came or went.
    pub(crate) fn refresh_targets(&mut self) {
        let mut changes = Vec::new();
        for (key, space) in self.host.running() {
            let Some(spec) = self.facts.spec_of(key) else { continue };
            for (index, (_, to)) in spec.paths_from(&key.space).enumerate() {
                let to = SpaceKey { topology: key.topology, space: to.name.clone() };
                let target = self.facts.locate(&to);
                let slot = (key.clone(), index as u8);
                let sender = space.launch.pid.number;
                let known = self.messages.outgoing.get(&slot);
                if known.is_none_or(|known| (known.sender, known.target) != (sender, target)) {
                    changes.push((slot, sender, target));
                }
            }
        }
        for (slot, sender, target) in changes {
            self.messages.windows += 1;
            let window = self.messages.windows;
            let old = self
                .messages
                .outgoing
                .insert(slot.clone(), Outgoing { sender, target, channel: None, window, outstanding: 0 });
            // A sender that started anew knows nothing of what its former self sent.
            let unknown = old.filter(|old| old.sender == sender).map_or(0, |old| old.outstanding);
            let (key, path) = slot;
            self.tell_undelivered(&key, path, Undelivered { lost: 0, unknown });
            self.output(Output::Worker(WorkerCommand::Target { key, path, up: target.is_some() }));
        }
    }

    /// Which start of which space an outgoing path leads to at present, and the path's name.
    pub(crate) fn path_target(&self, key: &SpaceKey, path: u8) -> Option<(Pid, Name)> {
        let target = self.messages.outgoing.get(&(key.clone(), path))?.target?;
        let generation = match target.zhost {
            zhost if zhost == self.facts.id => self.facts.generation,
            zhost => self.facts.membership.generation(zhost)?,
        };
        let (path, _) = self.facts.spec_of(key)?.paths_from(&key.space).nth(usize::from(path))?;
        let pid = Pid { zhost: target.zhost, generation, number: target.incarnation };
        Some((pid, path.name.clone()))
    }

    /// How many messages of a local space are under way along a path, if it leads anywhere at present.
    pub(crate) fn outstanding(&self, key: &SpaceKey, path: u8) -> Option<u32> {
        let outgoing = self.messages.outgoing.get(&(key.clone(), path))?;
        outgoing.target.map(|_| outgoing.outstanding)
    }

    /// A local space sent messages.
    pub(crate) fn handle_emitted(&mut self, now: Instant, key: &SpaceKey, path: u8, payloads: Batch) {
        let (count, bytes) = measure(&payloads);
        if let Some(space) = self.host.space_mut(key) {
            space.messages_out += u64::from(count);
        }
        let slot = (key.clone(), path);
        let target = self.messages.outgoing.get(&slot).and_then(|outgoing| outgoing.target);
        let Some(target) = target else {
            return self.tell_undelivered(key, path, Undelivered { lost: count, unknown: 0 });
        };
        if let Some(outgoing) = self.messages.outgoing.get_mut(&slot) {
            outgoing.outstanding += count;
        }
        if target.zhost == self.facts.id {
            let Some(channel) = self.channel_of(key, path, target) else { return };
            return self.deliver(now, self.facts.id, channel, payloads);
        }
        let Some(channel) = self.open_channel(now, key, path, target) else {
            return self.return_to_sender(key, path, target, (count, bytes));
        };
        for payloads in in_portions(payloads) {
            let portion = measure(&payloads);
            self.messages.sent += u64::from(portion.0);
            if !self.send(now, target.zhost, &Frame::Messages { channel, payloads }) {
                self.return_to_sender(key, path, target, portion);
            }
        }
    }

    fn channel_of(&self, key: &SpaceKey, index: u8, target: Target) -> Option<Channel> {
        let (path, to) = self.facts.spec_of(key)?.paths_from(&key.space).nth(usize::from(index))?;
        let outgoing = self.messages.outgoing.get(&(key.clone(), index))?;
        let flow = Flow {
            from: key.space.clone(),
            window: outgoing.window,
            path: path.name.clone(),
            incarnation: target.incarnation,
        };
        let to = SpaceKey { topology: key.topology, space: to.name.clone() };
        Some(Channel { to, sender: outgoing.sender, flow, generation: self.facts.generation })
    }

    /// The number of a path's channel, which is opened if it is not.
    fn open_channel(&mut self, now: Instant, key: &SpaceKey, path: u8, target: Target) -> Option<u32> {
        let slot = (key.clone(), path);
        if let Some(channel) = self.messages.outgoing.get(&slot)?.channel {
            return Some(channel);
        }
        let Channel { to, sender, flow, .. } = self.channel_of(key, path, target)?;
        self.messages.channel_count += 1;
        let channel = self.messages.channel_count;
        if !self.send(now, target.zhost, &Frame::Channel { channel, to, sender, flow }) {
            return None;
        }
        self.messages.outgoing.get_mut(&slot)?.channel = Some(channel);
        Some(channel)
    }

    /// Another zhost opens a channel. Numbers grow, so the lowest is the one that is least likely to be in use.
    pub(crate) fn handle_channel(
        &mut self,
        (peer, number): (ZhostId, u32),
        to: SpaceKey,
        sender: u32,
        flow: Flow,
    ) {
        let Some(generation) = self.facts.membership.generation(peer) else { return };
        let mut theirs = self.messages.channels.keys().filter(|(owner, _)| *owner == peer);
        let oldest = theirs.next().copied();
        if let Some(oldest) = oldest.filter(|_| theirs.count() + 1 >= CHANNELS_MAX) {
            self.messages.channels.remove(&oldest);
        }
        // A path that leads elsewhere now has no use for its former channel.
        self.messages.channels.retain(|(owner, _), channel| {
            let same = (&channel.to, &channel.flow.from, &channel.flow.path) == (&to, &flow.from, &flow.path);
            *owner != peer || (!same && channel.generation == generation)
        });
        self.messages.channels.insert((peer, number), Channel { to, sender, flow, generation });
    }

    pub(crate) fn handle_messages(&mut self, now: Instant, peer: ZhostId, channel: u32, payloads: Batch) {
        self.messages.received += payloads.len() as u64;
        match self.messages.channels.get(&(peer, channel)).cloned() {
            Some(channel) => self.deliver(now, peer, channel, payloads),
            None => self.log(Level::Warn, format!("zhost {peer} sends over a channel it has not opened")),
        }
    }

    fn deliver(&mut self, now: Instant, peer: ZhostId, channel: Channel, payloads: Batch) {
        let Channel { to, sender: number, flow, generation } = channel;
        let (count, bytes) = measure(&payloads);
        let declared = self.facts.spec_of(&to).is_some_and(|spec| {
            let mut paths = spec.paths_from(&flow.from);
            paths.any(|(declared, target)| declared.name == flow.path && target.name == to.space)
        });
        let space = self.host.space_mut(&to).filter(|space| {
            space.launch.pid.number == flow.incarnation
                && declared
                && space.mailbox.saturating_add(count) <= MAILBOX_MAX_MESSAGES
        });
        if let Some(space) = space {
            space.mailbox += count;
            space.messages_in += u64::from(count);
            let sender = Sender { pid: Pid { zhost: peer, generation, number }, window: flow.window };
            if self.web.serves(&to) {
                self.show(&to, &flow.path, &payloads);
                return self.handle_consumed(&to, (flow.from, sender, flow.path), (count, bytes));
            }
            let Flow { from, path, .. } = flow;
            let deliver = WorkerCommand::Deliver { key: to, from, sender, path, payloads };
            return self.output(Output::Worker(deliver));
        }
        let topology = to.topology;
        let returned = Frame::Returned { topology, flow, messages: count, bytes };
        if peer == self.facts.id {
            self.handle_frame(now, peer, returned);
        } else {
            self.send(now, peer, &returned);
        }
    }

    /// The number of a path of a local space, and its state, if it is still the flow of messages that `peer` means.
    fn outgoing_towards(
        &mut self,
        peer: ZhostId,
        sender: &SpaceKey,
        flow: &Flow,
    ) -> Option<(u8, &mut Outgoing)> {
        let spec = self.facts.spec_of(sender)?;
        let index = spec.paths_from(&sender.space).position(|(known, _)| known.name == flow.path)?;
        let index = u8::try_from(index).ok()?;
        let outgoing = self.messages.outgoing.get_mut(&(sender.clone(), index))?;
        let target = Target { zhost: peer, incarnation: flow.incarnation };
        (outgoing.target == Some(target) && outgoing.window == flow.window).then_some((index, outgoing))
    }

    /// A target did not take messages: it has moved, or is full.
    pub(crate) fn handle_returned(
        &mut self,
        peer: ZhostId,
        topology: TopologyId,
        flow: &Flow,
        returned: (u32, u32),
    ) {
        let sender = SpaceKey { topology, space: flow.from.clone() };
        if let Some((index, _)) = self.outgoing_towards(peer, &sender, flow) {
            let target = Target { zhost: peer, incarnation: flow.incarnation };
            self.return_to_sender(&sender, index, target, returned);
        }
    }

    /// Messages that certainly did not arrive: the sender is told, and gets its credit back.
    fn return_to_sender(
        &mut self,
        sender: &SpaceKey,
        path: u8,
        target: Target,
        (messages, bytes): (u32, u32),
    ) {
        let Some(outgoing) = self.messages.outgoing.get_mut(&(sender.clone(), path)) else { return };
        if outgoing.target != Some(target) {
            return;
        }
        let lost = messages.min(outgoing.outstanding);
        outgoing.outstanding -= lost;
        self.tell_undelivered(sender, path, Undelivered { lost, unknown: 0 });
        let key = sender.clone();
        self.output(Output::Worker(WorkerCommand::Credit { key, path, messages: lost, bytes }));
    }

    fn tell_undelivered(&mut self, key: &SpaceKey, path: u8, undelivered: Undelivered) {
        if undelivered != Undelivered::default() && !planted::has(Bug::KeepQuiet) {
            self.messages.undelivered += u64::from(undelivered.lost + undelivered.unknown);
            if self.web.serves(key) {
                return self.show_undelivered(key, path, undelivered);
            }
            let key = key.clone();
            self.output(Output::Worker(WorkerCommand::Undelivered { key, path, undelivered }));
        }
    }

    /// A stream was given up: messages in it that never left are lost, of the others nobody knows.
    pub(crate) fn note_abandoned(&mut self, peer: ZhostId, abandoned: &Abandoned) {
        let (lost, unknown) = (count_messages(&abandoned.unsent), count_messages(&abandoned.unknown));
        let mut told = Vec::new();
        for ((sender, path), outgoing) in self.messages.outgoing.iter_mut() {
            if outgoing.target.is_none_or(|target| target.zhost != peer) {
                continue;
            }
            // The new stream knows nothing of the channels of the old one.
            let Some(channel) = outgoing.channel.take() else { continue };
            let of = |counts: &LiteMap<u32, (u32, u32)>| counts.get(&channel).copied().unwrap_or_default();
            let (lost, unknown) = (of(&lost), of(&unknown));
            outgoing.outstanding = outgoing.outstanding.saturating_sub(lost.0 + unknown.0);
            told.push((sender.clone(), *path, lost, unknown));
        }
        for (key, path, lost, unknown) in told {
            self.tell_undelivered(&key, path, Undelivered { lost: lost.0, unknown: unknown.0 });
            let (messages, bytes) = (lost.0 + unknown.0, lost.1 + unknown.1);
            self.output(Output::Worker(WorkerCommand::Credit { key, path, messages, bytes }));
        }
    }

    /// Another zhost gave up its stream to us: what it would have told of our messages never comes. Their senders begin
    /// anew.
    pub(crate) fn reopen_windows(&mut self, peer: ZhostId) {
        let mut told = Vec::new();
        for ((key, path), outgoing) in self.messages.outgoing.iter_mut() {
            if outgoing.target.is_some_and(|target| target.zhost == peer) {
                outgoing.target = None;
                told.push((key.clone(), *path, std::mem::take(&mut outgoing.outstanding)));
            }
        }
        for (key, path, unknown) in told {
            self.tell_undelivered(&key, path, Undelivered { lost: 0, unknown });
        }
        self.refresh_targets();
    }

    /// A local space consumed messages: their sender may send as many more.
    pub(crate) fn handle_consumed(
        &mut self,
        key: &SpaceKey,
        (from, sender, path): (Name, Sender, Name),
        (messages, bytes): (u32, u32),
    ) {
        let Some(space) = self.host.space_mut(key) else { return };
        space.mailbox = space.mailbox.saturating_sub(messages);
        let incarnation = space.launch.pid.number;
        let flow = Flow { from, window: sender.window, path, incarnation };
        let credit = self.messages.credits.entry((sender.zhost(), key.topology, flow)).or_default();
        credit.0 += messages;
        credit.1 = credit.1.saturating_add(bytes);
    }

    /// Hands out the credit that gathered during one input, in one piece per path.
    pub(crate) fn flush_credits(&mut self, now: Instant) {
        for ((zhost, topology, flow), (messages, bytes)) in std::mem::take(&mut self.messages.credits) {
            if zhost == self.facts.id {
                self.handle_credit(zhost, topology, &flow, (messages, bytes));
            } else {
                let credit = Frame::Credit { topology, flow: flow.clone(), messages, bytes };
                // To a dead one nothing goes: its space starts anew somewhere, with a window of its own.
                if !self.send(now, zhost, &credit) && self.facts.membership.peer(zhost).is_some() {
                    self.messages.credits.insert((zhost, topology, flow), (messages, bytes));
                }
            }
        }
    }

    /// The target of a path on `peer` consumed messages.
    pub(crate) fn handle_credit(
        &mut self,
        peer: ZhostId,
        topology: TopologyId,
        flow: &Flow,
        (messages, bytes): (u32, u32),
    ) {
        let key = SpaceKey { topology, space: flow.from.clone() };
        let Some((path, outgoing)) = self.outgoing_towards(peer, &key, flow) else { return };
        outgoing.outstanding = outgoing.outstanding.saturating_sub(messages);
        self.output(Output::Worker(WorkerCommand::Credit { key, path, messages, bytes }));
    }
}
