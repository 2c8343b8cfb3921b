//! Thermometers on a 1-Wire bus: `/sys/bus/w1/devices` (kernel: Documentation/w1/slaves/w1_therm.rst). A conversion
//! takes most of a second, so it is read in the background.

use crate::{
    Found,
    background::Background,
    machine::{Machine, milli_reading, number, plain_name},
};

/// Families that the kernel's driver reads temperatures of: DS18S20, DS1822, DS18B20, DS1825, DS28EA00.
const FAMILIES: [&str; 5] = ["10-", "22-", "28-", "3b-", "42-"];

/// Every thermometer.
pub fn find(machine: &Machine) -> Vec<Found> {
    let dirs = FAMILIES.iter().flat_map(|family| machine.entries("sys/bus/w1/devices", family));
    let found = dirs.filter_map(|dir| {
        let name = format!("sensors.w1-{}", plain_name(dir.file_name()?.to_str()?));
        let file = dir.join("temperature");
        let read = move || number(&file).map(|milli| milli_reading("temperature", milli, "C"));
        let device = Background::new(&name, read);
        Some(Found::certain(name, dir, device))
    });
    found.collect()
}
