//! The order in which one input's consequences are worked off: the parts of a node hear of each other's news until none
//! has any.

use super::Node;
use crate::{
    cluster::tombstones::{Collection, last_document},
    disk::{DiskRequest, Purpose, document_removal, horizon_write, promise_write},
    facts::Facts,
    faults::Part,
    mesh::{links::LinkOutput, streams::StreamEvent},
    output::{Level, Output, Plain},
    wire::{DataMessage, Frame, Hop},
};
use std::time::Duration;
use zhost_base::{
    Instant, TopologyId, ZhostId,
    planted::{self, Bug},
};
use zhost_gossip::{
    document::DocumentKey,
    row::{Row, RowKey},
};

/// Up to this many zhosts, every change in the registry is acted upon at once; in larger clusters changes gather for a
/// while that grows with the size.
const AT_ONCE_MAX: usize = 32;
/// How long documents gather for each zhost before they are passed on.
const GATHER: Duration = Duration::from_micros(250);
/// And how many times longer changes in the registry, since acting upon them means to look at every zhost.
const GATHER_CHANGES: u32 = 4;
/// Rounds of consequences after one input; a bound against an endless exchange with oneself.
const SETTLE_ROUNDS_MAX: usize = 64;
/// How often all of that is done if a part panics while it is sent out.
const SETTLES_MAX: usize = 4;

impl Facts {
    /// How long documents gather before they are passed on.
    pub(crate) fn gathering_time(&self) -> Duration {
        let zhosts = self.membership.peer_count();
        if zhosts < AT_ONCE_MAX { Duration::ZERO } else { GATHER * zhosts as u32 }
    }

    /// How long changes in the registry gather before they are acted upon.
    pub(crate) fn refresh_period(&self) -> Duration {
        self.gathering_time() * GATHER_CHANGES
    }

    /// Where a live member is reached, as people read it.
    pub(crate) fn at(&self, id: ZhostId) -> String {
        self.membership.addr(id).map_or_else(|| "-".into(), |addr| addr.to_string())
    }
}

impl Node {
    /// Works off the consequences of an input until nothing follows any more, and nobody has panicked over them.
    pub(crate) fn settle(&mut self, now: Instant) {
        for _ in 0..SETTLES_MAX {
            self.work_off(now);
            self.send_out(now);
            if !self.faults.is_any_broken() {
                break;
            }
        }
        self.drain_datagrams();
        self.consider_finishing(now);
        self.steady.leave(self.next_timeout().map(|(due, _)| due));
    }

    fn work_off(&mut self, now: Instant) {
        for _ in 0..SETTLE_ROUNDS_MAX {
            let mut progress = self.begin_broken_parts_again(now);
            progress |= self.drain_membership(now);
            progress |= self.drain_streams(now);
            progress |= self.drain_links(now);
            progress |= self.consider_founding(now);
            progress |= self.refresh(now);
            progress |= self.drain_refused(now);
            progress |= self.drain_election(now);
            if !progress {
                break;
            }
        }
    }

    /// Sends what has gathered while an input was worked off.
    fn send_out(&mut self, now: Instant) {
        self.send_own_changes(now);
        self.run_cluster(now, |node, effects| {
            node.documents.spread(now, &node.facts, node.mesh.links.peers(), effects);
        });
        self.run_messages(now, |messages, local| messages.flush_credits(local));
        self.drain_streams(now);
        self.run_mesh(now, |mesh, streams, facts| {
            streams.flush(now, facts, mesh);
            mesh.links.flush_all();
        });
        self.drain_links(now);
    }

    /// Recomputes what depends on registry, ledger, links or readiness, if one of them changed.
    fn refresh(&mut self, now: Instant) -> bool {
        self.start_over_if_removed(now);
        let seen = (
            self.facts.registry.revision(),
            self.facts.ledger.revision(),
            self.mesh.links.revision(),
            self.facts.ready,
        );
        if self.run(now, Part::Placement, |node, _| node.quorum.take_news()) {
            self.reconcile_topologies(now);
        }
        if self.seen == Some(seen) || self.gathers(now) {
            return false;
        }
        if self.seen.is_none_or(|(registry, .., ready)| ready != self.facts.ready || registry == 0) {
            // Who sees that we are there sees what we run, too.
            self.run(now, Part::Firmware, |node, effects| node.firmware.announce(&node.facts, effects));
            self.write_profile(now);
        }
        self.seen = Some(seen);
        self.join_roster(now);
        let view = self.facts.election_view(self.is_shutting_down());
        self.facts.election.handle_view(now, view);
        self.refresh_losses(now);
        self.run_cluster(now, |node, effects| node.rivals.refresh(&node.facts, effects));
        self.choose_super(now);
        let links = self.run_mesh(now, |mesh, _, facts| {
            mesh.refresh(now, facts);
            Some(mesh.link_row(now, facts))
        });
        links.into_iter().for_each(|links| self.set_row(now, RowKey::Links, links));
        self.tombstones.handle_ledger(now, &self.facts.ledger);
        self.resume_spawns(now);
        self.refresh_blobs(now);
        self.reconcile_topologies(now);
        self.refresh_disposal(now);
        self.reconcile_spaces(now);
        self.run_replicas(now, |replicas, here| replicas.refresh(here));
        self.run_messages(now, |messages, local| messages.refresh_targets(local));
        self.run_actors(now, |actors, cx, effects| actors.grants.refresh(cx, effects));
        let unix_ms = self.unix_ms(now);
        self.histories.record(&self.facts, unix_ms);
        self.run(now, Part::Operators, |node, _| node.check_durability(now));
        self.refresh_firmware(now);
        true
    }

    /// Reports to the super that is the best for us, at once if it is another one.
    fn choose_super(&mut self, now: Instant) {
        let chosen = self.facts.best_super();
        if chosen == self.facts.super_node() {
            return;
        }
        match chosen {
            Some(id) => {
                self.set_row(now, RowKey::Super, Row::Super(id));
                self.heartbeats.report_now(now);
            }
            None => self.facts.registry.remove(now, &RowKey::Super),
        }
    }

    /// Announces and forgets deleted topologies, if it is time.
    pub(super) fn collect_tombstones(&mut self, now: Instant) {
        if !self.tombstones.handle_timeout(now) {
            return;
        }
        let leads = self.facts.leadership().is_some_and(|leadership| leadership.full);
        let coordinates = |id| leads && self.facts.coordinator_of(id) == Some(self.facts.id);
        let is_excused =
            |zhost| planted::has(Bug::ForgetEarly) && self.facts.membership.peer(zhost).is_none();
        let must_agree = |zhost| zhost != self.facts.id && !is_excused(zhost);
        for collection in self.tombstones.due(now, &self.facts.ledger, coordinates, must_agree) {
            match collection {
                Collection::Announce(id) => {
                    if let Some(last) = last_document(&self.facts.ledger, id, self.facts.id) {
                        self.take_document(now, DocumentKey::Topology(id), last, None);
                    }
                }
                Collection::Forget(id) => self.forget_topology(id),
            }
        }
    }

    fn forget_topology(&mut self, id: TopologyId) {
        let dropped = self.facts.ledger.forget(id);
        let mut writes: Vec<_> = dropped.iter().map(document_removal).collect();
        writes.push(horizon_write(self.facts.ledger.horizon()));
        writes.push(promise_write(id, None));
        self.disk(DiskRequest::Commit(writes), Purpose::Nothing);
    }

    /// Whether changes are to gather before they are acted upon.
    fn gathers(&mut self, now: Instant) -> bool {
        let period = self.facts.refresh_period();
        if period.is_zero() {
            self.refresh_at = None;
            return false;
        }
        let due = *self.refresh_at.get_or_insert(now + period);
        if due <= now {
            self.refresh_at = None;
        }
        due > now
    }

    fn drain_links(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(output) = self.mesh.links.poll_output() {
            match output {
                LinkOutput::Connect(connection, addr) => self.output(Output::Connect(connection, addr)),
                LinkOutput::Write(connection, frames) => self.say(Plain::Frames(connection, frames)),
                LinkOutput::Close(connection) => self.output(Output::Close(connection)),
                LinkOutput::Up(peer) => {
                    self.log(Level::Debug, format!("link to {} is open", self.facts.zhost_name(peer)));
                    self.handle_link_up(now, peer);
                    progress = true;
                }
                LinkOutput::Down(peer) => {
                    self.log(Level::Debug, format!("link to {} is gone", self.facts.zhost_name(peer)));
                    self.run_mesh(now, |_, streams, _| streams.wake());
                    progress = true;
                }
                LinkOutput::Hop(peer, hop) => {
                    self.handle_hop(now, peer, hop);
                    progress = true;
                }
                LinkOutput::Answered(peer) => {
                    self.facts.membership.handle_link_answer(now, peer);
                    self.run(now, Part::Operators, |node, _| node.answer_about_links(now));
                }
                LinkOutput::Refused(peer) => self.facts.membership.handle_refused(now, peer),
                LinkOutput::Trouble(addr, error) => self.note_stranger(addr, &error.to_string()),
            }
        }
        while let Some(order) = self.streams.poll_order() {
            self.say(Plain::Tunnel(order));
        }
        progress
    }

    /// Something came over a link.
    fn handle_hop(&mut self, now: Instant, peer: ZhostId, hop: Hop) {
        if self.facts.membership.stands_aside() {
            return;
        }
        match hop {
            Hop::Parcel(parcel) => self.run_mesh(now, |_, streams, facts| {
                streams.handle_parcel(now, facts, peer, parcel);
            }),
            Hop::Relay(relayed) => self.run_mesh(now, |mesh, streams, facts| {
                streams.handle_relayed(facts, mesh, peer, relayed);
            }),
            Hop::NoRoute(no_route) => self.run_mesh(now, |mesh, streams, facts| {
                streams.handle_no_route(now, facts, mesh, no_route);
            }),
            Hop::Gossip(datagram) => self.handle_gossip_over_link(now, peer, &datagram),
            Hop::Summary { readiness, members, registry, ledger } => {
                self.handle_summary(now, peer, readiness, (members, registry, ledger));
            }
            Hop::Members(rumours) => self.facts.membership.handle_rumours(now, peer, rumours),
            Hop::Registry(message) => self.handle_registry_over_link(peer, message),
            Hop::Clock { unix_ms, trust } => {
                self.run_clock(now, |time_of_day, facts, (shell_ms, links), effects| {
                    let word = (peer, unix_ms, trust);
                    time_of_day.handle_told(facts, word, shell_ms, links.peers(), effects);
                });
            }
            // Links answer these themselves.
            Hop::Ping(_) | Hop::Pong(_) => {}
        }
        self.drain_streams(now);
    }

    pub(super) fn drain_streams(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(event) = self.streams.poll_event() {
            progress = true;
            match event {
                StreamEvent::Abandoned(peer, abandoned) => {
                    self.run_messages(now, |messages, local| {
                        messages.handle_abandoned(local, peer, &abandoned);
                    });
                    // If it lives on, nobody else would say that what was under way to it is lost.
                    if self.facts.membership.peer(peer).is_some() {
                        self.lose_zhost(now, peer, None, false);
                    }
                }
                StreamEvent::Reopened(peer) => {
                    self.run_messages(now, |messages, local| messages.reopen_windows(local, peer));
                    self.lose_zhost(now, peer, None, false);
                }
                StreamEvent::Frame(peer, frame) => self.handle_frame(now, peer, frame),
                StreamEvent::Unknown(peer) => {
                    self.log(Level::Warn, format!("zhost {peer} sent a frame of another version"));
                }
            }
        }
        progress
    }

    /// Something came in the stream of another zhost.
    pub(crate) fn handle_frame(&mut self, now: Instant, peer: ZhostId, frame: Frame) {
        match frame.topology() {
            Some(topology) => self.do_about(topology, |node| node.take_frame(now, peer, frame)),
            None => self.take_frame(now, peer, frame),
        }
    }

    fn take_frame(&mut self, now: Instant, peer: ZhostId, frame: Frame) {
        match frame {
            Frame::Heartbeat(heartbeat) => self.heartbeats.handle_heartbeat(now, peer, &heartbeat),
            Frame::Ledger(message) => self.handle_ledger(now, peer, message),
            Frame::BlobRequest { digest, index } => {
                let may_read = self.flash.may_read_for(peer);
                self.run(now, Part::Data, |node, effects| {
                    node.blobs.handle_request(peer, digest, index, may_read, effects);
                });
            }
            Frame::BlobPiece { digest, index, bytes } => self.run(now, Part::Data, |node, effects| {
                node.blobs.handle_piece(now, peer, digest, (index, bytes), effects);
            }),
            Frame::Channel { channel, to, sender, flow } => {
                self.run(now, Part::Spaces, |node, _| {
                    node.messages.handle_channel(&node.facts, (peer, channel), to, sender, flow);
                });
            }
            Frame::Actor(topology, actor_message) => self.run_actors(now, |actors, cx, effects| {
                actors.handle_message(cx, peer, topology, actor_message, effects);
            }),
            Frame::Messages { channel, payloads } => self.run_messages(now, |messages, local| {
                messages.handle_messages(local, peer, channel, payloads);
            }),
            Frame::Returned { topology, flow, messages, bytes } => {
                let amount = (messages, bytes);
                self.run_messages(now, |messages, local| {
                    messages.handle_returned(local, peer, topology, &flow, amount);
                });
            }
            Frame::Credit { topology, flow, messages, bytes } => {
                let amount = (messages, bytes);
                self.run_messages(now, |messages, local| {
                    messages.handle_credit(local, peer, topology, &flow, amount);
                });
            }
            Frame::Prepare { serial, topology, floor } => {
                self.run(now, Part::Placement, |node, effects| {
                    node.quorum.handle_prepare(&node.facts, peer, serial, topology, floor, effects);
                });
            }
            Frame::Promise { serial, kept, floor } => {
                self.run(now, Part::Placement, |node, effects| {
                    node.quorum.handle_promise(&node.facts, peer, serial, kept, floor, effects);
                });
            }
            Frame::Data(key, DataMessage::Part { session, last, bytes }) => {
                self.run_copies(now, |copies, here, disposal| {
                    copies.take_part(here, disposal, (peer, key), session, (last, bytes));
                });
            }
            Frame::Data(key, DataMessage::Done { session, order, same }) => {
                self.run_replicas(now, |replicas, here| {
                    replicas.handle_done(here, peer, &key, session, (order, same));
                });
            }
            Frame::Data(key, DataMessage::Refused { session }) => {
                self.run_replicas(now, |replicas, here| replicas.handle_refused(here, peer, &key, session));
            }
            Frame::Query { serial, request } => self.run(now, Part::Operators, |node, _| {
                node.handle_query(now, peer, serial, &request);
            }),
            Frame::Answer { serial, reply } => self.run(now, Part::Operators, |node, _| {
                node.handle_answer(now, peer, serial, reply);
            }),
        }
    }
}
