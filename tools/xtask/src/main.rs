//! `cargo xtask …`: everything a developer does.

mod artifacts;
mod bench;
mod board;
mod cluster;
mod cpio;
mod cross;
mod demo;
mod flash;
mod fuzz;
mod image;
mod kernel;
mod qemu;
mod setup;
mod simulate;
mod size;
mod steps;
mod templates;
mod test;
mod view;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use zhost_cluster::Outcome;

/// Everything a developer does.
#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer does.")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing: WASM target, test runner, linker. Says what it does; does nothing twice.
    Setup {
        /// How guests are built: with rustup's target, with Debian's Rust, or whichever works.
        #[arg(long, value_enum, default_value_t = setup::GuestRoute::Auto)]
        guests: setup::GuestRoute,
    },
    /// A real cluster on this computer runs a signed topology, loses zhosts, and heals.
    Demo {
        /// Print the result as JSON instead of the live view.
        #[arg(long)]
        json: bool,
    },
    /// A cluster on this computer to play with.
    Cluster {
        #[command(subcommand)]
        command: cluster::ClusterCommand,
    },
    /// Measure zhost beside other systems.
    Bench {
        #[command(subcommand)]
        command: bench::BenchCommand,
    },
    /// Tests in stages: quick, system and boards, or those that are named. Ends with a table of what took how long.
    Test(test::Options),
    /// Build and run what `zctl space new` makes.
    Templates,
    /// Simulate clusters under faults drawn from seeds.
    Sim {
        /// Seeds, such as 0..500 or 17 or 3,17,0..100.
        #[arg(long, default_value = "0..200")]
        seeds: String,
        /// Boards in the cluster.
        #[arg(long, default_value_t = 7)]
        zhosts: usize,
        /// Print the whole trace of every seed.
        #[arg(long)]
        trace: bool,
        /// What happens to the cluster: faults, vault, family, purge, rollout, loss or panics.
        #[arg(long, default_value = "faults")]
        scenario: String,
        /// Instead of these: all seeds that ever failed, each in its scenario and at its size.
        #[arg(long)]
        failed: bool,
        /// Plant this bug, or `all` one after the other, and see that the simulator finds it.
        #[arg(long)]
        bug: Option<String>,
    },
    /// Tell a zhost again what another one recorded, and see whether it does the same.
    #[command(
        after_help = "Example:\n  zctl --zhost 192.168.1.10 board record pull -o attic.zrec\n  cargo xtask replay attic.zrec"
    )]
    Replay {
        /// What `zctl board record pull` fetched.
        file: std::path::PathBuf,
        /// No more than the first so many inputs.
        #[arg(long, value_name = "N")]
        until: Option<u64>,
        /// Print every input, and what the zhost says to it.
        #[arg(long)]
        trace: bool,
    },
    /// Make up WASM modules and run them, to see that none harms its worker.
    Modules {
        /// How many.
        #[arg(long, default_value_t = 5000)]
        count: u32,
    },
    /// Fuzz the parsers of foreign bytes.
    Fuzz {
        /// Which target; all if left out.
        target: Option<String>,
        /// How long each.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
    },
    /// Build the agent for boards: one target by its name, or all.
    Cross {
        /// Such as aarch64-unknown-linux-musl.
        #[arg(default_value = "all")]
        target: String,
        /// Build each a second time, and see that nothing differs.
        #[arg(long)]
        again: bool,
        /// Instead, run the tests of the crates that need no operating system, under emulation.
        #[arg(long, conflicts_with = "again")]
        tests: bool,
    },
    /// Make the image of a board's flash card.
    #[command(
        after_help = "Example:\n  cargo xtask image qemu-virt --name attic --secret-file cluster.secret --control-secret-file control.secret --operator 5b1c…"
    )]
    Image {
        /// The board, as in boards/.
        board: String,
        #[command(flatten)]
        identity: image::Identity,
        /// Where to put it.
        #[arg(short, long, value_name = "FILE")]
        output: Option<std::path::PathBuf>,
    },
    /// Write an image to a flash card; refuses everything else.
    Flash {
        /// The image.
        image: std::path::PathBuf,
        /// The whole card, such as /dev/sdb.
        device: std::path::PathBuf,
    },
    /// Boot guests with real Arm kernels and look at what they say.
    Qemu {
        #[command(subcommand)]
        command: qemu::QemuCommand,
    },
    /// How large the agent is, on flash and in memory; fails over budget.
    Size,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Setup { guests } => setup::run(guests),
        Task::Demo { json } => demo::run(json),
        Task::Cluster { command } => cluster::run(&command),
        Task::Bench { command } => bench::run(&command),
        Task::Test(options) => test::run(&options),
        Task::Sim { bug: Some(bug), .. } => simulate::hunt(&bug, simulate::HUNT_AT_LENGTH),
        Task::Sim { failed: true, .. } => simulate::failed(),
        Task::Sim { scenario, seeds, zhosts, trace, .. } => simulate::run(&scenario, &seeds, zhosts, trace),
        Task::Replay { file, until, trace } => simulate::replay(&file, until, trace),
        Task::Templates => templates::programs().and_then(|programs| templates::run(&programs)),
        Task::Modules { count } => simulate::modules(count),
        Task::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Task::Image { board, identity, output } => image::run(&board, &identity, output.as_deref()),
        Task::Flash { image, device } => flash::run(&image, &device),
        Task::Cross { target, tests: true, .. } => cross::test(&target, &test::PURE_CRATES),
        Task::Cross { target, again, .. } => cross::run(&target, again),
        Task::Qemu { command } => qemu::run(&command),
        Task::Size => size::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
