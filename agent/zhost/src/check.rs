//! What is looked at before anything depends on it: whether this program works on this machine, and whether what the
//! settings name is there. `--check` says all of it and starts nothing.

use crate::{
    files, provisioning,
    settings::{Settings, SettingsError, items},
};
use std::{
    hint::black_box,
    panic::{catch_unwind, set_hook, take_hook},
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use zhost_base::Shown;
use zhost_hal::{Machine, Wire, kernel, replay_camera::ReplayCamera};
use zhost_runtime::{Interpreter, Wasmi};

/// A module that exports `on_process`, which returns 0.
const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x0e\x01\x0aon_process\0\0\x0a\x06\x01\x04\0\x41\0\x0b";

/// Says what a start with these settings would say, and does not start.
pub fn report(settings: Settings) -> ExitCode {
    if let Err(reason) = try_program() {
        eprintln!("zhost: does not work here: {reason}");
        return ExitCode::FAILURE;
    }
    println!("zhost {} works here", env!("CARGO_PKG_VERSION"));
    if settings.is_empty() {
        return ExitCode::SUCCESS;
    }
    let (errors, oddities) = look_at(settings);
    errors.iter().flat_map(|error| error.0.lines()).for_each(|line| eprintln!("zhost: error: {line}"));
    oddities.iter().for_each(|oddity| eprintln!("zhost: warning: {oddity}"));
    if errors.is_empty() {
        println!("it would start with these settings");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

fn look_at(mut settings: Settings) -> (Vec<SettingsError>, Vec<SettingsError>) {
    let mut complaints = settings.complaints();
    if complaints.is_empty() {
        complaints.extend(provisioning::recall(&mut settings).err());
        complaints.extend(settings.complaints());
    }
    // What follows is only as good as the settings themselves.
    match complaints.is_empty() {
        true => (errors(&settings), oddities(&settings)),
        false => (complaints, Vec::new()),
    }
}

/// Without what these settings name there is nothing to start.
pub fn errors(settings: &Settings) -> Vec<SettingsError> {
    let secrets = ["secret-file", "control-secret-file"];
    let awaits_place = settings.text("secret-file").is_none() && settings.text("serial").is_some();
    let secrets = secrets.iter().filter(|_| !awaits_place);
    let mut errors: Vec<SettingsError> = secrets.filter_map(|name| settings.secret(name).err()).collect();
    if let Some(dir) = settings.text("hardware-replay").filter(|dir| !Path::new(dir).is_dir()) {
        errors.push(settings.complain("hardware-replay", &format!("there is no folder {}", Shown(dir))));
    }
    let is_no_folder = |dir: &&str| Path::new(dir).exists() && !Path::new(dir).is_dir();
    if settings.text("data-dir").filter(is_no_folder).is_some() {
        errors.push(settings.complain("data-dir", &"it is a file, not a folder"));
    }
    if let Some(file) = settings.text("camera-replay") {
        let opened = ReplayCamera::open(Path::new(file), Duration::from_secs(1));
        errors.extend(opened.err().map(|e| settings.complain("camera-replay", &e)));
    }
    errors
}

/// What a zhost starts without, since it may come by itself, or be meant so; but a typing error should not stay unseen.
pub fn oddities(settings: &Settings) -> Vec<SettingsError> {
    let mut oddities = Vec::new();
    let mut odd = |name: &str, reason: &str| oddities.push(settings.complain(name, &reason));
    let text = |name: &str| settings.text(name).filter(|text| !text.is_empty());
    let is_placed = text("secret-file").is_some();
    if is_placed && text("operators").is_none() {
        odd("operators", "there are none, so nobody may command (zctl keygen makes a key)");
    }
    if is_placed && text("publishers").is_none() {
        odd("publishers", "there are none, so no package runs here (zctl mex keygen makes a key)");
    }
    if text("secrets-dir").is_some_and(|dir| !Path::new(dir).is_dir()) {
        odd("secrets-dir", "there is no such folder: no secrets are offered to spaces until it is there");
    }
    if text("watchdog").is_some_and(|file| !Path::new(file).exists()) {
        odd("watchdog", "there is no such device: nothing resets the board if zhost hangs");
    }
    if text("serial").and_then(|line| line.split('@').next()).is_some_and(|file| !Path::new(file).exists()) {
        odd("serial", "there is no such line: it is looked for, and used as soon as it is there");
    }
    if let (Ok(wanted), Some(there)) = (settings.number("memory-mib"), kernel::memory_mib())
        && wanted > there
    {
        odd("memory-mib", &format!("this machine has {there} MiB in all"));
    }
    let machine = Machine::real();
    let is_away = |item: &&str| item.parse().is_ok_and(|wire: Wire| !wire.is_there(&machine));
    let is_real = text("hardware-replay").is_none();
    for item in items(text("devices").unwrap_or_default()).filter(|_| is_real).filter(is_away) {
        let reason = format!("{} is not there at present; it is offered as soon as it is", Shown(item));
        odd("devices", &reason);
    }
    oddities
}

/// Tries what the agent cannot do without.
fn try_program() -> Result<(), String> {
    files::random().map_err(|e| format!("/dev/urandom: {e}"))?;
    // Panics that are caught make a fault cost one concern instead of the agent.
    set_hook(Box::new(|_| {}));
    let caught = thread::spawn(catches_a_panic).join();
    drop(take_hook());
    if !matches!(caught, Ok(true)) {
        return Err("a panic is not caught".into());
    }
    Wasmi.load(MODULE).map(drop).map_err(|e| format!("the interpreter: {e}"))
}

/// Plants a panic; whether it was caught and cleaned up after.
fn catches_a_panic() -> bool {
    struct Cleanup<'a>(&'a AtomicBool);
    impl Drop for Cleanup<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_clean = AtomicBool::new(false);
    let outcome = catch_unwind(|| {
        let _cleanup = Cleanup(&is_clean);
        if black_box(true) {
            panic!("planted");
        }
    });
    outcome.is_err() && is_clean.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Invocation;

    fn oddities_of(args: &[&str]) -> String {
        let args = ["zhost", "--check", "--secret-file", "/nowhere"].iter().chain(args);
        let Ok(Invocation::Check(settings)) = Settings::gather(args.map(Into::into)) else {
            panic!("not a check")
        };
        oddities(&settings).iter().map(|oddity| format!("{oddity}\n")).collect()
    }

    #[test]
    fn what_is_not_there_is_said_and_keeps_nobody_out() {
        let said = oddities_of(&[
            "--secrets-dir=/nowhere/secrets",
            "--watchdog=/dev/no-dog",
            "--serial=/dev/no-line@9600",
            "--devices=pump=gpio-out:NO-SUCH-LINE,air=lm75:no-bus@48",
            "--memory-mib=4095",
            "--publishers=",
        ]);
        for part in ["/nowhere/secrets", "no-dog", "no-line", "pump=gpio-out:NO-SUCH-LINE", "air=lm75"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(said.contains("no package runs here") && said.contains("nobody may command"), "{said}");
        assert_eq!(said.contains("MiB in all"), kernel::memory_mib().unwrap() < 4095);
    }

    #[test]
    fn what_nothing_can_start_without_is_an_error_each() {
        let args = ["zhost", "--hardware-replay=/nowhere", "--secret-file=/nowhere", "--data-dir=/dev/null"];
        let Ok(Invocation::Run(settings)) = Settings::gather(args.map(Into::into)) else {
            panic!("not a run")
        };
        let said: Vec<String> = errors(&settings).iter().map(ToString::to_string).collect();
        for part in
            ["flag --secret-file", "--control-secret-file is needed", "--hardware-replay", "not a folder"]
        {
            assert!(said.iter().any(|line| line.contains(part)), "{part}: {said:?}");
        }
    }
}
