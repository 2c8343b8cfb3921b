//! A control session: the shell around [`zhost_control::Inquiry`].

use crate::{
    carrier::{Cable, Carrier, Heard},
    keys,
    profile::{Profile, Reach},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant as SystemInstant};
use zhost_base::{Instant, Rng, limits::CONTROL_MESSAGE_MAX_BYTES};
use zhost_control::{
    ClientError, Inquiry, Trouble,
    protocol::{PROVISIONING_KEY, Reply, Request},
};

/// Requests of this size show how far they are.
const PROGRESS_FROM_BYTES: usize = 64 * 1024;
/// On a serial cable, where they take longer.
const PROGRESS_FROM_BYTES_SERIAL: usize = 4 * 1024;

/// Why there is no reply.
enum Unanswered {
    /// What is known of each zhost; none has begun to hear the request.
    Troubles(Vec<Trouble>),
    /// Something else.
    Other(String),
}

/// Asks the profile's zhosts, all at once; the request goes to one that answers.
pub fn ask(profile: &Profile, request: &Request, progress: bool) -> Result<Reply, String> {
    let resolved = match &profile.reach {
        Reach::Network(resolved) => resolved,
        Reach::Serial(cable) => return ask_at(cable, profile, request, progress),
    };
    let addresses = Reach::addresses(resolved);
    let nowhere: Vec<String> = resolved.iter().filter_map(|place| place.addresses.clone().err()).collect();
    if addresses.is_empty() {
        return Err(nowhere.join("\n      "));
    }
    let carrier = Carrier::network(addresses.iter().map(|(address, _)| *address));
    let asked: Vec<String> = addresses
        .iter()
        .map(|(address, written)| match address.to_string() {
            address if address.starts_with(*written) => address,
            address => format!("{written} ({address})"),
        })
        .collect();
    ask_over(carrier, asked.len(), profile, &profile.control_secret, request, progress).map_err(
        |unanswered| match unanswered {
            Unanswered::Troubles(troubles) => explain(&asked, &troubles, &nowhere),
            Unanswered::Other(reason) => reason,
        },
    )
}

/// What is known of each zhost that did not answer; those of whom the same is known in one line.
fn explain(asked: &[String], troubles: &[Trouble], nowhere: &[String]) -> String {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for (zhost, trouble) in asked.iter().zip(troubles) {
        let reason = match trouble {
            Trouble::Session(error) => error.to_string(),
            Trouble::Unreachable(reason) => reason.clone(),
        };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, zhosts)) => zhosts.push(zhost),
            None => reasons.push((reason, vec![zhost])),
        }
    }
    let mut lines: Vec<String> =
        reasons.iter().map(|(reason, zhosts)| format!("{}: {reason}", zhosts.join(", "))).collect();
    lines.extend(nowhere.iter().cloned());
    let is_secret =
        |trouble: &Trouble| matches!(trouble, Trouble::Session(error) if *error != ClientError::Lost);
    if troubles.iter().any(is_secret) {
        lines.push("`zctl profile check` shows what to compare with the boards' settings".into());
    }
    lines.join("\n      ")
}

/// Asks the zhost at the end of a cable. One that does not know us may have no cluster yet, and says so.
fn ask_at(cable: &Cable, profile: &Profile, request: &Request, progress: bool) -> Result<Reply, String> {
    let ask = |key: &[u8; 32], request: &Request| {
        let carrier =
            Carrier::serial(cable).map_err(|e| Unanswered::Other(format!("serial port {cable}: {e}")))?;
        ask_over(carrier, 1, profile, key, request, progress)
    };
    let provisions = matches!(request, Request::Provision(_));
    match ask(if provisions { &PROVISIONING_KEY } else { &profile.control_secret }, request) {
        Ok(reply) => Ok(reply),
        Err(Unanswered::Other(reason)) => Err(reason),
        Err(Unanswered::Troubles(_)) if provisions => {
            Err("no answer: is the board up? One that has a cluster already takes no other".into())
        }
        Err(Unanswered::Troubles(troubles)) => match ask(&PROVISIONING_KEY, &Request::Status) {
            Ok(Reply::Refused(reason)) => Err(reason),
            _ => Err(explain(&[cable.to_string()], &troubles, &[])),
        },
    }
}

fn ask_over(
    mut carrier: Carrier,
    zhosts: usize,
    profile: &Profile,
    key: &[u8; 32],
    request: &Request,
    progress: bool,
) -> Result<Reply, Unanswered> {
    let other = |e: &dyn std::fmt::Display| Unanswered::Other(e.to_string());
    let start = SystemInstant::now();
    let now = || Instant::from_micros(1 + start.elapsed().as_micros() as u64);
    let rng = Rng::new(keys::random().map_err(|e| other(&e))?);
    let bytes = request.encode();
    let size = bytes.len();
    let from_bytes = match &carrier {
        Carrier::Network(_) => PROGRESS_FROM_BYTES,
        Carrier::Serial { .. } => PROGRESS_FROM_BYTES_SERIAL,
    };
    let mut inquiry = Inquiry::new(now(), carrier.pace(), &profile.operator, key, rng, zhosts, bytes)
        .map_err(|_| {
            other(&format!("the request has {size} bytes; a zhost takes {CONTROL_MESSAGE_MAX_BYTES}"))
        })?;
    let bar = progress_bar(size, progress && size >= from_bytes);
    loop {
        inquiry.handle_timeout(now()).map_err(|troubles| match &troubles[..] {
            [Trouble::Session(error @ ClientError::Lost)] => other(error),
            _ => Unanswered::Troubles(troubles),
        })?;
        while let Some((zhost, datagram)) = inquiry.poll_datagram() {
            if let Err(reason) = carrier.send(zhost, &datagram) {
                inquiry.handle_unreachable(now(), zhost, reason);
            }
        }
        if let Some(reply) = inquiry.poll_reply() {
            bar.finish_and_clear();
            return Reply::decode(&reply)
                .ok_or_else(|| other(&"its answer makes no sense; do versions differ?"));
        }
        let wait = inquiry.poll_timeout().0.since(now()).max(Duration::from_millis(1));
        for heard in carrier.listen(wait).map_err(|e| other(&e))? {
            match heard {
                Heard::Datagram(zhost, datagram) => inquiry.handle_datagram(now(), zhost, &datagram),
                Heard::LineBack => inquiry.handle_line_back(now()),
                Heard::Unreachable(zhost, reason) => inquiry.handle_unreachable(now(), zhost, reason),
            }
        }
        match inquiry.progress() {
            Some((sent, _)) => bar.set_position(sent as u64),
            None => bar.set_message("waiting for the answer"),
        }
    }
}

/// Shows how far something of this size is.
pub fn progress_bar(size_bytes: usize, is_shown: bool) -> ProgressBar {
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
