//! What operators ask for: checked, carried out, and answered once it is known what became of it.

use crate::{
    disk::{DiskReply, DiskRequest, Purpose, blob_index_write, blob_piece_write},
    examination::{Examination, Findings, Found, Kind},
    node::{Ending, Level, Node, Output},
    wire::Frame,
};
use litemap::LiteMap;
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{
    BlobDigest, Instant, Name, SpaceKey, SpaceSpec, Start, TopologyId, TopologySpec, ZhostId,
    limits::{BLOB_CHUNK_SIZE_BYTES, COPIES, DOCUMENT_SIZE_MAX_BYTES, FIRMWARE_TARGETS_MAX},
};
use zhost_control::{
    SessionId,
    protocol::{Durability, Reply, Request, Submitted},
};
use zhost_gossip::{
    document::{
        Document, DocumentKey, FirmwareDocument, FirmwareImage, RosterEntry, TopologyDocument, Wanted,
    },
    ledger::Taken,
    row::{Row, RowKey},
};
use zhost_runtime::StoreError;

/// How long a write may gather copies before its answer says how far it came.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);
/// How long the examination of what was sent may take; `zctl` waits for this and what follows.
const EXAMINED_WITHIN: Duration = Duration::from_secs(15);
/// Examinations at once; further ones are refused.
const EXAMINATIONS_MAX: usize = 4;
/// How long another zhost may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Commands under way at once; further ones are refused.
pub(crate) const COMMANDS_MAX: usize = 64;

/// Who wants the answer.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Operator(SessionId, u32),
    Zhost(ZhostId, u64),
}

#[derive(Debug)]
enum Waiting {
    /// What was sent is examined.
    Examination,
    /// A blob is on its way to our flash; the document that refers to it follows.
    Blob { digest: BlobDigest, subject: Subject },
    /// The document (and its blob) gathers copies.
    Copies { key: DocumentKey, fingerprint: u64, blob: Option<BlobDigest>, stored: BTreeSet<ZhostId> },
    /// Another zhost was asked.
    Answer,
    /// Round trips are being measured to these zhosts.
    Pings(Vec<ZhostId>),
}

/// What is to be written about a blob once it is on our flash.
#[derive(Debug)]
enum Subject {
    Topology(TopologyDocument),
    Firmware(FirmwareImage),
}

#[derive(Debug)]
struct Command {
    asker: Asker,
    deadline: Instant,
    waiting: Waiting,
}

/// The commands under way.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    serial: u64,
    under_way: LiteMap<u64, Command>,
    /// Examinations that the shell is at, also those whose operator waits no more.
    examinations: usize,
}

impl Commands {
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
    /// Takes up what operators sent.
    pub(crate) fn drain_requests(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some((session, message, bytes)) = self.control.poll_request() {
            progress = true;
            let asker = Asker::Operator(session, message);
            match Request::decode(&bytes) {
                Some(request) => self.handle_request(now, asker, request),
                None => self.answer(
                    now,
                    asker,
                    Reply::Refused("the request makes no sense to this zhost; do versions differ?".into()),
                ),
            }
        }
        progress
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
    pub(crate) fn handle_answer(&mut self, now: Instant, _peer: ZhostId, serial: u64, reply: Vec<u8>) {
        if let Some(command) = self.commands.under_way.remove(&serial) {
            self.pass_on(now, command.asker, reply);
        }
    }

    fn answer(&mut self, now: Instant, asker: Asker, reply: Reply) {
        self.pass_on(now, asker, reply.encode());
    }

    /// Replies with the bytes of a reply, as it was made here or elsewhere.
    fn pass_on(&mut self, now: Instant, asker: Asker, reply: Vec<u8>) {
        match asker {
            Asker::Operator(session, message) => self.control.reply(now, session, message, reply),
            Asker::Zhost(peer, serial) => {
                self.send(now, peer, &Frame::Answer { serial, reply });
            }
        }
    }

    fn handle_request(&mut self, now: Instant, asker: Asker, request: Request) {
        if self.commands.under_way.len() >= COMMANDS_MAX {
            return self.answer(now, asker, Reply::Refused("too many commands at once; try again".into()));
        }
        if request.writes() && !self.ready {
            let reason = "this zhost is not in step with the cluster yet; wait a moment, or ask another";
            return self.answer(now, asker, Reply::Refused(reason.into()));
        }
        let outcome = match request {
            Request::TopoSubmit(bytes) => self.examine(now, asker, Kind::Package, bytes).map(|()| None),
            Request::TopoStop(name) => self.write_wanted(now, asker, &name, Wanted::Stopped).map(|()| None),
            Request::TopoDelete(name) => self.write_wanted(now, asker, &name, Wanted::Deleted).map(|()| None),
            Request::ClusterRemove(name) => self.remove_zhost(now, asker, &name).map(|()| None),
            Request::SpaceDropData(name) => self.drop_data(now, asker, &name).map(|()| None),
            Request::MeshPing(target) => self.start_pings(now, asker, target.as_deref()).map(|()| None),
            Request::FirmwarePush(bytes) => self.examine(now, asker, Kind::Firmware, bytes).map(|()| None),
            Request::FirmwareHalt if self.ledger.firmware().is_none() => {
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
            Request::Provision(_) => Err("this zhost has a cluster already".into()),
            Request::SpaceStatus(ref name)
            | Request::SpaceLogs(ref name)
            | Request::SpaceOpen(ref name)
            | Request::SpaceRestart(ref name)
            | Request::SpaceRepair(ref name) => {
                self.resolve_space(name).and_then(|key| self.ask_host_of(now, asker, &key, &request))
            }
            other => self.report(now, other).map(Some),
        };
        match outcome {
            Ok(Some(reply)) => self.answer(now, asker, reply),
            Ok(None) => {}
            Err(reason) => self.answer(now, asker, Reply::Refused(reason)),
        }
    }

    fn begin(&mut self, now: Instant, asker: Asker, within: Duration, waiting: Waiting) -> u64 {
        self.commands.serial += 1;
        self.commands
            .under_way
            .insert(self.commands.serial, Command { asker, deadline: now + within, waiting });
        self.commands.serial
    }

    /// Has examined what was sent; the rest follows when that is done.
    fn examine(&mut self, now: Instant, asker: Asker, kind: Kind, bytes: Vec<u8>) -> Result<(), String> {
        if self.commands.examinations >= EXAMINATIONS_MAX {
            return Err(format!("{EXAMINATIONS_MAX} packages are being examined already; try again"));
        }
        self.commands.examinations += 1;
        let command = self.begin(now, asker, EXAMINED_WITHIN, Waiting::Examination);
        self.output(Output::Examine(Examination { command, kind, bytes }));
        Ok(())
    }

    /// What was sent is examined.
    pub fn handle_findings(&mut self, now: Instant, findings: Findings) {
        let Findings { command, bytes, result } = findings;
        self.commands.examinations -= 1;
        // The operator may have been told that it took too long.
        let Some(Command { asker, .. }) = self.commands.under_way.remove(&command) else { return };
        let outcome = result.and_then(|found| match found {
            Found::Topology(spec) => self.submit(now, asker, &bytes, spec),
            Found::Firmware { target, version } => self.push_firmware(now, asker, &bytes, target, version),
        });
        if let Err(reason) = outcome {
            self.answer(now, asker, Reply::Refused(reason));
        }
        self.settle(now);
    }

    /// Puts a package that is found good on our flash; the document follows when it is there.
    fn submit(&mut self, now: Instant, asker: Asker, bytes: &[u8], spec: TopologySpec) -> Result<(), String> {
        let id = zhost_mex::topology_id(&spec.name);
        let key = DocumentKey::Topology(id);
        if !self.ledger.has_room_for(&key) {
            return Err(
                "the cluster remembers as many topologies as it can; deleted ones are forgotten a while \
                        after every zhost of the roster has heard of it (see `zctl cluster zhosts`)"
                    .into(),
            );
        }
        let digest = zhost_mex::digest(bytes);
        let old = self.ledger.topology(id);
        let unix_ms = self.unix_ms(now);
        let document = TopologyDocument {
            wanted: Wanted::Running,
            // Counted when it is written: something else may come first.
            revision: 0,
            deletions: 0,
            drops: Vec::new(),
            package: digest,
            package_bytes: u32::try_from(bytes.len()).map_err(|_| "the package is too large")?,
            created_unix_ms: old.filter(|old| old.is_listed()).map_or(unix_ms, |old| old.created_unix_ms),
            updated_unix_ms: unix_ms,
            spec,
        };
        if document.encoded_size_max() > DOCUMENT_SIZE_MAX_BYTES {
            return Err("the topology's description is too large; use fewer or shorter names".into());
        }
        self.keep_blob(now, asker, bytes, Subject::Topology(document));
        Ok(())
    }

    /// Puts a blob on our flash; its document follows when it is there.
    fn keep_blob(&mut self, now: Instant, asker: Asker, bytes: &[u8], subject: Subject) {
        let digest = zhost_mex::digest(bytes);
        let command = self.begin(now, asker, DURABLE_WITHIN, Waiting::Blob { digest, subject });
        let pieces = bytes.chunks(BLOB_CHUNK_SIZE_BYTES).zip(0..);
        let mut writes: Vec<_> =
            pieces.map(|(piece, index)| blob_piece_write(digest, index, Some(piece.to_vec()))).collect();
        writes.push(blob_index_write(digest, Some(bytes.len() as u32)));
        self.disk(
            DiskRequest::Commit(writes),
            Purpose::SubmittedBlob { digest, size_bytes: bytes.len() as u32, command },
        );
    }

    /// Takes an agent for boards: from now on they are to run it, those of its target.
    fn push_firmware(
        &mut self,
        now: Instant,
        asker: Asker,
        bytes: &[u8],
        target: Name,
        version: Name,
    ) -> Result<(), String> {
        let image =
            FirmwareImage { target, version, blob: zhost_mex::digest(bytes), size_bytes: bytes.len() as u32 };
        let known = self.ledger.firmware().map_or(&[][..], |firmware| &firmware.images);
        let is_new = known.iter().all(|known| known.target != image.target);
        if is_new && known.len() >= FIRMWARE_TARGETS_MAX {
            return Err(format!("the cluster knows agents for {FIRMWARE_TARGETS_MAX} targets, and no more"));
        }
        self.keep_blob(now, asker, bytes, Subject::Firmware(image));
        Ok(())
    }

    /// Writes the next word on agents.
    fn write_firmware(&mut self, now: Instant, asker: Asker, image: Option<FirmwareImage>) {
        let old = self.ledger.firmware().cloned().unwrap_or_default();
        let blob = image.as_ref().map(|image| image.blob);
        let mut document = FirmwareDocument { halted: image.is_none(), ..old };
        if let Some(image) = image {
            document.revision += 1;
            document.images.retain(|known| known.target != image.target);
            document.images.push(image);
        }
        let key = DocumentKey::Firmware;
        let document = Document::Firmware(self.ledger.next_stamp(&key, self.id), document);
        self.log(Level::Info, format!("operator: {}", document.describe()));
        self.write_for(now, asker, key, document, blob);
    }

    /// The blob of a command is on our flash, or could not be put there.
    pub(crate) fn handle_submitted_blob(
        &mut self,
        now: Instant,
        (digest, size_bytes): (BlobDigest, u32),
        command: u64,
        result: Result<DiskReply, StoreError>,
    ) {
        let Some(Command { asker, waiting: Waiting::Blob { subject, .. }, .. }) =
            self.commands.under_way.remove(&command)
        else {
            // The operator was told that it took too long; the blob is collected unless a topology refers to it.
            if result.is_ok() {
                self.complete_blob(now, digest, size_bytes);
            }
            return;
        };
        if let Err(error) = result {
            return self.answer(now, asker, Reply::Refused(format!("nothing was stored: {error}")));
        }
        self.complete_blob(now, digest, size_bytes);
        match subject {
            Subject::Topology(mut document) => {
                let id = zhost_mex::topology_id(&document.spec.name);
                document.revision = self.ledger.next_revision(id);
                document.deletions = self.ledger.next_deletions(id);
                let listed = self.ledger.topology(id).filter(|topology| topology.is_listed());
                document.drops = listed.map(|topology| topology.drops.clone()).unwrap_or_default();
                self.write_topology(now, asker, id, document, Some(digest));
            }
            Subject::Firmware(image) => self.write_firmware(now, asker, Some(image)),
        }
    }

    fn write_topology(
        &mut self,
        now: Instant,
        asker: Asker,
        id: TopologyId,
        document: TopologyDocument,
        blob: Option<BlobDigest>,
    ) {
        let key = DocumentKey::Topology(id);
        let document = Document::Topology(self.ledger.next_stamp(&key, self.id), document);
        self.log(Level::Info, format!("operator: {}", document.describe()));
        self.write_for(now, asker, key, document, blob);
    }

    fn write_for(
        &mut self,
        now: Instant,
        asker: Asker,
        key: DocumentKey,
        document: Document,
        blob: Option<BlobDigest>,
    ) {
        let fingerprint = document.fingerprint();
        let waiting = Waiting::Copies { key, fingerprint, blob, stored: BTreeSet::new() };
        self.begin(now, asker, DURABLE_WITHIN, waiting);
        if self.take_document(now, key, document, None) != Taken::New {
            self.fail_command(now, key, fingerprint);
        }
    }

    fn write_wanted(&mut self, now: Instant, asker: Asker, name: &str, wanted: Wanted) -> Result<(), String> {
        let (id, topology) = self.resolve_topology(name)?;
        let mut document = topology.clone();
        document.wanted = wanted;
        document.updated_unix_ms = self.unix_ms(now);
        if wanted == Wanted::Deleted {
            document.spec.spaces.clear();
            document.spec.paths.clear();
        }
        self.write_topology(now, asker, id, document, None);
        Ok(())
    }

    /// Has the data of a space forgotten: every zhost that has some, now or when it hears of it, drops it.
    fn drop_data(&mut self, now: Instant, asker: Asker, name: &str) -> Result<(), String> {
        let key = self.resolve_space(name)?;
        let topology = self.ledger.topology(key.topology).ok_or("its topology is gone")?;
        let keeps = |space: &SpaceSpec| space.name == key.space && space.keeps_data();
        if !topology.spec.spaces.iter().any(keeps) {
            return Err(format!("space {} does not declare data.write; it keeps nothing", key.space));
        }
        let mut document = topology.clone();
        document.drop_data(&key.space, self.disposal.life(&key));
        document.updated_unix_ms = self.unix_ms(now);
        self.log(Level::Info, format!("operator: spaces drop-data {}", key.space));
        self.write_topology(now, asker, key.topology, document, None);
        Ok(())
    }

    fn remove_zhost(&mut self, now: Instant, asker: Asker, name: &str) -> Result<(), String> {
        let (id, entry) = self.resolve_zhost(name)?;
        if self.membership.peer(id).is_some() {
            return Err(format!("zhost {name} is alive; stop it first, then remove it"));
        }
        let key = DocumentKey::Roster(id);
        let document =
            Document::Roster(self.ledger.next_stamp(&key, self.id), RosterEntry { removed: true, ..entry });
        self.log(Level::Info, format!("operator: {}", document.describe()));
        self.write_for(now, asker, key, document, None);
        Ok(())
    }

    /// A document could not be written: whoever waits for it is told.
    pub(crate) fn fail_command(&mut self, now: Instant, key: DocumentKey, fingerprint: u64) {
        let failed = self.commands.under_way.iter().find_map(|(serial, command)| match &command.waiting {
            Waiting::Copies { key: k, fingerprint: f, .. } if (*k, *f) == (key, fingerprint) => Some(*serial),
            _ => None,
        });
        if let Some(command) = failed.and_then(|serial| self.commands.under_way.remove(&serial)) {
            let reason =
                "the flash of this zhost refused it and nothing changed; see its log, or ask another zhost";
            self.answer(now, command.asker, Reply::Refused(reason.into()));
        }
    }

    /// A zhost has a document on its flash.
    pub(crate) fn note_copy(&mut self, now: Instant, holder: ZhostId, key: DocumentKey, fingerprint: u64) {
        for command in self.commands.under_way.iter_mut().map(|(_, value)| value) {
            if let Waiting::Copies { key: k, fingerprint: f, stored, .. } = &mut command.waiting
                && (*k, *f) == (key, fingerprint)
            {
                stored.insert(holder);
            }
        }
        self.check_durability(now);
    }

    /// Answers the writes that have gathered their copies, or whose time is up.
    pub(crate) fn check_durability(&mut self, now: Instant) {
        let serials: Vec<u64> = self.commands.under_way.keys().copied().collect();
        for serial in serials {
            let Some(command) = self.commands.under_way.get(&serial) else { continue };
            let Waiting::Copies { key, blob, stored, .. } = &command.waiting else { continue };
            let has_blob = |zhost: &&ZhostId| {
                blob.is_none_or(|digest| {
                    self.registry.row(**zhost, &RowKey::Blob(digest)) == Some(&Row::Blob)
                })
            };
            let durability = Durability {
                copies: stored.iter().filter(has_blob).count() as u32,
                wanted: self.ledger.roster().count().clamp(1, COPIES) as u32,
            };
            if durability.copies < durability.wanted && command.deadline > now {
                continue;
            }
            let reply = match (key, blob) {
                (DocumentKey::Topology(id), Some(_)) => self.submitted(*id, durability),
                _ => Reply::Done(durability),
            };
            let asker = command.asker;
            self.commands.under_way.remove(&serial);
            self.answer(now, asker, reply);
        }
    }

    fn submitted(&self, id: TopologyId, durability: Durability) -> Reply {
        let Some(topology) = self.ledger.topology(id) else {
            return Reply::Refused("it was deleted meanwhile".into());
        };
        Reply::Submitted(Submitted {
            id: id.to_string(),
            name: topology.spec.name.to_string(),
            state: self.topology_state(id, topology).0.as_str().into(),
            spaces: topology.spec.spaces.len() as u32,
            revision: topology.revision,
            durability,
        })
    }

    /// Answers from here if the space is here, else asks the zhost that runs it.
    fn ask_host_of(
        &mut self,
        now: Instant,
        asker: Asker,
        key: &SpaceKey,
        request: &Request,
    ) -> Result<Option<Reply>, String> {
        let host = self.host_of(key).filter(|host| *host != self.id && self.membership.peer(*host).is_some());
        match (host, asker) {
            (Some(host), Asker::Operator(..)) => {
                let serial = self.begin(now, asker, ANSWER_WITHIN, Waiting::Answer);
                self.send(now, host, &Frame::Query { serial, request: request.encode() });
                Ok(None)
            }
            _ => match request {
                // A ticket is good by the clock of the zhost that looks at it, so that one makes it.
                Request::SpaceStatus(_) | Request::SpaceLogs(_) | Request::SpaceOpen(_) => {
                    self.report(now, request.clone())
                }
                _ => self.act_on_space(now, key, request),
            }
            .map(Some),
        }
    }

    /// Does to a local space what an operator wants.
    fn act_on_space(&mut self, now: Instant, key: &SpaceKey, request: &Request) -> Result<Reply, String> {
        let name = &key.space;
        let spec = self.space_spec(key).ok_or("its topology is gone")?;
        let has_replicas = spec.replicas > 0;
        if self.host.space(key).is_none() {
            return Err(format!("space {name} is on no zhost at present; see `zctl topo status`"));
        }
        self.log(Level::Info, format!("operator: {} {name}", request.name()));
        let said = match request {
            Request::SpaceRepair(_) if !has_replicas => {
                return Err(format!("space {name} has no replicas to compare with"));
            }
            Request::SpaceRepair(_) => match self.repair_replicas(now, key) {
                0 => return Err(format!("no replica of {name} can be reached now; try again")),
                _ => "its data is compared with every replica; `zctl spaces status` shows how far it is",
            },
            _ => {
                self.restart_space(now, key);
                "it starts again"
            }
        };
        Ok(Reply::Said(format!("space {name}: {said}")))
    }

    /// Restarts the spaces of a topology, wherever they are; whoever does not hear of it is not waited for.
    fn restart_topology(&mut self, now: Instant, name: &str) -> Result<Reply, String> {
        let (id, topology) = self.resolve_topology(name)?;
        let placed = topology.spec.spaces.iter().filter(|space| space.start == Start::Placed);
        let keys: Vec<SpaceKey> =
            placed.map(|space| SpaceKey { topology: id, space: space.name.clone() }).collect();
        let mut told = 0;
        for key in keys {
            let request = Request::SpaceRestart(format!("{id}/{}", key.space));
            let Some(host) = self.host_of(&key) else { continue };
            told += 1;
            if host == self.id {
                self.restart_space(now, &key);
            } else {
                self.send(now, host, &Frame::Query { serial: 0, request: request.encode() });
            }
        }
        Ok(Reply::Said(format!("topology {name}: {told} spaces start again")))
    }

    fn start_pings(&mut self, now: Instant, asker: Asker, target: Option<&str>) -> Result<(), String> {
        let peers = match target {
            Some(name) => vec![self.resolve_zhost(name)?.0],
            None => self.membership.peers().map(|peer| peer.id).collect(),
        };
        for peer in &peers {
            self.echo(now, *peer);
        }
        self.begin(now, asker, Duration::from_millis(500), Waiting::Pings(peers));
        Ok(())
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
                Waiting::Pings(peers) => self.pings(&peers),
                Waiting::Answer => {
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
