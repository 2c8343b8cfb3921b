//! What a concern wants done when it has taken something in: the node carries it out, in this order, as soon as the concern
//! has returned.

use crate::{
    disk::{DiskRequest, Purpose},
    output::{Ending, Level, Output},
    spaces::host::Spawner,
    wire::{ActorMessage, DataMessage, Frame, Hop},
};
use zhost_base::{Batch, ExitReason, SpaceKey, TopologyId, ZhostId};
use zhost_exchange::Launch;
use zhost_gossip::row::{Row, RowKey};

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Do this with the store; what came of it is told to whom the purpose belongs.
    Disk(DiskRequest, Purpose),
    /// Send a zhost a frame, in its stream.
    Send(ZhostId, Frame),
    /// Send a neighbour this over its link, if there is one.
    Hop(ZhostId, Hop),
    /// Say this of ourselves in the registry.
    Row(RowKey, Row),
    /// Say this of ourselves in the registry no longer.
    NoRow(RowKey),
    /// Send a zhost these frames of the messages between spaces, in order, until one is not taken: that one and the rest
    /// come back to the messages.
    Messages(ZhostId, Vec<Frame>),
    /// Send a zhost these parts of an order about the data of a space, until one is not taken: then the order comes to
    /// nothing.
    Order(ZhostId, SpaceKey, Vec<DataMessage>),
    /// Write anew what is said of a space here.
    SpaceRow(SpaceKey),
    /// A page sent these messages for its space, along this path of it.
    Emit(SpaceKey, u8, Batch),
    /// Tell the shell.
    Output(Output),
    /// Send an actor message to a zhost, this one included; if it is not taken, that is told to who acted.
    Actor(ZhostId, TopologyId, ActorMessage),
    /// Start a space that another spawned, of this revision of its topology.
    Host(Launch, u64, Spawner),
    /// A space starts here: it writes its data itself, whatever others order.
    SpaceStarts(SpaceKey),
    /// This start of a space has ended so.
    SpaceEnded(SpaceKey, u32, ExitReason),
    /// A space is here no longer.
    SpaceGone(SpaceKey),
    /// Close a space.
    Close(SpaceKey),
    /// Look anew which blobs are needed here.
    Blobs,
    /// End this zhost.
    End(Ending),
    /// Tell the operator's log.
    Log(Level, String),
}

/// What follows from one input, in order. It has a bound, since the tables that it is made from have limits.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    wanted: Vec<Effect>,
    /// The topology that the work at hand is about, should it panic.
    about: Option<TopologyId>,
}

impl Effects {
    pub fn disk(&mut self, request: DiskRequest, purpose: Purpose) {
        self.wanted.push(Effect::Disk(request, purpose));
    }

    pub fn send(&mut self, to: ZhostId, frame: Frame) {
        self.wanted.push(Effect::Send(to, frame));
    }

    pub fn hop(&mut self, to: ZhostId, hop: Hop) {
        self.wanted.push(Effect::Hop(to, hop));
    }

    pub fn row(&mut self, key: RowKey, row: Row) {
        self.wanted.push(Effect::Row(key, row));
    }

    pub fn no_row(&mut self, key: RowKey) {
        self.wanted.push(Effect::NoRow(key));
    }

    pub fn messages(&mut self, to: ZhostId, frames: Vec<Frame>) {
        self.wanted.push(Effect::Messages(to, frames));
    }

    pub fn order(&mut self, to: ZhostId, key: SpaceKey, parts: Vec<DataMessage>) {
        self.wanted.push(Effect::Order(to, key, parts));
    }

    pub fn space_row(&mut self, key: SpaceKey) {
        self.wanted.push(Effect::SpaceRow(key));
    }

    pub fn emit(&mut self, key: SpaceKey, path: u8, payloads: Batch) {
        self.wanted.push(Effect::Emit(key, path, payloads));
    }

    pub fn output(&mut self, output: Output) {
        self.wanted.push(Effect::Output(output));
    }

    pub fn actor(&mut self, to: ZhostId, topology: TopologyId, actor_message: ActorMessage) {
        self.wanted.push(Effect::Actor(to, topology, actor_message));
    }

    pub fn host(&mut self, launch: Launch, revision: u64, spawner: Spawner) {
        self.wanted.push(Effect::Host(launch, revision, spawner));
    }

    pub fn space_starts(&mut self, key: SpaceKey) {
        self.wanted.push(Effect::SpaceStarts(key));
    }

    pub fn space_ended(&mut self, key: SpaceKey, number: u32, exit_reason: ExitReason) {
        self.wanted.push(Effect::SpaceEnded(key, number, exit_reason));
    }

    pub fn space_gone(&mut self, key: SpaceKey) {
        self.wanted.push(Effect::SpaceGone(key));
    }

    pub fn close(&mut self, key: SpaceKey) {
        self.wanted.push(Effect::Close(key));
    }

    pub fn blobs(&mut self) {
        self.wanted.push(Effect::Blobs);
    }

    pub fn end(&mut self, ending: Ending) {
        self.wanted.push(Effect::End(ending));
    }

    pub fn log(&mut self, level: Level, text: String) {
        self.wanted.push(Effect::Log(level, text));
    }

    /// What comes next is about this topology: a panic in it is that topology's.
    pub fn about(&mut self, topology: TopologyId) {
        self.about = Some(topology);
    }

    /// What the work was about when it ended, if it has said so.
    pub fn take_about(&mut self) -> Option<TopologyId> {
        self.about.take()
    }

    /// Takes out what is to be done, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> {
        self.wanted.drain(..)
    }
}

/// How many are kept for the next time: as many as concerns that cause each other to run are likely to need.
const SPARE_MAX: usize = 8;
/// Those that have grown beyond so many are not kept.
const SPARE_CAPACITY_MAX: usize = 16;

/// Empty ones that are used again, so that nothing is allocated for them on the way of a message.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<Effects>);

impl Spare {
    /// An empty one.
    pub fn take(&mut self) -> Effects {
        self.0.pop().unwrap_or_default()
    }

    /// What was in it is carried out.
    pub fn put_back(&mut self, mut effects: Effects) {
        effects.about = None;
        let wanted = &effects.wanted;
        if wanted.is_empty() && wanted.capacity() <= SPARE_CAPACITY_MAX && self.0.len() < SPARE_MAX {
            self.0.push(effects);
        }
    }
}

#[cfg(test)]
impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::vec::IntoIter<Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.wanted.into_iter()
    }
}
