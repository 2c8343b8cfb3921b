//! Clusters of real processes on this computer, each with its own data directory, name, region and capabilities.
//!
//! The demo, `cargo xtask cluster` and the tests of this crate all run clusters through [`Cluster`].

pub mod browser;
pub mod cable;
pub mod driver;
pub mod lan;
pub mod net;
pub mod process;
pub mod without;

use lan::Lan;
use net::Hosts;
use serde_json::Value;
use std::{
    fs::{self, File},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// What a step came to, or why it could not be taken.
pub type Outcome<T = ()> = Result<T, String>;

/// How long a zhost may take to end when asked to.
pub const END_WITHIN: Duration = Duration::from_secs(10);
/// How often [`watch`] looks.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// The programs a cluster runs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The agent.
    pub zhost: PathBuf,
    /// The operator's tool.
    pub zctl: PathBuf,
}

impl Programs {
    /// What `cargo build -p zhost -p zctl` has made, beside the test that runs.
    pub fn beside_tests() -> Outcome<Self> {
        let test = std::env::current_exe().map_err(|e| e.to_string())?;
        // Tests are in `deps`, programs above it.
        let dir = test.ancestors().nth(2).ok_or("a test without a directory")?;
        let program = |name: &str| match dir.join(name) {
            file if file.exists() => Ok(file),
            file => Err(format!(
                "{} is missing: cargo build -p zhost -p zctl (cargo xtask test does)",
                file.display()
            )),
        };
        Ok(Self { zhost: program("zhost")?, zctl: program("zctl")? })
    }
}

/// Looks again and again until `look` gives something, for at most `patience`.
pub fn watch<T>(patience: Duration, mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let deadline = Instant::now() + patience;
    let mut last = String::from("nothing seen");
    while Instant::now() < deadline {
        match look() {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => {}
            Err(reason) => last = reason,
        }
        thread::sleep(LOOK_PERIOD);
    }
    Err(format!("not within {} s: {last}", patience.as_secs()))
}

/// Asks a process to end.
pub fn terminate(pid: u32) -> Outcome {
    run(Command::new("kill").args(["-TERM", &pid.to_string()])).map(drop)
}

fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What distinguishes one zhost of a cluster.
#[derive(Clone, Debug)]
pub struct Character {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Whether it may become a super node.
    pub eligible: bool,
    /// Whether it has a (recorded) camera.
    pub camera: bool,
    /// Memory for spaces; of those who may lead, the ones with most come first.
    pub memory_mib: u32,
}

/// The cast: the first three may lead, the third keeps data, the next two have cameras; further ones are plain.
pub fn cast(count: usize) -> Vec<Character> {
    let plain = |index: usize| Character {
        name: format!("node-{}", index + 1),
        region: ["house", "shed"][index % 2],
        kind: "board",
        eligible: true,
        camera: false,
        memory_mib: 64,
    };
    let character = |index: usize| match index {
        2 => Character { name: "store-1".into(), kind: "storage", memory_mib: 32, ..plain(index) },
        3 | 4 => Character {
            name: format!("cam-{}", index - 2),
            region: "garden",
            kind: "camera",
            eligible: false,
            camera: true,
            ..plain(index)
        },
        _ => plain(index),
    };
    (0..count).map(character).collect()
}

/// One zhost of a cluster.
pub struct Zhost {
    /// Who it is.
    pub character: Character,
    /// Its process, while it runs.
    pub process: Option<Child>,
    config: PathBuf,
    log: PathBuf,
}

/// Where the zhosts of a cluster are.
enum Place {
    /// All on loopback, from this port on.
    Loopback(usize),
    /// Each on a host of its own.
    Hosts(Hosts),
    /// The same, with networks that a test makes; default settings say where to listen.
    Lan(Lan),
}

impl Place {
    /// Where a zhost is to listen: for gossip and links, for `zctl`, and for browsers.
    fn listen(&self, index: usize) -> [String; 3] {
        match self {
            Self::Loopback(base) => [0, 100, 50].map(|above| format!("127.0.0.1:{}", base + above + index)),
            Self::Hosts(_) => [9200, 9000, 9080].map(|port| format!("0.0.0.0:{port}")),
            Self::Lan(_) => [9200, 9000, 9080].map(|port| format!("[::]:{port}")),
        }
    }

    /// Where `zctl` reaches a zhost.
    fn control(&self, index: usize) -> String {
        match self {
            Self::Loopback(_) => self.listen(index)[1].clone(),
            Self::Hosts(hosts) => hosts.socket(index, 9000).to_string(),
            Self::Lan(_) => "127.0.0.1:9000".into(),
        }
    }

    fn command(&self, index: usize, program: &Path) -> Command {
        match self {
            Self::Loopback(_) => Command::new(program),
            Self::Hosts(hosts) => hosts.command(index, program),
            Self::Lan(lan) => lan.command(index, program),
        }
    }
}

/// A cluster of processes.
pub struct Cluster {
    /// Where everything of it lies.
    pub dir: PathBuf,
    /// Its zhosts.
    pub zhosts: Vec<Zhost>,
    place: Place,
    zhost_program: PathBuf,
    zctl_program: PathBuf,
    /// Of the environment of zhosts started from now on.
    variables: Vec<(String, String)>,
}

impl Cluster {
    /// Makes secrets, keys and configurations in `dir`, which is emptied first; starts nothing.
    pub fn create(dir: &Path, programs: &Programs, cast: Vec<Character>) -> Outcome<Self> {
        let place = Place::Loopback(free_ports(cast.len())?);
        Self::create_at(
            dir,
            programs,
            cast,
            place,
            "heartbeat-ms: 1000\nheartbeat-timeout-ms: 3000\nalone-ms: 8000\n",
        )
    }

    /// The same with each zhost on a host of its own and with default settings; they find each other by themselves.
    pub fn create_on(dir: &Path, programs: &Programs, cast: Vec<Character>, hosts: Hosts) -> Outcome<Self> {
        Self::create_at(dir, programs, cast, Place::Hosts(hosts), "")
    }

    /// The same on hosts whose networks a test makes, with `settings` added to those of each.
    pub fn create_in(
        dir: &Path,
        programs: &Programs,
        cast: Vec<Character>,
        lan: Lan,
        settings: &str,
    ) -> Outcome<Self> {
        Self::create_at(dir, programs, cast, Place::Lan(lan), settings)
    }

    fn create_at(
        dir: &Path,
        programs: &Programs,
        cast: Vec<Character>,
        place: Place,
        timing: &str,
    ) -> Outcome<Self> {
        let io = |e: std::io::Error| format!("{}: {e}", dir.display());
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(io)?;
        }
        fs::create_dir_all(dir).map_err(io)?;
        let dir = dir.canonicalize().map_err(io)?;
        let zctl = |args: &[&str]| run(Command::new(&programs.zctl).args(args).current_dir(&dir));
        zctl(&["secret", "cluster.secret"])?;
        zctl(&["secret", "control.secret"])?;
        let operator = zctl(&["keygen", "operator.key"])?;
        let publisher = zctl(&["mex", "keygen", "publisher.key"])?;
        fs::write(dir.join("camera.pgm"), recording()).map_err(|e| format!("camera.pgm: {e}"))?;
        let mut control: Vec<String> = (0..cast.len()).map(|index| place.control(index)).collect();
        control.dedup();
        let profile = format!(
            "zhosts: [{}]\ncontrol-secret-file: control.secret\noperator-key-file: operator.key\n",
            control.join(", ")
        );
        fs::write(dir.join("zctl.yaml"), profile).map_err(|e| format!("zctl.yaml: {e}"))?;
        let mut zhosts = Vec::new();
        for (index, character) in cast.into_iter().enumerate() {
            let Character { name, region, kind, eligible, memory_mib, .. } = &character;
            let at = |file: &str| dir.join(file).display().to_string();
            let [links, control, web] = place.listen(index);
            let listen = match place {
                Place::Lan(_) => String::new(),
                _ => format!("listen: {links}\ncontrol: {control}\nweb: {web}\n"),
            };
            let mut config = format!(
                "cluster: demo\nname: {name}\nregion: {region}\nkind: {kind}\neligible: {eligible}\nmemory-mib: {memory_mib}\n\
                 data-dir: {}\n{listen}secret-file: {}\ncontrol-secret-file: {}\noperators: {}\npublishers: {}\n\
                 {timing}",
                at(name),
                at("cluster.secret"),
                at("control.secret"),
                operator.trim(),
                publisher.trim(),
            );
            if let (Place::Loopback(_), 1..) = (&place, index) {
                config += &format!("join: {}\n", place.listen(0)[0]);
            }
            if character.camera {
                config += &format!("camera-replay: {}\ncamera-period-ms: 100\n", at("camera.pgm"));
            }
            let file = dir.join(format!("{name}.yaml"));
            fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
            let log = dir.join(format!("{name}.log"));
            zhosts.push(Zhost { character, process: None, config: file, log });
        }
        let (zhost_program, zctl_program) = (programs.zhost.clone(), programs.zctl.clone());
        Ok(Self { dir, zhosts, place, zhost_program, zctl_program, variables: Vec::new() })
    }

    /// Starts a zhost; its log goes on where it was.
    pub fn start(&mut self, index: usize) -> Outcome {
        self.start_under(index, &[])
    }

    /// The same, started by another program that becomes it.
    pub fn start_under(&mut self, index: usize, launcher: &[&str]) -> Outcome {
        let log = &self.zhosts[index].log;
        let opened = File::options().create(true).append(true).open(log);
        let opened = opened.map_err(|e| format!("{}: {e}", log.display()))?;
        self.launch(index, launcher, opened.into())
    }

    /// Starts a zhost whose log goes there.
    pub fn start_with_log(&mut self, index: usize, log: Stdio) -> Outcome {
        self.launch(index, &[], log)
    }

    fn launch(&mut self, index: usize, launcher: &[&str], log: Stdio) -> Outcome {
        let zhost = &mut self.zhosts[index];
        let program = &self.zhost_program;
        let mut command = self.place.command(index, launcher.first().map_or(program.as_path(), Path::new));
        command.args(launcher.iter().skip(1));
        if !launcher.is_empty() {
            command.arg(program);
        }
        command.arg("--config").arg(&zhost.config).env("RUST_BACKTRACE", "0");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        zhost.process = Some(child.map_err(|e| format!("{}: {e}", self.zhost_program.display()))?);
        Ok(())
    }

    /// Gives zhosts that are started later a variable of the environment.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    /// Kills a zhost: SIGKILL, no goodbye.
    pub fn kill(&mut self, index: usize) -> Outcome {
        let Some(mut process) = self.zhosts[index].process.take() else { return Ok(()) };
        process.kill().and_then(|()| process.wait()).map(drop).map_err(|e| e.to_string())
    }

    /// Sends a zhost's process a signal, such as STOP or CONT.
    pub fn signal(&self, index: usize, signal: &str) -> Outcome {
        let Some(process) = &self.zhosts[index].process else { return Ok(()) };
        run(Command::new("kill").args([&format!("-{signal}"), &process.id().to_string()])).map(drop)
    }

    /// What a zhost wrote to its log so far.
    pub fn log(&self, index: usize) -> Outcome<String> {
        let log = &self.zhosts[index].log;
        fs::read_to_string(log).map_err(|e| format!("{}: {e}", log.display()))
    }

    /// Where a zhost listens for gossip and links.
    pub fn address(&self, index: usize) -> String {
        self.place.listen(index)[0].clone()
    }

    /// Where `zctl` reaches a zhost.
    pub fn control(&self, index: usize) -> String {
        self.place.control(index)
    }

    /// Where a zhost answers browsers.
    pub fn web_address(&self, index: usize) -> String {
        self.place.listen(index)[2].clone()
    }

    /// The public key of whoever signs this cluster's packages.
    pub fn publisher(&self) -> Outcome<String> {
        let config = self.zhosts.first().map(|zhost| &zhost.config).ok_or("a cluster of nobody")?;
        let text = fs::read_to_string(config).map_err(|e| format!("{}: {e}", config.display()))?;
        let key = text.lines().find_map(|line| line.strip_prefix("publishers: "));
        key.map(str::to_owned).ok_or_else(|| "no publisher is trusted".into())
    }

    /// The hosts, if each zhost has one.
    pub fn hosts(&self) -> Option<&Hosts> {
        match &self.place {
            Place::Hosts(hosts) => Some(hosts),
            _ => None,
        }
    }

    /// The hosts, if a test makes their networks.
    pub fn lan(&self) -> Option<&Lan> {
        match &self.place {
            Place::Lan(lan) => Some(lan),
            _ => None,
        }
    }

    /// The index of the zhost of that name.
    pub fn index_of(&self, name: &str) -> Outcome<usize> {
        let found = self.zhosts.iter().position(|zhost| zhost.character.name == name);
        found.ok_or_else(|| format!("there is no zhost {name} in this cluster"))
    }

    /// Runs zctl against the cluster.
    pub fn zctl(&self, args: &[&str]) -> Outcome<String> {
        self.zctl_at(0, args)
    }

    /// Runs zctl where that zhost is.
    fn zctl_at(&self, index: usize, args: &[&str]) -> Outcome<String> {
        let mut command = self.place.command(index, &self.zctl_program);
        command.args(args).arg("--profile").arg(self.dir.join("zctl.yaml")).stdin(Stdio::null());
        let output = command.output().map_err(|e| format!("zctl: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let reason =
            serde_json::from_str::<Value>(&text).ok().and_then(|v| v["error"].as_str().map(str::to_owned));
        Err(reason.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Runs zctl and reads the JSON it prints.
    pub fn ask(&self, args: &[&str]) -> Outcome<Value> {
        self.ask_at(0, args)
    }

    /// The same, where that zhost is.
    pub fn ask_at(&self, index: usize, args: &[&str]) -> Outcome<Value> {
        let text = self.zctl_at(index, &[args, &["--json"]].concat())?;
        serde_json::from_str(&text).map_err(|e| format!("zctl {}: {e}", args.join(" ")))
    }

    /// Where a zhost keeps what is its own.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.dir.join(&self.zhosts[index].character.name)
    }

    /// What a space has said lately, line by line.
    pub fn said(&self, space: &str) -> Outcome<Vec<String>> {
        let lines = self.ask(&["spaces", "logs", space])?;
        let texts = lines.as_array().into_iter().flatten().filter_map(|line| line["text"].as_str());
        Ok(texts.map(str::to_owned).collect())
    }

    /// Builds and signs a package of these spaces: `topology.yaml`, and files by their names in the package.
    pub fn pack(
        &self,
        name: &str,
        topology: &str,
        spaces: &[&str],
        files: &[(String, Vec<u8>)],
    ) -> Outcome<String> {
        let dir = self.dir.join(name);
        let write = |file: &str, content: &[u8]| {
            let file = dir.join(file);
            let written =
                file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, content));
            written.map_err(|e| format!("{}: {e}", file.display()))
        };
        let manifest = format!(
            "apiVersion: samoza/v1\nkind: MEX\nmetadata: {{name: {name}, version: 1.0.0, publisher: test}}\n\
             spec: {{topology: topology.yaml, spaces: [{}]}}\n",
            spaces.join(", ")
        );
        write("manifest.yaml", manifest.as_bytes())?;
        write("topology.yaml", topology.as_bytes())?;
        for space in spaces {
            let text = format!("apiVersion: samoza/v1\nkind: Space\nmetadata: {{name: {space}}}\n");
            write(&format!("spaces/{space}/space.yaml"), text.as_bytes())?;
        }
        files.iter().try_for_each(|(file, content)| write(file, content))?;
        let (mex, key) = (self.dir.join(format!("{name}.mex")), self.dir.join("publisher.key"));
        let [dir, mex, key] = [&dir, &mex, &key].map(|path| path.display().to_string());
        self.zctl(&["mex", "build", &dir, "--output", &mex, "--key", &key])?;
        Ok(mex)
    }

    /// Asks all zhosts to end (SIGTERM) and waits for them; names those that had to be killed.
    pub fn end(&mut self) -> Outcome {
        for zhost in &self.zhosts {
            if let Some(process) = &zhost.process {
                // One that ended by itself already needs no asking; those that do not end are named below.
                let _ = terminate(process.id());
            }
        }
        let runs = |process: &mut Child| process.try_wait().is_ok_and(|status| status.is_none());
        let mut processes: Vec<&mut Child> =
            self.zhosts.iter_mut().filter_map(|zhost| zhost.process.as_mut()).collect();
        // Who is still there afterwards is named below.
        let _ = watch(END_WITHIN, || Ok((!processes.iter_mut().any(|process| runs(process))).then_some(())));
        let mut stubborn = Vec::new();
        for zhost in &mut self.zhosts {
            let Some(mut process) = zhost.process.take() else { continue };
            if runs(&mut process) {
                stubborn.push(zhost.character.name.clone());
                let _ = process.kill().and_then(|()| process.wait());
            }
        }
        if stubborn.is_empty() {
            Ok(())
        } else {
            Err(format!("did not end when asked to: {}", stubborn.join(", ")))
        }
    }
}

impl Drop for Cluster {
    /// Leaves no process behind, whatever went wrong.
    fn drop(&mut self) {
        for zhost in &mut self.zhosts {
            if let Some(mut process) = zhost.process.take() {
                let _ = process.kill().and_then(|()| process.wait());
            }
        }
    }
}

/// A first port such that `count` ports from there, from 50 and from 100 above, are free on loopback. Each process begins its
/// search elsewhere, and goes on where it ended, so that clusters that are made at once do not meet; all below the kernel's own
/// range.
fn free_ports(count: usize) -> Outcome<usize> {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    const FIRST: usize = 10_000;
    const SLOTS: usize = 110;
    const SLOT_PORTS: usize = 200;
    let free = |port: usize| {
        let addr = ("127.0.0.1", port as u16);
        UdpSocket::bind(addr).is_ok() && TcpListener::bind(addr).is_ok()
    };
    let fits =
        |base: &usize| (0..count).all(|index| [0, 50, 100].iter().all(|above| free(base + above + index)));
    let start = std::process::id() as usize;
    let slots = (0..SLOTS).map(|_| TRIED.fetch_add(1, Ordering::Relaxed));
    let mut bases = slots.map(|slot| FIRST + start.wrapping_add(slot) % SLOTS * SLOT_PORTS);
    bases.find(fits).ok_or_else(|| "no free ports on loopback".into())
}

/// Pictures for the recorded camera: a bright disc wanders over a gradient and grows.
fn recording() -> Vec<u8> {
    const WIDTH: i32 = 160;
    const HEIGHT: i32 = 120;
    let mut file = Vec::new();
    for picture in 0..20 {
        file.extend_from_slice(format!("P5 {WIDTH} {HEIGHT} 255\n").as_bytes());
        let (x0, y0, radius) = (20 + picture * 6, 30 + picture * 3, 10 + picture);
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                let inside = (x - x0).pow(2) + (y - y0).pow(2) < radius * radius;
                file.push(if inside { 250 } else { (x / 2 + y / 4) as u8 });
            }
        }
    }
    file
}
