//! What operators ask for: checked, carried out, and answered once it is known what became of it.

use crate::{
    faults::Part,
    mesh::links::LINKS_ANSWER_WITHIN,
    node::Node,
    operators::examination::Kind,
    output::{Ending, Level, Plain},
    spaces::web::TICKET_TTL,
    wire::Frame,
};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{BlobDigest, Generation, Instant, SpaceKey, Start, ZhostId};
use zhost_control::{
    SessionId,
    protocol::{PING_PATIENCE_MS, Reply, Request},
};
use zhost_gossip::document::{DocumentKey, FirmwareImage, TopologyDocument, Wanted};

/// How long another zhost may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The answer to what is no request.
const SENSELESS: &str = "the request makes no sense to this zhost; do versions differ?";
/// Commands under way at once; further ones are refused.
pub(crate) const COMMANDS_MAX: usize = 64;

/// Who wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub enum Asker {
    /// An operator, in this session, with this message.
    Operator(SessionId, u32),
    /// Another zhost on behalf of one, with a number of its own.
    Zhost(ZhostId, u64),
}

/// What a command under way waits for.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// What was sent is examined.
    Examination,
    /// A blob is on its way to our flash; the document that refers to it follows.
    Blob { digest: BlobDigest, subject: Subject },
    /// The document (and its blob) gathers copies.
    Copies { key: DocumentKey, fingerprint: u64, blob: Option<BlobDigest>, stored: BTreeSet<ZhostId> },
    /// This zhost was asked.
    Answer(ZhostId),
    /// Round trips are being measured to these zhosts.
    Pings(Vec<ZhostId>),
    /// All links are asked whether somebody is still there.
    Links,
}

/// What is to be written about a blob once it is on our flash.
#[derive(Debug)]
pub(crate) enum Subject {
    Topology(TopologyDocument),
    Firmware(FirmwareImage),
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Command {
    pub asker: Asker,
    /// When it is answered whatever came of it.
    pub deadline: Instant,
    pub waiting: Waiting,
}

/// The commands under way.
#[derive(Debug)]
pub(crate) struct Commands {
    serial: u64,
    pub under_way: LiteMap<u64, Command>,
    /// Examinations that the shell is at, also those whose operator waits no more.
    pub examinations: BTreeSet<u64>,
}

impl Commands {
    pub fn new(generation: Generation) -> Self {
        Self { serial: generation.first_serial(), under_way: LiteMap::new(), examinations: BTreeSet::new() }
    }

    /// Remembers who waits for what, and until when; the number under which it is found again.
    pub fn begin(&mut self, asker: Asker, deadline: Instant, waiting: Waiting) -> u64 {
        self.serial += 1;
        self.under_way.insert(self.serial, Command { asker, deadline, waiting });
        self.serial
    }

    /// What was under way is lost: who waits for it.
    pub fn begin_again(&mut self) -> Vec<Asker> {
        self.examinations.clear();
        std::mem::take(&mut self.under_way).into_iter().map(|(_, command)| command.asker).collect()
    }

    /// Whom the answer of a zhost is for, if it was asked.
    fn take_answered(&mut self, peer: ZhostId, serial: u64) -> Option<Asker> {
        let command = self.under_way.get(&serial)?;
        let is_asked = matches!(command.waiting, Waiting::Answer(asked) if asked == peer);
        let asker = command.asker;
        is_asked.then(|| {
            self.under_way.remove(&serial);
            asker
        })
    }

    /// Blobs that a command is about to refer to.
    pub fn blobs(&self) -> impl Iterator<Item = BlobDigest> {
        self.under_way.values().filter_map(|command| match &command.waiting {
            Waiting::Blob { digest, .. } => Some(*digest),
            _ => None,
        })
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.under_way.len()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.under_way.values().map(|command| command.deadline).min().map(|at| (at, "a command's deadline"))
    }
}

impl Node {
    /// Takes up what an operator asks.
    pub(crate) fn handle_requested(&mut self, now: Instant, asker: Asker, request: Option<Request>) {
        let is_done = self.run(now, Part::Operators, |node, _| {
            match request {
                Some(request) => node.handle_request(now, asker, request),
                None => node.answer(now, asker, Reply::Refused(SENSELESS.into())),
            }
            true
        });
        if !is_done {
            let (state, fault) = self.describe_part(now, Part::Operators);
            let state = state.unwrap_or_else(|| "begins again".into());
            let text = format!("zbase panicked over this, and what came of it is not known ({state}{fault})");
            self.answer(now, asker, Reply::Refused(text));
        }
    }

    /// The commands under way are lost, and their operators told so.
    pub(crate) fn begin_commands_again(&mut self, now: Instant) {
        for asker in self.commands.begin_again() {
            let text = "zbase panicked meanwhile, and what came of it is not known: look, and ask again";
            self.answer(now, asker, Reply::Refused(text.into()));
        }
    }

    /// Another zhost asks on behalf of an operator.
    pub(crate) fn handle_query(&mut self, now: Instant, peer: ZhostId, serial: u64, request: &[u8]) {
        let asker = Asker::Zhost(peer, serial);
        match Request::decode(request) {
            Some(
                request @ (Request::SpaceStatus(_)
                | Request::SpaceLogs(_)
                | Request::SpaceOpen(_)
                | Request::SpaceRestart(_)
                | Request::SpaceRepair(_)),
            ) => self.handle_request(now, asker, request),
            _ => self.answer(now, asker, Reply::Refused("zhosts do not ask each other that".into())),
        }
    }

    /// Another zhost answers what we asked on behalf of an operator.
    pub(crate) fn handle_answer(&mut self, now: Instant, peer: ZhostId, serial: u64, reply: Vec<u8>) {
        if let Some(asker) = self.commands.take_answered(peer, serial) {
            self.pass_on(now, asker, reply);
        }
    }

    pub(crate) fn answer(&mut self, now: Instant, asker: Asker, reply: Reply) {
        self.pass_on(now, asker, reply.encode());
    }

    /// Replies with the bytes of a reply, as it was made here or elsewhere.
    fn pass_on(&mut self, now: Instant, asker: Asker, reply: Vec<u8>) {
        match asker {
            Asker::Operator(session, message) => self.say(Plain::Reply(session, message, reply)),
            Asker::Zhost(peer, serial) => {
                self.send(now, peer, &Frame::Answer { serial, reply });
            }
        }
    }

    fn handle_request(&mut self, now: Instant, asker: Asker, request: Request) {
        if self.commands.under_way.len() >= COMMANDS_MAX {
            return self.answer(now, asker, Reply::Refused("too many commands at once; try again".into()));
        }
        if let Some(reason) = self.facts.refuse_aside(&request) {
            return self.answer(now, asker, Reply::Refused(reason));
        }
        if request.writes() && !self.facts.ready {
            let reason = "this zhost is not in step with the cluster yet; wait a moment, or ask another";
            return self.answer(now, asker, Reply::Refused(reason.into()));
        }
        let outcome = match request {
            Request::TopoSubmit(bytes) => self.examine(now, asker, Kind::Package, bytes).map(|()| None),
            Request::TopoStop(name) => self.write_wanted(now, asker, &name, Wanted::Stopped).map(|()| None),
            Request::TopoDelete(name) => self.write_wanted(now, asker, &name, Wanted::Deleted).map(|()| None),
            Request::ClusterRemove(name) => self.remove_zhost(now, asker, &name).map(|()| None),
            Request::SpaceDropData(name) => self.drop_data(now, asker, &name).map(|()| None),
            Request::MeshPeers => {
                self.ask_links(now, asker);
                Ok(None)
            }
            Request::MeshPing(target) => self.start_pings(now, asker, target.as_deref()).map(|()| None),
            Request::FirmwarePush(bytes) => self.examine(now, asker, Kind::Firmware, bytes).map(|()| None),
            Request::FirmwareHalt if self.facts.ledger.firmware().is_none() => {
                Err("no firmware was ever pushed; nothing changed".into())
            }
            Request::FirmwareHalt => {
                self.write_firmware(now, asker, None);
                Ok(None)
            }
            Request::TopoRestart(name) => self.restart_topology(now, &name).map(Some),
            Request::End { power_off } => {
                let ending = if power_off { Ending::PowerOff } else { Ending::Restart };
                Ok(Some(self.end(now, ending)))
            }
            Request::SpaceStatus(ref name)
            | Request::SpaceLogs(ref name)
            | Request::SpaceOpen(ref name)
            | Request::SpaceRestart(ref name)
            | Request::SpaceRepair(ref name) => {
                self.facts.resolve_space(name).and_then(|key| self.ask_host_of(now, asker, &key, &request))
            }
            other => self.report(now, other).map(Some),
        };
        match outcome {
            Ok(Some(reply)) => self.answer(now, asker, reply),
            Ok(None) => {}
            Err(reason) => self.answer(now, asker, Reply::Refused(reason)),
        }
    }

    /// Answers from here if the space is here, else asks the zhost that runs it.
    fn ask_host_of(
        &mut self,
        now: Instant,
        asker: Asker,
        key: &SpaceKey,
        request: &Request,
    ) -> Result<Option<Reply>, String> {
        let host = self
            .facts
            .host_of(key)
            .filter(|host| *host != self.facts.id && self.facts.membership.peer(*host).is_some());
        match (host, asker) {
            (Some(host), Asker::Operator(..)) => {
                let serial = self.commands.begin(asker, now + ANSWER_WITHIN, Waiting::Answer(host));
                self.send(now, host, &Frame::Query { serial, request: request.encode() });
                Ok(None)
            }
            _ => match request {
                Request::SpaceStatus(_) | Request::SpaceLogs(_) => {
                    self.report(now, request.clone()).map(Some)
                }
                // A ticket is good by the clock of the zhost that looks at it, so that one makes it.
                Request::SpaceOpen(_) => {
                    let page = self.web.page(&self.facts, self.config.web_addr, key)?;
                    let until_s = self.unix_ms(now) / 1000 + TICKET_TTL.as_secs();
                    self.say(Plain::Page { asker, page, until_s });
                    Ok(None)
                }
                _ => self.act_on_space(now, key, request).map(Some),
            },
        }
    }

    /// Does to a local space what an operator wants.
    fn act_on_space(&mut self, now: Instant, key: &SpaceKey, request: &Request) -> Result<Reply, String> {
        let name = &key.space;
        let spec = self.host.spec_of(&self.facts, key).ok_or("its topology is gone")?;
        let has_replicas = spec.replicas > 0;
        if self.host.space(key).is_none() {
            return Err(format!("space {name} is on no zhost at present; see `zctl topo status`"));
        }
        self.log(Level::Info, format!("operator: {} {name}", request.name()));
        let said = match request {
            Request::SpaceRepair(_) if !has_replicas => {
                return Err(format!("space {name} has no replicas to compare with"));
            }
            Request::SpaceRepair(_) => {
                self.run_replicas(now, |replicas, here| replicas.repair(here, key));
                // Those whose stream did not take the order are no followers any more.
                match self.replicas.followers(key) {
                    0 => return Err(format!("no replica of {name} can be reached now; try again")),
                    _ => "its data is compared with every replica; `zctl spaces status` shows how far it is",
                }
            }
            _ => {
                self.run_host(now, |host, at, effects| host.restart(at, key, effects));
                "it starts again"
            }
        };
        Ok(Reply::Said(format!("space {name}: {said}")))
    }

    /// Restarts the spaces of a topology, wherever they are; whoever does not hear of it is not waited for.
    fn restart_topology(&mut self, now: Instant, name: &str) -> Result<Reply, String> {
        let (id, topology) = self.facts.resolve_topology(name)?;
        let placed = topology.spec.spaces.iter().filter(|space| space.start == Start::Placed);
        let keys: Vec<SpaceKey> =
            placed.map(|space| SpaceKey { topology: id, space: space.name.clone() }).collect();
        let mut told = 0;
        for key in keys {
            let request = Request::SpaceRestart(format!("{id}/{}", key.space));
            let Some(host) = self.facts.host_of(&key) else { continue };
            told += 1;
            if host == self.facts.id {
                self.run_host(now, |host, at, effects| host.restart(at, &key, effects));
            } else {
                self.send(now, host, &Frame::Query { serial: 0, request: request.encode() });
            }
        }
        Ok(Reply::Said(format!("topology {name}: {told} spaces start again")))
    }

    fn start_pings(&mut self, now: Instant, asker: Asker, target: Option<&str>) -> Result<(), String> {
        let peers = match target {
            Some(name) => match self.facts.resolve_zhost(name)?.0 {
                id if id == self.facts.id => {
                    return Err(format!(
                        "zhost {name} is the one that you ask; ping another, or ask another"
                    ));
                }
                id => vec![id],
            },
            None => self.facts.membership.peers().map(|peer| peer.id).collect(),
        };
        for peer in &peers {
            self.run_mesh(now, |_, streams, facts| streams.echo(now, facts, *peer));
        }
        self.commands.begin(asker, now + Duration::from_millis(PING_PATIENCE_MS), Waiting::Pings(peers));
        Ok(())
    }

    /// What is shown of the links is what they say now: each is asked, and those that do not answer are silent.
    fn ask_links(&mut self, now: Instant, asker: Asker) {
        let peers: Vec<ZhostId> = self.mesh.links.peers().collect();
        self.run_mesh(now, |mesh, _, _| peers.into_iter().for_each(|peer| mesh.links.ping(now, peer)));
        self.commands.begin(asker, now + LINKS_ANSWER_WITHIN, Waiting::Links);
        self.answer_about_links(now);
    }

    /// Answers who waits for links, if none of them owes an answer.
    pub(crate) fn answer_about_links(&mut self, now: Instant) {
        if self.mesh.links.owe_answers() {
            return;
        }
        let waiting = self.commands.under_way.iter();
        let waiting = waiting.filter(|(_, command)| matches!(command.waiting, Waiting::Links));
        let waiting: Vec<u64> = waiting.map(|(serial, _)| *serial).collect();
        for serial in waiting {
            if let Some(command) = self.commands.under_way.remove(&serial) {
                self.answer(now, command.asker, Reply::Peers(self.peers(now)));
            }
        }
    }

    pub(crate) fn commands_timeout(&mut self, now: Instant) {
        let due: Vec<u64> = self
            .commands
            .under_way
            .iter()
            .filter(|(_, command)| command.deadline <= now)
            .map(|(serial, _)| *serial)
            .collect();
        self.check_durability(now);
        for serial in due {
            let Some(command) = self.commands.under_way.remove(&serial) else { continue };
            let reply = match command.waiting {
                Waiting::Pings(peers) => self.pings(now, &peers),
                Waiting::Links => Reply::Peers(self.peers(now)),
                Waiting::Answer(_) => {
                    Reply::Refused("the zhost that runs the space does not answer; try again".into())
                }
                Waiting::Examination => Reply::Refused(
                    "this zhost takes too long over it; ask one with a faster processor".into(),
                ),
                Waiting::Blob { .. } => {
                    Reply::Refused("the flash of this zhost is too slow; ask another zhost".into())
                }
                Waiting::Copies { .. } => continue,
            };
            self.answer(now, command.asker, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_if_it_is_of_who_was_asked_and_of_this_start() {
        let (asker, asked) = (Asker::Zhost(ZhostId(1), 7), ZhostId(2));
        let begin = |commands: &mut Commands| commands.begin(asker, Instant::ZERO, Waiting::Answer(asked));
        let before = begin(&mut Commands::new(Generation(1)));
        let mut commands = Commands::new(Generation(2));
        let serial = begin(&mut commands);
        assert_eq!(commands.take_answered(asked, before), None, "another start asked that");
        assert_eq!(commands.take_answered(ZhostId(3), serial), None, "it was not asked");
        assert_eq!(commands.take_answered(asked, serial), Some(asker));
        assert_eq!(commands.take_answered(asked, serial), None, "once");
    }
}
