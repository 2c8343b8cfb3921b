//! What operators are told: read from registry, ledger and the local spaces, without side effects.

use crate::{
    facts::Facts,
    faults::Part,
    node::Node,
    operators::lookup::{self, Kind, Named},
    spaces::{host::LocalSpace, messages::MAILBOX_MAX_MESSAGES},
};
use litemap::LiteMap;
use std::net::SocketAddr;
use zhost_base::{Instant, SpaceKey, SpaceSpec, TopologyId, ZhostId};
use zhost_control::protocol::{
    Budget, Cluster, Ending, LogLine, Mesh, Peer, Ping, PlacementLine, Reply, Request, RouteLine, SentLine,
    Service, Space, SpaceDetail, Status, Topology, TopologyLine, Transition, Zhost,
};
use zhost_exchange::Report;
use zhost_gossip::{
    document::{Home, RosterEntry, TopologyDocument},
    row::{Row, RowKey, SpaceState},
};

const TOPOLOGY: Kind = Kind { one: "topology", several: "topologies", list: "zctl topo list" };
const ZHOST: Kind = Kind { one: "zhost", several: "zhosts", list: "zctl cluster zhosts" };
const SPACE: Kind = Kind { one: "space", several: "spaces", list: "zctl spaces" };

/// Log lines that `spaces status` shows.
const LOG_TAIL_LINES: usize = 5;

fn id_or_dash(zhost: Option<ZhostId>) -> String {
    zhost.map_or_else(|| "-".into(), |id| id.to_string())
}

fn describe_report(report: &Report) -> String {
    let health = if report.healthy { "healthy" } else { "not well" };
    let text = if report.text.is_empty() { String::new() } else { format!(": {}", report.text) };
    format!("{health}, {} % busy{text}", report.saturation_percent)
}

/// What a space uses, and may use; beside messages of paths, `others` wait in its mailbox.
fn budgets(now: Instant, spec: &SpaceSpec, space: &LocalSpace, others: u32) -> Vec<Budget> {
    let budget = |what: &str, used: u64, limit: Option<u64>| Budget { what: what.into(), used, limit };
    let fuel_limit = Some(spec.fuel_per_second).filter(|limit| *limit > 0);
    vec![
        budget("memory, KiB", space.usage.memory_bytes / 1024, Some(u64::from(spec.memory_bytes / 1024))),
        budget(
            "fuel, thousands per second",
            space.fuel_per_second(now) / 1000,
            fuel_limit.map(|limit| limit / 1000),
        ),
        budget("mailbox, messages of paths", u64::from(space.mailbox), Some(u64::from(MAILBOX_MAX_MESSAGES))),
        budget("mailbox, calls and messages to the pid", u64::from(others), None),
        budget(
            "storage, KiB",
            space.usage.storage_bytes.div_ceil(1024),
            Some(u64::from(spec.storage_bytes / 1024)),
        ),
        budget("log lines dropped", space.usage.logs_dropped, None),
    ]
}

impl Facts {
    pub(crate) fn resolve_topology(&self, name: &str) -> Result<(TopologyId, &TopologyDocument), String> {
        let all = self.ledger.topologies().map(|(id, topology)| Named {
            name: topology.spec.name.to_string(),
            id: id.to_string(),
            thing: (id, topology),
        });
        lookup::find(&TOPOLOGY, name, all)
    }

    pub(crate) fn resolve_zhost(&self, name: &str) -> Result<(ZhostId, RosterEntry), String> {
        let all = self.ledger.roster().map(|(id, entry)| Named {
            name: entry.name.to_string(),
            id: id.to_string(),
            thing: (id, entry.clone()),
        });
        lookup::find(&ZHOST, name, all)
    }

    /// The space called `space` or `topology/space`.
    pub(crate) fn resolve_space(&self, name: &str) -> Result<SpaceKey, String> {
        let (topology, space) = match name.split_once('/') {
            Some((topology, space)) => (Some(self.resolve_topology(topology)?.0), space),
            None => (None, name),
        };
        let mut found = self
            .ledger
            .topologies()
            .filter(|(id, _)| topology.is_none_or(|wanted| *id == wanted))
            .filter_map(|(id, t)| {
                let space = t.spec.spaces.iter().find(|declared| declared.name.as_str() == space)?;
                Some(SpaceKey { topology: id, space: space.name.clone() })
            });
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => {
                Err(format!("several topologies have a space '{name}'; write it as topology/space"))
            }
            (None, _) => Err(self.no_space(topology, space)),
        }
    }

    /// That a space is not there, neither in this topology nor in another.
    fn no_space(&self, topology: Option<TopologyId>, meant: &str) -> String {
        let wanted = self.ledger.topologies().filter(|(id, _)| topology.is_none_or(|wanted| *id == wanted));
        let spaces = wanted.flat_map(|(_, topology)| &topology.spec.spaces);
        let all = spaces.map(|space| Named { name: space.name.to_string(), id: String::new(), thing: () });
        lookup::find(&SPACE, meant, all).err().unwrap_or_default()
    }

    /// The zhost that runs a space, or is meant to.
    pub(crate) fn host_of(&self, key: &SpaceKey) -> Option<ZhostId> {
        let row_key = RowKey::Space(key.clone());
        let by_row =
            self.registry.owners().map(|(id, _)| id).find(|id| self.registry.row(*id, &row_key).is_some());
        by_row.or_else(|| {
            let index = self.spec_of(key)?.spaces.iter().position(|space| space.name == key.space)?;
            match self.obeyed_placement(key.topology)?.homes.get(index)? {
                Home::On(id) => Some(*id),
                Home::Nowhere(_) | Home::OnDemand => None,
            }
        })
    }

    fn zhosts(&self, _now: Instant) -> Vec<Zhost> {
        let mut zhosts: Vec<Zhost> = self.ledger.roster().map(|(id, _)| self.zhost(id)).collect();
        zhosts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        zhosts
    }

    fn zhost(&self, id: ZhostId) -> Zhost {
        let profile = self.profile(id);
        let state = match self.membership.peer(id) {
            None => "dead",
            Some(_) if self.is_judged_failed(id) => "failed",
            Some(_) => "alive",
        };
        let super_id = match self.registry.row(id, &RowKey::Super) {
            Some(Row::Super(super_node)) => Some(*super_node),
            _ => None,
        };
        let spaces = self.registry.rows_of(id).filter(|(key, _)| matches!(key, RowKey::Space(_))).count();
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        Zhost {
            name: self.zhost_name(id),
            id: id.to_string(),
            role: if self.is_super(id) && state == "alive" { "super" } else { "local" }.into(),
            state: state.into(),
            region: text(profile.map(|profile| profile.region.to_string())),
            super_node: self.name_or_dash(super_id),
            super_id: id_or_dash(super_id),
            spaces: spaces as u32,
            capabilities: profile
                .map(|p| p.capabilities.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            addr: self.at(id),
            control_addr: text(
                profile.and_then(|p| self.completed(id, p.control_addr?)).map(|addr| addr.to_string()),
            ),
            conflict: self.describe_rival(id),
        }
    }

    /// A service of a live zhost with an address, if it is at all that the zhost has.
    pub(crate) fn completed(&self, id: ZhostId, service: SocketAddr) -> Option<SocketAddr> {
        match service.ip().is_unspecified() {
            true => Some(SocketAddr::new(self.membership.addr(id)?.ip(), service.port())),
            false => Some(service),
        }
    }

    fn name_or_dash(&self, zhost: Option<ZhostId>) -> String {
        zhost.map_or_else(|| "-".into(), |id| self.zhost_name(id))
    }

    /// The way to a zhost as people read it.
    fn path(&self, route: &[ZhostId]) -> String {
        route.iter().map(|id| self.zhost_name(*id)).collect::<Vec<_>>().join(" -> ")
    }

    fn spaces(&self) -> Vec<Space> {
        let rows = self.registry.rows().filter_map(|(owner, key, row)| match (key, row) {
            (RowKey::Space(key), Row::Space(row)) => Some((owner, key, row)),
            _ => None,
        });
        let spaces = rows.map(|(owner, key, row)| Space {
            space: key.space.to_string(),
            zhost: self.zhost_name(owner),
            zhost_id: owner.to_string(),
            topology: self
                .ledger
                .topology(key.topology)
                .map_or_else(|| "-".into(), |t| t.spec.name.to_string()),
            state: row.state.as_str().into(),
            restarts: row.restarts,
        });
        let mut spaces: Vec<Space> = spaces.collect();
        spaces.sort_by(|a, b| (&a.topology, &a.space, &a.zhost).cmp(&(&b.topology, &b.space, &b.zhost)));
        spaces
    }

    fn topologies(&self) -> Vec<TopologyLine> {
        let line = |(id, topology): (TopologyId, &TopologyDocument)| {
            let lines = self.placement_lines(id, topology);
            TopologyLine {
                id: id.to_string(),
                name: topology.spec.name.to_string(),
                version: topology.spec.version.to_string(),
                state: self.topology_state(id, topology).0.as_str().into(),
                running: lines.iter().filter(|line| line.state == SpaceState::Running.as_str()).count()
                    as u32,
                spaces: topology.spec.spaces.len() as u32,
            }
        };
        self.ledger.topologies().map(line).collect()
    }

    fn placement_lines(&self, id: TopologyId, topology: &TopologyDocument) -> Vec<PlacementLine> {
        let line = |space: &zhost_base::SpaceSpec| {
            let key = SpaceKey { topology: id, space: space.name.clone() };
            let host = self.host_of(&key);
            let row = host.and_then(|host| self.space_row(host, &key));
            PlacementLine {
                space: space.name.to_string(),
                zhost: self.name_or_dash(host),
                zhost_id: id_or_dash(host),
                state: match row {
                    Some(row) => row.state.as_str().into(),
                    None if space.start == zhost_base::Start::Spawned => "on demand".into(),
                    None => "-".into(),
                },
            }
        };
        topology.spec.spaces.iter().map(line).collect()
    }
}

impl Node {
    /// Answers a request that needs nobody else and changes nothing.
    pub(crate) fn report(&self, now: Instant, request: Request) -> Result<Reply, String> {
        Ok(match request {
            Request::Status => Reply::Status(self.status(now)),
            Request::Cluster => Reply::Cluster(self.cluster()),
            Request::Zhosts => Reply::Zhosts(self.facts.zhosts(now)),
            Request::Mesh => Reply::Mesh(self.mesh(now)),
            Request::MeshRoutes => Reply::Routes(self.routes_report()),
            Request::MeshSpaces | Request::Spaces => Reply::Spaces(self.facts.spaces()),
            Request::FirmwareStatus => Reply::Firmware(self.facts.firmware_status()),
            Request::TopoList => Reply::Topologies(self.facts.topologies()),
            Request::TopoStatus(name) => {
                let (id, topology) = self.facts.resolve_topology(&name)?;
                Reply::Topology(self.topology_report(id, topology))
            }
            Request::SpaceStatus(name) => {
                Reply::Space(self.space_detail(now, &self.facts.resolve_space(&name)?)?)
            }
            Request::SpaceLogs(name) => Reply::Logs(self.space_logs(&self.facts.resolve_space(&name)?)),
            _ => return Err("this request cannot be answered from a report".into()),
        })
    }

    fn describe_spaces(&self) -> String {
        let (running, spawned) = (self.host.running().count(), self.host.spawned());
        match spawned {
            0 => format!("{running} spaces"),
            spawned => format!("{running} spaces, {spawned} of them spawned by others"),
        }
    }

    fn describe_membership(&self) -> String {
        let (alive, roster) = (self.facts.membership.peer_count() + 1, self.facts.ledger.roster().count());
        let term = self.facts.leadership().map_or(0, |leadership| leadership.term);
        format!("{alive} alive of {roster}, term {term}")
    }

    fn describe_data(&self) -> String {
        let (replicated, packages) = (self.host.replicated(&self.facts).len(), self.blobs.count());
        format!("{packages} packages, {replicated} spaces whose data others keep, too")
    }

    /// The state of a part, if it is not as usual, and what has befallen it.
    pub(crate) fn describe_part(&self, now: Instant, part: Part) -> (Option<String>, String) {
        let name =
            |id| self.facts.ledger.topology(id).map_or_else(|| format!("{id}"), |t| t.spec.name.to_string());
        self.faults.describe(now, part, name)
    }

    fn status(&self, now: Instant) -> Status {
        let mode = if self.facts.is_super(self.facts.id) { "super" } else { "local" };
        let states: Vec<_> =
            self.facts.ledger.topologies().map(|(id, t)| self.facts.topology_state(id, t).0).collect();
        let running = states.iter().filter(|state| **state == crate::TopologyState::Running).count();
        let ready = if self.facts.ready { "ok" } else { "waiting for the cluster" };
        let service = |name: &str, state: &str, detail: String| Service {
            name: name.into(),
            state: state.into(),
            detail,
        };
        let part = |part: Part, state: &str, detail: String| {
            let (trouble, fault) = self.describe_part(now, part);
            let state = trouble.unwrap_or_else(|| state.into());
            Service { name: part.name().into(), state, detail: detail + &fault }
        };
        Status {
            zhost: self.facts.zhost_name(self.facts.id),
            id: self.facts.id.to_string(),
            version: self.config.version.to_string(),
            generation: self.facts.generation.0,
            role: mode.into(),
            uptime_ms: now.since(self.started_at).as_millis() as u64,
            resident_kib: self.load.resident_kib,
            services: vec![
                service("zmesh-controlplane", ready, self.describe_membership()),
                self.mesh_service(now, mode, ready),
                part(Part::Placement, ready, format!("topologies {running}/{} running", states.len())),
                part(Part::Spaces, "ok", self.describe_spaces()),
                part(Part::Data, "ok", self.describe_data()),
                part(Part::Firmware, "ok", format!("runs {}", self.config.version)),
                part(Part::Operators, "ok", format!("{} commands under way", self.commands.count())),
                service("ledger", if self.facts.lost == Default::default() { "ok" } else { "lost" }, {
                    let documents = self.facts.ledger.documents().count();
                    let losses =
                        self.facts.describe_losses().map_or(String::new(), |losses| format!("; {losses}"));
                    format!("{documents} documents{losses}")
                }),
            ]
            .into_iter()
            .chain(self.services.iter().cloned())
            .collect(),
        }
    }

    fn mesh_service(&self, now: Instant, mode: &str, ready: &str) -> Service {
        let rival =
            self.facts.describe_rival(self.facts.id).map(|sentence| ("runs twice", format!("; {sentence}")));
        let solitude = || self.describe_solitude(now).map(|sentence| ("no answer", format!("; {sentence}")));
        let (held, fault) = self.describe_part(now, Part::Mesh);
        let trouble = rival.or_else(solitude);
        let (state, more) = match trouble {
            Some(trouble) => trouble,
            None if self.mesh.looks_cut => ("may be cut off", String::new()),
            None => (ready, String::new()),
        };
        let detail = format!("mode {mode}, {} links{more}{fault}", self.mesh.links.peers().count());
        let state = held.unwrap_or_else(|| state.into());
        Service { name: Part::Mesh.name().into(), state, detail }
    }

    fn cluster(&self) -> Cluster {
        let mut topologies: LiteMap<&str, u32> = LiteMap::new();
        for (id, topology) in self.facts.ledger.topologies() {
            *topologies.entry(self.facts.topology_state(id, topology).0.as_str()).or_default() += 1;
        }
        let leadership = self.facts.leadership();
        Cluster {
            name: self.config.cluster.to_string(),
            term: leadership.map_or(0, |leadership| leadership.term),
            full: leadership.is_some_and(|leadership| leadership.full),
            supers: leadership
                .map(|leadership| leadership.supers.iter().map(|id| self.facts.zhost_name(*id)).collect())
                .unwrap_or_default(),
            super_ids: leadership
                .map(|leadership| leadership.supers.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            alive: self.facts.membership.peer_count() as u32 + 1,
            roster: self.facts.ledger.roster().count() as u32,
            topologies: topologies.into_iter().map(|(state, count)| (state.into(), count)).collect(),
            registry_hash: format!("{:016x}", self.facts.registry.hash()),
            ledger_hash: format!("{:016x}", self.facts.ledger.hash()),
        }
    }

    fn mesh(&self, now: Instant) -> Mesh {
        let sent = self.traffic_lines(now);
        let sent = sent.map(|line| SentLine {
            carrier: line.carrier.name().into(),
            kind: line.kind.into(),
            packets: line.sent.packets,
            bytes: line.sent.bytes,
            bytes_per_second: line.bytes_per_second,
        });
        Mesh {
            sent: sent.collect(),
            zhost: self.facts.zhost_name(self.facts.id),
            links: self.mesh.links.peers().count() as u32,
            members: self.facts.membership.peer_count() as u32 + 1,
            suspects: self.facts.membership.suspect_count() as u32,
            doubt: self.facts.membership.doubt(),
            packets_relayed: self.streams.relayed,
            reroutes: self.streams.rerouted,
            messages_sent: self.messages.sent,
            messages_received: self.messages.received,
            messages_undelivered: self.messages.undelivered + self.actors.mail.undelivered,
        }
    }

    /// Every live member, and how things get there: the way in use if there is one, else the one that would be used.
    pub(crate) fn peers(&self, now: Instant) -> Vec<Peer> {
        let routes = self.mesh.graph(&self.facts).routes(self.facts.id);
        let peers = self.facts.membership.peers().map(|peer| {
            // Of a conversation that rests, the way may be gone meanwhile.
            let in_use = self.streams.route(self.facts.id, peer.id).filter(|route| {
                route
                    .get(1)
                    .is_some_and(|next| self.mesh.links.is_up(*next) && !self.mesh.links.is_silent(*next))
            });
            let route = match in_use {
                Some(route) => Some(route),
                None if self.mesh.links.is_up(peer.id) => Some(vec![self.facts.id, peer.id]),
                None => routes.get(&peer.id).map(|(route, _)| route.clone()),
            };
            let state = match route.as_ref().map(Vec::len) {
                _ if self.facts.membership.is_suspect(peer.id) => "suspect",
                Some(2) if self.mesh.links.is_silent(peer.id) => "silent",
                None => "no route",
                Some(2) => "linked",
                Some(_) => "relayed",
            };
            let measured = if self.mesh.links.is_silent(peer.id) {
                None
            } else if self.mesh.links.is_up(peer.id) {
                self.mesh.links.rtt_us(peer.id)
            } else {
                self.streams.echo_rtt_us(now, peer.id).or(routes.get(&peer.id).map(|(_, rtt_us)| *rtt_us))
            };
            Peer {
                name: self.facts.zhost_name(peer.id),
                id: peer.id.to_string(),
                addr: self.facts.at(peer.id),
                state: state.into(),
                hops: route.as_ref().map_or(0, |route| route.len() as u32 - 1),
                rtt_us: measured.filter(|_| route.is_some()),
                path: route.map_or_else(|| "-".into(), |route| self.facts.path(&route)),
            }
        });
        let mut peers: Vec<Peer> = peers.collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        peers
    }

    /// The ways of least round trip over the links that everybody announces.
    fn routes_report(&self) -> Vec<RouteLine> {
        let routes = self.mesh.graph(&self.facts).routes(self.facts.id);
        let line = |id: ZhostId| {
            let found = routes.get(&id);
            RouteLine {
                zhost: self.facts.zhost_name(id),
                zhost_id: id.to_string(),
                hops: found.map_or(0, |(route, _)| route.len() as u32 - 1),
                rtt_us: found.map(|(_, rtt_us)| *rtt_us),
                next: found
                    .and_then(|(route, _)| route.get(1))
                    .map_or_else(|| "-".into(), |id| self.facts.zhost_name(*id)),
                path: found.map_or_else(|| "-".into(), |(route, _)| self.facts.path(route)),
            }
        };
        let mut lines: Vec<RouteLine> = self.facts.membership.peers().map(|peer| line(peer.id)).collect();
        lines.sort_by(|a, b| a.zhost.cmp(&b.zhost));
        lines
    }

    /// The round trips measured since the echoes were sent, each over the way named.
    pub(crate) fn pings(&self, now: Instant, peers: &[ZhostId]) -> Reply {
        let ping = |peer: &ZhostId| {
            let rtt_us = self.streams.echo_rtt_us(now, *peer);
            let route = self.streams.route(self.facts.id, *peer).filter(|_| rtt_us.is_some());
            Ping {
                zhost: self.facts.zhost_name(*peer),
                zhost_id: peer.to_string(),
                hops: route.as_ref().map_or(0, |route| route.len() as u32 - 1),
                rtt_us: rtt_us.filter(|_| route.is_some()),
                path: route.map_or_else(|| "-".into(), |route| self.facts.path(&route)),
            }
        };
        let mut pings: Vec<Ping> = peers.iter().map(ping).collect();
        pings.sort_by(|a, b| a.zhost.cmp(&b.zhost));
        Reply::Pings(pings)
    }

    fn topology_report(&self, id: TopologyId, topology: &TopologyDocument) -> Topology {
        let (state, failure_reason) = self.facts.topology_state(id, topology);
        Topology {
            id: id.to_string(),
            name: topology.spec.name.to_string(),
            version: topology.spec.version.to_string(),
            revision: topology.revision,
            state: state.as_str().into(),
            failure_reason,
            coordinator: self.facts.name_or_dash(self.facts.coordinator_of(id)),
            coordinator_id: id_or_dash(self.facts.coordinator_of(id)),
            created_unix_ms: topology.created_unix_ms,
            updated_unix_ms: topology.updated_unix_ms,
            placements: self.facts.placement_lines(id, topology),
            history: self
                .histories
                .of(id)
                .map(|(unix_ms, state)| Transition { unix_ms: *unix_ms, state: state.as_str().into() })
                .collect(),
        }
    }

    fn space_detail(&self, now: Instant, key: &SpaceKey) -> Result<SpaceDetail, String> {
        let topology = self.facts.ledger.topology(key.topology).ok_or("its topology is gone")?;
        let spec = topology.spec.space(&key.space).ok_or("it is not in its topology any more")?;
        let host = self.facts.host_of(key);
        let row = host.and_then(|host| self.facts.space_row(host, key));
        let local = self.host.space(key);
        let path = |from: &zhost_base::Name| {
            let paths =
                topology.spec.paths_from(from).filter(|(_, to)| to.name == key.space || *from == key.space);
            paths.map(|(path, to)| format!("{from} -> {} ({})", to.name, path.name)).collect::<Vec<_>>()
        };
        Ok(SpaceDetail {
            space: key.space.to_string(),
            topology: topology.spec.name.to_string(),
            kind: spec.kind.as_str().into(),
            zhost: self.facts.name_or_dash(host),
            zhost_id: id_or_dash(host),
            state: row.map_or("-", |row| row.state.as_str()).into(),
            incarnation: row.map_or(0, |row| row.incarnation),
            restarts: row.map_or(0, |row| row.restarts),
            spawned: self.host.spawned_of(key) as u32,
            replicas: self.replicas.describe(&self.facts, key),
            endings: self.endings(key),
            report: local.and_then(|local| local.usage.report.as_ref()).map(describe_report),
            budgets: local
                .map(|local| budgets(now, spec, local, self.actors.mail.waiting(local.launch.pid.number)))
                .unwrap_or_default(),
            log: self.space_logs(key).split_off(self.host.log(key).count().saturating_sub(LOG_TAIL_LINES)),
            messages_out: local.map_or(0, |local| local.messages_out),
            messages_in: local.map_or(0, |local| local.messages_in),
            capabilities: spec.capabilities.iter().map(ToString::to_string).collect(),
            paths: topology.spec.spaces.iter().flat_map(|space| path(&space.name)).collect(),
        })
    }

    fn endings(&self, key: &SpaceKey) -> Vec<Ending> {
        let ending = |ending: &crate::spaces::host::Ending| Ending {
            unix_ms: ending.unix_ms,
            start: ending.number,
            reason: ending.reason.clone(),
        };
        self.host.endings(key).map(ending).collect()
    }

    fn space_logs(&self, key: &SpaceKey) -> Vec<LogLine> {
        let lines = self.host.log(key).map(|line| LogLine {
            unix_ms: line.unix_ms,
            level: line.level.as_str().into(),
            text: line.text.clone(),
        });
        lines.collect()
    }
}
