//! The devices of one zhost: those found, those told, and which of them are there at present.

use crate::{
    Device, Found, Machine, Wire, hwmon, iio, kernel, machine::failed, one_wire, secrets, sound, thermal,
    v4l2,
};
use litemap::LiteMap;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use zhost_base::{Instant, Name};
use zhost_exchange::{DeviceError, Devices, Leases, Reading};

/// Devices that are found by themselves; further ones are left out, the least likely to be missed first, so that those
/// that were told have room in what a zhost can say of itself.
const FOUND_MAX: usize = 12;

/// Devices by the file each is known by; nothing for a file that is no device of ours.
type Sources = LiteMap<PathBuf, Option<(Name, Arc<dyn Device>)>>;

/// The devices of a zhost.
pub struct Board {
    machine: Machine,
    secrets: Option<PathBuf>,
    fixed: LiteMap<Name, Arc<dyn Device>>,
    wired: LiteMap<Name, Wire>,
    /// Of those wired, which are not there.
    away: Mutex<BTreeSet<Name>>,
    found: Mutex<Sources>,
    leases: Leases,
}

impl Board {
    /// The devices of a machine, with the sensors that every Linux kernel has, and the secrets in a directory.
    pub fn new(machine: Machine, secrets: Option<PathBuf>) -> Self {
        let mut board = Self {
            machine,
            secrets,
            fixed: LiteMap::new(),
            wired: LiteMap::new(),
            away: Mutex::default(),
            found: Mutex::new(LiteMap::new()),
            leases: Leases::default(),
        };
        board.add("sensors.cpu", Arc::new(kernel::Cpu::default()));
        board.add("sensors.memory", Arc::new(kernel::Memory));
        board.add("sensors.uptime", Arc::new(kernel::Uptime));
        board.look_around();
        board
    }

    /// Adds a device under the capability that unlocks it; one that is there already is replaced.
    pub fn add(&mut self, capability: &str, device: Arc<dyn Device>) {
        if let Ok(name) = capability.parse() {
            self.fixed.insert(name, device);
        }
    }

    /// Adds a device that is wired to the board; it is offered while what it is wired to is there.
    pub fn wire(&mut self, wire: &Wire) -> Result<(), DeviceError> {
        let capability = wire.capability();
        let name: Name = capability.parse().map_err(|e| failed(Path::new(&capability), e))?;
        self.fixed.insert(name.clone(), wire.device(&self.machine)?);
        self.wired.insert(name, wire.clone());
        self.look_for_wired();
        Ok(())
    }

    /// Looks which of the wired devices are there; whether that has changed.
    fn look_for_wired(&self) -> bool {
        let is_away = |(_, wire): &(&Name, &Wire)| !wire.is_there(&self.machine);
        let now: BTreeSet<Name> = self.wired.iter().filter(is_away).map(|(name, _)| name.clone()).collect();
        let mut away = self.away();
        let has_changed = *away != now;
        *away = now;
        has_changed
    }

    fn away(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> MutexGuard<'_, Sources> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks which devices have come and gone; whether any did.
    pub fn look_around(&self) -> bool {
        // Both looks are taken, whatever the first shows.
        self.look_for_wired() | self.look_for_others()
    }

    fn look_for_others(&self) -> bool {
        let machine = &self.machine;
        let finders = [v4l2::find, sound::find, thermal::find, one_wire::find, iio::find, hwmon::find];
        let secrets = self.secrets.iter().flat_map(|dir| secrets::find(dir));
        let candidates: Vec<Found> =
            secrets.chain(finders.into_iter().flat_map(|find| find(machine))).collect();
        // A driver may take its time over being opened: nobody who reads a device waits for that.
        let mut found = self.found().clone();
        let names =
            |found: &Sources| found.values().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let before = names(&found);
        found.retain(|source, _| candidates.iter().any(|candidate| candidate.source == *source));
        let mut kept = Vec::new();
        for Found { capability, source, open } in candidates {
            if kept.len() == FOUND_MAX {
                break;
            }
            if !found.contains_key(&source) {
                // What cannot be opened now may be later: permissions often come after the device.
                let Ok(device) = open() else { continue };
                let named = device.and_then(|device| Some((self.free_name(&found, &capability)?, device)));
                found.insert(source.clone(), named);
            }
            if found.get(&source).is_some_and(Option::is_some) {
                kept.push(source);
            }
        }
        found.retain(|source, device| device.is_none() || kept.contains(source));
        let has_changed = before != names(&found);
        *self.found() = found;
        has_changed
    }

    /// The capability, with a number behind it if there is such a device already; nothing if it is too long for a name.
    fn free_name(&self, found: &Sources, capability: &str) -> Option<Name> {
        let is_free = |name: &Name| {
            !self.fixed.contains_key(name) && !found.values().flatten().any(|(taken, _)| taken == name)
        };
        let numbered = |number: usize| match number {
            0 => capability.parse().ok(),
            number => format!("{capability}-{number}").parse().ok(),
        };
        (0..=FOUND_MAX).map_while(numbered).find(is_free)
    }

    fn device(&self, capability: &str) -> Result<Arc<dyn Device>, DeviceError> {
        let fixed =
            self.fixed.iter().find(|(name, _)| name.as_str() == capability).map(|(_, device)| device.clone());
        let found = || {
            let found = self.found();
            let mut devices = found.values().flatten();
            devices.find(|(name, _)| name.as_str() == capability).map(|(_, device)| device.clone())
        };
        fixed.or_else(found).ok_or(DeviceError::Missing)
    }
}

impl Devices for Board {
    fn capabilities(&self) -> Vec<Name> {
        let found = self.found();
        let names = found.values().flatten().map(|(name, _)| name);
        let away = self.away();
        self.fixed.keys().filter(|name| !away.contains(name)).chain(names).cloned().collect()
    }

    fn read(&self, now: Instant, capability: &str) -> Result<Reading, DeviceError> {
        self.device(capability)?.read(now)
    }

    fn command(&self, now: Instant, capability: &str, command: &[u8]) -> Result<Vec<u8>, DeviceError> {
        self.device(capability)?.command(now, command)
    }

    fn leases(&self) -> &Leases {
        &self.leases
    }
}
