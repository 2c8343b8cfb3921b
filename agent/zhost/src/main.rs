//! The agent: one small program on every board.

mod clock;
mod files;
mod logger;
mod settings;
mod shell;
mod workers;

use clock::Clock;
use settings::{Invocation, Settings, SettingsError};
use shell::{Machine, Sockets};
use smol::net::{TcpListener, UdpSocket};
use std::{
    fmt::Display,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use zhost_base::Rng;
use zhost_gossip::seal::ClusterSecret;
use zhost_hal::{Board, replay_camera::ReplayCamera};
use zhost_node::{Node, NodeConfig, Recovered, Timing};
use zhost_runtime::{Devices, Store, Wasmi};

fn main() -> ExitCode {
    match Settings::gather(std::env::args_os()) {
        Ok(Invocation::Help) => print!("{}", settings::help()),
        Ok(Invocation::Version) => println!("zhost {}", env!("CARGO_PKG_VERSION")),
        Ok(Invocation::Run(settings)) => {
            if let Err(error) = run(&settings) {
                eprintln!("zhost: {error}");
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

fn run(settings: &Settings) -> Result<(), SettingsError> {
    logger::start(settings.parse("log")?);
    let clock = Clock::start();
    let data_dir: PathBuf = settings.parse("data-dir")?;
    fs::create_dir_all(&data_dir).map_err(|e| settings.complain("data-dir", &e))?;
    let seed = files::random().map_err(|e| SettingsError(format!("/dev/urandom: {e}")))?;
    let board = Arc::new(board(settings)?);
    let (sockets, addr, control_addr) = bind(settings)?;
    let config = node_config(settings, &data_dir, board.as_ref(), addr, control_addr, clock.unix_origin_ms)?;
    let store: Arc<dyn Store> =
        Arc::new(files::open_store(&data_dir).map_err(|e| settings.complain("data-dir", &e))?);
    let recovered = Recovered::boot(store.as_ref()).map_err(|e| settings.complain("data-dir", &e))?;
    log::info!(
        "zhost {} {}: id {}, links and gossip at {addr}, zctl at {control_addr}",
        env!("CARGO_PKG_VERSION"),
        config.name,
        config.identity.zhost_id()
    );
    let publishers = config.publishers.clone();
    let machine = Machine { clock, sockets, store, devices: board, publishers, data_dir };
    let make_node = |rng| Node::new(clock.now(), config, recovered, Box::new(Wasmi), rng);
    shell::run(machine, make_node, Rng::new(seed)).map_err(|e| SettingsError(e.to_string()))?;
    log::info!("ended");
    Ok(())
}

fn board(settings: &Settings) -> Result<Board, SettingsError> {
    let mut board = Board::discover();
    if let Some(file) = settings.text("camera-replay") {
        let period = Duration::from_millis(settings.parse("camera-period-ms")?);
        let camera = ReplayCamera::open(Path::new(file), period)
            .map_err(|e| settings.complain("camera-replay", &e))?;
        board.add("sensors.camera", Arc::new(camera));
    }
    Ok(board)
}

fn bind(settings: &Settings) -> Result<(Sockets, SocketAddr, SocketAddr), SettingsError> {
    let failed = |name: &'static str| move |e: std::io::Error| settings.complain(name, &e);
    let listen: SocketAddr = settings.parse("listen")?;
    let control: SocketAddr = settings.parse("control")?;
    smol::block_on(async {
        let gossip = UdpSocket::bind(listen).await.map_err(failed("listen"))?;
        let listen = gossip.local_addr().map_err(failed("listen"))?;
        let links = TcpListener::bind(listen).await.map_err(failed("listen"))?;
        let control = UdpSocket::bind(control).await.map_err(failed("control"))?;
        let control_addr = control.local_addr().map_err(failed("control"))?;
        let addr = match settings.text("advertise") {
            Some(_) => settings.parse("advertise")?,
            None => reachable(listen, &settings.parse_list("join")?).map_err(failed("advertise"))?,
        };
        let control_addr = SocketAddr::new(
            if control_addr.ip().is_unspecified() { addr.ip() } else { control_addr.ip() },
            control_addr.port(),
        );
        Ok((Sockets { gossip, links, control }, addr, control_addr))
    })
}

/// The address at which others reach a socket bound to `listen`: for a wildcard, the one the kernel would use to talk
/// to a zhost we join, or to anybody.
fn reachable(listen: SocketAddr, join: &[SocketAddr]) -> std::io::Result<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return Ok(listen);
    }
    // Connecting a UDP socket sends nothing; 192.0.2.1 is a documentation address (RFC 5737) behind the default route.
    let towards = join.first().copied().unwrap_or(SocketAddr::from(([192, 0, 2, 1], 9)));
    let socket = std::net::UdpSocket::bind(SocketAddr::new(listen.ip(), 0))?;
    match socket.connect(towards) {
        Ok(()) => Ok(SocketAddr::new(socket.local_addr()?.ip(), listen.port())),
        Err(_) => Err(std::io::Error::other(
            "this machine has no network yet; say how others reach it with --advertise",
        )),
    }
}

fn node_config(
    settings: &Settings,
    data_dir: &Path,
    board: &Board,
    addr: SocketAddr,
    control_addr: SocketAddr,
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
        addr,
        control_addr: Some(control_addr),
        join: settings.parse_list("join")?,
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
        version: concat!(env!("CARGO_PKG_VERSION"))
            .parse()
            .map_err(|e| SettingsError(format!("version: {e}")))?,
    })
}
