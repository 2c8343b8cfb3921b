//! What operators see, as the public Samoza documents show it.

use super::*;
use zhost_control::protocol::{FirmwareLine, PlacementLine, Service, Transition};

fn text(request: Request, reply: Reply) -> String {
    render(&request, reply, false).unwrap()
}

fn topology() -> Topology {
    let line = |space: &str, zhost: &str, state: &str| PlacementLine {
        space: space.into(),
        zhost: zhost.into(),
        zhost_id: "00ff".into(),
        state: state.into(),
    };
    Topology {
        id: "a1b2c3d4-e5f6-8890-abcd-ef1234567890".into(),
        name: "my-app".into(),
        version: "1.2.0".into(),
        revision: 2,
        state: "degraded".into(),
        failure_reason: Some("no zhost satisfies capability requirement 'sensors.camera'".into()),
        coordinator: "edge-node-1".into(),
        coordinator_id: "00ff".into(),
        created_unix_ms: 1_777_458_600_000,
        updated_unix_ms: 1_777_559_000_000,
        placements: vec![line("dashboard", "edge-node-1", "running"), line("api", "-", "-")],
        history: vec![Transition { unix_ms: 1_777_458_600_000, state: "pending".into() }],
    }
}

#[test]
fn a_topology_shows_its_state_its_reason_and_its_places() {
    assert_eq!(
        text(Request::TopoStatus("my-app".into()), Reply::Topology(topology())),
        "Topology: my-app
ID: a1b2c3d4-e5f6-8890-abcd-ef1234567890
Version: 1.2.0 (revision 2)
State: degraded
FailureReason: no zhost satisfies capability requirement 'sensors.camera'
Spaces: 2
Coordinator: edge-node-1
Created: 2026-04-29T10:30:00.000Z
Updated: 2026-04-30T14:23:20.000Z

Placements:
SPACE       ZHOST         STATE
-----------------------------------
dashboard   edge-node-1   running
api         -             -

History, as this zhost saw it:
2026-04-29T10:30:00.000Z pending
"
    );
}

#[test]
fn the_mesh_lists_where_every_space_runs() {
    let space = |space: &str, zhost: &str, topology: &str| Space {
        space: space.into(),
        zhost: zhost.into(),
        zhost_id: "00ff".into(),
        topology: topology.into(),
        state: "running".into(),
        restarts: 0,
    };
    let spaces =
        vec![space("web-frontend", "zhost-alpha", "topo-web-app"), space("data", "zhost-b", "topo-pipeline")];
    assert_eq!(
        text(Request::MeshSpaces, Reply::Spaces(spaces)),
        "SPACE_NAME     ZHOST_ID      TOPOLOGY        STATE     RESTARTS
-----------------------------------------------------------------
web-frontend   zhost-alpha   topo-web-app    running   0
data           zhost-b       topo-pipeline   running   0
"
    );
}

#[test]
fn pings_show_hops_rtt_and_path() {
    let ping = |zhost: &str, rtt_us| Ping {
        zhost: zhost.into(),
        zhost_id: "00ff".into(),
        hops: 1,
        rtt_us,
        path: format!("a -> {zhost}"),
    };
    let answered = "ZHOST_ID   HOPS   RTT(ms)   PATH
------------------------------------
b          1      1.2       a -> b
";
    assert_eq!(text(Request::MeshPing(None), Reply::Pings(vec![ping("b", Some(1234))])), answered);
    // One that does not answer makes the command fail, though it has something to show.
    let pings = || Reply::Pings(vec![ping("b", Some(1234)), ping("c", None)]);
    let shown = "ZHOST_ID   HOPS   RTT(ms)   PATH
-------------------------------------------------
b          1      1.2       a -> b
c          -      -         no answer in 500 ms
";
    assert_eq!(render(&Request::MeshPing(None), pings(), false), Err(Failure::Shown(shown.into())));
    let data = render(&Request::MeshPing(None), pings(), true);
    assert!(matches!(data, Err(Failure::Shown(data)) if data.contains("\"rtt_us\": null")));
}

#[test]
fn writes_say_how_durable_they_are() {
    let submitted = Submitted {
        id: "a1b2".into(),
        name: "my-app".into(),
        state: "pending".into(),
        spaces: 3,
        revision: 1,
        durability: Durability { copies: 1, wanted: 3 },
    };
    assert_eq!(
        text(Request::TopoSubmit(vec![]), Reply::Submitted(submitted)),
        "Topology created:
  ID: a1b2
  Name: my-app
  State: pending
  Spaces: 3
  Revision: 1
  Storage: accepted, not yet durable: 1 of 3 copies on flash; copying goes on
"
    );
    let done = Reply::Done(Durability { copies: 3, wanted: 3 });
    let stopped = text(Request::TopoStop("my-app".into()), done);
    assert_eq!(stopped, "Topology my-app stopped (durable: 3 of 3 copies on flash).\n");
}

#[test]
fn the_cluster_shows_its_term_its_supers_and_its_zhosts() {
    let cluster = Cluster {
        name: "site".into(),
        term: 4,
        full: false,
        supers: vec!["a".into()],
        super_ids: vec!["1".into()],
        alive: 1,
        roster: 3,
        topologies: vec![("degraded".into(), 1), ("running".into(), 2)],
        registry_hash: "0".into(),
        ledger_hash: "0".into(),
    };
    assert_eq!(
        text(Request::Cluster, Reply::Cluster(cluster)),
        "Cluster: site
Term: 4 (provisional: a majority of the roster is missing)
Super nodes: a
Zhosts: 1 alive of 3
Topologies: 1 degraded, 2 running
"
    );
    let zhost = |name: &str, role: &str, state: &str, capabilities: &[&str]| Zhost {
        name: name.into(),
        id: "1".into(),
        role: role.into(),
        state: state.into(),
        region: "west".into(),
        super_node: "a".into(),
        super_id: "1".into(),
        spaces: 2,
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
        addr: "10.0.0.1:9200".into(),
        control_addr: "10.0.0.1:9000".into(),
        conflict: None,
    };
    let zhosts =
        vec![zhost("a", "super", "alive", &["data.read"]), zhost("b", "local", "dead", &["sensors.camera"])];
    assert_eq!(
        text(Request::Zhosts, Reply::Zhosts(zhosts)),
        "ZHOST_ID   ROLE    STATE   REGION   SUPER   SPACES   ADDRESS         HARDWARE
-------------------------------------------------------------------------------------
a          super   alive   west     a       2        10.0.0.1:9200
b          local   dead    west     a       2        10.0.0.1:9200   sensors.camera
"
    );
}

#[test]
fn a_zhost_shows_its_concerns_and_its_links() {
    let status = Status {
        zhost: "a".into(),
        id: "00ff".into(),
        version: "0.1.0".into(),
        generation: 3,
        role: "super".into(),
        uptime_ms: 90_000,
        resident_kib: 4_321,
        services: vec![Service {
            name: "zmesh".into(),
            state: "ok".into(),
            detail: "mode super, 2 links".into(),
        }],
    };
    assert_eq!(
        text(Request::Status, Reply::Status(status)),
        "Zhost: a
ID: 00ff
Role: super
Version: 0.1.0
Uptime: 1 min 30 s (start 3)
Memory: 4.2 MiB

SERVICE   STATE   DETAIL
---------------------------------------
zmesh     ok      mode super, 2 links
"
    );
    let peer = Peer {
        name: "b".into(),
        id: "1".into(),
        addr: "10.0.0.2:9200".into(),
        state: "linked".into(),
        hops: 1,
        rtt_us: Some(400),
        path: "a -> b".into(),
    };
    assert_eq!(
        text(Request::MeshPeers, Reply::Peers(vec![peer])),
        "ZHOST_ID   STATE    HOPS   RTT(ms)   PATH     ADDRESS
-------------------------------------------------------------
b          linked   1      0.4       a -> b   10.0.0.2:9200
"
    );
}

#[test]
fn a_space_shows_why_it_ended_and_what_it_said() {
    let detail = SpaceDetail {
        space: "eye".into(),
        topology: "garden".into(),
        kind: "IO".into(),
        zhost: "a".into(),
        zhost_id: "1".into(),
        state: "backoff".into(),
        incarnation: 2,
        restarts: 1,
        spawned: 3,
        replicas: vec!["b: has everything".into()],
        endings: vec![Ending { unix_ms: 1_800_000_000_000, start: 1, reason: "trapped: unreachable".into() }],
        report: Some("healthy, 40 % busy".into()),
        budgets: vec![Budget { what: "memory, KiB".into(), used: 64, limit: Some(128) }],
        log: vec![LogLine { unix_ms: 1_800_000_000_000, level: "warn".into(), text: "too dark".into() }],
        messages_out: 7,
        messages_in: 0,
        capabilities: vec!["sensors.camera".into()],
        paths: vec!["eye -> store (frames)".into()],
    };
    assert_eq!(
        text(Request::SpaceStatus("eye".into()), Reply::Space(detail)),
        "Space: eye
Topology: garden
Type: IO
Zhost: a
State: backoff
Restarts: 1
Messages: 0 in, 7 out
Capabilities: sensors.camera
Spawned: 3
Path: eye -> store (frames)
Replica: b: has everything
Reports: healthy, 40 % busy
Uses: 64 of 128 (memory, KiB)
Ended: 2027-01-15T08:00:00.000Z start 1: trapped: unreachable
Log:
2027-01-15T08:00:00.000Z warn  too dark
"
    );
    let line = LogLine { unix_ms: 0, level: "info".into(), text: "hello".into() };
    let logs = text(Request::SpaceLogs("eye".into()), Reply::Logs(vec![line]));
    assert_eq!(logs, "1970-01-01T00:00:00.000Z info  hello\n");
    let topology = TopologyLine {
        id: "a1b2".into(),
        name: "garden".into(),
        version: "1.0.0".into(),
        state: "running".into(),
        running: 3,
        spaces: 3,
    };
    assert_eq!(
        text(Request::TopoList, Reply::Topologies(vec![topology])),
        "TOPOLOGY   VERSION   STATE     SPACES   ID
----------------------------------------------
garden     1.0.0     running   3/3      a1b2
"
    );
}

#[test]
fn a_refusal_is_an_error_in_both_forms() {
    for json in [false, true] {
        let refused = Reply::Refused("there is no topology 'x'".into());
        assert_eq!(
            render(&Request::TopoStatus("x".into()), refused, json),
            Err(Failure::Reason("there is no topology 'x'".into()))
        );
    }
}

#[test]
fn json_holds_the_same_as_data() {
    let json = render(&Request::TopoStatus("my-app".into()), Reply::Topology(topology()), true).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["state"], "degraded");
    assert_eq!(value["placements"][1]["zhost"], "-");
}

#[test]
fn spans_read_like_speech() {
    let spans = [999, 59_000, 61_000, 7_260_000, 180_000_000].map(span);
    assert_eq!(spans, ["999 ms", "59 s", "1 min 1 s", "2 h 1 min", "2 d 2 h"]);
}

#[test]
fn firmware_shows_where_it_is_and_why_it_stands_still() {
    let line = |zhost: &str, running: &str, state: &str| FirmwareLine {
        zhost: zhost.into(),
        zhost_id: "00ff".into(),
        target: "arm-unknown-linux-musleabihf".into(),
        running: running.into(),
        state: state.into(),
    };
    let status = FirmwareStatus {
        revision: 2,
        state: "halted".into(),
        reason: "attic does not run it: it was not kept".into(),
        images: vec![("arm-unknown-linux-musleabihf".into(), "0.2.0".into())],
        zhosts: vec![
            line("attic", "0.1.0", "failed: it was not kept"),
            line("barn", "0.1.0", "waits for its turn"),
        ],
    };
    assert_eq!(
        text(Request::FirmwareStatus, Reply::Firmware(status)),
        "Push: 2
State: halted (attic does not run it: it was not kept)
Agent for arm-unknown-linux-musleabihf: 0.2.0

ZHOST_ID   TARGET                         RUNS    STATE
---------------------------------------------------------------------------
attic      arm-unknown-linux-musleabihf   0.1.0   failed: it was not kept
barn       arm-unknown-linux-musleabihf   0.1.0   waits for its turn
"
    );
}
