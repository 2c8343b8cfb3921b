//! Measures two applications that talk to each other.

use crate::{
    Outcome,
    process::{Process, Scratch},
    report::{PeerResult, RoundTrip},
    side::Role,
    talk::Figures,
};
use std::{process::Command, time::Duration};

const TALKED_WITHIN: Duration = Duration::from_secs(60);

/// Starts both sides and enters into the result what the near side found.
pub fn measure(
    result: &mut PeerResult,
    scratch: &Scratch,
    side: impl Fn(Role) -> Outcome<Command>,
) -> Outcome {
    let start = |role: Role| Process::start(&mut side(role)?, &scratch.file(role.name()));
    let [far, near] = Role::BOTH.map(start);
    let (far, mut near) = (far?, near?);
    let finished = near.finish(TALKED_WITHIN);
    finished.map_err(|reason| format!("{reason} (the far side: {})", far.last_words()))?;
    let said = near.said()?;
    let last = said.lines().last().unwrap_or_default();
    let figures: Figures =
        serde_json::from_str(last).map_err(|e| format!("what the near side found: {e}"))?;
    result.round_trip = RoundTrip::of(&figures.round_trips_ns);
    result.messages_per_second = Some(figures.received as f64 * 1e9 / figures.elapsed_ns as f64);
    Ok(())
}
