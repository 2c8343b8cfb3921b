//! Requests to the flash, and who is told what came of them.

use super::Node;
use crate::{
    data::blobs::piece_read,
    disk::{DiskReply, DiskRequest, Purpose},
    faults::Part,
    output::{Level, Output},
};
use zhost_base::Instant;
use zhost_exchange::StoreError;

impl Node {
    /// Asks the shell for a disk operation; beyond the limit it fails at once.
    pub(crate) fn disk(&mut self, request: DiskRequest, purpose: Purpose) {
        if let Some(token) = self.flash.take(purpose) {
            self.output(Output::Disk(token, request));
        }
    }

    /// A disk request was carried out, or failed.
    pub(crate) fn handle_disk(&mut self, now: Instant, token: u64, result: Result<DiskReply, StoreError>) {
        if let Some(purpose) = self.flash.conclude(token) {
            self.conclude(now, purpose, result);
        }
    }

    /// Has those fail that were not taken.
    pub(crate) fn drain_refused(&mut self, now: Instant) -> bool {
        let refused = self.flash.take_refused();
        let progress = !refused.is_empty();
        refused.into_iter().for_each(|purpose| self.conclude(now, purpose, Err(StoreError::Busy)));
        progress
    }

    fn conclude(&mut self, now: Instant, purpose: Purpose, result: Result<DiskReply, StoreError>) {
        if let Err(error) = &result {
            self.log(Level::Warn, format!("{error} ({purpose:?})"));
        }
        match purpose {
            Purpose::Nothing => {}
            Purpose::Document(key, fingerprint) => {
                self.handle_document_written(now, key, fingerprint, result.is_ok())
            }
            Purpose::Ballot(ballot) => {
                if result.is_ok() {
                    self.facts.election.handle_ballot_stored(now, ballot);
                }
            }
            Purpose::BlobPiece { digest, last } => {
                self.handle_blob_piece_written(now, digest, last, result.is_ok())
            }
            Purpose::BlobIndex(lookup) => {
                let is_known = self.run(now, Part::Data, |node, effects| {
                    let is_known = node.blobs.handle_index(now, lookup, result, effects);
                    if is_known {
                        node.disposal.end_doubts();
                    }
                    is_known
                });
                if is_known {
                    self.refresh_disposal(now);
                    self.refresh_blobs(now);
                    self.resume_spawns(now);
                    self.reconcile_spaces(now);
                }
            }
            Purpose::SubmittedBlob { digest, size_bytes, command } => {
                // Whoever waits for it may wait no more: it is collected unless something refers to it.
                if result.is_ok() {
                    self.complete_blob(now, digest, size_bytes);
                }
                self.run(now, Part::Operators, |node, _| {
                    node.handle_submitted_blob(now, digest, command, result.map(drop));
                });
            }
            Purpose::DataScan { key, peer, session } => {
                self.run_replicas(now, |replicas, here| {
                    replicas.handle_scan(here, (key, peer, session), result);
                });
            }
            Purpose::Promise(id, floor) => {
                self.run(now, Part::Placement, |node, effects| {
                    node.quorum.handle_stored(&node.facts, id, floor, result.is_ok(), effects);
                });
            }
            Purpose::Disposal(waste) => self.handle_disposed(now, waste, result),
            Purpose::Life(waste, life) => self.handle_life_noted(now, &waste, life, result.is_ok()),
            Purpose::DataOrder { key, session } => self.run_copies(now, |copies, here, disposal| {
                copies.handle_order_done(here, disposal, key, session, result);
            }),
            Purpose::BlobRead { digest, index, peer } => {
                self.send(now, peer, &piece_read(digest, index, result));
            }
        }
    }
}
