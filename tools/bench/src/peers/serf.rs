//! Serf: agents with their LAN profile, encrypting their gossip.

use crate::{
    Outcome,
    fleet::{self, Words},
    net::Hosts,
    process,
    report::PeerResult,
};
use std::{path::Path, process::Command};

const GOSSIP_PORT: u16 = 24946;
const RPC_PORT: u16 = 24373;
const WORDS: Words = Words { joined: "EventMemberJoin:", failed: "EventMemberFailed:" };

/// Measures it.
pub fn run(result: &mut PeerResult) -> Outcome {
    let serf = process::installed("serf")?;
    let key = process::output(Command::new(&serf).arg("keygen"))?;
    fleet::measure(result, &WORDS, |hosts, index| Ok(agent(hosts, index, &serf, key.trim())))
}

fn agent(hosts: &Hosts, index: usize, serf: &Path, key: &str) -> Command {
    let mut command = hosts.command(index, serf);
    command.arg("agent");
    command.arg(format!("-node={}", fleet::member(index)));
    command.arg(format!("-bind={}", hosts.socket(index, GOSSIP_PORT)));
    command.arg(format!("-rpc-addr={}", hosts.socket(index, RPC_PORT)));
    command.arg(format!("-encrypt={key}"));
    command.args(["-profile=lan", "-log-level=info", "-retry-interval=1s"]);
    if index > 0 {
        command.arg(format!("-retry-join={}", hosts.socket(0, GOSSIP_PORT)));
    }
    command
}
