//! What a guest's imports act on. Nothing here waits: effects are collected and drained by the worker.

use crate::{
    budget,
    device::Devices,
    mailbox::{Letters, Mailbox, Sender},
    store::Store,
};
use std::{collections::BTreeMap, sync::Arc};
use zhost_base::{Batch, Instant, Name, Rng, SpaceKey, limits};

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// For the operator, nothing wrong.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The level a guest names by number; unknown ones are errors.
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Debug,
            1 => Self::Info,
            2 => Self::Warn,
            _ => Self::Error,
        }
    }

    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// An outgoing path.
#[derive(Clone, Debug)]
pub struct OutgoingPath {
    /// Its name.
    pub name: Name,
    /// How many messages its target's mailbox still takes; none while the target is not running.
    pub credit: u32,
    /// Bytes of messages that the target has not consumed yet.
    pub outstanding_bytes: u32,
}

/// Messages of one path that were accepted and did not arrive, or may not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Those that certainly did not arrive.
    pub lost: u32,
    /// Those of which nobody knows: the target died holding them.
    pub unknown: u32,
}

/// Why an import refused; guests see the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such path, key, sensor or message.
    NotFound = -1,
    /// Not now: no credit, no new reading. Try again.
    TryAgain = -2,
    /// Larger than allowed, or than the buffer.
    TooLarge = -3,
    /// Not declared in the manifest.
    Denied = -4,
    /// The device or the flash failed.
    Failed = -5,
}

/// The world of one guest.
pub struct Context {
    /// Which space it is.
    pub key: SpaceKey,
    /// What it declared.
    pub capabilities: Vec<Name>,
    /// Monotonic time of the current slice.
    pub now: Instant,
    /// Milliseconds since 1970 at the clock's origin; 0 while the wall clock is not set.
    pub unix_origin_ms: u64,
    /// Where it may send.
    pub paths: Vec<OutgoingPath>,
    pub(crate) mailbox: Mailbox,
    pub(crate) sleep_until: Option<Instant>,
    /// Runs of messages along one path, by its index.
    pub(crate) emitted: Vec<(u8, Batch)>,
    /// `emit_to` said "try again" since the guest was last woken for it.
    pub(crate) was_refused: bool,
    /// By path.
    pub(crate) undelivered: BTreeMap<Name, Undelivered>,
    pub(crate) logs: Vec<(LogLevel, String)>,
    /// Lines written in the present call.
    pub(crate) log_lines: usize,
    pub(crate) logs_dropped: u32,
    pub(crate) data_writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(crate) table: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) devices: Arc<dyn Devices>,
    pub(crate) rng: Rng,
    last_frame: Option<u64>,
}

impl Context {
    /// The context of a guest about to start.
    pub fn new(key: SpaceKey, store: Arc<dyn Store>, devices: Arc<dyn Devices>, rng: Rng) -> Self {
        let table = crate::table::data(&key);
        Self {
            key,
            capabilities: Vec::new(),
            now: Instant::ZERO,
            unix_origin_ms: 0,
            paths: Vec::new(),
            mailbox: Mailbox::default(),
            sleep_until: None,
            emitted: Vec::new(),
            was_refused: false,
            undelivered: BTreeMap::new(),
            logs: Vec::new(),
            log_lines: 0,
            logs_dropped: 0,
            data_writes: BTreeMap::new(),
            table,
            store,
            devices,
            rng,
            last_frame: None,
        }
    }

    pub(crate) fn log(&mut self, level: LogLevel, text: &[u8]) {
        self.log_lines += 1;
        if self.log_lines > budget::LOG_LINES_PER_CALL_MAX {
            self.logs_dropped += 1;
            return;
        }
        let cut = &text[..text.len().min(limits::LOG_LINE_SIZE_MAX_BYTES)];
        let line: String =
            String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.logs.push((level, line));
    }

    pub(crate) fn emit_to(&mut self, path: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        if payload.len() > limits::MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        let index =
            self.paths.iter().position(|p| p.name.as_str().as_bytes() == path).ok_or(Refusal::NotFound)?;
        let path = &mut self.paths[index];
        let outstanding = path.outstanding_bytes.saturating_add(payload.len() as u32);
        if path.credit == 0 || (path.outstanding_bytes > 0 && outstanding > limits::PATH_WINDOW_BYTES) {
            self.was_refused = true;
            return Err(Refusal::TryAgain);
        }
        path.credit -= 1;
        path.outstanding_bytes = outstanding;
        match self.emitted.last_mut() {
            Some((last, payloads)) if usize::from(*last) == index => payloads.push(payload),
            _ => self.emitted.push((index as u8, Batch::from_iter([payload]))),
        }
        Ok(())
    }

    pub(crate) fn self_emit(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        if payload.len() > limits::MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        if self.mailbox.own() >= budget::SELF_EMIT_MAX_MESSAGES {
            return Err(Refusal::TryAgain);
        }
        let (path, payloads) = (self.key.space.clone(), Batch::from_iter([payload]));
        self.mailbox.push(Letters::new(None, Sender::default(), path, payloads));
        Ok(())
    }

    /// Takes what is to be known of messages of one path that did not arrive: two little-endian numbers, of
    /// those lost and of those whose fate is unknown, then the path's name.
    pub(crate) fn next_undelivered(&mut self) -> Result<Vec<u8>, Refusal> {
        let (path, Undelivered { lost, unknown }) = self.undelivered.pop_first().ok_or(Refusal::NotFound)?;
        Ok([&lost.to_le_bytes()[..], &unknown.to_le_bytes()[..], path.as_str().as_bytes()].concat())
    }

    pub(crate) fn data_get(&self, key: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self.data_writes.get(key) {
            Some(value) => value.clone().ok_or(Refusal::NotFound),
            None => self.store.get(&self.table, key).map_err(|_| Refusal::Failed)?.ok_or(Refusal::NotFound),
        }
    }

    pub(crate) fn data_write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), Refusal> {
        let value_size = value.as_ref().map_or(0, Vec::len);
        if key.is_empty()
            || key.len() > budget::DATA_KEY_MAX_BYTES
            || value_size > budget::DATA_VALUE_MAX_BYTES
        {
            return Err(Refusal::TooLarge);
        }
        if self.data_writes.len() >= budget::DATA_WRITES_PER_CALL_MAX && !self.data_writes.contains_key(&key)
        {
            return Err(Refusal::TryAgain);
        }
        self.data_writes.insert(key, value);
        Ok(())
    }

    /// Keys starting with `prefix`, each behind its length in two little-endian bytes, as many as fit `room`.
    pub(crate) fn data_list(&self, prefix: &[u8], room: usize) -> Result<Vec<u8>, Refusal> {
        let stored =
            self.store.keys(&self.table, prefix, budget::DATA_LIST_MAX_KEYS).map_err(|_| Refusal::Failed)?;
        let mut keys: BTreeMap<Vec<u8>, bool> = stored.into_iter().map(|key| (key, true)).collect();
        let written = self.data_writes.iter().filter(|(key, _)| key.starts_with(prefix));
        keys.extend(written.map(|(key, value)| (key.clone(), value.is_some())));
        let mut list = Vec::new();
        for (key, _) in keys.iter().filter(|(_, present)| **present) {
            if list.len() + 2 + key.len() > room {
                break;
            }
            list.extend_from_slice(&(key.len() as u16).to_le_bytes());
            list.extend_from_slice(key);
        }
        Ok(list)
    }

    /// Reads the sensor `name`, which must be declared as `sensors.<name>`. A camera gives each picture once.
    pub(crate) fn sensor_read(&mut self, name: &[u8]) -> Result<Vec<u8>, Refusal> {
        let name = std::str::from_utf8(name).map_err(|_| Refusal::NotFound)?;
        let capability = format!("sensors.{name}");
        if !self.capabilities.iter().any(|declared| declared.as_str() == capability) {
            return Err(Refusal::Denied);
        }
        match self.devices.read(self.now, &capability) {
            Ok(crate::Reading::Json(json)) => Ok(json.into_bytes()),
            Ok(crate::Reading::Frame(frame)) if self.last_frame == Some(frame.sequence) => {
                Err(Refusal::TryAgain)
            }
            Ok(crate::Reading::Frame(frame)) => {
                self.last_frame = Some(frame.sequence);
                Ok(frame.encode())
            }
            Err(crate::DeviceError::Missing) => Err(Refusal::NotFound),
            Err(crate::DeviceError::Failed(_)) => Err(Refusal::Failed),
        }
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        if self.unix_origin_ms == 0 { 0 } else { self.unix_origin_ms + self.now.as_millis() }
    }
}
