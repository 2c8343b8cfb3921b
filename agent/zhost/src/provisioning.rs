//! A board that has no cluster yet: it takes its place in one over the serial line, and does nothing else.

use crate::{
    clock::Clock,
    event::Event,
    files,
    serial::{self, Line},
    settings::{Settings, SettingsError},
};
use smol::{LocalExecutor, Timer, future};
use std::{
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};
use zhost_base::{Instant, Name, Rng};
use zhost_control::{
    Caller, Server, Trust,
    line::{self, LineReader},
    protocol::{PROVISIONING_KEY, Provisioning, Reply, Request},
};
use zhost_link::Identity;
use zhost_mex::PublicKey;

/// What the board was told, in the data directory.
const SETTINGS_FILE: &str = "provisioned.yaml";
const SECRET_FILE: &str = "cluster.secret";
const CONTROL_SECRET_FILE: &str = "control.secret";
/// How long the answer gets to cross the line before the board goes on.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Adds what the board was told once, waiting for it if it has no secret and there is a line to wait at.
pub fn settle(
    settings: &mut Settings,
    data_dir: &Path,
    serial: Option<&Line>,
    clock: Clock,
) -> Result<(), SettingsError> {
    let file = data_dir.join(SETTINGS_FILE);
    if !file.exists() {
        let Some(line) = serial.filter(|_| settings.text("secret-file").is_none()) else { return Ok(()) };
        log::info!("this board has no cluster; waiting for zctl provision on the serial line");
        let told = smol::block_on(listen(line, clock, None, |request| answer(request, data_dir)));
        told.map_err(|e| SettingsError(format!("{}: {e}", data_dir.display())))?;
    }
    settings.fill_from(&file)
}

/// Adds what the board was told once, if it was.
pub fn recall(settings: &mut Settings) -> Result<(), SettingsError> {
    let file = settings.parse::<PathBuf>("data-dir")?.join(SETTINGS_FILE);
    if file.exists() { settings.fill_from(&file) } else { Ok(()) }
}

/// Answers whoever asks at the line: no, and why; for so long.
pub fn refuse_for(period: Duration, line: &Line, reason: &str) {
    let clock = Clock::start();
    let refuse = |_: Option<Request>| Err(reason.to_owned());
    if let Err(error) = smol::block_on(listen(line, clock, Some(clock.now() + period), refuse)) {
        log::warn!("{error}");
    }
}

/// Answers at the line, until this time or shortly after the first who got what he asked for.
async fn listen(
    line: &Line,
    clock: Clock,
    mut ends_at: Option<Instant>,
    mut answer: impl FnMut(Option<Request>) -> Result<String, String>,
) -> io::Result<()> {
    let executor = Rc::new(LocalExecutor::new());
    let (events, inbox) = smol::channel::bounded(serial::FRAMES_MAX);
    let (frames, outgoing) = smol::channel::bounded(serial::FRAMES_MAX);
    executor.spawn(serial::attend(line.clone(), outgoing, events)).detach();
    // Nobody knows this board yet, so it needs no name of its own.
    let identity = Identity::from_private(files::random()?);
    let rng = Rng::new(files::random()?);
    let mut server = Server::new(clock.now(), identity, PROVISIONING_KEY, Trust::Anybody, rng);
    let mut reader = LineReader::default();
    let mut is_done = false;
    let attend = async {
        while ends_at.is_none_or(|at| clock.now() < at) {
            let wake = server.poll_timeout().map(|(at, _)| at).into_iter().chain(ends_at).min();
            let timer = async {
                match wake {
                    Some(at) => Timer::at(clock.system(at)).await,
                    None => future::pending().await,
                };
                None
            };
            if let Some(Event::Serial(bytes)) = future::or(async { inbox.recv().await.ok() }, timer).await {
                reader.handle_bytes(&bytes);
                reader.take_text();
            }
            let now = clock.now();
            while let Some(datagram) = reader.poll_datagram() {
                server.handle_datagram(now, Caller::Serial, &datagram);
            }
            while let Some((session, message, bytes)) = server.poll_request() {
                let reply = match is_done {
                    true => Err("this board has a cluster now".into()),
                    false => answer(Request::decode(&bytes)),
                };
                if reply.is_ok() {
                    is_done = true;
                    ends_at = Some(now + ANSWER_TIME);
                }
                let reply = reply.map_or_else(Reply::Refused, Reply::Said);
                server.reply(now, session, message, reply.encode());
            }
            server.handle_timeout(now);
            while let Some((_, datagram)) = server.poll_datagram() {
                // What the line does not take is sent again.
                let _ = frames.try_send(line::frame(&datagram));
            }
        }
    };
    executor.run(attend).await;
    Ok(())
}

fn answer(request: Option<Request>, data_dir: &Path) -> Result<String, String> {
    match request {
        Some(Request::Provision(provisioning)) => {
            check(&provisioning)?;
            keep(&provisioning, data_dir).map_err(|e| format!("nothing is kept: {e}"))?;
            Ok(format!("{} is in cluster {} now", provisioning.name, provisioning.cluster))
        }
        _ => Err("this board has no cluster yet; zctl provision gives it one".into()),
    }
}

/// What is wrong with it would otherwise stop the board at every start.
fn check(provisioning: &Provisioning) -> Result<(), String> {
    let name = |text: &str| text.parse::<Name>().map_err(|e| format!("{text:?}: {e}"));
    name(&provisioning.cluster)?;
    name(&provisioning.name)?;
    let operators = &provisioning.operators;
    if operators.is_empty() || operators.iter().any(|key| files::parse_operator(key).is_none()) {
        return Err("the operators' keys are missing or no keys".into());
    }
    if let Some(key) = provisioning.publishers.iter().find(|key| key.parse::<PublicKey>().is_err()) {
        return Err(format!("{key:?} is no publisher's key"));
    }
    if let Some(addr) = provisioning.join.iter().find(|addr| addr.parse::<std::net::SocketAddr>().is_err()) {
        return Err(format!("{addr:?} is no address such as 192.168.1.10:9200"));
    }
    Ok(())
}

/// Writes it down, the settings last: without them the board is as it was.
fn keep(provisioning: &Provisioning, data_dir: &Path) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let (secret, control_secret) = (data_dir.join(SECRET_FILE), data_dir.join(CONTROL_SECRET_FILE));
    files::write_secret(&secret, &provisioning.secret)?;
    files::write_secret(&control_secret, &provisioning.control_secret)?;
    let Provisioning { cluster, name, operators, publishers, join, .. } = provisioning;
    let lists = [("operators", operators), ("publishers", publishers), ("join", join)];
    let lists: String =
        lists.iter().map(|(name, items)| format!("{name}: {:?}\n", items.join(","))).collect();
    let text = format!(
        "cluster: {cluster}\nname: {name}\nsecret-file: {:?}\ncontrol-secret-file: {:?}\n{lists}",
        secret, control_secret
    );
    files::write_private(&data_dir.join(SETTINGS_FILE), &text)
}
