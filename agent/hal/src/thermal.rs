//! The temperatures of the machine itself: `/sys/class/thermal` (kernel: Documentation/ABI/testing/sysfs-class-thermal).

use crate::{
    Device, Found,
    machine::{Machine, attribute, milli_reading, number, plain_name},
};
use std::{path::PathBuf, sync::Arc};
use zhost_base::Instant;
use zhost_runtime::{DeviceError, Reading};

struct Zone(PathBuf);

/// The thermal zones.
pub fn find(machine: &Machine) -> Vec<Found> {
    let zones = machine.entries("sys/class/thermal", "thermal_zone");
    let found = zones.into_iter().filter_map(|zone| {
        let name = plain_name(&attribute(&zone.join("type")).ok()?);
        Some(Found::new(format!("sensors.{name}"), zone.clone(), move || Some(Arc::new(Zone(zone)))))
    });
    found.collect()
}

impl Device for Zone {
    fn read(&self, _: Instant) -> Result<Reading, DeviceError> {
        Ok(milli_reading("temperature", number(&self.0.join("temp"))?, "C"))
    }
}
