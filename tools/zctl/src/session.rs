//! A control session over UDP: the shell around [`zhost_control::Client`].

use crate::{keys, profile::Profile};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant as SystemInstant},
};
use zhost_base::{Instant, Rng};
use zhost_control::{
    Client, ClientError,
    protocol::{Reply, Request},
};

/// Requests of this size show how far they are.
const PROGRESS_FROM_BYTES: usize = 64 * 1024;

/// Asks the profile's zhosts until one answers. Only a request that no zhost has begun to hear goes to the next.
pub fn ask(profile: &Profile, request: &Request, progress: bool) -> Result<Reply, String> {
    let mut silent = Vec::new();
    for addr in &profile.zhosts {
        match ask_one(profile, *addr, request, progress) {
            Ok(reply) => return Ok(reply),
            Err(Trouble::NoAnswer(reason)) => silent.push(format!("{addr}: {reason}")),
            Err(Trouble::Other(reason)) => return Err(format!("{addr}: {reason}")),
        }
    }
    if silent.is_empty() { Err("the profile names no zhosts".into()) } else { Err(silent.join("\n      ")) }
}

enum Trouble {
    NoAnswer(String),
    Other(String),
}

fn ask_one(profile: &Profile, addr: SocketAddr, request: &Request, progress: bool) -> Result<Reply, Trouble> {
    let other = |e: &dyn std::fmt::Display| Trouble::Other(e.to_string());
    let bind = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(bind).map_err(|e| other(&e))?;
    socket.connect(addr).map_err(|e| other(&e))?;
    let start = SystemInstant::now();
    let now = || Instant::from_micros(1 + start.elapsed().as_micros() as u64);
    let rng = Rng::new(keys::random().map_err(|e| other(&e))?);
    let mut client =
        Client::new(now(), &profile.operator, &profile.control_secret, rng).map_err(|e| other(&e))?;
    let bytes = request.encode();
    let bar = progress_bar(bytes.len(), progress);
    client.request(now(), bytes).map_err(|e| other(&e))?;
    let mut buffer = [0; 2048];
    loop {
        client.handle_timeout(now()).map_err(|error| match error {
            ClientError::NoAnswer => Trouble::NoAnswer(error.to_string()),
            _ => other(&error),
        })?;
        while let Some(datagram) = client.poll_datagram() {
            // A refused or full socket is a lost datagram, which the session repeats.
            let _ = socket.send(&datagram);
        }
        if let Some(reply) = client.poll_reply() {
            bar.finish_and_clear();
            return Reply::decode(&reply)
                .ok_or_else(|| other(&"its answer makes no sense; do versions differ?"));
        }
        let wait = client.poll_timeout().0.since(now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait)).map_err(|e| other(&e))?;
        match socket.recv(&mut buffer) {
            Ok(size) => client.handle_datagram(now(), &buffer[..size]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(Trouble::NoAnswer("no zhost listens there (connection refused)".into()));
            }
            Err(_) => {}
        }
        match client.progress() {
            Some((sent, _)) => bar.set_position(sent as u64),
            None => bar.set_message("waiting for the answer"),
        }
    }
}

fn progress_bar(size_bytes: usize, progress: bool) -> ProgressBar {
    if !progress || size_bytes < PROGRESS_FROM_BYTES {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(size_bytes as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}")
    {
        bar.set_style(style);
    }
    bar
}
