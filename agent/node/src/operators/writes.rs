//! What operators have written down for the whole cluster: packages, agents, what is wanted, who belongs to it.
//!
//! What comes as bytes is examined first, then put on our flash; the document that refers to it follows. The operator is
//! answered once enough zhosts have that on their flash, or told how far it came.

use crate::{
    disk::{DiskRequest, Purpose, blob_index_write, blob_piece_write},
    facts::Facts,
    node::Node,
    operators::{
        commands::{Asker, Command, Subject, Waiting},
        examination::{Examination, Findings, Found, Kind},
    },
    output::{Level, Output},
};
use std::{collections::BTreeSet, time::Duration};
use zhost_base::{
    BlobDigest, Instant, Name, SpaceSpec, TopologyId, TopologySpec, ZhostId,
    limits::{BLOB_CHUNK_SIZE_BYTES, COPIES, DOCUMENT_SIZE_MAX_BYTES, FIRMWARE_TARGETS_MAX},
};
use zhost_control::protocol::{Durability, Reply, Submitted};
use zhost_exchange::StoreError;
use zhost_gossip::{
    document::{
        Document, DocumentKey, FirmwareDocument, FirmwareImage, RosterEntry, TopologyDocument, Wanted,
    },
    ledger::Taken,
    row::{Row, RowKey},
};

/// How long a write may gather copies before its answer says how far it came.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);
/// How long the examination of what was sent may take; `zctl` waits for this and what follows.
const EXAMINED_WITHIN: Duration = Duration::from_secs(15);
/// Packages and agents that are examined, or on their way to the flash, at once; further ones are refused.
const EXAMINATIONS_MAX: usize = 4;

impl Facts {
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
}

impl Node {
    /// Has examined what was sent; the rest follows when that is done.
    pub(crate) fn examine(
        &mut self,
        now: Instant,
        asker: Asker,
        kind: Kind,
        bytes: Vec<u8>,
    ) -> Result<(), String> {
        if self.commands.examinations.len() + self.flash.submitted() >= EXAMINATIONS_MAX {
            return Err(format!("{EXAMINATIONS_MAX} packages are being examined or kept already; try again"));
        }
        let command = self.commands.begin(asker, now + EXAMINED_WITHIN, Waiting::Examination);
        self.commands.examinations.insert(command);
        self.output(Output::Examine(Examination { command, kind, bytes }));
        Ok(())
    }

    /// What was sent is examined.
    pub(crate) fn handle_findings(&mut self, now: Instant, findings: Findings) {
        let Findings { command, bytes, result } = findings;
        // What was given up may come all the same, late.
        if !self.commands.examinations.remove(&command) {
            return;
        }
        // The operator may have been told that it took too long.
        let Some(Command { asker, .. }) = self.commands.under_way.remove(&command) else { return };
        let outcome = result.and_then(|found| match found {
            Found::Topology(spec) => self.submit(now, asker, &bytes, spec),
            Found::Firmware { target, version } => self.push_firmware(now, asker, &bytes, target, version),
        });
        if let Err(reason) = outcome {
            self.answer(now, asker, Reply::Refused(reason));
        }
    }

    /// Puts a package that is found good on our flash; the document follows when it is there.
    fn submit(&mut self, now: Instant, asker: Asker, bytes: &[u8], spec: TopologySpec) -> Result<(), String> {
        let id = zhost_mex::topology_id(&spec.name);
        let key = DocumentKey::Topology(id);
        if !self.facts.ledger.has_room_for(&key) {
            return Err(
                "the cluster remembers as many topologies as it can; deleted ones are forgotten a while \
                        after every zhost of the roster has heard of it (see `zctl cluster zhosts`)"
                    .into(),
            );
        }
        let digest = zhost_mex::digest(bytes);
        let old = self.facts.ledger.topology(id);
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
        let command = self.commands.begin(asker, now + DURABLE_WITHIN, Waiting::Blob { digest, subject });
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
        let known = self.facts.ledger.firmware().map_or(&[][..], |firmware| &firmware.images);
        let is_new = known.iter().all(|known| known.target != image.target);
        if is_new && known.len() >= FIRMWARE_TARGETS_MAX {
            return Err(format!("the cluster knows agents for {FIRMWARE_TARGETS_MAX} targets, and no more"));
        }
        self.keep_blob(now, asker, bytes, Subject::Firmware(image));
        Ok(())
    }

    /// Writes the next word on agents.
    pub(crate) fn write_firmware(&mut self, now: Instant, asker: Asker, image: Option<FirmwareImage>) {
        let old = self.facts.ledger.firmware().cloned().unwrap_or_default();
        let blob = image.as_ref().map(|image| image.blob);
        let mut document = FirmwareDocument { halted: image.is_none(), ..old };
        if let Some(image) = image {
            document.revision += 1;
            document.images.retain(|known| known.target != image.target);
            document.images.push(image);
        }
        let key = DocumentKey::Firmware;
        let document = Document::Firmware(self.facts.ledger.next_stamp(&key, self.facts.id), document);
        self.log(Level::Info, format!("operator: {}", document.describe()));
        self.write_for(now, asker, key, document, blob);
    }

    /// The blob of a command is on our flash, or could not be put there.
    pub(crate) fn handle_submitted_blob(
        &mut self,
        now: Instant,
        digest: BlobDigest,
        command: u64,
        result: Result<(), StoreError>,
    ) {
        let Some(Command { asker, waiting: Waiting::Blob { subject, .. }, .. }) =
            self.commands.under_way.remove(&command)
        else {
            // The operator was told that it took too long.
            return;
        };
        if let Err(error) = result {
            return self.answer(now, asker, Reply::Refused(format!("nothing was stored: {error}")));
        }
        match subject {
            Subject::Topology(mut document) => {
                let id = zhost_mex::topology_id(&document.spec.name);
                document.revision = self.facts.ledger.next_revision(id);
                document.deletions = self.facts.ledger.next_deletions(id);
                let listed = self.facts.ledger.topology(id).filter(|topology| topology.is_listed());
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
        let document = Document::Topology(self.facts.ledger.next_stamp(&key, self.facts.id), document);
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
        self.commands.begin(asker, now + DURABLE_WITHIN, waiting);
        if self.take_document(now, key, document, None) != Taken::New {
            self.fail_command(now, key, fingerprint);
        }
    }

    pub(crate) fn write_wanted(
        &mut self,
        now: Instant,
        asker: Asker,
        name: &str,
        wanted: Wanted,
    ) -> Result<(), String> {
        let (id, topology) = self.facts.resolve_topology(name)?;
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
    pub(crate) fn drop_data(&mut self, now: Instant, asker: Asker, name: &str) -> Result<(), String> {
        let key = self.facts.resolve_space(name)?;
        let topology = self.facts.ledger.topology(key.topology).ok_or("its topology is gone")?;
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

    pub(crate) fn remove_zhost(&mut self, now: Instant, asker: Asker, name: &str) -> Result<(), String> {
        let (id, entry) = self.facts.resolve_zhost(name)?;
        if self.facts.membership.peer(id).is_some() {
            return Err(format!("zhost {name} is alive; stop it first, then remove it"));
        }
        let key = DocumentKey::Roster(id);
        let document = Document::Roster(
            self.facts.ledger.next_stamp(&key, self.facts.id),
            RosterEntry { removed: true, ..entry },
        );
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
                    self.facts.registry.row(**zhost, &RowKey::Blob(digest)) == Some(&Row::Blob)
                })
            };
            // One that was taken off the roster since will not bring its copy back.
            let copies =
                stored.iter().filter(|zhost| !self.facts.ledger.was_removed(**zhost)).filter(has_blob);
            let durability = Durability {
                copies: copies.count() as u32,
                wanted: self.facts.ledger.roster().count().clamp(1, COPIES) as u32,
            };
            if durability.copies < durability.wanted && command.deadline > now {
                continue;
            }
            let reply = match (key, blob) {
                (DocumentKey::Topology(id), Some(_)) => self.facts.submitted(*id, durability),
                _ => Reply::Done(durability),
            };
            let asker = command.asker;
            self.commands.under_way.remove(&serial);
            self.answer(now, asker, reply);
        }
    }
}
