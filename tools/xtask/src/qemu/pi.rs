//! A Raspberry Pi as QEMU plays it: its own kernel, device tree, card and serial port, but not its firmware.

use super::guest::{Boot, Guest};
use crate::{
    Outcome, artifacts,
    board::Board,
    image::{self, Identity},
    kernel::{Kernel, shell},
    setup, steps,
};
use std::{fs, process::Command, time::Duration};
use zhost_cluster::watch;

const PATIENCE: Duration = Duration::from_secs(120);
/// QEMU takes cards of powers of two only.
const CARD_SIZE: &str = "256M";

pub fn run() -> Outcome {
    let zctl = artifacts::build()?.programs.zctl;
    let dir = steps::root().join("target/qemu/pi");
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let board = Board::read("rpi-3")?;
    let image = image::build(&board, &Identity::default(), &dir)?;
    let kernel = Kernel::get(&board.kernel)?;
    if !steps::succeeds("fdtput", &["--version"]) {
        setup::apt_install(&["device-tree-compiler"])?;
    }
    // QEMU's Bluetooth chip is none, and the kernel waits for it at the port that is ours.
    let tree = board.device_trees.first().ok_or("no device tree")?;
    let prepare = format!(
        "cp {}/usr/lib/linux-image-{}/{tree} pi.dtb; fdtput -r pi.dtb /soc/serial@7e201000/bluetooth
         truncate -s {CARD_SIZE} {}",
        kernel.root.display(),
        kernel.release,
        image.disk.display()
    );
    shell(&prepare, &dir)?;
    let operate = |args: &[&str]| steps::output(Command::new(&zctl).args(args).current_dir(&dir));
    operate(&["secret", "cluster.secret"])?;
    operate(&["secret", "control.secret"])?;
    operate(&["keygen", "operator.key"])?;
    let profile = "control-secret-file: control.secret\noperator-key-file: operator.key\n";
    fs::write(dir.join("zctl.yaml"), profile).map_err(|e| e.to_string())?;
    let tree = dir.join("pi.dtb").display().to_string();
    let boot = Boot {
        board: &board,
        image: &image,
        disk: &image.disk,
        // QEMU's watchdog of this board bites whoever looks at it.
        settings: &[("network", "none"), ("watchdog", "")],
        // Some of what the device tree promises QEMU does not have; the kernel is not to wait for it.
        command_line: "deferred_probe_timeout=1",
        more: &["-dtb", &tree],
        network: None,
    };
    let mut pi = Guest::start("pi", &boot)?;
    println!("{}", pi.wait_for("modules", PATIENCE)?);
    pi.wait_for("waiting for zctl provision", PATIENCE)?;
    let line = pi.line.display().to_string();
    let at_line = ["--serial", &line, "--profile", "zctl.yaml"];
    operate(&[&["provision", "pi", "--secret-file", "cluster.secret"], &at_line[..]].concat())?;
    // Without a network it goes on alone, some time later.
    let status = || Ok(operate(&[&["status", "--json"], &at_line[..]].concat()).ok());
    let status = watch(PATIENCE, status)?;
    println!(
        "provisioned over its serial line, and answers there: {}",
        status.split_whitespace().collect::<String>()
    );
    Ok(())
}
