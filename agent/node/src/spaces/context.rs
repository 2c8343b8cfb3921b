//! What actors see of the zhost around them.

use crate::{
    data::blobs::Blobs,
    effects::Effects,
    facts::Facts,
    output::Output,
    spaces::{host::Host, messages::Messages, web::Web},
};
use zhost_base::{Instant, Pid, SpaceKey, TopologyId};
use zhost_exchange::{Signal, WorkerCommand};

/// What there is around the actors of a zhost when they take something in.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub now: Instant,
    pub facts: &'a Facts,
    pub host: &'a Host,
    pub web: &'a Web,
    pub messages: &'a Messages,
    pub blobs: &'a Blobs,
    /// Whether spaces may be spawned here at present.
    pub takes_spawns: bool,
    /// Linear memory for all spaces here.
    pub memory_bytes: u32,
}

impl Context<'_> {
    /// The local space with that pid, if it is one of that topology and lives.
    pub fn local(&self, topology: TopologyId, pid: Pid) -> Option<&SpaceKey> {
        let key = self.host.key_of(pid.number)?;
        (pid == self.facts.pid(pid.number) && key.topology == topology).then_some(key)
    }

    /// Whether there is such a space here and somebody in it: in a UI space nobody reads what comes to a pid.
    pub fn takes_mail(&self, topology: TopologyId, to: Pid) -> bool {
        self.local(topology, to).is_some_and(|key| !self.web.serves(key))
    }

    /// Tells a local space what befell it.
    pub fn signal(&self, number: u32, signal: Signal, effects: &mut Effects) {
        if let Some(key) = self.host.key_of(number).cloned() {
            effects.output(Output::Worker(WorkerCommand::Signal { key, number, signal }));
        }
    }
}
