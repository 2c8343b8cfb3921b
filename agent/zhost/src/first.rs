//! The agent as the first process of a board: what happens before it runs, and after it has ended.

use crate::{
    clock::Clock,
    files, firmware, logger, provisioning, run,
    serial::Line,
    settings::{self, Invocation, Settings, SettingsError},
};
use std::{panic::catch_unwind, path::Path, process::ExitCode, thread, time::Duration};
use zhost_base::panic_text;
use zhost_init::{
    board::{self, End},
    network::{self, Plan},
    slots,
};
use zhost_node::Ending;
use zhost_threads::{Care, Run};

/// Settings that the image was built with.
const SETTINGS_FILE: &str = "/etc/zhost.yaml";
/// How the kernel calls the first process of an image.
const NAME: &str = "/init";
/// How often the time is kept, for boards whose clock does not go on without power.
const CLOCK_PERIOD: Duration = Duration::from_secs(600);
/// How long the flash may take over that.
const CLOCK_WITHIN: Duration = Duration::from_secs(60);
/// How long a board that cannot go on shows why, before it begins anew.
const TROUBLE_SHOWN: Duration = Duration::from_secs(30);

/// Whether this process is the first of a board. In a container one can be the first process without having a board.
pub fn is_this() -> bool {
    std::process::id() == 1 && std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// Lives as the first process. Returns never, since the kernel would not take that well.
pub fn live() -> ExitCode {
    logger::start(log::LevelFilter::Info);
    let live = || start().and_then(|(settings, clock)| run(settings, clock));
    let end = match catch_unwind(live).unwrap_or_else(|panic| Err(SettingsError(panic_text(&*panic)))) {
        Ok(Ending::Restart) => End::Restart,
        Ok(Ending::PowerOff) => End::PowerOff,
        Err(error) => {
            log::error!("{error}; beginning anew in {} s", TROUBLE_SHOWN.as_secs());
            thread::sleep(TROUBLE_SHOWN);
            End::Restart
        }
    };
    logger::flush();
    log::error!("{}", board::end(end));
    loop {
        thread::park();
    }
}

fn start() -> Result<(Settings, Clock), SettingsError> {
    let failed = |e: std::io::Error| SettingsError(e.to_string());
    // The agent of the image has done all this before it handed over.
    let is_from_slot = slots::own().is_some();
    if !is_from_slot {
        board::take_over().map_err(failed)?;
    }
    let kernel = board::uptime_centis();
    let Invocation::Run(mut settings) = Settings::gather([NAME, "--config", SETTINGS_FILE].map(Into::into))?
    else {
        return Err(SettingsError(format!("{SETTINGS_FILE} asks for something else than to run")));
    };
    settings.overrule(board::told_by_kernel(), "the kernel's command line")?;
    settings::together(settings.complaints())?;
    logger::start(settings.parse("log")?);
    if !is_from_slot {
        prepare(&settings, kernel)?;
        provisioning::recall(&mut settings)?;
        let watchdog = settings.text("watchdog").filter(|file| !file.is_empty()).map(Path::new);
        firmware::hand_over(&settings.parse_list("publishers")?, watchdog);
    }
    let plan: Plan = settings.parse("network")?;
    let seed = files::random().map_err(failed)?;
    network::start(plan, settings.text("name").unwrap_or_default(), seed).map_err(failed)?;
    zhost_threads::keep("clock", Care::replaceable(CLOCK_WITHIN), keep_clock).map_err(failed)?;
    Ok((settings, Clock::start()))
}

/// Modules, flash, and the last known time.
fn prepare(settings: &Settings, kernel: u64) -> Result<(), SettingsError> {
    let count = board::load_modules();
    let modules = board::uptime_centis();
    while let Err(trouble) = board::mount_data() {
        explain(settings, &trouble)?;
    }
    board::restore_clock();
    log::info!(
        "kernel {} s, {count} modules {} s, flash {} s",
        seconds(kernel),
        seconds(modules.saturating_sub(kernel)),
        seconds(board::uptime_centis().saturating_sub(modules))
    );
    Ok(())
}

/// Hundredths of a second as seconds; without floating point, whose printing takes 20 kB.
fn seconds(centis: u64) -> String {
    format!("{}.{:02}", centis / 100, centis % 100)
}

/// Tells whoever asks at the serial line, or reads the console, why the board cannot go on; then it may try again.
fn explain(settings: &Settings, trouble: &str) -> Result<(), SettingsError> {
    let trouble = format!("recovery: {trouble}; put another flash card in, or write the image again");
    log::error!("{trouble}");
    let line = settings.text("serial").map(Line::parse).transpose();
    match line.map_err(|reason| settings.complain("serial", &reason))? {
        Some(line) => provisioning::refuse_for(TROUBLE_SHOWN, &line, &trouble),
        None => thread::sleep(TROUBLE_SHOWN),
    }
    Ok(())
}

fn keep_clock(thread: &Run) -> Result<(), String> {
    while thread.rests() {
        thread::sleep(CLOCK_PERIOD);
        thread.goes_on();
        board::keep_clock().map_err(|error| format!("the time is not kept: {error}"))?;
    }
    Ok(())
}
