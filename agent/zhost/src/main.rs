//! The agent: one small program on every board.

mod check;
mod clock;
mod descriptors;
mod event;
mod files;
mod firmware;
mod first;
mod kinds;
mod logger;
mod network;
#[cfg(debug_assertions)]
mod planted;
mod provisioning;
mod recording;
mod serial;
mod service;
mod settings;
mod shell;
mod sockets;
mod state;
mod tasks;
mod web;
mod workers;

use clock::Clock;
use network::Place;
use serial::Line;
use service::Manager;
use settings::{Invocation, Settings, SettingsError};
use shell::Machine;
use state::State;
use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use zhost_base::Rng;
use zhost_exchange::{Devices, Store};
use zhost_gossip::seal::ClusterSecret;
use zhost_hal::{Board, Machine as Hardware, Wire, replay_camera::ReplayCamera, watchdog::Watchdog};
use zhost_link::Identity;
use zhost_node::{Agent, ClockTrust, Ending, Keys, NodeConfig, Timing};

/// The allocator of musl returns every large buffer to the kernel at once, which halves the messages a zhost carries.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// How a process ends that panicked, by Rust's own habit.
const PANICKED: u8 = 101;

fn main() -> ExitCode {
    let live = || if first::is_this() { first::live() } else { obey() };
    // What the log still has to say of a panic is said before the process ends.
    let code = catch_unwind(live).unwrap_or(ExitCode::from(PANICKED));
    logger::flush();
    code
}

fn obey() -> ExitCode {
    match Settings::gather(std::env::args_os()) {
        Ok(Invocation::Help) => print!("{}", settings::help()),
        Ok(Invocation::Version) => println!("zhost {}", env!("CARGO_PKG_VERSION")),
        Ok(Invocation::Check(settings)) => return check::report(settings),
        Ok(Invocation::Run(settings)) => {
            if let Err(error) = run(settings, Clock::start()) {
                complain(&error);
                return ExitCode::FAILURE;
            }
        }
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn complain(error: &SettingsError) {
    error.0.lines().for_each(logger::complain);
}

fn run(mut settings: Settings, clock: Clock) -> Result<Ending, SettingsError> {
    settings::together(settings.complaints())?;
    logger::start(settings.parse("log")?);
    let data_dir: PathBuf = settings.parse("data-dir")?;
    fs::create_dir_all(&data_dir).map_err(|e| settings.complain("data-dir", &e))?;
    let serial = settings.text("serial").map(Line::parse).transpose();
    let serial = serial.map_err(|reason| settings.complain("serial", &reason))?;
    provisioning::settle(&mut settings, &data_dir, serial.as_ref(), clock)?;
    settings::together(settings.complaints())?;
    let settings = &settings;
    settings::together(check::errors(settings))?;
    check::oddities(settings).iter().for_each(|oddity| log::warn!("{oddity}"));
    if first::is_this() {
        zhost_init::board::set_name(&settings.parse::<String>("name")?);
    }
    let seed = files::random().map_err(|e| SettingsError(format!("/dev/urandom: {e}")))?;
    let board = Arc::new(board(settings)?);
    let place = network::bind(settings)?;
    let (listen, control_addr) = (place.listen, place.control_addr);
    let State { identity, store, recovered } =
        state::open(&data_dir).map_err(|e| settings.complain("data-dir", &e))?;
    let config = node_config(settings, &identity, board.as_ref(), &place, clock.unix_origin_ms())?;
    let keys = keys(settings, identity)?;
    let store: Arc<dyn Store> = Arc::new(store);
    log::info!(
        "zhost {} {}: id {}, links and gossip at {listen}, zctl at {control_addr}",
        env!("CARGO_PKG_VERSION"),
        config.name,
        config.id
    );
    let publishers = config.publishers.clone();
    let Place { sockets, follower, .. } = place;
    let watchdog = settings.text("watchdog").filter(|file| !file.is_empty());
    // A board without its watchdog is better than none.
    let watchdog = watchdog.and_then(|file| match Watchdog::arm(Path::new(file)) {
        Ok(watchdog) => Some(watchdog),
        Err(error) => {
            log::warn!("{}; going on without", settings.complain("watchdog", &error));
            None
        }
    });
    let manager = Manager::find().unwrap_or_else(|error| {
        log::warn!("NOTIFY_SOCKET: {error}");
        None
    });
    let tape = recording::tape(&data_dir, settings.parse("record")?);
    let machine =
        Machine { manager, clock, sockets, serial, follower, store, board, watchdog, publishers, data_dir };
    let make_agent = |rng| Agent::new(clock.now(), config, keys, recovered, rng, tape);
    let ending = shell::run(machine, make_agent, Rng::new(seed)).map_err(|e| SettingsError(e.to_string()))?;
    log::info!("ended");
    Ok(ending)
}

fn board(settings: &Settings) -> Result<Board, SettingsError> {
    let machine = match settings.text("hardware-replay") {
        Some(dir) => Hardware::recorded(Path::new(dir)),
        None => Hardware::real(),
    };
    let machine = machine.with_camera(settings.parse("camera")?);
    let mut board = Board::new(machine, settings.text("secrets-dir").map(PathBuf::from));
    for wire in settings.parse_list::<Wire>("devices")? {
        board.wire(&wire).map_err(|e| settings.complain("devices", &e))?;
    }
    if let Some(file) = settings.text("camera-replay") {
        let period = Duration::from_millis(settings.number("camera-period-ms")?);
        let camera = ReplayCamera::open(Path::new(file), period)
            .map_err(|e| settings.complain("camera-replay", &e))?;
        board.add("sensors.camera", Arc::new(camera));
    }
    Ok(board)
}

fn keys(settings: &Settings, identity: Identity) -> Result<Keys, SettingsError> {
    Ok(Keys {
        secret: ClusterSecret::new(settings.secret("secret-file")?, settings.parse("cluster")?),
        identity,
        control: settings.secret("control-secret-file")?,
    })
}

fn node_config(
    settings: &Settings,
    identity: &Identity,
    board: &Board,
    place: &Place,
    unix_origin_ms: u64,
) -> Result<NodeConfig, SettingsError> {
    let millis = |name: &str| settings.number(name).map(Duration::from_millis);
    let operators: Vec<String> = settings.parse_list("operators")?;
    let operators = operators.iter().map(|text| files::parse_operator(text)).collect::<Option<Vec<_>>>();
    let memory_bytes = settings.number("memory-mib")?.saturating_mul(1 << 20);
    Ok(NodeConfig {
        cluster: settings.parse("cluster")?,
        id: identity.zhost_id(),
        name: settings.parse("name")?,
        region: settings.parse("region")?,
        kind: settings.parse("kind")?,
        addrs: place.networks.addrs.clone(),
        control_addr: Some(place.control_addr),
        web_addr: place.web_addr,
        join: place.join.clone(),
        discover: place.follower.discovers(),
        broadcasts: place.networks.broadcasts.clone(),
        eligible: settings.parse("eligible")?,
        runs_spaces: settings.parse("run-spaces")?,
        memory_bytes: u32::try_from(memory_bytes).unwrap_or(u32::MAX),
        capabilities: board.capabilities(),
        operators: operators
            .ok_or_else(|| settings.complain("operators", &"expected keys of 64 hexadecimal digits"))?,
        publishers: settings.parse_list("publishers")?,
        timing: Timing {
            heartbeat: millis("heartbeat-ms")?,
            heartbeat_timeout: millis("heartbeat-timeout-ms")?,
            alone: millis("alone-ms")?,
        },
        unix_origin_ms,
        clock_trust: match first::is_this() && !zhost_init::board::has_clock() {
            true => ClockTrust::Kept,
            false => ClockTrust::Own,
        },
        slots: if first::is_this() { firmware::slots() } else { None },
        version: concat!(env!("CARGO_PKG_VERSION"))
            .parse()
            .map_err(|e| SettingsError(format!("version: {e}")))?,
    })
}
