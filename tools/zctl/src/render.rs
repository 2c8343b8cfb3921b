//! Replies as text for people, or as JSON.

use crate::{Failure, Outcome, foreign};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::fmt::Write;
use zhost_base::time::Utc;
use zhost_control::protocol::{
    Budget, Cluster, Durability, Ending, FirmwareStatus, LogLine, Mesh, PING_PATIENCE_MS, Peer, Ping, Reply,
    Request, RouteLine, Space, SpaceDetail, Status, Submitted, Topology, TopologyLine, Zhost,
};
use zhost_mex::Package;

/// Shows the reply to a request.
pub fn render(request: &Request, reply: Reply, json: bool) -> Outcome {
    let unanswered = matches!(&reply, Reply::Pings(pings) if pings.iter().any(|ping| ping.rtt_us.is_none()));
    let text = if json { data(reply)? } else { text(request, foreign::reply(reply)?)? };
    if unanswered { Err(Failure::Shown(text)) } else { Ok(text) }
}

fn data(reply: Reply) -> Result<String, String> {
    match reply {
        Reply::Refused(reason) => Err(reason),
        Reply::Status(reply) => to_json(&reply),
        Reply::Cluster(reply) => to_json(&reply),
        Reply::Zhosts(reply) => to_json(&reply),
        Reply::Mesh(reply) => to_json(&reply),
        Reply::Peers(reply) => to_json(&reply),
        Reply::Routes(reply) => to_json(&reply),
        Reply::Spaces(reply) => to_json(&reply),
        Reply::Pings(reply) => to_json(&reply),
        Reply::Submitted(reply) => to_json(&reply),
        Reply::Topologies(reply) => to_json(&reply),
        Reply::Topology(reply) => to_json(&reply),
        Reply::Space(reply) => to_json(&reply),
        Reply::Logs(reply) => to_json(&reply),
        Reply::Firmware(reply) => to_json(&reply),
        Reply::Recording(piece) => to_json(&piece),
        Reply::Said(text) => to_json(&serde_json::json!({ "result": text })),
        Reply::Address(address) => to_json(&serde_json::json!({ "address": address })),
        Reply::Done(reply) => to_json(&reply),
    }
}

fn text(request: &Request, reply: Reply) -> Result<String, String> {
    match reply {
        Reply::Refused(reason) => Err(reason),
        Reply::Status(reply) => Ok(status(&reply)),
        Reply::Cluster(reply) => Ok(cluster(&reply)),
        Reply::Zhosts(reply) => Ok(zhosts(&reply)),
        Reply::Mesh(reply) => Ok(mesh(&reply)),
        Reply::Peers(reply) => Ok(peers(&reply)),
        Reply::Routes(reply) => Ok(routes(&reply)),
        Reply::Spaces(reply) => Ok(spaces(&reply)),
        Reply::Pings(reply) => Ok(pings(&reply)),
        Reply::Submitted(reply) => Ok(submitted(&reply)),
        Reply::Topologies(reply) => Ok(topologies(&reply)),
        Reply::Topology(reply) => Ok(topology(&reply)),
        Reply::Space(reply) => Ok(space(&reply)),
        Reply::Logs(reply) => Ok(logs(&reply)),
        Reply::Firmware(reply) => Ok(firmware(&reply)),
        Reply::Recording(piece) => Ok(format!("{} of {} bytes", piece.bytes.len(), piece.size_bytes)),
        Reply::Said(text) => Ok(text + "\n"),
        Reply::Address(address) => Ok(address + "\n"),
        Reply::Done(reply) => Ok(done(request, reply)),
    }
}

/// Shows the one line that a command on the laptop has to say: a key, a file, a verdict.
pub fn sentence(outcome: Result<String, String>, json: bool) -> Result<String, String> {
    match outcome {
        Ok(text) if json => to_json(&serde_json::json!({ "result": text.trim_end() })),
        outcome => outcome,
    }
}

/// Shows what a package holds.
pub fn package(package: &Package, json: bool) -> Result<String, String> {
    let metadata = &package.manifest.metadata;
    let signer = package.signer.map(|signer| signer.to_string());
    if json {
        return to_json(&serde_json::json!({
            "name": metadata.name, "version": metadata.version, "publisher": metadata.publisher, "signer": signer,
            "topology": package.topology, "files": package.files().collect::<std::collections::BTreeMap<_, _>>(),
        }));
    }
    let mut text = format!(
        "Package: {} {}\nPublisher: {}\nSigned by: {}\nTopology: {}\n\n",
        metadata.name,
        metadata.version,
        foreign::value(&metadata.publisher),
        signer.as_deref().unwrap_or("nobody"),
        package.topology.name,
    );
    let rows = package.topology.spaces.iter().map(|space| {
        let capabilities: Vec<String> = space.capabilities.iter().map(ToString::to_string).collect();
        vec![space.name.to_string(), space.kind.as_str().into(), capabilities.join(" ")]
    });
    text += &table(&["SPACE", "TYPE", "CAPABILITIES"], rows);
    let files = package.files().map(|(name, size)| vec![foreign::value(name), size.to_string()]);
    Ok(text + "\n" + &table(&["FILE", "BYTES"], files))
}

/// Data as text.
pub fn to_json(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|e| e.to_string())
}

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    table.style_mut().header_separator.fill = Some('-');
    table.style_mut().header_separator.junction = Some('-');
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    let mut text = String::new();
    for line in table.to_string().lines() {
        text += line.strip_prefix(' ').unwrap_or(line).trim_end();
        text.push('\n');
    }
    text
}

/// A span of time as people say it.
fn span(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s @ 3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        s => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

fn rtt(rtt_us: Option<u64>) -> String {
    rtt_us.map_or_else(|| "-".into(), |us| format!("{:.1}", us as f64 / 1000.0))
}

/// Links on the way; none means that there is no way.
fn hops(hops: u32) -> String {
    if hops == 0 { "-".into() } else { hops.to_string() }
}

fn status(status: &Status) -> String {
    let head = format!(
        "Zhost: {}\nID: {}\nRole: {}\nVersion: {}\nUptime: {} (start {})\nMemory: {}\n\n",
        status.zhost,
        status.id,
        status.role,
        status.version,
        span(status.uptime_ms),
        status.generation,
        match status.resident_kib {
            0 => "-".to_owned(),
            kib => format!("{:.1} MiB", f64::from(kib) / 1024.0),
        }
    );
    let rows = status.services.iter().map(|s| vec![s.name.clone(), s.state.clone(), s.detail.clone()]);
    head + &table(&["SERVICE", "STATE", "DETAIL"], rows)
}

fn cluster(cluster: &Cluster) -> String {
    let term = match (cluster.term, cluster.full) {
        (0, _) => "none".into(),
        (term, true) => format!("{term} (full)"),
        (term, false) => format!("{term} (provisional: a majority of the roster is missing)"),
    };
    let topologies: Vec<String> =
        cluster.topologies.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!(
        "Cluster: {}\nTerm: {term}\nSuper nodes: {}\nZhosts: {} alive of {}\nTopologies: {}\n",
        cluster.name,
        if cluster.supers.is_empty() { "none".into() } else { cluster.supers.join(", ") },
        cluster.alive,
        cluster.roster,
        if topologies.is_empty() { "none".into() } else { topologies.join(", ") },
    )
}

fn zhosts(zhosts: &[Zhost]) -> String {
    let rows = zhosts.iter().map(|z| {
        let hardware = z
            .capabilities
            .iter()
            .filter(|name| name.starts_with("sensors.") || name.starts_with("actuators."));
        let hardware: Vec<&str> = hardware.map(String::as_str).collect();
        vec![
            z.name.clone(),
            z.role.clone(),
            z.state.clone(),
            z.region.clone(),
            z.super_node.clone(),
            z.spaces.to_string(),
            z.addr.clone(),
            hardware.join(" "),
        ]
    });
    let table =
        table(&["ZHOST_ID", "ROLE", "STATE", "REGION", "SUPER", "SPACES", "ADDRESS", "HARDWARE"], rows);
    let conflicts = zhosts.iter().filter_map(|z| Some((z, z.conflict.as_ref()?)));
    conflicts.fold(table, |text, (z, conflict)| format!("{text}\n{} ({}) {conflict}", z.name, z.id))
}

fn firmware(status: &FirmwareStatus) -> String {
    let mut text = format!("Push: {}\nState: {}", status.revision, status.state);
    if !status.reason.is_empty() {
        text += &format!(" ({})", status.reason);
    }
    for (target, version) in &status.images {
        text += &format!("\nAgent for {target}: {version}");
    }
    let rows = status
        .zhosts
        .iter()
        .map(|line| vec![line.zhost.clone(), line.target.clone(), line.running.clone(), line.state.clone()]);
    text + "\n\n" + &table(&["ZHOST_ID", "TARGET", "RUNS", "STATE"], rows)
}

fn mesh(mesh: &Mesh) -> String {
    let rows = mesh.sent.iter().map(|line| {
        vec![
            line.carrier.clone(),
            line.kind.clone(),
            line.packets.to_string(),
            line.bytes.to_string(),
            line.bytes_per_second.to_string(),
        ]
    });
    let sent = table(&["SENT IN", "KIND", "PACKETS", "BYTES", "BYTES/S"], rows);
    format!(
        "Zhost: {}\nLinks: {}\nMembers: {}, {} of them suspect\nSelf-doubt: {} of 8\n\
         Messages: {} sent, {} received, {} undelivered\nPackets relayed for others: {}\nReroutes: {}\n\n{sent}",
        mesh.zhost,
        mesh.links,
        mesh.members,
        mesh.suspects,
        mesh.doubt,
        mesh.messages_sent,
        mesh.messages_received,
        mesh.messages_undelivered,
        mesh.packets_relayed,
        mesh.reroutes,
    )
}

fn peers(peers: &[Peer]) -> String {
    let rows = peers.iter().map(|p| {
        vec![p.name.clone(), p.state.clone(), hops(p.hops), rtt(p.rtt_us), p.path.clone(), p.addr.clone()]
    });
    table(&["ZHOST_ID", "STATE", "HOPS", "RTT(ms)", "PATH", "ADDRESS"], rows)
}

fn routes(routes: &[RouteLine]) -> String {
    let rows = routes
        .iter()
        .map(|r| vec![r.zhost.clone(), hops(r.hops), rtt(r.rtt_us), r.next.clone(), r.path.clone()]);
    table(&["ZHOST_ID", "HOPS", "RTT(ms)", "NEXT", "PATH"], rows)
}

fn spaces(spaces: &[Space]) -> String {
    let rows = spaces.iter().map(|s| {
        vec![s.space.clone(), s.zhost.clone(), s.topology.clone(), s.state.clone(), s.restarts.to_string()]
    });
    table(&["SPACE_NAME", "ZHOST_ID", "TOPOLOGY", "STATE", "RESTARTS"], rows)
}

fn pings(pings: &[Ping]) -> String {
    let rows = pings.iter().map(|p| match p.rtt_us {
        Some(_) => vec![p.zhost.clone(), p.hops.to_string(), rtt(p.rtt_us), p.path.clone()],
        None => {
            let none = || "-".to_owned();
            vec![p.zhost.clone(), none(), none(), format!("no answer in {PING_PATIENCE_MS} ms")]
        }
    });
    table(&["ZHOST_ID", "HOPS", "RTT(ms)", "PATH"], rows)
}

fn durability(durability: Durability) -> String {
    let Durability { copies, wanted } = durability;
    if copies >= wanted {
        format!("durable: {copies} of {wanted} copies on flash")
    } else {
        format!("accepted, not yet durable: {copies} of {wanted} copies on flash; copying goes on")
    }
}

fn submitted(submitted: &Submitted) -> String {
    let what = if submitted.revision == 1 { "Topology created" } else { "Topology replaced" };
    format!(
        "{what}:\n  ID: {}\n  Name: {}\n  State: {}\n  Spaces: {}\n  Revision: {}\n  Storage: {}\n",
        submitted.id,
        submitted.name,
        submitted.state,
        submitted.spaces,
        submitted.revision,
        durability(submitted.durability)
    )
}

fn topologies(topologies: &[TopologyLine]) -> String {
    let rows = topologies.iter().map(|t| {
        vec![
            t.name.clone(),
            t.version.clone(),
            t.state.clone(),
            format!("{}/{}", t.running, t.spaces),
            t.id.clone(),
        ]
    });
    table(&["TOPOLOGY", "VERSION", "STATE", "SPACES", "ID"], rows)
}

fn topology(topology: &Topology) -> String {
    let mut text = format!(
        "Topology: {}\nID: {}\nVersion: {} (revision {})\nState: {}\n",
        topology.name, topology.id, topology.version, topology.revision, topology.state
    );
    if let Some(reason) = &topology.failure_reason {
        let _ = writeln!(text, "FailureReason: {reason}");
    }
    let _ = writeln!(text, "Spaces: {}", topology.placements.len());
    let _ = writeln!(text, "Coordinator: {}", topology.coordinator);
    let _ = writeln!(text, "Created: {}", Utc(topology.created_unix_ms));
    let _ = writeln!(text, "Updated: {}", Utc(topology.updated_unix_ms));
    text += "\nPlacements:\n";
    text += &table(
        &["SPACE", "ZHOST", "STATE"],
        topology.placements.iter().map(|p| vec![p.space.clone(), p.zhost.clone(), p.state.clone()]),
    );
    text += "\nHistory, as this zhost saw it:\n";
    for change in &topology.history {
        let _ = writeln!(text, "{} {}", Utc(change.unix_ms), change.state);
    }
    text
}

fn space(space: &SpaceDetail) -> String {
    let mut text = format!(
        "Space: {}\nTopology: {}\nType: {}\nZhost: {}\nState: {}\nRestarts: {}\nMessages: {} in, {} out\nCapabilities: {}\n",
        space.space,
        space.topology,
        space.kind,
        space.zhost,
        space.state,
        space.restarts,
        space.messages_in,
        space.messages_out,
        if space.capabilities.is_empty() { "none".into() } else { space.capabilities.join(" ") },
    );
    if space.spawned > 0 {
        let _ = writeln!(text, "Spawned: {}", space.spawned);
    }
    for path in &space.paths {
        let _ = writeln!(text, "Path: {path}");
    }
    for replica in &space.replicas {
        let _ = writeln!(text, "Replica: {replica}");
    }
    if let Some(report) = &space.report {
        let _ = writeln!(text, "Reports: {report}");
    }
    for Budget { what, used, limit } in &space.budgets {
        let limit = limit.map_or(String::new(), |limit| format!(" of {limit}"));
        let _ = writeln!(text, "Uses: {used}{limit} ({what})");
    }
    for Ending { unix_ms, start, reason } in &space.endings {
        let _ = writeln!(text, "Ended: {} start {start}: {reason}", Utc(*unix_ms));
    }
    if !space.log.is_empty() {
        let _ = write!(text, "Log:\n{}", logs(&space.log));
    }
    text
}

fn logs(lines: &[LogLine]) -> String {
    lines.iter().map(|line| format!("{} {:5} {}\n", Utc(line.unix_ms), line.level, line.text)).collect()
}

fn done(request: &Request, reply: Durability) -> String {
    let what = match request {
        Request::TopoStop(name) => format!("Topology {name} stopped"),
        Request::TopoDelete(name) => format!("Topology {name} deleted"),
        Request::FirmwarePush(_) => "Firmware pushed; see `zctl firmware status`".to_owned(),
        Request::FirmwareHalt => "Firmware halted".to_owned(),
        Request::SpaceDropData(name) => {
            format!("The data of {name} goes, everywhere; it starts again with nothing")
        }
        Request::ClusterRemove(name) => format!("Zhost {name} removed from the roster"),
        other => other.name().to_owned(),
    };
    format!("{what} ({}).\n", durability(reply))
}

#[cfg(test)]
mod tests;
