//! Certificates for one run, made by openssl.

use crate::{
    Outcome,
    net::Hosts,
    process::{self, Scratch},
};
use std::{path::PathBuf, process::Command};

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// An authority, and one certificate that is good for both hosts of a pair.
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The hosts' certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them.
    pub fn create(scratch: &Scratch, hosts: &Hosts) -> Outcome<Self> {
        let file = |name: &str| scratch.file(name);
        let made = Self { authority: file("ca.pem"), certificate: file("cert.pem"), key: file("key.pem") };
        let openssl = process::installed("openssl")?;
        let request = |subject: &str| {
            let mut command = Command::new(&openssl);
            command.args(["req", "-x509", "-days", "2", "-subj", subject]).args(KEY);
            command
        };
        let mut authority = request("/CN=bench authority");
        authority.arg("-keyout").arg(file("ca-key.pem")).arg("-out").arg(&made.authority);
        process::output(&mut authority)?;
        // Erlang takes an address for a name, and looks for it among the names.
        let names = [0, 1].map(|host| format!("IP:{0},DNS:{0}", hosts.address(host)));
        let names = format!("subjectAltName={}", names.join(","));
        let mut certificate = request("/CN=bench");
        certificate.arg("-CA").arg(&made.authority).arg("-CAkey").arg(file("ca-key.pem"));
        certificate.args(["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"]);
        certificate.arg("-keyout").arg(&made.key).arg("-out").arg(&made.certificate);
        process::output(&mut certificate)?;
        Ok(made)
    }
}
