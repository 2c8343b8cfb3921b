//! What follows from who is there: zhosts come and go, move, or run twice.

use super::Node;
use crate::{
    disk::{DiskRequest, Purpose, generation_write},
    faults::Part,
    output::Level,
    wire::Frame,
};
use std::time::Duration;
use zhost_base::{Instant, ZhostId};
use zhost_gossip::membership::{MembershipEvent, Peer};

/// How often the addresses of live members are put on flash, at most.
const PEERS_PERIOD: Duration = Duration::from_secs(60);
/// How soon after a change.
const PEERS_DELAY: Duration = Duration::from_secs(2);

impl Node {
    pub(super) fn drain_membership(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(event) = self.facts.membership.poll_event() {
            progress = true;
            match event {
                MembershipEvent::Up(peer) => self.handle_up(now, &peer),
                MembershipEvent::Down(peer) => self.handle_down(now, &peer),
                MembershipEvent::Moved(peer) => {
                    self.log(
                        Level::Info,
                        format!("zhost {} is at {} now", self.facts.zhost_name(peer), self.facts.at(peer)),
                    );
                    let addrs = self.facts.membership.addrs(peer);
                    self.run_mesh(now, |mesh, _, _| mesh.links.handle_moved(now, peer, &addrs));
                }
                MembershipEvent::Rival(_) => {
                    self.log(Level::Warn, self.facts.describe_copy());
                    self.write_profile(now);
                }
                MembershipEvent::RivalGone(other) => self.lose_rival(now, &other),
                MembershipEvent::StandAside(_) => self.stand_aside(now),
                MembershipEvent::GoOn => self.go_on(now),
                MembershipEvent::Refuted => {
                    self.log(Level::Info, "somebody does not hear us: said that we are alive".into())
                }
                MembershipEvent::AskOverLink(peer) => {
                    self.run_mesh(now, |mesh, _, _| mesh.links.ping(now, peer));
                }
                // A new link is measured as soon as it is there.
                MembershipEvent::OpenLink(peer) => self.run_mesh(now, |mesh, _, _| {
                    mesh.links.need(now, peer);
                    mesh.links.ping(now, peer);
                }),
                MembershipEvent::Regenerated(generation) => {
                    self.facts.generation = generation;
                    self.facts.registry.regenerate(generation);
                    self.run_mesh(now, |_, streams, facts| streams.renew_all(now, facts));
                    let write = generation_write(generation);
                    self.disk(DiskRequest::Commit(vec![write]), Purpose::Nothing);
                    self.log(
                        Level::Warn,
                        format!("the cluster knows later starts of this zhost: now {generation}"),
                    );
                }
            }
        }
        if progress {
            let membership = &self.facts.membership;
            self.facts.registry.retain(|id| membership.generation(id));
            self.run_mesh(now, |mesh, _, facts| mesh.refresh(now, facts));
            let earliest = self.peers_written_at.map_or(now, |at| at + PEERS_PERIOD);
            self.peers_write_at.get_or_insert(earliest.max(now + PEERS_DELAY));
        }
        progress
    }

    fn handle_up(&mut self, now: Instant, peer: &Peer) {
        let (id, generation) = (peer.id, peer.generation);
        let text = format!("zhost {id} is up at {} (start {generation})", self.facts.at(id));
        self.log(Level::Info, text);
        self.founding.handle_up(now);
        self.run_cluster(now, |node, effects| node.solitude.end(effects));
        self.gossip.hurry(now);
        self.run_mesh(now, |mesh, _, _| mesh.note_up(now, id));
        self.lose_zhost(now, id, Some(generation), false);
        self.greet(now, id);
        self.run(now, Part::Spaces, |node, effects| {
            node.actors.bonds.handle_zhost_back(id, generation, effects);
        });
    }

    /// A zhost is up. If we gave up a stream to it, it learns so from the first frame of the next.
    fn greet(&mut self, now: Instant, peer: ZhostId) {
        if self.run_mesh(now, |_, streams, facts| streams.renew(now, facts, peer)) {
            self.drain_streams(now);
            let digest = Frame::Ledger(self.facts.ledger.digest());
            self.send(now, peer, &digest);
        }
    }

    fn handle_down(&mut self, now: Instant, peer: &Peer) {
        let id = peer.id;
        self.deaths_seen += 1;
        self.run_mesh(now, |mesh, _, _| mesh.note_down(now, id));
        self.log(Level::Warn, format!("zhost {} ({id}) is down", self.facts.zhost_name(id)));
        self.run_mesh(now, |mesh, streams, facts| {
            mesh.links.drop_peer(now, id);
            streams.give_up(now, facts, id);
        });
        self.drain_streams(now);
        self.lose_zhost(now, id, None, true);
        self.run_actors(now, |actors, cx, effects| actors.bonds.handle_zhost_down(cx, id, effects));
        self.founding.handle_down(id);
        self.run(now, Part::Data, |node, _| node.blobs.handle_holder_gone(now, id));
    }

    /// The other start of us that stood aside is gone.
    fn lose_rival(&mut self, now: Instant, other: &Peer) {
        let place = other.addrs.iter().next().map_or_else(|| "-".into(), |addr| addr.to_string());
        self.log(Level::Info, format!("this zhost does not run at {place} any more"));
        self.write_profile(now);
    }

    /// Another start of us lives, and takes part in our stead.
    fn stand_aside(&mut self, now: Instant) {
        self.log(Level::Warn, self.facts.describe_copy());
        self.suspend();
        self.facts.election.retire();
        self.reconcile_spaces(now);
    }

    /// The other start of us is gone, for which we stood aside.
    fn go_on(&mut self, now: Instant) {
        self.log(Level::Warn, "this zhost runs nowhere else any more: joining again".into());
        self.wait_for_cluster(now);
    }
}
