//! `cargo xtask qemu …`: guests with real Arm kernels.

mod guest;
mod hal;
mod pi;
mod site;

use crate::Outcome;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum QemuCommand {
    /// The hardware backends on a real kernel's drivers: camera, GPIO, I²C, hwmon, serial line, watchdog.
    Hal,
    /// A Raspberry Pi 3, booted from its image without a network: card, serial line, provisioning.
    Pi,
    /// A 64-bit and a 32-bit board, booted from their images: provisioned and commanded over their serial lines, one
    /// cluster, one topology that moves when a board loses its power.
    Site {
        /// How often a board loses its power while a space writes.
        #[arg(long, default_value_t = 25)]
        power_cuts: u32,
    },
}

/// `cargo xtask qemu …`.
pub fn run(command: &QemuCommand) -> Outcome {
    match command {
        QemuCommand::Hal => hal::run(),
        QemuCommand::Pi => pi::run(),
        QemuCommand::Site { power_cuts } => site::run(*power_cuts),
    }
}
