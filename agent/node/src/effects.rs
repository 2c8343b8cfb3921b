//! What a concern wants done when it has taken something in: the node carries it out, in this order, as soon as the concern
//! has returned.

use crate::{
    disk::{DiskRequest, Purpose},
    wire::Frame,
};
use zhost_base::ZhostId;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Do this with the store; what came of it is told to whom the purpose belongs.
    Disk(DiskRequest, Purpose),
    /// Send a zhost a frame, in its stream.
    Send(ZhostId, Frame),
}

/// What follows from one input, in order. It has a bound, since the tables that it is made from have limits.
#[derive(Debug, Default)]
pub(crate) struct Effects(Vec<Effect>);

impl Effects {
    pub fn disk(&mut self, request: DiskRequest, purpose: Purpose) {
        self.0.push(Effect::Disk(request, purpose));
    }

    pub fn send(&mut self, to: ZhostId, frame: Frame) {
        self.0.push(Effect::Send(to, frame));
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::vec::IntoIter<Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
