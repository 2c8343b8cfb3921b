//! A control session: the shell around [`zhost_control::Client`].

use crate::{
    carrier::{Cable, Carrier, Heard},
    keys,
    profile::{Profile, Reach},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant as SystemInstant};
use zhost_base::{Instant, Rng};
use zhost_control::{
    Client, ClientError,
    protocol::{PROVISIONING_KEY, Reply, Request},
};

/// Requests of this size show how far they are.
const PROGRESS_FROM_BYTES: usize = 64 * 1024;
/// On a serial cable, where they take longer.
const PROGRESS_FROM_BYTES_SERIAL: usize = 4 * 1024;

/// Asks the profile's zhosts until one answers. Only a request that no zhost has begun to hear goes to the next.
pub fn ask(profile: &Profile, request: &Request, progress: bool) -> Result<Reply, String> {
    let zhosts = match &profile.reach {
        Reach::Network(zhosts) => zhosts,
        Reach::Serial(cable) => return ask_at(cable, profile, request, progress),
    };
    let mut silent = Vec::new();
    for addr in zhosts {
        let carrier = Carrier::network(*addr).map_err(|e| format!("{addr}: {e}"))?;
        match ask_over(carrier, profile, &profile.control_secret, request, progress) {
            Ok(reply) => return Ok(reply),
            Err(Trouble::NoAnswer(reason)) => silent.push(format!("{addr}: {reason}")),
            Err(Trouble::Other(reason)) => return Err(format!("{addr}: {reason}")),
        }
    }
    if silent.is_empty() { Err("the profile names no zhosts".into()) } else { Err(silent.join("\n      ")) }
}

/// Asks the zhost at the end of a cable. One that does not know us may have no cluster yet, and says so.
fn ask_at(cable: &Cable, profile: &Profile, request: &Request, progress: bool) -> Result<Reply, String> {
    let ask = |key: &[u8; 32], request: &Request| {
        let carrier = Carrier::serial(cable).map_err(|e| Trouble::Other(format!("serial cable: {e}")))?;
        ask_over(carrier, profile, key, request, progress)
    };
    let provisions = matches!(request, Request::Provision(_));
    match ask(if provisions { &PROVISIONING_KEY } else { &profile.control_secret }, request) {
        Ok(reply) => Ok(reply),
        Err(Trouble::Other(reason)) => Err(reason),
        Err(Trouble::NoAnswer(_)) if provisions => {
            Err("no answer: is the board up? One that has a cluster already takes no other".into())
        }
        Err(Trouble::NoAnswer(reason)) => match ask(&PROVISIONING_KEY, &Request::Status) {
            Ok(Reply::Refused(reason)) => Err(reason),
            _ => Err(reason),
        },
    }
}

enum Trouble {
    NoAnswer(String),
    Other(String),
}

fn ask_over(
    mut carrier: Carrier,
    profile: &Profile,
    key: &[u8; 32],
    request: &Request,
    progress: bool,
) -> Result<Reply, Trouble> {
    let other = |e: &dyn std::fmt::Display| Trouble::Other(e.to_string());
    let start = SystemInstant::now();
    let now = || Instant::from_micros(1 + start.elapsed().as_micros() as u64);
    let rng = Rng::new(keys::random().map_err(|e| other(&e))?);
    let mut client =
        Client::new(now(), carrier.pace(), &profile.operator, key, rng).map_err(|e| other(&e))?;
    let bytes = request.encode();
    let from_bytes = match &carrier {
        Carrier::Network(_) => PROGRESS_FROM_BYTES,
        Carrier::Serial { .. } => PROGRESS_FROM_BYTES_SERIAL,
    };
    let bar = progress_bar(bytes.len(), progress && bytes.len() >= from_bytes);
    client.request(now(), bytes).map_err(|e| other(&e))?;
    loop {
        client.handle_timeout(now()).map_err(|error| match error {
            ClientError::NoAnswer => Trouble::NoAnswer(error.to_string()),
            _ => other(&error),
        })?;
        while let Some(datagram) = client.poll_datagram() {
            carrier.send(&datagram);
        }
        if let Some(reply) = client.poll_reply() {
            bar.finish_and_clear();
            return Reply::decode(&reply)
                .ok_or_else(|| other(&"its answer makes no sense; do versions differ?"));
        }
        let wait = client.poll_timeout().0.since(now()).max(Duration::from_millis(1));
        match carrier.listen(wait).map_err(|e| other(&e))? {
            Heard::Datagrams(datagrams) => {
                datagrams.iter().for_each(|datagram| client.handle_datagram(now(), datagram));
            }
            Heard::LineBack => client.handle_line_back(now()),
            Heard::Refused => {
                return Err(Trouble::NoAnswer("no zhost listens there (connection refused)".into()));
            }
        }
        match client.progress() {
            Some((sent, _)) => bar.set_position(sent as u64),
            None => bar.set_message("waiting for the answer"),
        }
    }
}

fn progress_bar(size_bytes: usize, is_shown: bool) -> ProgressBar {
    if !is_shown {
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
