//! Zenoh over TLS: two applications in Python, peers of each other, no router between them.

use crate::{
    Outcome, certificates::Certificates, net::Hosts, pair, process::Scratch, report::PeerResult, setup,
    side::Role,
};

const DRIVER: &str = include_str!("ping_zenoh.py");
const PORT: u16 = 24447;

/// Measures it.
pub fn run(result: &mut PeerResult) -> Outcome {
    let python = setup::environment_program("python")?;
    setup::python_version("eclipse-zenoh")
        .map_err(|_| "eclipse-zenoh is not installed; `bench setup` does it")?;
    let (hosts, scratch) = (Hosts::pair()?, Scratch::create()?);
    result.hosts = hosts.describe();
    let driver = scratch.write("ping_zenoh.py", DRIVER)?;
    let certificates = Certificates::create(&scratch, &hosts)?;
    let endpoint = format!("tls/{}", hosts.socket(Role::Far.host(), PORT));
    pair::measure(result, &scratch, |role| {
        let mut command = hosts.command(role.host(), &python);
        command.arg(&driver).args([role.name(), &endpoint]);
        command.args([&certificates.authority, &certificates.certificate, &certificates.key]);
        Ok(command)
    })
}
