//! Results as text for people.

use crate::report::{Detection, PeerResult};
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeSet;

const HEADER: [&str; 11] = [
    "PEER",
    "VERSION",
    "ENCRYPTED",
    "P50 us",
    "P99 us",
    "x TCP",
    "MSG/S",
    "KILLED: ALL KNOW s",
    "UNPLUGGED s",
    "IDLE B/S PER NODE",
    "TOOK s",
];
const FIRST_NUMBER_COLUMN: usize = 3;

/// An aligned table, and below it why something is missing.
pub fn render(results: &[PeerResult]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    table.style_mut().header_separator.fill = Some('-');
    table.style_mut().header_separator.junction = Some('-');
    results.iter().for_each(|result| {
        table.add_row(row(result));
    });
    table.column_iter_mut().skip(FIRST_NUMBER_COLUMN).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    let lines = table.to_string();
    let mut text: String = lines
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned() + "\n")
        .collect();
    let hosts: BTreeSet<&str> = results.iter().map(|result| result.hosts.as_str()).collect();
    for hosts in hosts.into_iter().filter(|hosts| !hosts.is_empty()) {
        text += &format!("\nHosts: {hosts}\n");
    }
    for result in results {
        if let Some(reason) = &result.failure {
            text += &format!("{}: {reason}\n", result.name);
        }
    }
    text
}

fn row(result: &PeerResult) -> [String; HEADER.len()] {
    let round_trip = result.round_trip.as_ref();
    [
        result.name.into(),
        result.version.clone(),
        if result.encrypted { "yes" } else { "no" }.into(),
        number(round_trip.map(|round_trip| round_trip.p50_us), 0),
        number(round_trip.map(|round_trip| round_trip.p99_us), 0),
        number(result.round_trip_ratio, 1),
        number(result.messages_per_second, 0),
        detection(result.detection.as_ref()),
        detection(result.silent_detection.as_ref()),
        number(result.idle_bytes_per_second_per_node, 0),
        number(Some(result.seconds), 0),
    ]
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.decimals$}"))
}

/// Median and worst of so many deaths, among so many members.
fn detection(detection: Option<&Detection>) -> String {
    let sums = detection.and_then(|detection| Some((detection, detection.median_and_worst_ms()?)));
    sums.map_or_else(
        || "-".into(),
        |(detection, (median_ms, worst_ms))| {
            let (deaths, nodes) = (detection.all_known_ms.len(), detection.nodes);
            format!("{:.2} / {:.2} ({deaths} of {nodes})", median_ms / 1000.0, worst_ms / 1000.0)
        },
    )
}
