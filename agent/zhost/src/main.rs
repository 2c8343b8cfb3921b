//! The agent: one small program on every board.

mod check;
mod clock;
mod descriptors;
mod files;
mod firmware;
mod first;
mod kinds;
mod logger;
mod network;
mod provisioning;
mod serial;
mod service;
mod settings;
mod shell;
mod tasks;
mod web;
mod workers;

use clock::Clock;
use network::Place;
use serial::Line;
use service::Manager;
use settings::{Invocation, Settings, SettingsError};
use shell::Machine;
use std::{
    fmt::Display,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use zhost_base::Rng;
use zhost_gossip::seal::ClusterSecret;
use zhost_hal::{Board, Machine as Hardware, Wire, replay_camera::ReplayCamera, watchdog::Watchdog};
use zhost_node::{ClockTrust, Ending, Node, NodeConfig, Recovered, Timing};
use zhost_runtime::{Devices, Store};

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
        Ok(Invocation::Check) => match check::run() {
            Ok(()) => println!("zhost {} works here", env!("CARGO_PKG_VERSION")),
            Err(reason) => {
                eprintln!("zhost: does not work here: {reason}");
                return ExitCode::FAILURE;
            }
        },
        Ok(Invocation::Run(settings)) => {
            if let Err(error) = run(settings, Clock::start()) {
                logger::complain(&error.to_string());
                return ExitCode::FAILURE;
            }
        }
        Err(error) => {
            eprintln!("zhost: {error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn run(mut settings: Settings, clock: Clock) -> Result<Ending, SettingsError> {
    logger::start(settings.parse("log")?);
    let data_dir: PathBuf = settings.parse("data-dir")?;
    fs::create_dir_all(&data_dir).map_err(|e| settings.complain("data-dir", &e))?;
    let serial = settings.text("serial").map(Line::parse).transpose();
    let serial = serial.map_err(|reason| settings.complain("serial", &reason))?;
    provisioning::settle(&mut settings, &data_dir, serial.as_ref(), clock)?;
    let settings = &settings;
    if first::is_this() {
        zhost_init::board::set_name(&settings.parse::<String>("name")?);
    }
    let seed = files::random().map_err(|e| SettingsError(format!("/dev/urandom: {e}")))?;
    let board = Arc::new(board(settings)?);
    let place = network::bind(settings)?;
    let (listen, control_addr) = (place.listen, place.control_addr);
    let config = node_config(settings, &data_dir, board.as_ref(), &place, clock.unix_origin_ms())?;
    let store: Arc<dyn Store> =
        Arc::new(files::open_store(&data_dir).map_err(|e| settings.complain("data-dir", &e))?);
    let recovered = Recovered::boot(store.as_ref()).map_err(|e| settings.complain("data-dir", &e))?;
    log::info!(
        "zhost {} {}: id {}, links and gossip at {listen}, zctl at {control_addr}",
        env!("CARGO_PKG_VERSION"),
        config.name,
        config.identity.zhost_id()
    );
    let publishers = config.publishers.clone();
    let Place { sockets, follower, .. } = place;
    let watchdog =
        settings.text("watchdog").filter(|file| !file.is_empty()).map(|file| Watchdog::arm(Path::new(file)));
    let watchdog = watchdog.transpose().map_err(|e| settings.complain("watchdog", &e))?;
    let manager = Manager::find().unwrap_or_else(|error| {
        log::warn!("NOTIFY_SOCKET: {error}");
        None
    });
    let machine =
        Machine { manager, clock, sockets, serial, follower, store, board, watchdog, publishers, data_dir };
    let make_node = |rng| Node::new(clock.now(), config, recovered, rng);
    let ending = shell::run(machine, make_node, Rng::new(seed)).map_err(|e| SettingsError(e.to_string()))?;
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
        let period = Duration::from_millis(settings.parse("camera-period-ms")?);
        let camera = ReplayCamera::open(Path::new(file), period)
            .map_err(|e| settings.complain("camera-replay", &e))?;
        board.add("sensors.camera", Arc::new(camera));
    }
    Ok(board)
}

fn node_config(
    settings: &Settings,
    data_dir: &Path,
    board: &Board,
    place: &Place,
    unix_origin_ms: u64,
) -> Result<NodeConfig, SettingsError> {
    let secret = |name: &str| -> Result<[u8; 32], SettingsError> {
        let file: PathBuf = settings.parse(name)?;
        files::read_secret(&file).map_err(|e| settings.complain(name, &e))
    };
    let millis = |name: &str| settings.parse::<u64>(name).map(Duration::from_millis);
    let operators: Vec<String> = settings.parse_list("operators")?;
    let operators = operators.iter().map(|text| files::parse_operator(text)).collect::<Option<Vec<_>>>();
    let memory_mib: u32 = settings.parse("memory-mib")?;
    let identity_error = |e: &dyn Display| SettingsError(format!("{}/identity.key: {e}", data_dir.display()));
    Ok(NodeConfig {
        cluster: settings.parse("cluster")?,
        secret: ClusterSecret::new(secret("secret-file")?, settings.parse("cluster")?),
        identity: files::identity(data_dir).map_err(|e| identity_error(&e))?,
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
        memory_bytes: memory_mib.saturating_mul(1 << 20),
        capabilities: board.capabilities(),
        control_key: secret("control-secret-file")?,
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
