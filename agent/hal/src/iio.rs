//! Industrial I/O: `/sys/bus/iio/devices` (kernel: Documentation/ABI/testing/sysfs-bus-iio).

use crate::{
    Found,
    background::Background,
    machine::{Machine, attribute, failed, milli_reading, number, plain_name},
};
use std::path::{Path, PathBuf};
use zhost_base::recognizer::Milli;
use zhost_exchange::{DeviceError, Reading};

/// What a channel's name begins with, what it measures, and its unit once scaled, in thousandths.
const CHANNELS: [(&str, &str, &str); 6] = [
    ("in_temp", "temperature", "C"),
    ("in_humidityrelative", "humidity", "percent"),
    ("in_pressure", "pressure", "kPa"),
    ("in_illuminance", "illuminance", "lx"),
    ("in_voltage", "voltage", "V"),
    ("in_current", "current", "A"),
];
/// Of these the scaled value is in thousandths of the unit already; of the others it is in the unit.
const IN_MILLI: [&str; 4] = ["temperature", "humidity", "voltage", "current"];

struct Channel {
    dir: PathBuf,
    /// Such as `in_voltage0`.
    channel: String,
    /// What all channels of its sort share, such as `in_voltage`.
    sort: &'static str,
    kind: &'static str,
    unit: &'static str,
}

/// Every input of every device.
pub fn find(machine: &Machine) -> Vec<Found> {
    let mut found = Vec::new();
    for dir in machine.entries("sys/bus/iio/devices", "iio:device") {
        let Ok(device) = attribute(&dir.join("name")) else { continue };
        for (sort, kind, unit) in CHANNELS {
            for file in machine.entries(&dir.to_string_lossy(), sort) {
                let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
                let Some(channel) = name.strip_suffix("_input").or_else(|| name.strip_suffix("_raw")) else {
                    continue;
                };
                let short = channel.trim_start_matches("in_");
                let capability = format!("sensors.{}-{}", plain_name(&device), plain_name(short));
                let channel = Channel { dir: dir.clone(), channel: channel.to_owned(), sort, kind, unit };
                let device = Background::new(&capability, move || channel.read());
                found.push(Found::certain(capability, file.clone(), device));
            }
        }
    }
    found
}

/// A decimal number in thousandths; six digits behind the point, as scales have, are kept as millionths.
fn micros(file: &Path) -> Result<i64, DeviceError> {
    let text = attribute(file)?;
    let bad = || failed(file, format!("{text:?} is no number"));
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole: i64 = whole.parse().map_err(|_| bad())?;
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let fraction: i64 = digits.parse().map_err(|_| bad())?;
    Ok(whole.saturating_mul(1_000_000).saturating_add(sign * fraction))
}

impl Channel {
    /// An attribute of this channel, or the one it shares with its sort.
    fn attribute_file(&self, what: &str) -> Option<PathBuf> {
        let files = [&self.channel, self.sort].map(|name: &str| self.dir.join(format!("{name}_{what}")));
        files.into_iter().find(|file| file.exists())
    }

    /// The value as the device scales it, in thousandths.
    fn scaled_milli(&self) -> Result<i64, DeviceError> {
        let input = self.dir.join(format!("{}_input", self.channel));
        if input.exists() {
            let text = attribute(&input)?;
            return text.parse::<Milli>().map(|milli| milli.0).map_err(|_| failed(&input, "no number"));
        }
        let raw = number(&self.dir.join(format!("{}_raw", self.channel)))?;
        let offset = self.attribute_file("offset").map_or(Ok(0), |file| micros(&file))?;
        let scale = self.attribute_file("scale").map_or(Ok(1_000_000), |file| micros(&file))?;
        let sum = i128::from(raw) * 1_000_000 + i128::from(offset);
        // Millionths times millionths, in thousandths.
        Ok(i64::try_from(sum * i128::from(scale) / 1_000_000_000).unwrap_or(i64::MAX))
    }
}

impl Channel {
    fn read(&self) -> Result<Reading, DeviceError> {
        let scaled = self.scaled_milli()?;
        let milli = if IN_MILLI.contains(&self.kind) { scaled / 1000 } else { scaled };
        Ok(milli_reading(self.kind, milli, self.unit))
    }
}
