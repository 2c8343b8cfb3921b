//! Pulse-width modulation: `/sys/class/pwm` (kernel: Documentation/driver-api/pwm.rst). A command is text: the period
//! and the pulse's width in nanoseconds, or `off`.

use crate::{
    Device,
    machine::{failed, number, unopened},
};
use std::{fs, path::PathBuf};
use zhost_base::Instant;
use zhost_exchange::DeviceError;

/// One channel of a chip.
pub struct Pwm {
    /// The chip's directory.
    pub chip: PathBuf,
    /// Which of its channels.
    pub channel: u32,
}

impl Pwm {
    fn set(&self, attribute: &str, value: u64) -> Result<(), DeviceError> {
        let file = self.chip.join(format!("pwm{}", self.channel)).join(attribute);
        fs::write(&file, value.to_string()).map_err(|e| failed(&file, e))
    }

    fn get(&self, attribute: &str) -> Result<i64, DeviceError> {
        number(&self.chip.join(format!("pwm{}", self.channel)).join(attribute))
    }

    fn export(&self) -> Result<(), DeviceError> {
        if self.chip.join(format!("pwm{}", self.channel)).exists() {
            return Ok(());
        }
        let file = self.chip.join("export");
        fs::write(&file, self.channel.to_string()).map_err(|e| unopened(&file, &e))
    }
}

impl Device for Pwm {
    fn command(&self, _: Instant, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let bad = || DeviceError::Command("expected PERIOD_NS WIDTH_NS, or off".into());
        let text = std::str::from_utf8(command).map_err(|_| bad())?.trim();
        self.export()?;
        if text == "off" {
            // A channel that was never set has no period yet, and the kernel takes no order for such.
            let is_on = self.get("enable")? != 0;
            return if is_on { self.set("enable", 0).map(|()| Vec::new()) } else { Ok(Vec::new()) };
        }
        let (period, width) = text.split_once(' ').ok_or_else(bad)?;
        let (period, width): (u64, u64) =
            (period.parse().map_err(|_| bad())?, width.parse().map_err(|_| bad())?);
        if width > period || period == 0 {
            return Err(bad());
        }
        // The kernel refuses a width above the period, and any order before there is a period.
        if u64::try_from(self.get("duty_cycle")?).is_ok_and(|before| before > period) {
            self.set("duty_cycle", 0)?;
        }
        self.set("period", period)?;
        self.set("duty_cycle", width)?;
        self.set("enable", 1)?;
        Ok(Vec::new())
    }
}
