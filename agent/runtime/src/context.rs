//! What a guest's imports act on. Nothing here waits: effects are collected and drained by the worker.

use crate::{
    actor::{Correspondence, Waiting},
    budget,
    data::Data,
    mailbox::{Kind, Letters, Mailbox},
    sensing::Subscription,
    wasi::Output,
};
use litemap::LiteMap;
use std::sync::Arc;
use zhost_base::{Batch, Instant, Name, Pid, RecognizerSpec, Rng, SpaceKey, SpaceSpec, limits};
use zhost_exchange::{Act, DeviceError, Devices, LogLevel, Origin, Reading, Refusal, Report, Undelivered};

/// An outgoing path.
#[derive(Clone, Debug)]
pub struct OutgoingPath {
    /// Its name.
    pub name: Name,
    /// Whether its target is running.
    pub is_up: bool,
    /// How many messages its target's mailbox still takes; none while the target is not running.
    pub credit: u32,
    /// Bytes of messages that the target has not consumed yet.
    pub outstanding_bytes: u32,
    /// Messages of which was told neither that they were consumed, nor that they were not, or perhaps not, delivered.
    unsettled: u32,
}

impl OutgoingPath {
    /// A path that leads nowhere yet.
    pub(crate) fn new(name: Name) -> Self {
        Self { name, is_up: false, credit: 0, outstanding_bytes: 0, unsettled: 0 }
    }

    /// Its target is running (anew), or not.
    pub(crate) fn aim(&mut self, is_up: bool) {
        self.is_up = is_up;
        self.credit = if is_up { limits::PATH_WINDOW_MESSAGES } else { 0 };
        self.outstanding_bytes = 0;
    }

    /// It was told what became of messages.
    pub(crate) fn settle(&mut self, messages: u32) {
        self.unsettled = self.unsettled.saturating_sub(messages);
    }

    /// As many messages may be sent again.
    pub(crate) fn refill(&mut self, messages: u32, bytes: u32) {
        if self.is_up {
            self.credit = self.credit.saturating_add(messages).min(limits::PATH_WINDOW_MESSAGES);
            self.outstanding_bytes = self.outstanding_bytes.saturating_sub(bytes);
        }
    }

    /// Nobody will tell any more what becomes of messages under way: how many these are.
    pub(crate) fn lose(&mut self) -> u32 {
        self.aim(false);
        std::mem::take(&mut self.unsettled)
    }
}

/// How long a guest wants to be left alone after its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Until(Instant),
    /// Until something comes.
    UntilCalled,
}

/// What a guest did to others, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Messages along a path, by its index.
    Emit(u8, Batch),
    Act(Act),
}

/// The world of one guest.
pub struct Context {
    /// Which space it is.
    pub key: SpaceKey,
    /// Which start of it.
    pub pid: Pid,
    /// What its package says of it.
    pub spec: SpaceSpec,
    /// What it was told by the space that started it.
    pub argument: Vec<u8>,
    /// Monotonic time of the current slice.
    pub now: Instant,
    /// Milliseconds since 1970 at the clock's origin; 0 while the wall clock is not set.
    pub unix_origin_ms: u64,
    /// Where it may send.
    pub paths: Vec<OutgoingPath>,
    /// What its topology can recognise.
    pub recognizers: Vec<RecognizerSpec>,
    pub(crate) mailbox: Mailbox,
    pub(crate) rest: Option<Rest>,
    pub(crate) effects: Vec<Effect>,
    /// An import said "try again" since the guest was last woken for it.
    pub(crate) was_refused: bool,
    /// By path.
    pub(crate) undelivered: LiteMap<Name, Undelivered>,
    /// By pid.
    pub(crate) unsent: LiteMap<Pid, Undelivered>,
    pub(crate) correspondents: LiteMap<Pid, Correspondence>,
    /// Questions asked so far.
    pub(crate) asks: u32,
    pub(crate) waiting: Option<Waiting>,
    /// What an actuator is to be told while the guest waits: the capability, and the command.
    pub(crate) command: Option<(String, Vec<u8>)>,
    pub(crate) traps_exits: bool,
    pub(crate) logs: Vec<(LogLevel, String)>,
    /// Lines it may still write; more come with time.
    pub(crate) log_allowance: u32,
    log_refilled_at: Instant,
    pub(crate) logs_dropped: u32,
    pub(crate) logs_dropped_in_all: u64,
    pub(crate) output: Output,
    pub(crate) data: Data,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) devices: Arc<dyn Devices>,
    pub(crate) rng: Rng,
    /// The last picture that it was given of each camera.
    pub(crate) last_frames: LiteMap<String, u64>,
    /// Samples of each microphone for which its buffer had no room.
    pub(crate) heard: LiteMap<String, Vec<u8>>,
    /// What it reports of itself: healthy or not, and how busy in percent.
    pub(crate) report: Option<Report>,
}

impl Context {
    /// The context of a guest about to start.
    pub(crate) fn new(
        (key, pid): (SpaceKey, Pid),
        spec: SpaceSpec,
        data: Data,
        devices: Arc<dyn Devices>,
        rng: Rng,
    ) -> Self {
        Self {
            key,
            pid,
            spec,
            argument: Vec::new(),
            now: Instant::ZERO,
            unix_origin_ms: 0,
            paths: Vec::new(),
            recognizers: Vec::new(),
            mailbox: Mailbox::default(),
            rest: None,
            effects: Vec::new(),
            was_refused: false,
            undelivered: LiteMap::new(),
            unsent: LiteMap::new(),
            correspondents: LiteMap::new(),
            asks: 0,
            waiting: None,
            command: None,
            traps_exits: false,
            logs: Vec::new(),
            log_allowance: budget::LOG_LINES_BURST,
            log_refilled_at: Instant::ZERO,
            logs_dropped: 0,
            logs_dropped_in_all: 0,
            output: Output::default(),
            data,
            subscriptions: Vec::new(),
            devices,
            rng,
            last_frames: LiteMap::new(),
            heard: LiteMap::new(),
            report: None,
        }
    }

    pub(crate) fn declares(&self, capability: &str) -> bool {
        self.spec.capabilities.iter().any(|declared| declared.as_str() == capability)
    }

    pub(crate) fn act(&mut self, act: Act) {
        self.effects.push(Effect::Act(act));
    }

    /// A slice begins.
    pub(crate) fn enter(&mut self, now: Instant) {
        self.now = now;
        let lines = now.since(self.log_refilled_at).as_millis() as u64 * budget::LOG_LINES_PER_SECOND / 1000;
        if lines > 0 {
            self.log_refilled_at = now;
            let lines = u32::try_from(lines).unwrap_or(u32::MAX);
            self.log_allowance = self.log_allowance.saturating_add(lines).min(budget::LOG_LINES_BURST);
        }
        if self.logs_dropped > 0 && self.log_allowance > 0 {
            self.tell_dropped();
        }
    }

    /// Says how many lines were dropped, itself no line too many.
    pub(crate) fn tell_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.logs_dropped);
        self.logs_dropped_in_all += u64::from(dropped);
        self.logs.push((LogLevel::Warn, format!("{dropped} more lines dropped: too many")));
    }

    pub(crate) fn log(&mut self, level: LogLevel, text: &[u8]) {
        if self.log_allowance == 0 {
            self.logs_dropped += 1;
            return;
        }
        self.log_allowance -= 1;
        let cut = &text[..text.len().min(limits::LOG_LINE_SIZE_MAX_BYTES)];
        let line: String =
            String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.logs.push((level, line));
    }

    pub(crate) fn path_index(&self, path: &[u8]) -> Result<u8, Refusal> {
        let index = self.paths.iter().position(|p| p.name.as_str().as_bytes() == path);
        index.and_then(|index| u8::try_from(index).ok()).ok_or(Refusal::NotFound)
    }

    pub(crate) fn emit_to(&mut self, path: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        if payload.len() > limits::MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        let index = self.path_index(path)?;
        let path = &mut self.paths[usize::from(index)];
        let outstanding = path.outstanding_bytes.saturating_add(payload.len() as u32);
        if path.credit == 0 || (path.outstanding_bytes > 0 && outstanding > limits::PATH_WINDOW_BYTES) {
            self.was_refused = true;
            return Err(Refusal::TryAgain);
        }
        path.credit -= 1;
        path.unsettled = path.unsettled.saturating_add(1);
        path.outstanding_bytes = outstanding;
        match self.effects.last_mut() {
            Some(Effect::Emit(last, payloads)) if *last == index => payloads.push(payload),
            _ => self.effects.push(Effect::Emit(index, Batch::from_iter([payload]))),
        }
        Ok(())
    }

    /// Messages of a path did not arrive, or perhaps not; if as many may be sent in their stead, of these bytes.
    pub(crate) fn note_undelivered(&mut self, path: u8, undelivered: Undelivered, credit_bytes: Option<u32>) {
        let Some(path) = self.paths.get_mut(usize::from(path)) else { return };
        path.settle(undelivered.lost.saturating_add(undelivered.unknown));
        if let Some(bytes) = credit_bytes {
            path.refill(undelivered.lost, bytes);
        }
        self.undelivered.entry(path.name.clone()).or_default().add(undelivered);
    }

    pub(crate) fn self_emit(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        if payload.len() > limits::MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        if self.mailbox.own() >= budget::SELF_EMIT_MAX_MESSAGES {
            return Err(Refusal::TryAgain);
        }
        let payloads = Batch::from_iter([payload]);
        self.mailbox.push(Letters::new(Kind::Own, Origin::Nobody, None, payloads));
        Ok(())
    }

    /// Takes what is to be known of messages of one path that did not arrive: two little-endian numbers, of
    /// those lost and of those whose fate is unknown, then the path's name. What is larger than `room` stays.
    pub(crate) fn next_undelivered(&mut self, room: usize) -> Result<Vec<u8>, Refusal> {
        let (path, Undelivered { lost, unknown }) = self.undelivered.first().ok_or(Refusal::NotFound)?;
        let notice = [&lost.to_le_bytes()[..], &unknown.to_le_bytes()[..], path.as_str().as_bytes()].concat();
        if notice.len() > room {
            return Err(Refusal::TooLarge);
        }
        let path = path.clone();
        self.undelivered.remove(&path);
        Ok(notice)
    }

    /// What the package's `config` says under that key.
    pub(crate) fn setting(&self, key: &[u8]) -> Result<Vec<u8>, Refusal> {
        let found = self.spec.settings.iter().find(|(name, _)| name.as_str().as_bytes() == key);
        found.map(|(_, value)| value.as_bytes().to_vec()).ok_or(Refusal::NotFound)
    }

    /// The secret of that name, which its zhost keeps; it must be declared as `secrets.<name>`.
    pub(crate) fn secret(&self, name: &[u8]) -> Result<Vec<u8>, Refusal> {
        let capability = self.declared("secrets.", name)?;
        match self.devices.read(self.now, &capability) {
            Ok(Reading::Bytes(secret)) => Ok(secret),
            Ok(_) | Err(DeviceError::Missing) => Err(Refusal::NotFound),
            Err(_) => Err(Refusal::Failed),
        }
    }

    /// The capability `<module><name>`, if it is declared.
    pub(crate) fn declared(&self, module: &str, name: &[u8]) -> Result<String, Refusal> {
        let name = std::str::from_utf8(name).map_err(|_| Refusal::NotFound)?;
        let capability = format!("{module}{name}");
        if self.declares(&capability) { Ok(capability) } else { Err(Refusal::Denied) }
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        if self.unix_origin_ms == 0 { 0 } else { self.unix_origin_ms + self.now.as_millis() }
    }
}
