//! The command line: what can be said, and what it does.

use crate::{Outcome, carrier::Cable, firmware, keys, packages, profile::Profile, render, session, template};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use zhost_base::{Name, SpaceKind};
use zhost_control::protocol::{Provisioning, Request};

/// Operates a cluster of zhosts.
#[derive(Parser)]
#[command(
    name = "zctl",
    version,
    about = "Operates a cluster of zhosts.",
    after_help = "Examples:\n  zctl cluster zhosts\n  zctl topo submit garden.mex\n  zctl topo status garden --json\n  zctl --zhost 192.168.1.10:9000 status\n  zctl --serial /dev/ttyUSB0 topo submit garden.mex"
)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Options {
    /// Zhosts to ask, in this order, until one answers.
    #[arg(long, global = true, value_name = "ADDR", value_delimiter = ',', env = "ZCTL_ZHOST")]
    pub zhost: Vec<String>,
    /// Ask the zhost at the end of this serial cable, such as /dev/ttyUSB0 or /dev/ttyUSB0@9600, instead.
    #[arg(long, global = true, value_name = "PORT", env = "ZCTL_SERIAL", conflicts_with = "zhost")]
    pub serial: Option<Cable>,
    /// Profile with the cluster's addresses and keys [default: ./.zhost/zctl.yaml, then ~/.config/zctl.yaml].
    #[arg(long, global = true, value_name = "FILE", env = "ZCTL_PROFILE")]
    pub profile: Option<PathBuf>,
    /// Print data instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// What the zhost is doing.
    Status,
    /// The cluster at a glance; its zhosts; taking one off the roster.
    Cluster {
        #[command(subcommand)]
        command: Option<ClusterCommand>,
    },
    /// The zhost's place in the mesh; its links; where spaces run.
    Mesh {
        #[command(subcommand)]
        command: Option<MeshCommand>,
    },
    /// Deploy and control topologies.
    Topo {
        #[command(subcommand)]
        command: TopoCommand,
    },
    /// The spaces of the cluster, and one in detail.
    Spaces {
        #[command(subcommand)]
        command: Option<SpacesCommand>,
    },
    /// Begin a new space; asks no zhost.
    Space {
        #[command(subcommand)]
        command: SpaceCommand,
    },
    /// Make and look at packages; asks no zhost.
    Mex {
        #[command(subcommand)]
        command: MexCommand,
    },
    /// Restart or end the zhost that is asked, and its board if it is the whole of it.
    Board {
        #[command(subcommand)]
        command: BoardCommand,
    },
    /// Have the boards run another agent, one after the other.
    Firmware {
        #[command(subcommand)]
        command: FirmwareCommand,
    },
    /// Give the board at the end of the serial cable, which has no cluster yet, its place in one.
    ///
    /// The control secret and you as an operator are taken from the profile.
    #[command(
        after_help = "Example:\n  zctl --serial /dev/ttyUSB0 provision kitchen --secret-file cluster.secret --publisher 3a5f…"
    )]
    Provision(ProvisionArgs),
    /// Make an operator's key (mode 600) and print its public half for the zhosts' `operators`.
    Keygen {
        /// Where to put it; must not exist.
        file: PathBuf,
    },
    /// Make a secret file (mode 600) for `secret-file` or `control-secret-file`.
    Secret {
        /// Where to put it; must not exist.
        file: PathBuf,
    },
    /// Type commands one after the other.
    Shell,
}

#[derive(Subcommand)]
pub enum BoardCommand {
    /// Close its spaces, which move elsewhere, and begin anew.
    Restart,
    /// Close its spaces and go without power.
    PowerOff,
}

#[derive(Subcommand)]
pub enum FirmwareCommand {
    /// Pack an agent and sign it; asks no zhost.
    #[command(
        after_help = "Example:\n  zctl firmware build target/cross/arm-unknown-linux-musleabihf/release/zhost \\\n    --target arm-unknown-linux-musleabihf --release 0.2.0 --key publisher.key --output zero.zfw"
    )]
    Build {
        /// The program, as `cargo xtask cross` makes it.
        agent: PathBuf,
        /// What it was built for.
        #[arg(long)]
        target: Name,
        /// What you call it.
        #[arg(long, value_name = "VERSION")]
        release: Name,
        /// A publisher's key that the cluster trusts.
        #[arg(short, long, value_name = "FILE")]
        key: PathBuf,
        /// The file to write.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Have every board of its target run it, one after the other; the first failure stops the others.
    ///
    /// A board with the new agent goes back to the former one by itself if it does not find the cluster within two minutes.
    Push {
        /// The signed agent.
        firmware: PathBuf,
    },
    /// Which agents the boards run, and what they wait for.
    Status,
    /// No further board takes up another agent; pushing goes on.
    Halt,
}

impl FirmwareCommand {
    fn request(&self) -> Result<Request, String> {
        Ok(match self {
            Self::Push { firmware } => Request::FirmwarePush(read(firmware)?),
            Self::Status => Request::FirmwareStatus,
            Self::Halt => Request::FirmwareHalt,
            Self::Build { .. } => return Err("this asks no zhost".into()),
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))
}

#[derive(Args)]
pub struct ProvisionArgs {
    /// What people will call the board.
    pub name: String,
    /// The cluster's secret.
    #[arg(long, value_name = "FILE")]
    pub secret_file: PathBuf,
    /// The cluster's name.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    /// Further operators who may command, beside you.
    #[arg(long, value_name = "KEY")]
    pub operator: Vec<String>,
    /// Publishers whose packages run.
    #[arg(long, value_name = "KEY")]
    pub publisher: Vec<String>,
    /// Zhosts that are not on the board's network.
    #[arg(long, value_name = "ADDR")]
    pub join: Vec<String>,
}

impl ProvisionArgs {
    fn request(&self, profile: &Profile) -> Result<Request, String> {
        let you = keys::hex(profile.operator.public());
        Ok(Request::Provision(Provisioning {
            cluster: self.cluster.clone(),
            name: self.name.clone(),
            secret: keys::read(&self.secret_file)?,
            control_secret: profile.control_secret,
            operators: std::iter::once(you).chain(self.operator.iter().cloned()).collect(),
            publishers: self.publisher.clone(),
            join: self.join.clone(),
        }))
    }
}

#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Every zhost of the roster.
    Zhosts,
    /// Take a dead zhost off the roster; it no longer counts for majorities.
    Remove {
        /// Name or id.
        #[arg(value_name = "ZHOST")]
        name: String,
    },
}

#[derive(Subcommand)]
pub enum MeshCommand {
    /// The other zhosts: how many links away, round trip and route.
    Peers,
    /// The ways of least round trip to every zhost, as the links announced would have them.
    Routes,
    /// Where every space runs.
    Spaces,
    /// Round trips to one zhost, or to all.
    Ping {
        /// Name or id.
        #[arg(value_name = "ZHOST")]
        name: Option<String>,
    },
}

#[derive(Subcommand)]
pub enum TopoCommand {
    /// Deploy a signed package; under a known name it replaces what runs.
    Submit {
        /// The package.
        mex: PathBuf,
    },
    /// All topologies.
    List,
    /// One topology: its state, why it failed, where its spaces are.
    Status {
        /// Name or id.
        topology: String,
    },
    /// End its spaces and start them again.
    Restart {
        /// Name or id.
        topology: String,
    },
    /// Close its spaces; it stays listed.
    Stop {
        /// Name or id.
        topology: String,
    },
    /// Close its spaces and forget it.
    Delete {
        /// Name or id.
        topology: String,
    },
}

#[derive(Subcommand)]
pub enum SpacesCommand {
    /// One space in detail.
    Status {
        /// Name, or topology/name.
        space: String,
    },
    /// Print an address at which a browser is shown a UI space, for twelve hours; whoever has it sees the page.
    Open {
        /// Name, or topology/name.
        space: String,
    },
    /// End a space and start it again, also one that is held after too many crashes.
    Restart {
        /// Name, or topology/name.
        space: String,
    },
    /// Forget all that a space has stored, on every zhost that has some, now or when it is back; it starts again with nothing.
    DropData {
        /// Name, or topology/name.
        space: String,
        /// Say that you mean it.
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Compare the data of a space with its replicas, and make them equal to it.
    Repair {
        /// Name, or topology/name.
        space: String,
    },
    /// A space's last log lines.
    Logs {
        /// Name, or topology/name.
        space: String,
    },
}

#[derive(Subcommand)]
pub enum SpaceCommand {
    /// Make a directory with a space that builds, a test, a package and a README.
    #[command(
        after_help = "Examples:\n  zctl space new meter --type IO\n  zctl space new meter --language c\n  zctl space new cockpit --type UI"
    )]
    New {
        /// The directory; its name is the space's.
        dir: PathBuf,
        /// IO, DATA, CALL, CHAT or UI.
        #[arg(long = "type", default_value = "IO")]
        kind: SpaceKind,
        /// What it is written in.
        #[arg(long, value_enum, default_value_t = Language::Rust)]
        language: Language,
    },
}

/// What a space is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    C,
}

#[derive(Subcommand)]
pub enum MexCommand {
    /// Make a publisher's key (mode 600) and print its public half for the zhosts' `publishers`.
    Keygen {
        /// Where to put it; must not exist.
        file: PathBuf,
    },
    /// Build a package from a directory with manifest.yaml, topology.yaml and spaces/.
    Build {
        /// The directory.
        dir: PathBuf,
        /// The package to write.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Sign it with this publisher's key.
        #[arg(short, long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Sign a package in place.
    Sign {
        /// The package.
        mex: PathBuf,
        /// The publisher's key.
        #[arg(short, long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Check a package's form, hashes and signature; what its WASM imports is checked at submit.
    Verify {
        /// The package.
        mex: PathBuf,
        /// A trusted publisher; without any, every signature counts.
        #[arg(short, long, value_name = "KEY")]
        publisher: Vec<String>,
    },
    /// Show what a package holds.
    Inspect {
        /// The package.
        mex: PathBuf,
    },
}

impl Command {
    /// Carries the command out.
    pub fn run(&self, options: &Options) -> Outcome {
        let profile = || Profile::gather(options);
        let request = match self {
            Self::Mex { command: MexCommand::Inspect { mex } } => {
                return packages::inspect(mex, options.json);
            }
            Self::Space { command: SpaceCommand::New { dir, kind, language } } => {
                return render::sentence(template::new_space(dir, *kind, *language), options.json);
            }
            Self::Mex { command } => return render::sentence(packages::run(command), options.json),
            Self::Keygen { file } => return render::sentence(keys::make_operator_key(file), options.json),
            Self::Secret { file } => return render::sentence(keys::make_secret(file), options.json),
            Self::Firmware { command: FirmwareCommand::Build { agent, target, release, key, output } } => {
                return render::sentence(firmware::build(agent, target, release, key, output), options.json);
            }
            Self::Firmware { command } => command.request()?,
            Self::Shell => return Err("this is the shell".into()),
            Self::Provision(_) if options.serial.is_none() => {
                return Err("a board takes this over its serial line only: name it with --serial".into());
            }
            Self::Board { command } => Request::End { power_off: matches!(command, BoardCommand::PowerOff) },
            Self::Provision(args) => args.request(&profile()?)?,
            Self::Status => Request::Status,
            Self::Cluster { command: None } => Request::Cluster,
            Self::Cluster { command: Some(ClusterCommand::Zhosts) } => Request::Zhosts,
            Self::Cluster { command: Some(ClusterCommand::Remove { name }) } => {
                Request::ClusterRemove(name.clone())
            }
            Self::Mesh { command: None } => Request::Mesh,
            Self::Mesh { command: Some(MeshCommand::Peers) } => Request::MeshPeers,
            Self::Mesh { command: Some(MeshCommand::Routes) } => Request::MeshRoutes,
            Self::Mesh { command: Some(MeshCommand::Spaces) } => Request::MeshSpaces,
            Self::Mesh { command: Some(MeshCommand::Ping { name }) } => Request::MeshPing(name.clone()),
            Self::Topo { command } => command.request()?,
            Self::Spaces { command: None } => Request::Spaces,
            Self::Spaces { command: Some(SpacesCommand::Status { space }) } => {
                Request::SpaceStatus(space.clone())
            }
            Self::Spaces { command: Some(SpacesCommand::Open { space }) } => {
                Request::SpaceOpen(space.clone())
            }
            Self::Spaces { command: Some(SpacesCommand::Restart { space }) } => {
                Request::SpaceRestart(space.clone())
            }
            Self::Spaces { command: Some(SpacesCommand::DropData { space, .. }) } => {
                Request::SpaceDropData(space.clone())
            }
            Self::Spaces { command: Some(SpacesCommand::Repair { space }) } => {
                Request::SpaceRepair(space.clone())
            }
            Self::Spaces { command: Some(SpacesCommand::Logs { space }) } => {
                Request::SpaceLogs(space.clone())
            }
        };
        let reply = session::ask(&profile()?, &request, !options.json)?;
        render::render(&request, reply, options.json)
    }
}

impl TopoCommand {
    fn request(&self) -> Result<Request, String> {
        Ok(match self {
            Self::Submit { mex } => Request::TopoSubmit(read(mex)?),
            Self::List => Request::TopoList,
            Self::Status { topology } => Request::TopoStatus(topology.clone()),
            Self::Restart { topology } => Request::TopoRestart(topology.clone()),
            Self::Stop { topology } => Request::TopoStop(topology.clone()),
            Self::Delete { topology } => Request::TopoDelete(topology.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Clap gives an argument of a subcommand to the global option of the same name, without a word.
    #[test]
    fn no_argument_is_named_like_a_global_option() {
        let cli = Cli::command();
        let globals: Vec<_> = cli.get_arguments().filter(|arg| arg.is_global_set()).collect();
        let mut commands: Vec<_> = cli.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            let mut own = command.get_arguments();
            let clash = own.find(|arg| globals.iter().any(|global| global.get_id() == arg.get_id()));
            assert!(clash.is_none(), "{}: {clash:?}", command.get_name());
        }
    }
}
