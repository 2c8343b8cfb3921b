//! The command line: what can be said, and what it does.

use crate::{
    Failure, Outcome, address,
    carrier::Cable,
    check, files, firmware, follow, keys, packages,
    profile::{Profile, Reach},
    recording, render, session, template,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use zhost_base::{Name, SpaceKind};
use zhost_control::protocol::{Provisioning, RecordingOrder, Request};
use zhost_mex::PublicKey;

/// Operates a cluster of zhosts.
#[derive(Parser)]
#[command(
    name = "zctl",
    version,
    about = "Operates a cluster of zhosts.",
    after_help = "Examples:\n  zctl cluster zhosts\n  zctl topo submit garden.mex\n  zctl topo status garden --json\n  zctl --zhost 192.168.1.10 status\n  zctl --serial /dev/ttyUSB0 topo submit garden.mex"
)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Options {
    /// Zhosts to ask: addresses or names of machines, with the port if it is not 9000. The first that answers is asked.
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        value_delimiter = ',',
        env = "ZCTL_ZHOST",
        hide_env_values = true
    )]
    pub zhost: Vec<String>,
    /// Ask the zhost at the end of this serial cable, such as /dev/ttyUSB0 or /dev/ttyUSB0@9600, instead.
    #[arg(
        long,
        global = true,
        value_name = "PORT",
        env = "ZCTL_SERIAL",
        hide_env_values = true,
        conflicts_with = "zhost"
    )]
    pub serial: Option<Cable>,
    /// Profile with the cluster's addresses and keys [default: ./.zhost/zctl.yaml, then ~/.config/zctl.yaml].
    #[arg(long, global = true, value_name = "FILE", env = "ZCTL_PROFILE", hide_env_values = true)]
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
    /// Restart or end the zhost that is asked, and its board if it is the whole of it; record what happens to it.
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
        after_help = "Example:\n  zctl --serial /dev/ttyUSB0 provision kitchen --secret-file cluster.secret --publisher kTHJ…="
    )]
    Provision(ProvisionArgs),
    /// The profile: which cluster is meant, and with which keys.
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
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
pub enum ProfileCommand {
    /// Look at the profile, its keys and its addresses, and say what to compare with the boards' settings; asks no zhost.
    Check,
}

#[derive(Subcommand)]
pub enum BoardCommand {
    /// Close its spaces, which move elsewhere, and begin anew.
    Restart,
    /// Close its spaces and go without power.
    PowerOff,
    /// Record what happens to it, to find out why: what it was told is told to a zhost on a laptop again.
    Record {
        #[command(subcommand)]
        command: RecordCommand,
    },
}

#[derive(Subcommand)]
pub enum RecordCommand {
    /// Record every start from the next one on, up to 64 MiB of each on its flash.
    Start,
    /// Record nothing more.
    Stop,
    /// Fetch what was recorded; it holds all messages of spaces and all packages, but no key.
    #[command(
        after_help = "Example:\n  zctl --zhost 192.168.1.10 board record start\n  zctl --zhost 192.168.1.10 board restart\n  zctl --zhost 192.168.1.10 board record pull --former -o attic.zrec\n  cargo xtask replay attic.zrec"
    )]
    Pull {
        /// Of the start before: what ended by a fault and has begun again.
        #[arg(long)]
        former: bool,
        /// The file to write; must not exist.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

impl BoardCommand {
    fn request(&self) -> Request {
        match self {
            Self::Restart => Request::End { power_off: false },
            Self::PowerOff => Request::End { power_off: true },
            Self::Record { command: RecordCommand::Start } => Request::Recording(RecordingOrder::Start),
            Self::Record { command: RecordCommand::Stop } => Request::Recording(RecordingOrder::Stop),
            Self::Record { command: RecordCommand::Pull { former, .. } } => {
                Request::Recording(RecordingOrder::Read { is_former: *former, offset: 0 })
            }
        }
    }
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
            Self::Push { firmware } => Request::FirmwarePush(files::read_firmware(firmware)?),
            Self::Status => Request::FirmwareStatus,
            Self::Halt => Request::FirmwareHalt,
            Self::Build { .. } => return Err("this asks no zhost".into()),
        })
    }
}

#[derive(Args)]
pub struct ProvisionArgs {
    /// What people will call the board.
    pub name: Name,
    /// The cluster's secret.
    #[arg(long, value_name = "FILE")]
    pub secret_file: PathBuf,
    /// The cluster's name.
    #[arg(long, default_value = "default")]
    pub cluster: Name,
    /// Further operators who may command, beside you.
    #[arg(long, value_name = "KEY", value_parser = keys::parse_public)]
    pub operator: Vec<String>,
    /// Publishers whose packages run.
    #[arg(long, value_name = "KEY")]
    pub publisher: Vec<PublicKey>,
    /// Zhosts that are not on the board's network.
    #[arg(long, value_name = "ADDR")]
    pub join: Vec<String>,
}

impl ProvisionArgs {
    fn request(&self, profile: &Profile) -> Result<Request, String> {
        self.join.iter().try_for_each(|place| address::parse(place).map(drop))?;
        let you = keys::hex(profile.operator.public());
        Ok(Request::Provision(Provisioning {
            cluster: self.cluster.to_string(),
            name: self.name.to_string(),
            secret: keys::read(&self.secret_file)?,
            control_secret: profile.control_secret,
            operators: std::iter::once(you).chain(self.operator.iter().cloned()).collect(),
            publishers: self.publisher.iter().map(ToString::to_string).collect(),
            join: self.join.clone(),
        }))
    }
}

#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Every zhost of the roster.
    #[command(aliases = ["nodes", "ls", "list", "members"])]
    Zhosts,
    /// Take a dead zhost off the roster; it no longer counts for majorities.
    #[command(alias = "rm")]
    Remove {
        /// Name, id, or the first digits of the id.
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
    /// Round trips to one zhost, or to all; fails if one does not answer.
    Ping {
        /// Name, id, or the first digits of the id.
        #[arg(value_name = "ZHOST")]
        name: Option<String>,
    },
}

#[derive(Subcommand)]
pub enum TopoCommand {
    /// Deploy a signed package; under a known name it replaces what runs.
    #[command(aliases = ["deploy", "apply"])]
    Submit {
        /// The package.
        mex: PathBuf,
    },
    /// All topologies.
    #[command(alias = "ls")]
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
    #[command(alias = "rm")]
    Delete {
        /// Name or id.
        topology: String,
    },
}

#[derive(Subcommand)]
pub enum SpacesCommand {
    /// All spaces, as without a command.
    #[command(aliases = ["ls", "ps"], hide = true)]
    List,
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
    #[command(alias = "log")]
    Logs {
        /// Name, or topology/name.
        space: String,
        /// Go on with those to come, until you end it.
        #[arg(short, long)]
        follow: bool,
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
    /// Check a package's form, hashes and signature, and whether every space's WASM can run.
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
                return Ok(packages::inspect(mex, options.json)?);
            }
            Self::Space { command: SpaceCommand::New { dir, kind, language } } => {
                return Ok(render::sentence(template::new_space(dir, *kind, *language), options.json)?);
            }
            Self::Mex { command } => return Ok(render::sentence(packages::run(command), options.json)?),
            Self::Profile { command: ProfileCommand::Check } => return check::check(options),
            Self::Keygen { file } => {
                return Ok(render::sentence(keys::make_operator_key(file), options.json)?);
            }
            Self::Secret { file } => return Ok(render::sentence(keys::make_secret(file), options.json)?),
            Self::Firmware { command: FirmwareCommand::Build { agent, target, release, key, output } } => {
                let built = firmware::build(agent, target, release, key, output);
                return Ok(render::sentence(built, options.json)?);
            }
            Self::Firmware { command } => command.request()?,
            Self::Shell => return Err(Failure::Reason("this is the shell".into())),
            Self::Provision(_) if options.serial.is_none() => {
                let reason = "a board takes this over its serial line only: name it with --serial";
                return Err(Failure::Reason(reason.into()));
            }
            Self::Board { command } => command.request(),
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
            Self::Spaces { command: None | Some(SpacesCommand::List) } => Request::Spaces,
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
            Self::Spaces { command: Some(SpacesCommand::Logs { space, follow: true }) } => {
                return follow::follow(&profile()?, &Request::SpaceLogs(space.clone()), options.json);
            }
            Self::Spaces { command: Some(SpacesCommand::Logs { space, .. }) } => {
                Request::SpaceLogs(space.clone())
            }
        };
        let profile = profile()?;
        if let Self::Board { .. } = self {
            one_board(&profile)?;
        }
        if let Self::Board {
            command: BoardCommand::Record { command: RecordCommand::Pull { former, output } },
        } = self
        {
            let pulled = recording::pull(&profile, *former, output, !options.json);
            return Ok(render::sentence(pulled, options.json)?);
        }
        let reply = session::ask(&profile, &request, !options.json)?;
        render::render(&request, reply, options.json)
    }
}

/// That it is clear which board is to end.
fn one_board(profile: &Profile) -> Result<(), String> {
    match &profile.reach {
        Reach::Network(places) if places.len() > 1 => Err(format!(
            "which of {} boards? Name it with --zhost, or ask at its cable with --serial",
            places.len()
        )),
        _ => Ok(()),
    }
}

impl TopoCommand {
    fn request(&self) -> Result<Request, String> {
        Ok(match self {
            Self::Submit { mex } => Request::TopoSubmit(files::read_package(mex)?),
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
