//! Erlang's distribution over TLS: two nodes that know each other by certificate, and a process on each.

use crate::{
    Outcome,
    certificates::Certificates,
    net::Hosts,
    pair,
    process::{self, Process, Scratch},
    report::PeerResult,
    side::Role,
};
use std::{path::Path, process::Command};

const MODULE: &str = include_str!("ping.erl");
/// Not the usual one, lest we meet somebody else's port mapper on a host that is not of our making.
const MAPPER_PORT: &str = "24369";

/// Measures it.
pub fn run(result: &mut PeerResult) -> Outcome {
    let programs = ["erl", "erlc", "epmd"].map(process::installed);
    let [erl, erlc, epmd] = programs;
    let (erl, erlc, epmd) = (erl?, erlc?, epmd?);
    let (hosts, scratch) = (Hosts::pair()?, Scratch::create()?);
    result.hosts = hosts.describe();
    let module = scratch.write("ping.erl", MODULE)?;
    process::output(Command::new(erlc).current_dir(scratch.dir()).arg(module))?;
    let certificates = Certificates::create(&scratch, &hosts)?;
    let options = scratch.write("tls.conf", &tls_options(&certificates))?;
    // Nodes would start port mappers that stay; these end with us.
    let start = |role: Role| {
        let mut command = hosts.command(role.host(), &epmd);
        Process::start(command.args(["-port", MAPPER_PORT]), &scratch.file(&format!("{}-epmd", role.name())))
    };
    let mappers = Role::BOTH.map(start).into_iter().collect::<Outcome<Vec<_>>>()?;
    let measured = pair::measure(result, &scratch, |role| Ok(node(&hosts, role, &erl, &scratch, &options)));
    measured.map_err(|reason| format!("{reason} (a port mapper: {})", mappers[0].last_words()))
}

fn node(hosts: &Hosts, role: Role, erl: &Path, scratch: &Scratch, tls_options: &Path) -> Command {
    let name = |role: Role| format!("{}@{}", role.name(), hosts.address(role.host()));
    let mut command = hosts.command(role.host(), erl);
    command.env("ERL_EPMD_PORT", MAPPER_PORT).env("HOME", scratch.dir());
    command.args(["-noinput", "-start_epmd", "false", "-setcookie", "bench", "-proto_dist", "inet_tls"]);
    command.arg("-ssl_dist_optfile").arg(tls_options);
    command.arg("-pa").arg(scratch.dir());
    command.args(["-name", &name(role), "-run", "ping", role.name(), &name(role.other())]);
    command
}

fn tls_options(certificates: &Certificates) -> String {
    let common = format!(
        "{{certfile, {:?}}}, {{keyfile, {:?}}}, {{cacertfile, {:?}}}, {{verify, verify_peer}}",
        certificates.certificate, certificates.key, certificates.authority
    );
    format!("[{{server, [{common}, {{fail_if_no_peer_cert, true}}]}}, {{client, [{common}]}}].\n")
}
