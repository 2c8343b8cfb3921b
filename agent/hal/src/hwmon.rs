//! Monitoring chips: `/sys/class/hwmon` (kernel: Documentation/hwmon/sysfs-interface.rst).

use crate::{
    Found,
    background::Background,
    machine::{Machine, attribute, milli_reading, number, plain_name},
};
use std::path::Path;
use zhost_exchange::{DeviceError, Reading};

/// What a channel's name begins with, what it measures, in which unit, and how many of the file's units make one
/// thousandth of it.
const CHANNELS: [(&str, &str, &str, i64); 6] = [
    ("temp", "temperature", "C", 1),
    ("in", "voltage", "V", 1),
    ("curr", "current", "A", 1),
    ("power", "power", "W", 1000),
    ("humidity", "humidity", "percent", 1),
    ("fan", "speed", "rpm", 0),
];

/// Every input of every chip.
pub fn find(machine: &Machine) -> Vec<Found> {
    let mut found = Vec::new();
    for chip in machine.entries("sys/class/hwmon", "hwmon") {
        let Ok(chip_name) = attribute(&chip.join("name")) else { continue };
        let dir = chip.to_string_lossy().into_owned();
        for (prefix, kind, unit, per_milli) in CHANNELS {
            for file in machine.entries(&dir, prefix) {
                let name = file
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| name.strip_suffix("_input"));
                let Some(channel) =
                    name.filter(|name| name[prefix.len()..].bytes().all(|b| b.is_ascii_digit()))
                else {
                    continue;
                };
                let name = format!("sensors.{}-{channel}", plain_name(&chip_name));
                let source = file.clone();
                let device = Background::new(&name, move || read(&file, kind, unit, per_milli));
                found.push(Found::certain(name, source, device));
            }
        }
    }
    found
}

fn read(file: &Path, kind: &str, unit: &str, per_milli: i64) -> Result<Reading, DeviceError> {
    let raw = number(file)?;
    let milli = match per_milli {
        0 => raw.saturating_mul(1000),
        per_milli => raw / per_milli,
    };
    Ok(milli_reading(kind, milli, unit))
}
