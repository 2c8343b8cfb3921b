//! The node itself: its parts, and its inputs. How concerns are run stands in `run`, in which order consequences are
//! worked off in `dispatch`; what puts several concerns together in `documents`, `flash`, `membership`, `own` and
//! `placement`.

mod again;
mod dispatch;
mod documents;
mod flash;
mod membership;
mod own;
mod placement;
mod run;

use crate::{
    cluster::{
        clock::TimeOfDay,
        documents::Documents,
        founding::Founding,
        gossip::Gossip,
        heartbeat::{Heartbeats, Report},
        rivals::Rivals,
        solitude::{Search, Solitude},
        tombstones::Tombstones,
    },
    config::NodeConfig,
    data::{blobs::Blobs, copies::Copies, disposal::Disposal, replicas::Replicas},
    disk::{DiskRequest, Purpose, Recovered, peers_write},
    effects::Spare,
    facts::Facts,
    faults::{Faults, Part},
    firmware::Firmware,
    flash::Flash,
    input::{Input, Load},
    mesh::{links::Links, neighbours::Mesh, streams::Streams},
    operators::commands::{Asker, Commands},
    output::{Ending, Level, Outgoing, Output, Plain},
    placement::{quorum::Quorum, topology_state::Histories},
    spaces::{
        actors::Actors,
        host::Host,
        messages::Messages,
        web::{Visit, Web},
    },
    steady::Steady,
};
use litemap::LiteMap;
use std::{collections::VecDeque, net::SocketAddr, time::Duration};
use zhost_base::{Generation, Instant, Rng, TopologyId, ZhostId};
use zhost_control::protocol::{Reply, Service};
use zhost_gossip::{
    election::Election,
    ledger::Ledger,
    membership::{Membership, Peer},
    registry::Registry,
    row::{LoadBand, Row, RowKey},
};
use zhost_web::{Response, Status};

/// How long spaces have to close when the zhost shuts down.
const SHUTDOWN_MAX: Duration = Duration::from_secs(8);
/// How long a zhost that an operator ends stays to tell him so.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// One zhost.
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) facts: Facts,
    pub(crate) started_at: Instant,
    pub(crate) rng: Rng,
    pub(crate) gossip: Gossip,
    pub(crate) documents: Documents,
    /// Whether what we knew of topologies was dropped since we were taken off the roster.
    starts_over: bool,
    pub(crate) tombstones: Tombstones,
    pub(crate) blobs: Blobs,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) host: Host,
    pub(crate) actors: Actors,
    pub(crate) disposal: Disposal,
    pub(crate) replicas: Replicas,
    pub(crate) copies: Copies,
    pub(crate) quorum: Quorum,
    pub(crate) mesh: Mesh,
    pub(crate) streams: Streams,
    pub(crate) messages: Messages,
    pub(crate) web: Web,
    pub(crate) commands: Commands,
    pub(crate) firmware: Firmware,
    pub(crate) time_of_day: TimeOfDay,
    pub(crate) histories: Histories,
    pub(crate) load: Load,
    pub(crate) services: Vec<Service>,
    steady: Steady,
    pub(crate) faults: Faults,
    /// Whether what is being done belongs to no part in which faults stay: a panic ends the agent.
    is_fatal: bool,
    /// The topology that the work at hand is about, should it panic.
    about: Option<TopologyId>,
    pub(crate) solitude: Solitude,
    pub(crate) rivals: Rivals,
    /// Zhosts taken for dead so far.
    pub(crate) deaths_seen: u64,
    pub(crate) founding: Founding,
    /// Where members were when their addresses were put on flash, as read at the start.
    pub(crate) remembered: Vec<SocketAddr>,
    /// Until when we wait for a cluster that we know of.
    alone_until: Option<Instant>,
    /// When the members' addresses are put on flash, if they have changed.
    peers_write_at: Option<Instant>,
    peers_written_at: Option<Instant>,
    /// Until when changes in the registry gather.
    refresh_at: Option<Instant>,
    shutdown_by: Option<Instant>,
    finished: bool,
    ending: Ending,
    /// Until the operator who ended us has his answer.
    answers_until: Option<Instant>,
    /// What the node has acted upon last: the revisions of registry, ledger and links, and whether it was ready.
    seen: Option<(u64, u64, u64, bool)>,
    pub(crate) flash: Flash,
    spare: Spare,
    outputs: VecDeque<Outgoing>,
}

/// How a zhost looks for others of its cluster.
fn search<'a>(config: &'a NodeConfig, gossip: &Gossip) -> Search<'a> {
    Search { cluster: config.cluster.as_str(), discovers: config.discover, heard: gossip.foreign_speaker() }
}

impl Node {
    /// What an operator should know if nobody has answered for a while.
    pub(crate) fn describe_solitude(&self, now: Instant) -> Option<String> {
        self.solitude.describe(now, &self.facts, search(&self.config, &self.gossip))
    }

    /// A zhost that starts now with what it found on its flash.
    pub fn new(now: Instant, config: NodeConfig, recovered: Recovered, mut rng: Rng) -> Self {
        let id = config.id;
        let generation = recovered.generation;
        let me = Peer {
            id,
            generation,
            addrs: config.addrs.iter().copied().collect(),
            nonce: rng.number() as u32,
        };
        let has_lost = recovered.has_lost();
        let ledger = Ledger::restore(recovered.documents, recovered.horizon);
        let knows_others = ledger.roster().any(|(member, _)| member != id);
        let was_member = ledger.roster().any(|(member, _)| member == id);
        // One that has forgotten its cluster founds none before the cluster has had time to find it.
        let waits = knows_others || was_member || has_lost;
        let has_network = !config.addrs.is_empty();
        let founding = Founding::new(now, !waits, config.discover, config.join.clone(), has_network);
        let seeds = founding.seeds(&recovered.peers);
        let facts = Facts {
            id,
            generation,
            membership: Membership::new(now, me, seeds, config.broadcasts.clone(), rng.fork()),
            registry: Registry::new(id, generation),
            ledger,
            election: Election::new(id, recovered.ballot, rng.fork()),
            obeyed: LiteMap::new(),
            lost: recovered.lost,
            ready: false,
        };
        let mut node = Self {
            facts,
            started_at: now,
            gossip: Gossip::new(now),
            documents: Documents::default(),
            starts_over: false,
            tombstones: Tombstones::default(),
            blobs: Blobs::new(recovered.blobs, rng.fork()),
            heartbeats: Heartbeats::new(now, &config.timing),
            host: Host::new(rng.fork()),
            actors: Actors::new(rng.fork()),
            quorum: Quorum::new(recovered.promises),
            disposal: Disposal::new(recovered.data_lives),
            replicas: Replicas::new(rng.fork()),
            copies: Copies::new(recovered.data_versions),
            mesh: Mesh::new(Links::new(now, id)),
            streams: Streams::new(generation, rng.fork()),
            messages: Messages::default(),
            web: Web::default(),
            commands: Commands::new(generation),
            firmware: Firmware::new(now, config.slots.clone()),
            time_of_day: TimeOfDay::new(now, config.clock_trust, config.unix_origin_ms),
            histories: Histories::default(),
            load: Load::default(),
            services: Vec::new(),
            steady: Steady::default(),
            faults: Faults::default(),
            is_fatal: false,
            about: None,
            solitude: Solitude::new(now),
            rivals: Rivals::default(),
            deaths_seen: 0,
            founding,
            remembered: recovered.peers,
            alone_until: waits.then_some(now + config.timing.alone),
            peers_write_at: None,
            peers_written_at: None,
            refresh_at: None,
            shutdown_by: None,
            finished: false,
            ending: Ending::default(),
            answers_until: None,
            seen: Some((0, 0, 0, false)),
            flash: Flash::default(),
            spare: Spare::default(),
            outputs: VecDeque::new(),
            rng,
            config,
        };
        if node.facts.lost.votes {
            node.facts.election.abstain(now);
        }
        node.set_row(now, RowKey::Load, Row::Load(LoadBand::default()));
        node.run(now, Part::Data, |node, effects| node.blobs.announce(effects));
        node.settle(now);
        node
    }

    /// Who this zhost is.
    pub fn id(&self) -> ZhostId {
        self.facts.id
    }

    /// Which start of it this is.
    pub fn generation(&self) -> Generation {
        self.facts.generation
    }

    /// The clock on the wall, as far as it is set.
    pub(crate) fn unix_ms(&self, now: Instant) -> u64 {
        self.time_of_day.unix_ms(self.steady.shell_time(now).as_millis())
    }

    /// Writes a row of our own; a row that does not fit is reported, not kept.
    pub(crate) fn set_row(&mut self, now: Instant, key: RowKey, row: Row) {
        let written = self.do_fatally(|node| node.facts.registry.set(now, key.clone(), row));
        if let Err(error) = written {
            let what = match &key {
                RowKey::Space(key) => format!("of the space {}", key.space),
                RowKey::Name(_, name) => format!("of the name {name}"),
                _ => "of this zhost".into(),
            };
            self.log(Level::Warn, format!("a registry row {what} is not written: {error:?}"));
        }
    }

    pub(crate) fn log(&mut self, level: Level, text: String) {
        self.output(Output::Log(level, text));
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(Outgoing::Shell(output));
    }

    /// Says something that is sealed on its way out.
    pub(crate) fn say(&mut self, plain: Plain) {
        self.outputs.push_back(Outgoing::Plain(plain));
    }

    /// The node's own time, which stands still while the loop does not run.
    fn enter(&mut self, now: Instant) -> Instant {
        let (now, late) = self.steady.enter(now);
        if late {
            self.facts.membership.handle_late();
        }
        now
    }

    /// Takes in what happens, and works off the consequences; [`Self::poll_output`] has what is to be done then.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let now = self.enter(now);
        match input {
            Input::Timeout => self.handle_timeout(now),
            Input::Gossip(from, datagram) => self.handle_gossip(now, from, &datagram),
            Input::Foreign(from) => self.handle_foreign(from),
            Input::Requested(session, message, request) => {
                self.handle_requested(now, Asker::Operator(session, message), request);
            }
            Input::Accepted(connection, from) => {
                self.run_mesh(now, |mesh, _, _| mesh.links.handle_accepted(now, connection, from))
            }
            Input::Connected(connection) => {
                self.run_mesh(now, |mesh, _, _| mesh.links.handle_connected(connection))
            }
            Input::Received(connection, received) => {
                self.run_mesh(now, |mesh, _, _| mesh.links.handle_received(now, connection, received))
            }
            Input::Tunnel(news) => {
                self.run_mesh(now, |mesh, streams, facts| streams.handle_tunnel(now, facts, mesh, news));
            }
            Input::Closed { connection, refused } => {
                self.run_mesh(now, |mesh, _, _| mesh.links.handle_closed(now, connection, refused))
            }
            Input::Disk(token, result) => self.handle_disk(now, token, result),
            Input::Worker(event) => self.handle_worker_event(now, event),
            Input::Examined(findings) => {
                self.run(now, Part::Operators, |node, _| node.handle_findings(now, findings));
            }
            Input::Firmware(order, result) => self.run(now, Part::Firmware, |node, effects| {
                node.firmware.handle_done(&node.facts, &order, result, effects);
            }),
            Input::Resolved(found) => self.handle_resolved(now, found),
            Input::Network { addrs, broadcasts } => self.handle_network(now, &addrs, broadcasts),
            Input::Asked { id, request, good_until_s } => {
                let is_admitted = good_until_s.is_some_and(|until_s| self.unix_ms(now) / 1000 <= until_s);
                self.run(now, Part::Spaces, |node, effects| {
                    let visit = Visit { id, request: &request, is_admitted };
                    node.web.handle_visit(&node.facts, &node.messages, visit, effects);
                });
                if self.faults.is_broken(Part::Spaces) {
                    let sentence = "This zhost could not answer that; try again in a moment.";
                    let (bytes, content) = Response::sentence(Status::Unavailable, sentence).into_parts(true);
                    self.output(Output::Web { id, bytes, content, is_last: true });
                }
            }
            Input::Page(asker, address) => {
                self.run(now, Part::Operators, |node, _| {
                    node.answer(now, asker, Reply::Address(address));
                });
            }
            Input::Left(id) => self.run(now, Part::Spaces, |node, _| node.web.handle_left(id)),
            Input::Capabilities(capabilities) => self.handle_capabilities(now, capabilities),
            Input::Clock(unix_origin_ms) => self.time_of_day.handle_set(unix_origin_ms),
            Input::Load(load) => {
                self.load = load;
                self.run_cluster(now, |node, effects| {
                    node.heartbeats.handle_load(now, &node.facts, load, effects)
                });
            }
            Input::Services(services) => self.services = services,
            Input::Room { links, unproved } => {
                self.run_mesh(now, |mesh, _, _| mesh.links.handle_room(links, unproved))
            }
            Input::Shutdown => self.shut_down(now),
            #[cfg(debug_assertions)]
            Input::Planted(planted) => self.faults.plant(planted),
        }
        self.settle(now);
    }

    fn shut_down(&mut self, now: Instant) {
        if self.shutdown_by.is_none() {
            self.log(Level::Info, "shutting down: closing spaces".into());
            self.shutdown_by = Some(now + SHUTDOWN_MAX);
            self.reconcile_spaces(now);
        }
    }

    /// An operator wants this zhost to end.
    pub(crate) fn end(&mut self, now: Instant, ending: Ending) -> Reply {
        self.ending = ending;
        self.answers_until = Some(now + ANSWER_TIME);
        self.shut_down(now);
        let what = match ending {
            Ending::Restart => "begins anew",
            Ending::PowerOff => "goes without power",
        };
        Reply::Said(format!("{} closes its spaces and {what}", self.config.name))
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutdown_by.is_some()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.resolve_names(now);
        self.facts.membership.handle_timeout(now);
        self.facts.election.handle_timeout(now);
        self.faults.handle_timeout(now);
        self.run_mesh(now, |mesh, _, _| mesh.links.handle_timeout(now));
        self.run(now, Part::Mesh, |node, effects| {
            node.mesh.handle_timeout(now, &node.facts, effects);
            node.streams.handle_timeout(now, node.facts.id, &mut node.mesh);
        });
        self.mesh.links.traffic.handle_timeout(now);
        self.streams.traffic.handle_timeout(now);
        self.gossip.traffic.handle_timeout(now);
        self.facts.registry.collect_tombstones(now);
        self.gossip_timeout(now);
        self.founding_timeout(now);
        self.collect_tombstones(now);
        self.blobs_timeout(now);
        self.run_replicas(now, |replicas, here| replicas.handle_timeout(here));
        self.run(now, Part::Placement, |node, effects| node.quorum.handle_timeout(now, &node.facts, effects));
        self.run_cluster(now, |node, effects| {
            let report = Report { load: node.load, host: &node.host };
            node.heartbeats.handle_timeout(now, &node.facts, report, effects);
        });
        self.run(now, Part::Spaces, |node, effects| node.host.handle_timeout(now, &node.facts, effects));
        self.run(now, Part::Operators, |node, _| node.commands_timeout(now));
        self.run(now, Part::Firmware, |node, effects| {
            node.firmware.handle_timeout(now, &node.facts, effects)
        });
        self.run_clock(now, |time_of_day, _, (shell_ms, links), effects| {
            time_of_day.handle_timeout(now, shell_ms, links.peers(), effects);
        });
        self.run_cluster(now, |node, effects| {
            let search = search(&node.config, &node.gossip);
            node.solitude.handle_timeout(now, &node.facts, search, effects);
        });
        if self.alone_until.is_some_and(|until| until <= now) {
            self.stop_waiting();
        }
        if self.peers_write_at.is_some_and(|at| at <= now) {
            self.write_peers(now);
        }
    }

    /// Takes no part until [`Self::wait_for_cluster`].
    pub(crate) fn suspend(&mut self) {
        self.facts.ready = false;
        self.alone_until = None;
    }

    /// What we know does not count any more, until we have heard from others or heard nothing for a while.
    pub(crate) fn wait_for_cluster(&mut self, now: Instant) {
        self.facts.ready = false;
        self.alone_until = Some(now + self.config.timing.alone);
    }

    /// Nobody has told us of the cluster we know of in time.
    fn stop_waiting(&mut self) {
        self.alone_until = None;
        if !self.facts.ready && !self.facts.membership.stands_aside() {
            self.log(Level::Warn, "no zhost of the cluster answers: going on alone".into());
            self.facts.ready = true;
        }
    }

    /// Puts the members' addresses on flash, so that a site that lost power finds together again.
    fn write_peers(&mut self, now: Instant) {
        self.peers_write_at = None;
        self.peers_written_at = Some(now);
        let peers: Vec<SocketAddr> = self
            .facts
            .membership
            .peers()
            .filter_map(|peer| self.facts.membership.addr(peer.id))
            // A link-local address means nothing without the interface, whose number may be another next time.
            .filter(|addr| !matches!(addr, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local()))
            .collect();
        if !peers.is_empty() && self.gossip.remember_peers(&peers) {
            self.disk(DiskRequest::Commit(vec![peers_write(&peers)]), Purpose::Nothing);
        }
    }

    /// When [`Input::Timeout`] has something to do, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (_, why) = self.next_timeout()?;
        Some((self.steady.due()?, why))
    }

    fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.finished {
            return None;
        }
        let own = [
            self.facts.membership.poll_timeout(),
            self.facts.election.poll_timeout(),
            self.facts.registry.poll_timeout(),
            self.gossip.poll_timeout(),
            self.heartbeats.poll_timeout(),
            self.time_of_day.poll_timeout(),
            self.solitude.poll_timeout(),
            self.alone_until.map(|until| (until, "waiting for the cluster")),
            self.founding.poll_timeout(),
            self.faults.poll_timeout(),
            self.shutdown_by.map(|by| (by, "shutdown")),
            self.answers_until.map(|at| (at, "answer the operator")),
            self.peers_write_at.map(|at| (at, "remember peers")),
            self.refresh_at.map(|at| (at, "act upon changes")),
            self.documents.poll_timeout(),
            self.tombstones.poll_timeout(),
            self.mesh.links.poll_timeout(),
            self.mesh.poll_timeout(),
            self.streams.poll_timeout(),
            self.blobs.poll_timeout(),
            self.replicas.poll_timeout(),
            self.quorum.poll_timeout(),
            self.host.poll_timeout(),
            self.commands.poll_timeout(),
            self.firmware.poll_timeout(),
        ];
        own.into_iter().flatten().min()
    }

    /// What it says next.
    pub fn poll_output(&mut self) -> Option<Outgoing> {
        self.outputs.pop_front()
    }

    fn consider_finishing(&mut self, now: Instant) {
        let Some(by) = self.shutdown_by else { return };
        self.answers_until = self.answers_until.filter(|at| *at > now);
        let is_heard = self.answers_until.is_none();
        if !self.finished && is_heard && (self.host.is_empty() || by <= now) {
            self.finished = true;
            self.facts.membership.leave();
            self.drain_datagrams();
            self.output(Output::Finished(self.ending));
        }
    }
}
