//! How a part that panicked begins again: from what is known and on flash. What was under way in it is lost, and whoever
//! waits for it is told that nobody knows, here by the part itself or by the workers, elsewhere by streams that are given up.

use super::Node;
use crate::{faults::Part, output::Level, wire::Frame};
use zhost_base::{Instant, ZhostId};

impl Node {
    /// Has those parts begin again that have panicked in the input at hand, or are held no longer.
    pub(super) fn begin_broken_parts_again(&mut self, now: Instant) -> bool {
        let broken = self.faults.take_broken();
        let progress = !broken.is_empty();
        for part in broken {
            self.begin_again(now, part);
            self.log(Level::Info, format!("{} has begun again", part.name()));
            // Whatever may have been missed is acted upon anew.
            self.seen = None;
        }
        progress
    }

    fn begin_again(&mut self, now: Instant, part: Part) {
        match part {
            Part::Mesh => {
                self.run_mesh(now, |mesh, streams, facts| {
                    mesh.begin_again();
                    streams.begin_again(now, facts);
                });
                self.introduce_streams(now);
            }
            Part::Placement => self.run(now, part, |node, _| node.quorum.begin_again()),
            Part::Spaces => self.begin_spaces_again(now),
            Part::Data => {
                self.run_replicas(now, |replicas, here| replicas.begin_again(here));
                self.run(now, part, |node, effects| {
                    node.copies.begin_again(effects);
                    node.disposal.begin_again();
                    node.blobs.begin_again(effects);
                });
            }
            Part::Firmware => self.run(now, part, |node, _| node.firmware.begin_again()),
            Part::Operators => self.begin_commands_again(now),
        }
    }

    /// The spaces run on. They, and those elsewhere that they have to do with, are told that what was under way is lost.
    fn begin_spaces_again(&mut self, now: Instant) {
        self.run(now, Part::Spaces, |node, effects| {
            node.host.begin_again(&node.facts, effects);
            node.web.begin_again(effects);
            node.messages.begin_again();
        });
        self.run_actors(now, |actors, cx, effects| actors.begin_again(cx, effects));
        self.run_mesh(now, |_, streams, facts| streams.give_up_all(now, facts));
        self.introduce_streams(now);
    }

    /// The others learn from the first frame of a stream that the one before it was given up.
    fn introduce_streams(&mut self, now: Instant) {
        self.drain_streams(now);
        let digest = Frame::Ledger(self.facts.ledger.digest());
        let peers: Vec<ZhostId> = self.facts.membership.peers().map(|peer| peer.id).collect();
        for peer in peers {
            if self.streams.knows(peer) {
                self.send(now, peer, &digest);
            }
        }
    }
}
