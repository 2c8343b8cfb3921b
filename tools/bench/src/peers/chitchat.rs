//! chitchat, the crate: members that gossip once a second, its defaults for the rest, and three short values
//! each.
//!
//! It is a library, so each member is this program.

use crate::{
    Outcome,
    fleet::{self, Words},
    report::PeerResult,
    side,
};
use chitchat::{
    ChitchatConfig, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
    transport::UdpTransport,
};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

/// What this is called among the sides.
pub const SIDE: &str = "chitchat";
const PORT: u16 = 24280;
const GOSSIP_PERIOD: Duration = Duration::from_secs(1);
const LOOK_PERIOD: Duration = Duration::from_millis(20);
const DELETION_GRACE_PERIOD: Duration = Duration::from_secs(900);
const WORDS: Words = Words { joined: "joined", failed: "failed" };
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// The version this program is built with.
pub fn version() -> Outcome<String> {
    let mut lines = LOCK.lines().skip_while(|line| *line != "name = \"chitchat\"");
    let version = lines.nth(1).and_then(|line| line.split('"').nth(1));
    version.map(str::to_owned).ok_or_else(|| "Cargo.lock does not name chitchat".into())
}

/// Measures it.
pub fn run(result: &mut PeerResult) -> Outcome {
    fleet::measure(result, &WORDS, |hosts, index| {
        let socket = |host| hosts.socket(host, PORT).to_string();
        side::command(hosts, index, SIDE, &[fleet::member(index), socket(index), socket(0)])
    })
}

/// Is a member, with arguments as [`run`] gives them: its name, its address, the first member's address.
pub fn run_member(args: &[String]) -> Outcome {
    let [name, address, first] = args else { return Err("a member needs a name and two addresses".into()) };
    let address = address.parse().map_err(|e| format!("{address}: {e}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| e.to_string())?.block_on(announce(config(name, address, first)))
}

fn config(name: &str, address: SocketAddr, first: &str) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(name, 0, address),
        cluster_id: "bench".into(),
        gossip_interval: GOSSIP_PERIOD,
        listen_addr: address,
        seed_nodes: vec![first.into()],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: DELETION_GRACE_PERIOD,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}

/// Says on standard output who joins and who fails.
async fn announce(config: ChitchatConfig) -> Outcome {
    let values = [("region", "house"), ("kind", "board"), ("memory-mib", "64")];
    let values = values.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let handle = spawn_chitchat(config, values, &UdpTransport).await.map_err(|e| e.to_string())?;
    let mut known = BTreeSet::new();
    loop {
        let live: BTreeSet<String> = {
            let chitchat = handle.chitchat();
            let chitchat = chitchat.lock().await;
            chitchat.live_nodes().map(|id| id.node_id.to_string()).collect()
        };
        live.difference(&known).for_each(|name| println!("{} {name}", WORDS.joined));
        known.difference(&live).for_each(|name| println!("{} {name}", WORDS.failed));
        known = live;
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}
