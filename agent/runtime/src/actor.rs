//! What spaces do with each other beside sending along paths: spawn, call, link, monitor, register names.

use crate::context::{Context, Effect};
use std::time::Duration;
use zhost_base::{
    Batch, Instant, Pid,
    limits::{MESSAGE_SIZE_MAX_BYTES, PATH_WINDOW_BYTES, PATH_WINDOW_MESSAGES},
};
use zhost_exchange::{Act, Ask, Refusal, Undelivered};

/// How long a spawn may take: the package may have to be fetched.
pub const SPAWN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long anything else may take that others have to answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait a guest can ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Pids to which one space has messages under way; `proc.send` to further ones says "try again".
pub const CORRESPONDENTS_MAX: usize = 256;
/// Messages to one pid under way; `proc.send` says "try again" beyond it.
pub const PID_WINDOW_MESSAGES: u32 = PATH_WINDOW_MESSAGES / 8;
/// Size of the reason a space gives with `proc.exit`; the rest is cut.
pub const REASON_SIZE_MAX_BYTES: usize = 128;

/// A guest that waits within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Which answer it waits for.
    pub serial: u32,
    /// When it goes on without.
    pub deadline: Instant,
    /// What it waits for.
    pub until: Until,
}

/// What a guest waits for within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Somebody's answer.
    Answer,
    /// That all it wrote is durable.
    Durable,
    /// That a device has done what it was told.
    Device,
    /// The deadline, as a sleeper.
    Deadline,
}

/// Messages to one pid under way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Correspondence {
    pub messages: u32,
    pub bytes: u32,
}

impl Context {
    /// Makes the guest wait, for an answer or until the deadline.
    pub(crate) fn wait(&mut self, within: Duration, until: Until) -> u32 {
        self.asks += 1;
        let deadline = self.now + within.min(WAIT_MAX);
        self.waiting = Some(Waiting { serial: self.asks, deadline, until });
        self.asks
    }

    /// Asks others something and makes the guest wait for the answer.
    pub(crate) fn ask(&mut self, ask: Ask, within: Duration) {
        let serial = self.wait(within, Until::Answer);
        self.act(Act::Ask(serial, ask));
    }

    /// Calls the space at the end of a path.
    pub(crate) fn call_path(
        &mut self,
        path: &[u8],
        payload: Vec<u8>,
        within: Duration,
    ) -> Result<(), Refusal> {
        if payload.len() > MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        let index = self.path_index(path)?;
        self.ask(Ask::CallPath(index, payload), within);
        Ok(())
    }

    /// Calls a space.
    pub(crate) fn call_pid(&mut self, pid: Pid, payload: Vec<u8>, within: Duration) -> Result<(), Refusal> {
        if payload.len() > MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        self.ask(Ask::CallPid(pid, payload), within);
        Ok(())
    }

    /// Replies to the call received last.
    pub(crate) fn reply(&mut self, payload: Vec<u8>) -> Result<(), Refusal> {
        if payload.len() > MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        let (caller, serial) = self.mailbox.take_call().ok_or(Refusal::NotFound)?;
        self.act(Act::Reply(caller, serial, payload));
        Ok(())
    }

    /// Sends a message to a space.
    pub(crate) fn send_to_pid(&mut self, to: Pid, payload: &[u8]) -> Result<(), Refusal> {
        if payload.len() > MESSAGE_SIZE_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        let is_full =
            self.correspondents.len() >= CORRESPONDENTS_MAX || self.unsent.len() >= CORRESPONDENTS_MAX;
        if !self.correspondents.contains_key(&to) && is_full {
            self.was_refused = true;
            return Err(Refusal::TryAgain);
        }
        let under_way = self.correspondents.entry(to).or_default();
        let bytes = under_way.bytes.saturating_add(payload.len() as u32);
        if under_way.messages >= PID_WINDOW_MESSAGES || (under_way.bytes > 0 && bytes > PATH_WINDOW_BYTES) {
            self.was_refused = true;
            return Err(Refusal::TryAgain);
        }
        *under_way = Correspondence { messages: under_way.messages + 1, bytes };
        match self.effects.last_mut() {
            Some(Effect::Act(Act::Send(last, payloads))) if *last == to => payloads.push(payload),
            _ => self.act(Act::Send(to, Batch::from_iter([payload]))),
        }
        Ok(())
    }

    /// A space consumed messages, or they did not reach it.
    pub(crate) fn settle(&mut self, pid: Pid, messages: u32, bytes: u32) {
        if let Some(under_way) = self.correspondents.get_mut(&pid) {
            under_way.messages = under_way.messages.saturating_sub(messages);
            under_way.bytes = under_way.bytes.saturating_sub(bytes);
            if under_way.messages == 0 {
                self.correspondents.remove(&pid);
            }
        }
    }

    /// Takes what is to be known of messages to one pid that did not arrive: the pid, then as for a path.
    pub(crate) fn next_unsent(&mut self, room: usize) -> Result<Vec<u8>, Refusal> {
        let (pid, Undelivered { lost, unknown }) = self.unsent.first().ok_or(Refusal::NotFound)?;
        let (pid, notice) = (*pid, [&pid.encode()[..], &lost.to_le_bytes(), &unknown.to_le_bytes()].concat());
        if notice.len() > room {
            return Err(Refusal::TooLarge);
        }
        self.unsent.remove(&pid);
        Ok(notice)
    }
}
