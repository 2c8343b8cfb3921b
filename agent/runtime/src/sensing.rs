//! Sensors, actuators and sound, as one guest uses them.

use crate::{
    actor::{ASK_TIMEOUT, Until},
    budget,
    context::Context,
    mailbox::{Kind, Letters},
    recognizer::Recognizer,
};
use std::time::Duration;
use zhost_base::{Batch, Instant, Name};
use zhost_exchange::{DeviceError, Origin, Reading, Refusal};

/// A sensor that is read for the guest again and again.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The sensor's name, or the recogniser's.
    label: Name,
    capability: String,
    period: Duration,
    pub due: Instant,
    recognizer: Option<Recognizer>,
    last_frame: Option<u64>,
}

impl Context {
    /// Reads the sensor `name`, which must be declared as `sensors.<name>`. A camera gives each picture once; one that
    /// is larger than `room` is not given.
    pub(crate) fn sensor_read(&mut self, name: &[u8], room: usize) -> Result<Vec<u8>, Refusal> {
        let capability = self.declared("sensors.", name)?;
        match self.devices.read(self.now, &capability)? {
            Reading::Json(json) => Ok(json.into_bytes()),
            Reading::Bytes(bytes) => Ok(bytes),
            Reading::Frame(frame) if self.last_frames.get(&capability) == Some(&frame.sequence) => {
                Err(Refusal::TryAgain)
            }
            Reading::Frame(frame) if frame.size_bytes() > room => Err(Refusal::TooLarge),
            Reading::Frame(frame) => {
                self.last_frames.insert(capability, frame.sequence);
                Ok(frame.encode())
            }
        }
    }

    /// Has the sensor read every `period_ms`, its readings put into the mailbox.
    pub(crate) fn sensor_subscribe(&mut self, name: &[u8], period_ms: u32) -> Result<(), Refusal> {
        let capability = self.declared("sensors.", name)?;
        let label = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let label: Name = label.ok_or(Refusal::NotFound)?;
        if let Err(DeviceError::Missing) = self.devices.read(self.now, &capability) {
            return Err(Refusal::NotFound);
        }
        self.subscribe(label, capability, period_ms, None)
    }

    /// Has a recogniser of the package watch its sensor.
    pub(crate) fn event_subscribe(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let spec = self.recognizers.iter().find(|spec| spec.name.as_str().as_bytes() == name);
        let spec = spec.ok_or(Refusal::NotFound)?;
        let capability = self.declared("sensors.", spec.sensor.as_str().as_bytes())?;
        let (label, period_ms, rule) = (spec.name.clone(), spec.period_ms, spec.rule);
        self.subscribe(label, capability, period_ms, Some(Recognizer::new(rule)))
    }

    fn subscribe(
        &mut self,
        label: Name,
        capability: String,
        period_ms: u32,
        recognizer: Option<Recognizer>,
    ) -> Result<(), Refusal> {
        let period = Duration::from_millis(u64::from(period_ms)).max(budget::SUBSCRIPTION_PERIOD_MIN);
        self.unsubscribe(&label, recognizer.is_some());
        if self.subscriptions.len() >= budget::SUBSCRIPTIONS_MAX {
            return Err(Refusal::Full);
        }
        let due = self.now + period;
        self.subscriptions.push(Subscription {
            label,
            capability,
            period,
            due,
            recognizer,
            last_frame: None,
        });
        Ok(())
    }

    /// Ends a subscription; `false` if there was none.
    pub(crate) fn unsubscribe(&mut self, label: &Name, is_event: bool) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|s| s.label != *label || s.recognizer.is_some() != is_event);
        self.subscriptions.len() < before
    }

    /// When the next subscription is due.
    pub(crate) fn subscription_due(&self) -> Option<Instant> {
        self.subscriptions.iter().map(|subscription| subscription.due).min()
    }

    /// Reads the sensors that are due. Who does not take its readings gets no more of them.
    pub(crate) fn read_subscriptions(&mut self, now: Instant) {
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        for subscription in subscriptions.iter_mut().filter(|subscription| subscription.due <= now) {
            subscription.due = now + subscription.period;
            let kind = if subscription.recognizer.is_some() { Kind::Event } else { Kind::Reading };
            if self.mailbox.count(kind, Some(&subscription.label)) >= budget::READINGS_WAITING_MAX {
                continue;
            }
            let reading = self.devices.read(now, &subscription.capability);
            if let Some(text) = subscription.take(now, reading) {
                let payloads = Batch::from_iter([text.as_bytes()]);
                let label = Some(subscription.label.clone());
                self.mailbox.push(Letters::new(kind, Origin::Nobody, label, payloads));
            }
        }
        self.subscriptions = subscriptions;
    }

    /// The lease of an actuator, for this guest alone.
    pub(crate) fn actuator_lock(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let capability = self.declared("actuators.", name)?;
        if !self.devices.capabilities().iter().any(|offered| offered.as_str() == capability) {
            return Err(Refusal::NotFound);
        }
        Ok(self.devices.leases().lock(&capability, self.pid)?)
    }

    /// Has an actuator that the guest has locked told something, and makes the guest wait: buses may be slow.
    pub(crate) fn actuator_command(&mut self, name: &[u8], command: Vec<u8>) -> Result<(), Refusal> {
        let capability = self.declared("actuators.", name)?;
        if !self.devices.leases().is_held_by(&capability, self.pid) {
            return Err(Refusal::Taken);
        }
        self.wait(ASK_TIMEOUT, Until::Device);
        self.command = Some((capability, command));
        Ok(())
    }

    /// Tells the actuator; whoever calls this may wait for it.
    pub(crate) fn carry_out_command(&mut self, now: Instant) -> Option<Result<Vec<u8>, Refusal>> {
        let (capability, command) = self.command.take()?;
        Some(self.devices.command(now, &capability, &command).map_err(Refusal::from))
    }

    /// Gives the lease back.
    pub(crate) fn actuator_release(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let capability = self.declared("actuators.", name)?;
        if self.devices.leases().release(&capability, self.pid) { Ok(()) } else { Err(Refusal::NotFound) }
    }

    /// What a microphone has heard since it was asked last. What is larger than `room` waits for a larger one.
    pub(crate) fn audio_capture(&mut self, name: &[u8], room: usize) -> Result<Vec<u8>, Refusal> {
        let capability = self.declared("audio.", name)?;
        let samples = match self.heard.remove(&capability) {
            Some(samples) => samples,
            None => match self.devices.read(self.now, &capability)? {
                Reading::Bytes(samples) => samples,
                _ => return Err(Refusal::NotFound),
            },
        };
        if samples.is_empty() {
            return Err(Refusal::TryAgain);
        }
        if samples.len() > room {
            self.heard.insert(capability, samples);
            return Err(Refusal::TooLarge);
        }
        Ok(samples)
    }

    /// Gives samples to a loudspeaker.
    pub(crate) fn audio_play(&mut self, name: &[u8], samples: &[u8]) -> Result<(), Refusal> {
        let capability = self.declared("audio.", name)?;
        Ok(self.devices.command(self.now, &capability, samples).map(drop)?)
    }
}

impl Subscription {
    /// What the guest is told of a reading.
    fn take(&mut self, now: Instant, reading: Result<Reading, DeviceError>) -> Option<String> {
        match (reading, &mut self.recognizer) {
            (Ok(reading), Some(recognizer)) => recognizer.handle(now, reading.value_milli()?),
            (Ok(Reading::Json(json)), None) => Some(json),
            (Ok(Reading::Frame(frame)), None) if self.last_frame == Some(frame.sequence) => None,
            (Ok(Reading::Frame(frame)), None) => {
                self.last_frame = Some(frame.sequence);
                Some(frame.describe())
            }
            (Ok(Reading::Bytes(_)), None) => None,
            (Err(_), Some(_)) | (Err(DeviceError::NotYet), None) => None,
            (Err(error), None) => {
                Some(format!("{{\"type\":\"error\",\"text\":\"{}\"}}", plain(&error.to_string())))
            }
        }
    }
}

/// Text that may stand between quotes in JSON.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '"' | '\\') { ' ' } else { c }).collect()
}
