//! What every Linux kernel tells about its machine.

use crate::Device;
use std::{
    fs,
    sync::{Mutex, PoisonError},
};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Reading};

fn failed(file: &str, reason: impl ToString) -> DeviceError {
    DeviceError::Failed(format!("{file}: {}", reason.to_string()))
}

fn read(file: &str) -> Result<String, DeviceError> {
    fs::read_to_string(file).map_err(|e| failed(file, e))
}

/// Busy and total processor time since boot, in ticks, from the first line of `/proc/stat`.
fn parse_cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is counted in user already.
    let total: u64 = fields.iter().take(8).sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some((total - idle, total))
}

/// Memory in use and in all, in KiB, from `/proc/meminfo`.
fn parse_memory_kib(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    let total = field("MemTotal")?;
    Some((total.checked_sub(field("MemAvailable")?)?, total))
}

/// All memory of this machine, in MiB.
pub fn memory_mib() -> Option<u64> {
    let (_, total_kib) = parse_memory_kib(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(total_kib / 1024)
}

/// Processor use between two readings.
#[derive(Debug, Default)]
pub struct Cpu(Mutex<Option<(u64, u64)>>);

impl Cpu {
    /// Percent of all processors in use since the last call; since boot at the first.
    pub fn percent(&self) -> Result<u8, DeviceError> {
        let now =
            parse_cpu_ticks(&read("/proc/stat")?).ok_or_else(|| failed("/proc/stat", "unknown format"))?;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (busy, total) = last
            .replace(now)
            .map_or(now, |then| (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1)));
        Ok((busy * 100).checked_div(total).unwrap_or(0).min(100) as u8)
    }
}

impl Device for Cpu {
    fn read(&self, _: Instant) -> Result<Reading, DeviceError> {
        Ok(Reading::Json(format!("{{\"type\":\"cpu\",\"value\":{},\"unit\":\"percent\"}}", self.percent()?)))
    }
}

/// Memory this process has at present, in KiB.
pub fn resident_kib() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Memory use.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

impl Memory {
    /// Percent of the memory in use.
    pub fn percent(self) -> Result<u8, DeviceError> {
        let (used, total) = self.kib()?;
        Ok((used * 100).checked_div(total).unwrap_or(0).min(100) as u8)
    }

    fn kib(self) -> Result<(u64, u64), DeviceError> {
        parse_memory_kib(&read("/proc/meminfo")?).ok_or_else(|| failed("/proc/meminfo", "unknown format"))
    }
}

impl Device for Memory {
    fn read(&self, _: Instant) -> Result<Reading, DeviceError> {
        let (used, total) = self.kib()?;
        Ok(Reading::Json(format!(
            "{{\"type\":\"memory\",\"value\":{used},\"unit\":\"KiB\",\"total\":{total}}}"
        )))
    }
}

/// Time since boot.
#[derive(Clone, Copy, Debug)]
pub struct Uptime;

impl Device for Uptime {
    fn read(&self, _: Instant) -> Result<Reading, DeviceError> {
        let text = read("/proc/uptime")?;
        let seconds = text.split('.').next().and_then(|s| s.parse::<u64>().ok());
        let seconds = seconds.ok_or_else(|| failed("/proc/uptime", "unknown format"))?;
        Ok(Reading::Json(format!("{{\"type\":\"uptime\",\"value\":{seconds},\"unit\":\"s\"}}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_are_understood() {
        assert_eq!(parse_cpu_ticks("cpu  10 0 20 60 10 0 0 0 0 0\ncpu0 1 2"), Some((30, 100)));
        assert_eq!(parse_cpu_ticks("intr 5"), None);
        assert_eq!(
            parse_memory_kib("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   60 kB\n"),
            Some((40, 100))
        );
        assert_eq!(parse_memory_kib("MemTotal: 1 kB\nMemAvailable: 2 kB"), None);
    }

    #[test]
    fn this_machines_sensors_read() {
        for sensor in [&Cpu::default() as &dyn Device, &Memory, &Uptime] {
            assert!(
                matches!(sensor.read(Instant::ZERO), Ok(Reading::Json(json)) if json.contains("\"value\":"))
            );
        }
    }
}
