//! One guest as its worker has it: what it is in the middle of, and what it may still burn.

use crate::{
    budget,
    interpreter::{Export, Guest},
    program::Loaded,
};
use std::{sync::Arc, time::Duration};
use zhost_base::{Instant, Pid};
use zhost_exchange::Usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Begin,
    Initialize,
    Init,
    Process,
    Close,
}

/// How a guest left its slice; acted upon when all it wrote is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Returned(i32),
    Waits,
    Exited(i32),
}

pub(super) struct Task {
    pub guest: Box<dyn Guest>,
    pub loaded: Arc<Loaded>,
    pub pid: Pid,
    pub phase: Phase,
    /// Whether it runs one function to its end instead of `on_process` again and again.
    pub is_program: bool,
    pub in_call: bool,
    pub queued: bool,
    /// Left its slice, and what it wrote is not durable yet.
    pub settling: Option<Left>,
    /// Commits so far.
    pub commits: u64,
    pub stop: bool,
    /// In the present call; all calls until the guest has begun count as one.
    pub fuel_spent: u64,
    /// What it may still burn at present, if it is limited; in debt it waits.
    pub fuel_allowance: i64,
    pub fuel_refilled_at: Instant,
    pub wake_at: Option<Instant>,
    pub close_by: Option<Instant>,
    /// Under which it stands among the timers.
    pub timer: Option<Instant>,
    pub usage: Usage,
    pub usage_told_at: Instant,
}

impl Task {
    /// Begins the call the task's state asks for; `false` when it is closing and has nothing to call.
    pub fn begin_call(&mut self) -> bool {
        self.in_call = true;
        self.fuel_spent = 0;
        if self.stop && self.phase != Phase::Close {
            self.phase = Phase::Close;
            return self.guest.call(Export::OnClose);
        }
        if self.guest.call(Export::OnProcess) {
            return true;
        }
        self.is_program = true;
        self.guest.call(Export::Start)
    }

    /// Whether it is past its beginning, and others may send it messages.
    pub fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::Process | Phase::Close)
    }

    pub fn fuel_max(&self) -> u64 {
        match self.phase {
            Phase::Begin | Phase::Initialize | Phase::Init => budget::INIT_FUEL_MAX,
            Phase::Process if self.is_program => u64::MAX,
            Phase::Process => budget::PROCESS_FUEL_MAX,
            Phase::Close => budget::CLOSE_FUEL_MAX,
        }
    }

    /// Until when it has to wait, having burnt more than its share; the share of one second can be saved up.
    pub fn throttle(&mut self, now: Instant) -> Option<Instant> {
        let per_second = i64::try_from(self.loaded.spec.fuel_per_second).unwrap_or(i64::MAX);
        if per_second == 0 || self.stop {
            return None;
        }
        let micros = now.since(self.fuel_refilled_at).as_micros().min(1_000_000) as i64;
        let gained = (i128::from(per_second) * i128::from(micros) / 1_000_000) as i64;
        self.fuel_refilled_at = now;
        self.fuel_allowance = self.fuel_allowance.saturating_add(gained).min(per_second);
        if self.fuel_allowance >= 0 {
            return None;
        }
        let debt_us = i128::from(-self.fuel_allowance) * 1_000_000 / i128::from(per_second) + 1;
        Some(now + Duration::from_micros(u64::try_from(debt_us).unwrap_or(u64::MAX).min(3_600_000_000)))
    }

    pub fn burn(&mut self, fuel: u64) {
        self.fuel_spent += fuel;
        self.usage.fuel += fuel;
        self.fuel_allowance = self.fuel_allowance.saturating_sub(i64::try_from(fuel).unwrap_or(i64::MAX));
    }
}
