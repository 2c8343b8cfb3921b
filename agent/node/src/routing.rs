//! Messages between spaces, along declared paths, wherever the target runs.
//!
//! Each path has credit for its target's mailbox. A sender gets a full window when its target is running (anew), and
//! one message back for each that the target consumes; so no path waits for another. A sender that starts anew, or a
//! link that was replaced, opens a new window while the mailbox may still hold the old one: a mailbox has a limit of its
//! own beyond that, and what does not fit is dropped and counted.

use crate::{
    links::ConnectionId,
    node::{Level, Node, Output},
    wire::Frame,
};
use std::collections::BTreeMap;
use zhost_base::{Name, SpaceKey, ZhostId, limits::PATH_WINDOW_MESSAGES};
use zhost_gossip::row::{Row, RowKey, SpaceState};
use zhost_runtime::{Message, WorkerCommand};

/// Messages one mailbox holds over all paths and restarts of senders; more are dropped and counted.
const MAILBOX_MAX_MESSAGES: u32 = PATH_WINDOW_MESSAGES * 16;

/// One start of a space on a zhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub zhost: ZhostId,
    pub incarnation: u32,
    /// The link to it: what was under way on an earlier one is lost, so a new one means a new window.
    pub link: Option<ConnectionId>,
}

/// Where the paths of local spaces lead at present.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    targets: BTreeMap<(SpaceKey, u8), (u32, Option<Target>)>,
    /// Consumed and not yet reported, by sending space, path and consuming incarnation.
    credits: BTreeMap<(SpaceKey, Name, u32), u32>,
    pub sent: u64,
    pub received: u64,
    pub undelivered: u64,
}

impl Routing {
    pub fn forget_sender(&mut self, key: &SpaceKey) {
        self.targets.retain(|(sender, _), _| sender != key);
    }
}

impl Node {
    /// Where a space runs.
    pub(crate) fn locate(&self, key: &SpaceKey) -> Option<Target> {
        let row_key = RowKey::Space(key.clone());
        self.registry.owners().find_map(|(zhost, _)| match self.registry.row(zhost, &row_key)? {
            Row::Space(row) if row.state == SpaceState::Running && !self.is_judged_failed(zhost) => {
                Some(Target { zhost, incarnation: row.incarnation, link: self.links.connection(zhost) })
            }
            _ => None,
        })
    }

    /// Tells the senders on this zhost which of their targets came or went.
    pub(crate) fn refresh_routes(&mut self) {
        let mut changes = Vec::new();
        for (key, space) in self.host.running() {
            let Some(spec) = self.spec_of(key) else { continue };
            for (index, (_, to)) in spec.paths_from(&key.space).enumerate() {
                let to = SpaceKey { topology: key.topology, space: to.name.clone() };
                let target =
                    self.locate(&to).filter(|target| target.zhost == self.id || target.link.is_some());
                let state = (space.launch.incarnation, target);
                let slot = (key.clone(), index as u8);
                if self.routing.targets.get(&slot) != Some(&state) {
                    changes.push((slot, state));
                }
            }
        }
        for ((key, path), state) in changes {
            let up = state.1.is_some();
            self.routing.targets.insert((key.clone(), path), state);
            self.output(Output::Worker(WorkerCommand::Target { key, path, up }));
        }
    }

    /// A local space sent a message.
    pub(crate) fn handle_emitted(&mut self, key: &SpaceKey, path: u8, payload: Vec<u8>) {
        if let Some(space) = self.host.space_mut(key) {
            space.messages_out += 1;
        }
        let target = self.routing.targets.get(&(key.clone(), path)).and_then(|(_, target)| *target);
        let way = self.spec_of(key).and_then(|spec| {
            let (path, to) = spec.paths_from(&key.space).nth(usize::from(path))?;
            Some((path.name.clone(), SpaceKey { topology: key.topology, space: to.name.clone() }))
        });
        let (Some(Target { zhost, incarnation, .. }), Some((path, to))) = (target, way) else {
            self.note_undelivered(&key.space, "its target is gone");
            return;
        };
        let from = key.space.clone();
        if zhost == self.id {
            self.deliver(&to, incarnation, from, path, payload);
        } else if self.links.is_up(zhost) {
            self.routing.sent += 1;
            self.links.send(zhost, &Frame::Message { to, incarnation, from, path, payload });
        } else {
            self.note_undelivered(&from, "there is no link to its target");
        }
    }

    pub(crate) fn handle_remote_message(
        &mut self,
        to: &SpaceKey,
        incarnation: u32,
        from: Name,
        path: Name,
        payload: Vec<u8>,
    ) {
        self.routing.received += 1;
        self.deliver(to, incarnation, from, path, payload);
    }

    fn deliver(&mut self, to: &SpaceKey, incarnation: u32, from: Name, path: Name, payload: Vec<u8>) {
        let declared = self.spec_of(to).is_some_and(|spec| {
            spec.paths_from(&from).any(|(declared, target)| declared.name == path && target.name == to.space)
        });
        let space =
            self.host.space_mut(to).filter(|space| space.launch.incarnation == incarnation && declared);
        match space {
            Some(space) if space.mailbox < MAILBOX_MAX_MESSAGES => {
                space.mailbox += 1;
                space.messages_in += 1;
                let message = Message { from: Some(from), path, payload };
                self.output(Output::Worker(WorkerCommand::Deliver(to.clone(), message)));
            }
            Some(_) => self.note_undelivered(&from, "its target's mailbox is full"),
            None => self.note_undelivered(&from, "its target has moved"),
        }
    }

    fn note_undelivered(&mut self, from: &Name, why: &str) {
        self.routing.undelivered += 1;
        self.log(Level::Debug, format!("a message of {from} was not delivered: {why}"));
    }

    /// A local space consumed a message: its sender may send another.
    pub(crate) fn handle_consumed(&mut self, key: &SpaceKey, from: Name, path: Name) {
        let Some(space) = self.host.space_mut(key) else { return };
        space.mailbox = space.mailbox.saturating_sub(1);
        let incarnation = space.launch.incarnation;
        let sender = SpaceKey { topology: key.topology, space: from };
        *self.routing.credits.entry((sender, path, incarnation)).or_default() += 1;
    }

    /// Hands out the credit that gathered during one input, in one piece per path.
    pub(crate) fn flush_credits(&mut self) {
        for ((to, path, incarnation), messages) in std::mem::take(&mut self.routing.credits) {
            match self.locate(&to).map(|target| target.zhost) {
                Some(zhost) if zhost == self.id => {
                    self.handle_credit(zhost, &to, &path, incarnation, messages)
                }
                Some(zhost) => self.links.send(zhost, &Frame::Credit { to, path, incarnation, messages }),
                // Its row has not reached us yet, or it starts anew: keep the credit while the consumer lives.
                None if self.host.has_incarnation(incarnation) => {
                    self.routing.credits.insert((to, path, incarnation), messages);
                }
                None => {}
            }
        }
    }

    /// The target of a path on `from` consumed messages.
    pub(crate) fn handle_credit(
        &mut self,
        from: ZhostId,
        to: &SpaceKey,
        path: &Name,
        incarnation: u32,
        messages: u32,
    ) {
        let index = self.spec_of(to).and_then(|spec| {
            let mut paths = spec.paths_from(&to.space);
            paths.position(|(declared, _)| declared.name == *path)
        });
        let Some(path) = index.and_then(|index| u8::try_from(index).ok()) else { return };
        let current = self.routing.targets.get(&(to.clone(), path)).and_then(|(_, target)| *target);
        if current.is_some_and(|target| (target.zhost, target.incarnation) == (from, incarnation)) {
            self.output(Output::Worker(WorkerCommand::Credit { key: to.clone(), path, messages }));
        }
    }
}
