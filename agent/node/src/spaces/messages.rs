//! Messages between spaces, along declared paths, wherever the target runs.
//!
//! Each path has credit for its target's mailbox. A sender gets a full window when its target is running (anew), or the
//! stream between the two zhosts was given up while both lived on, and gets back what the target consumes; so no path
//! waits for another. What was accepted and did not reach its target is told to the sender: as lost if it certainly did
//! not arrive, as unknown if the target may have died holding it, or the stream was given up.
//!
//! Messages to another zhost travel in the stream between the two, under the number of a *channel* that the sender
//! opens for a path.

use crate::{
    effects::Effects,
    facts::Facts,
    output::{Level, Output},
    spaces::{host::Host, web::Web},
    wire::{Flow, Frame},
};
use litemap::LiteMap;
use zhost_base::{
    Batch, Generation, Name, Pid, SpaceKey, TopologyId, ZhostId,
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

/// What messages pass at this zhost: spaces with their mailboxes, and pages.
pub(crate) struct Local<'a> {
    pub facts: &'a Facts,
    pub host: &'a mut Host,
    pub web: &'a mut Web,
    pub effects: &'a mut Effects,
}

/// How many messages, and of how many bytes.
pub(crate) fn measure(payloads: &Batch) -> (u32, u32) {
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
    /// What was under way is lost. Windows and channels go on to be counted, so that none is taken for one before.
    pub fn begin_again(&mut self) {
        let Self { channel_count, windows, sent, received, undelivered, .. } = *self;
        *self = Self { channel_count, windows, sent, received, undelivered, ..Self::default() };
    }

    /// Which start of which space an outgoing path leads to at present, and the path's name.
    pub fn path_target(&self, facts: &Facts, key: &SpaceKey, path: u8) -> Option<(Pid, Name)> {
        let target = self.outgoing.get(&(key.clone(), path))?.target?;
        let generation = match target.zhost {
            zhost if zhost == facts.id => facts.generation,
            zhost => facts.membership.generation(zhost)?,
        };
        let (path, _) = facts.spec_of(key)?.paths_from(&key.space).nth(usize::from(path))?;
        let pid = Pid { zhost: target.zhost, generation, number: target.incarnation };
        Some((pid, path.name.clone()))
    }

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

impl Messages {
    /// Tells the senders on this zhost which of their targets came or went.
    pub fn refresh_targets(&mut self, local: &mut Local<'_>) {
        let facts = local.facts;
        let mut changes = Vec::new();
        for (key, space) in local.host.running() {
            let Some(spec) = facts.spec_of(key) else { continue };
            for (index, (_, to)) in spec.paths_from(&key.space).enumerate() {
                let to = SpaceKey { topology: key.topology, space: to.name.clone() };
                let target = facts.locate(&to);
                let slot = (key.clone(), index as u8);
                let sender = space.launch.pid.number;
                let known = self.outgoing.get(&slot);
                if known.is_none_or(|known| (known.sender, known.target) != (sender, target)) {
                    changes.push((slot, sender, target));
                }
            }
        }
        for (slot, sender, target) in changes {
            self.windows += 1;
            let outgoing = Outgoing { sender, target, channel: None, window: self.windows, outstanding: 0 };
            let old = self.outgoing.insert(slot.clone(), outgoing);
            // A sender that started anew knows nothing of what its former self sent.
            let unknown = old.filter(|old| old.sender == sender).map_or(0, |old| old.outstanding);
            let (key, path) = slot;
            self.tell_undelivered(local, &key, path, Undelivered { lost: 0, unknown }, None);
            let up = target.is_some();
            local.effects.output(Output::Worker(WorkerCommand::Target { key, path, up }));
        }
    }

    /// How many messages of a local space are under way along a path, if it leads anywhere at present.
    pub fn outstanding(&self, key: &SpaceKey, path: u8) -> Option<u32> {
        let outgoing = self.outgoing.get(&(key.clone(), path))?;
        outgoing.target.map(|_| outgoing.outstanding)
    }

    /// A local space sent messages.
    pub fn handle_emitted(&mut self, local: &mut Local<'_>, key: &SpaceKey, path: u8, payloads: Batch) {
        let (count, bytes) = measure(&payloads);
        if let Some(space) = local.host.space_mut(key) {
            space.messages_out += u64::from(count);
        }
        let slot = (key.clone(), path);
        let target = self.outgoing.get(&slot).and_then(|outgoing| outgoing.target);
        let Some(target) = target else {
            return self.tell_undelivered(local, key, path, Undelivered { lost: count, unknown: 0 }, None);
        };
        if let Some(outgoing) = self.outgoing.get_mut(&slot) {
            outgoing.outstanding += count;
        }
        if target.zhost == local.facts.id {
            return match self.channel_of(local.facts, key, path, target) {
                Some(channel) => self.deliver(local, target.zhost, channel, payloads),
                None => self.return_to_sender(local, key, path, target, (count, bytes)),
            };
        }
        let portions = in_portions(payloads);
        let mut frames = Vec::with_capacity(portions.len() + 1);
        let Some(channel) = self.open_channel(local.facts, &slot, target, &mut frames) else {
            return self.return_to_sender(local, key, path, target, (count, bytes));
        };
        self.sent += u64::from(count);
        frames.extend(portions.into_iter().map(|payloads| Frame::Messages { channel, payloads }));
        local.effects.messages(target.zhost, frames);
    }

    fn channel_of(&self, facts: &Facts, key: &SpaceKey, index: u8, target: Target) -> Option<Channel> {
        let (path, to) = facts.spec_of(key)?.paths_from(&key.space).nth(usize::from(index))?;
        let outgoing = self.outgoing.get(&(key.clone(), index))?;
        let flow = Flow {
            from: key.space.clone(),
            window: outgoing.window,
            path: path.name.clone(),
            incarnation: target.incarnation,
        };
        let to = SpaceKey { topology: key.topology, space: to.name.clone() };
        Some(Channel { to, sender: outgoing.sender, flow, generation: facts.generation })
    }

    /// The number of a path's channel; if it has none, the frame that opens it comes first of all.
    fn open_channel(
        &mut self,
        facts: &Facts,
        slot: &(SpaceKey, u8),
        target: Target,
        frames: &mut Vec<Frame>,
    ) -> Option<u32> {
        // A version that is about to end may have paths that the next one has not.
        facts.spec_of(&slot.0)?.paths_from(&slot.0.space).nth(usize::from(slot.1))?;
        if let Some(channel) = self.outgoing.get(slot)?.channel {
            return Some(channel);
        }
        let Channel { to, sender, flow, .. } = self.channel_of(facts, &slot.0, slot.1, target)?;
        self.channel_count += 1;
        let channel = self.channel_count;
        self.outgoing.get_mut(slot)?.channel = Some(channel);
        frames.push(Frame::Channel { channel, to, sender, flow });
        Some(channel)
    }

    /// What was to go to a zhost was not taken: its senders are told, and credit waits for the next time.
    pub fn handle_unsent(&mut self, local: &mut Local<'_>, peer: ZhostId, frames: Vec<Frame>) {
        // Backwards: messages are found by the number of their channel, which goes with the frame that was to open it.
        for frame in frames.into_iter().rev() {
            match frame {
                Frame::Channel { channel, .. } => {
                    if let Some((_, outgoing)) = self.outgoing_over(peer, channel) {
                        outgoing.channel = None;
                    }
                }
                Frame::Messages { channel, payloads } => {
                    if let Some(((key, path), outgoing)) = self.outgoing_over(peer, channel)
                        && let Some(target) = outgoing.target
                    {
                        self.return_to_sender(local, &key, path, target, measure(&payloads));
                    }
                }
                // To a dead one nothing goes: its space starts anew somewhere, with a window of its own.
                Frame::Credit { topology, flow, messages, bytes }
                    if local.facts.membership.peer(peer).is_some() =>
                {
                    let credit = self.credits.entry((peer, topology, flow)).or_default();
                    *credit = (credit.0 + messages, credit.1.saturating_add(bytes));
                }
                _ => {}
            }
        }
    }

    /// The path whose channel to that zhost has that number.
    fn outgoing_over(&mut self, peer: ZhostId, channel: u32) -> Option<((SpaceKey, u8), &mut Outgoing)> {
        let is_it = |outgoing: &Outgoing| {
            outgoing.channel == Some(channel) && outgoing.target.is_some_and(|target| target.zhost == peer)
        };
        let mut all = self.outgoing.iter_mut();
        all.find(|(_, outgoing)| is_it(outgoing)).map(|(slot, outgoing)| (slot.clone(), outgoing))
    }

    /// Another zhost opens a channel. Numbers grow, so the lowest is the one that is least likely to be in use.
    pub fn handle_channel(
        &mut self,
        facts: &Facts,
        (peer, number): (ZhostId, u32),
        to: SpaceKey,
        sender: u32,
        flow: Flow,
    ) {
        let Some(generation) = facts.membership.generation(peer) else { return };
        let mut theirs = self.channels.keys().filter(|(owner, _)| *owner == peer);
        let oldest = theirs.next().copied();
        if let Some(oldest) = oldest.filter(|_| theirs.count() + 1 >= CHANNELS_MAX) {
            self.channels.remove(&oldest);
        }
        // A path that leads elsewhere now has no use for its former channel.
        self.channels.retain(|(owner, _), channel| {
            let same = (&channel.to, &channel.flow.from, &channel.flow.path) == (&to, &flow.from, &flow.path);
            *owner != peer || (!same && channel.generation == generation)
        });
        self.channels.insert((peer, number), Channel { to, sender, flow, generation });
    }

    /// Messages of another zhost came over a channel.
    pub fn handle_messages(&mut self, local: &mut Local<'_>, peer: ZhostId, channel: u32, payloads: Batch) {
        self.received += payloads.len() as u64;
        match self.channels.get(&(peer, channel)).cloned() {
            Some(channel) => self.deliver(local, peer, channel, payloads),
            None => {
                let text = format!("zhost {peer} sends over a channel it has not opened");
                local.effects.log(Level::Warn, text);
            }
        }
    }

    fn deliver(&mut self, local: &mut Local<'_>, peer: ZhostId, channel: Channel, payloads: Batch) {
        let Channel { to, sender: number, flow, generation } = channel;
        local.effects.about(to.topology);
        let (count, bytes) = measure(&payloads);
        let declared = local.facts.spec_of(&to).is_some_and(|spec| {
            let mut paths = spec.paths_from(&flow.from);
            paths.any(|(declared, target)| declared.name == flow.path && target.name == to.space)
        });
        let space = local.host.space_mut(&to).filter(|space| {
            space.launch.pid.number == flow.incarnation
                && declared
                && space.mailbox.saturating_add(count) <= MAILBOX_MAX_MESSAGES
        });
        let Some(space) = space else {
            if peer == local.facts.id {
                return self.handle_returned(local, peer, to.topology, &flow, (count, bytes));
            }
            let returned = Frame::Returned { topology: to.topology, flow, messages: count, bytes };
            return local.effects.send(peer, returned);
        };
        space.mailbox += count;
        space.messages_in += u64::from(count);
        let sender = Sender { pid: Pid { zhost: peer, generation, number }, window: flow.window };
        let Flow { from, path, .. } = flow;
        if local.web.serves(&to) {
            local.web.show(&to, &path, &payloads, local.effects);
            return self.handle_consumed(local.host, &to, (from, sender, path), (count, bytes));
        }
        let deliver = WorkerCommand::Deliver { key: to, from, sender, path, payloads };
        local.effects.output(Output::Worker(deliver));
    }

    /// The number of a path of a local space, and its state, if it is still the flow of messages that `peer` means.
    fn outgoing_towards(
        &mut self,
        facts: &Facts,
        peer: ZhostId,
        sender: &SpaceKey,
        flow: &Flow,
    ) -> Option<(u8, &mut Outgoing)> {
        let spec = facts.spec_of(sender)?;
        let index = spec.paths_from(&sender.space).position(|(known, _)| known.name == flow.path)?;
        let index = u8::try_from(index).ok()?;
        let outgoing = self.outgoing.get_mut(&(sender.clone(), index))?;
        let target = Target { zhost: peer, incarnation: flow.incarnation };
        (outgoing.target == Some(target) && outgoing.window == flow.window).then_some((index, outgoing))
    }

    /// A target did not take messages: it has moved, or is full.
    pub fn handle_returned(
        &mut self,
        local: &mut Local<'_>,
        peer: ZhostId,
        topology: TopologyId,
        flow: &Flow,
        returned: (u32, u32),
    ) {
        let sender = SpaceKey { topology, space: flow.from.clone() };
        if let Some((index, _)) = self.outgoing_towards(local.facts, peer, &sender, flow) {
            let target = Target { zhost: peer, incarnation: flow.incarnation };
            self.return_to_sender(local, &sender, index, target, returned);
        }
    }

    /// Messages that certainly did not arrive: the sender is told, and gets its credit back.
    fn return_to_sender(
        &mut self,
        local: &mut Local<'_>,
        sender: &SpaceKey,
        path: u8,
        target: Target,
        (messages, bytes): (u32, u32),
    ) {
        let Some(outgoing) = self.outgoing.get_mut(&(sender.clone(), path)) else { return };
        if outgoing.target != Some(target) {
            return;
        }
        let lost = messages.min(outgoing.outstanding);
        outgoing.outstanding -= lost;
        self.tell_undelivered(local, sender, path, Undelivered { lost, unknown: 0 }, Some(bytes));
    }

    fn tell_undelivered(
        &mut self,
        local: &mut Local<'_>,
        key: &SpaceKey,
        path: u8,
        undelivered: Undelivered,
        credit_bytes: Option<u32>,
    ) {
        if undelivered != Undelivered::default() && !planted::has(Bug::KeepQuiet) {
            self.undelivered += u64::from(undelivered.lost + undelivered.unknown);
            if local.web.serves(key) {
                return local.web.show_undelivered(local.facts, key, path, undelivered, local.effects);
            }
            let key = key.clone();
            let told = WorkerCommand::Undelivered { key, path, undelivered, credit_bytes };
            local.effects.output(Output::Worker(told));
        }
    }

    /// A stream was given up: messages in it that never left are lost, of all others nobody knows. Whoever sent them begins
    /// anew, since credit for some of them may still come.
    pub fn handle_abandoned(&mut self, local: &mut Local<'_>, peer: ZhostId, abandoned: &Abandoned) {
        let unsent = count_messages(&abandoned.unsent);
        self.close_windows(local, peer, |channel| unsent.get(&channel).map_or(0, |(messages, _)| *messages));
        if local.facts.membership.peer(peer).is_some() {
            self.refresh_targets(local);
        }
    }

    /// Another zhost gave up its stream to us: what it would have told of our messages never comes. Their senders begin
    /// anew.
    pub fn reopen_windows(&mut self, local: &mut Local<'_>, peer: ZhostId) {
        self.close_windows(local, peer, |_| 0);
        self.refresh_targets(local);
    }

    /// Nothing goes to a zhost at present; of what is under way on a channel `lost` messages certainly did not arrive.
    fn close_windows(&mut self, local: &mut Local<'_>, peer: ZhostId, lost: impl Fn(u32) -> u32) {
        let mut told = Vec::new();
        for ((key, path), outgoing) in self.outgoing.iter_mut() {
            if outgoing.target.is_none_or(|target| target.zhost != peer) {
                continue;
            }
            let outstanding = std::mem::take(&mut outgoing.outstanding);
            let lost = outgoing.channel.take().map_or(0, &lost).min(outstanding);
            outgoing.target = None;
            told.push((key.clone(), *path, Undelivered { lost, unknown: outstanding - lost }));
        }
        for (key, path, undelivered) in told {
            self.tell_undelivered(local, &key, path, undelivered, None);
            local.effects.output(Output::Worker(WorkerCommand::Target { key, path, up: false }));
        }
    }

    /// A local space consumed messages: their sender may send as many more.
    pub fn handle_consumed(
        &mut self,
        host: &mut Host,
        key: &SpaceKey,
        (from, sender, path): (Name, Sender, Name),
        (messages, bytes): (u32, u32),
    ) {
        let Some(space) = host.space_mut(key) else { return };
        space.mailbox = space.mailbox.saturating_sub(messages);
        let incarnation = space.launch.pid.number;
        let flow = Flow { from, window: sender.window, path, incarnation };
        let credit = self.credits.entry((sender.zhost(), key.topology, flow)).or_default();
        credit.0 += messages;
        credit.1 = credit.1.saturating_add(bytes);
    }

    /// Hands out the credit that gathered during one input, in one piece per path.
    pub fn flush_credits(&mut self, local: &mut Local<'_>) {
        for ((zhost, topology, flow), (messages, bytes)) in std::mem::take(&mut self.credits) {
            if zhost == local.facts.id {
                self.handle_credit(local, zhost, topology, &flow, (messages, bytes));
            } else {
                local.effects.messages(zhost, vec![Frame::Credit { topology, flow, messages, bytes }]);
            }
        }
    }

    /// The target of a path on `peer` consumed messages.
    pub fn handle_credit(
        &mut self,
        local: &mut Local<'_>,
        peer: ZhostId,
        topology: TopologyId,
        flow: &Flow,
        (messages, bytes): (u32, u32),
    ) {
        let key = SpaceKey { topology, space: flow.from.clone() };
        let Some((path, outgoing)) = self.outgoing_towards(local.facts, peer, &key, flow) else { return };
        outgoing.outstanding = outgoing.outstanding.saturating_sub(messages);
        local.effects.output(Output::Worker(WorkerCommand::Credit { key, path, messages, bytes }));
    }
}

#[cfg(test)]
mod tests;
