//! The temperatures of the machine itself: `/sys/class/thermal` (kernel: Documentation/ABI/testing/sysfs-class-thermal).

use crate::{
    Found,
    background::Background,
    machine::{Machine, attribute, milli_reading, number, plain_name},
};

/// The thermal zones.
pub fn find(machine: &Machine) -> Vec<Found> {
    let zones = machine.entries("sys/class/thermal", "thermal_zone");
    let found = zones.into_iter().filter_map(|zone| {
        let name = plain_name(&attribute(&zone.join("type")).ok()?);
        let file = zone.join("temp");
        let name = format!("sensors.{name}");
        let device = Background::new(&name, move || Ok(milli_reading("temperature", number(&file)?, "C")));
        Some(Found::certain(name, zone, device))
    });
    found.collect()
}
