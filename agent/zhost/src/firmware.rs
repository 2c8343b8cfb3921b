//! Agents in slots: written, tried, kept; and at the start of a board, which of them it is to be.

use crate::logger;
use std::path::Path;
use zhost_base::Name;
use zhost_exchange::Store;
use zhost_hal::watchdog::Watchdog;
use zhost_init::slots::{self, Slot, State};
use zhost_mex::{PublicKey, firmware::Firmware};
use zhost_node::{FirmwareOrder, Slots};
use zhost_runtime::read_blob;
use zhost_threads::Run;

/// What this program was built for, as Rust calls it.
const TARGET: &str = env!("ZHOST_TARGET");

fn open(slot: Slot, publishers: &[PublicKey]) -> Result<Vec<u8>, String> {
    let bytes = slot.read().map_err(|e| format!("slot {slot}: {e}"))?;
    program(&bytes, publishers)
}

/// The program in a signed file, if it is for this board.
fn program(bytes: &[u8], publishers: &[PublicKey]) -> Result<Vec<u8>, String> {
    let firmware = Firmware::open(bytes, publishers).map_err(|e| e.to_string())?;
    if firmware.target.as_str() != TARGET {
        return Err(format!("it is for {}, and this board takes {TARGET}", firmware.target));
    }
    firmware.program().map_err(|e| e.to_string())
}

/// Becomes the agent that is to run, if it is not this one; comes back only if that cannot be done.
pub fn hand_over(publishers: &[PublicKey], watchdog: Option<&Path>) {
    let mut state = State::load();
    let before = state.clone();
    let chosen = state.choose();
    // What is not on flash must not happen: it would be tried for ever.
    if state != before
        && let Err(error) = state.save()
    {
        log::error!("the agent of the image goes on: what is tried cannot be written down: {error}");
        return;
    }
    let Some(slot) = chosen else { return };
    let error = match open(slot, publishers) {
        Ok(program) => {
            // One that hangs before it feeds the watchdog is bitten.
            if let Some(Err(error)) = watchdog.map(Watchdog::arm) {
                log::warn!("{error}");
            }
            log::info!("handing over to the agent in slot {slot}");
            logger::flush();
            slots::become_agent_of(slot, &program).to_string()
        }
        Err(reason) => reason,
    };
    log::error!("the agent of the image goes on: {error}");
    state.give_up(&error);
    if let Err(error) = state.save() {
        log::warn!("{error}");
    }
}

/// What the node is to know of the slots.
pub fn slots() -> Option<Slots> {
    let target: Name = TARGET.parse().ok()?;
    let state = State::load();
    let own = slots::own();
    let bytes = own.and_then(|slot| slot.read().ok());
    let running = bytes.as_deref().map(zhost_mex::digest);
    let version = match bytes.as_deref().map(Firmware::verify) {
        Some(Ok(firmware)) => firmware.version,
        _ => env!("CARGO_PKG_VERSION").parse().ok()?,
    };
    let is_trial = own.is_some_and(|slot| state.is_trial(slot));
    Some(Slots { target, running, version, is_trial, failed: state.failed })
}

/// Does what the node wants done with the slots.
pub fn carry_out(
    order: &FirmwareOrder,
    store: &dyn Store,
    publishers: &[PublicKey],
    thread: &Run,
) -> Result<(), String> {
    let mut state = State::load();
    match order {
        FirmwareOrder::Install { blob, size_bytes, revision } => {
            let bytes = read_blob(store, *blob, *size_bytes)?;
            program(&bytes, publishers)?;
            let slot = state.free();
            slot.write(&bytes).map_err(|e| format!("slot {slot}: {e}"))?;
            // Who was given up meanwhile must not have the next start try it.
            if !thread.goes_on() {
                return Err("it took too long".into());
            }
            state.plan(slot, *revision);
        }
        FirmwareOrder::Keep => state.keep(),
    }
    state.save().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zhost_mex::{PublisherKey, firmware::build};

    #[test]
    fn an_agent_for_another_target_or_of_a_stranger_is_refused() {
        let key = PublisherKey::from_seed([3; 32]);
        let build =
            |target: &str| build(&target.parse().unwrap(), &"2".parse().unwrap(), b"program", &key).unwrap();
        assert_eq!(program(&build(TARGET), &[key.public()]).unwrap(), b"program");
        assert!(program(&build(TARGET), &[]).unwrap_err().contains("does not trust"));
        assert!(program(&build("m68k"), &[key.public()]).unwrap_err().contains("for m68k"));
    }
}
