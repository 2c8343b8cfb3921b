//! `cargo xtask image …`: what is written to a board's flash card.
//!
//! Four partitions: one that the board's firmware reads (FAT: firmware, kernel, device tree, and an initramfs whose
//! `/init` is the agent), two slots for agents, and data. A board's place in a cluster lies in the data partition,
//! written there now or by `zctl provision` later; the rest of the image is the same for all boards of a kind.

use crate::{
    Outcome,
    board::Board,
    cpio::{Archive, Entry},
    kernel::{self, Kernel, shell},
    setup, steps,
};
use clap::Args;
use flate2::{Compression, GzBuilder};
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What making images takes.
const TOOLS: [&str; 3] = ["mtools", "dosfstools", "e2fsprogs"];
/// The most an initramfs may have.
const INITRAMFS_MAX_BYTES: usize = 12 * 1000 * 1000;
const MIB: u64 = 1 << 20;
const SECTOR_SIZE_BYTES: u64 = 512;
/// What the kernel begins with, before there is a file system.
const DIRECTORIES: [&str; 10] =
    ["data", "dev", "etc", "lib", "lib/modules", "proc", "run", "sbin", "sys", "tmp"];

/// A board's place in a cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct Identity {
    /// What people will call the board.
    #[arg(long, requires = "secret_file")]
    pub name: Option<String>,
    /// The cluster's name.
    #[arg(long, default_value = "default")]
    pub cluster: String,
    /// The cluster's secret; without it the board waits for `zctl provision` at its serial line.
    #[arg(long, value_name = "FILE", requires_all = ["name", "control_secret_file", "operator"])]
    pub secret_file: Option<PathBuf>,
    /// The secret of zctl sessions.
    #[arg(long, value_name = "FILE")]
    pub control_secret_file: Option<PathBuf>,
    /// Operators who may command.
    #[arg(long, value_name = "KEY")]
    pub operator: Vec<String>,
    /// Publishers whose packages run.
    #[arg(long, value_name = "KEY")]
    pub publisher: Vec<String>,
    /// Zhosts that are not on the board's network.
    #[arg(long, value_name = "ADDR")]
    pub join: Vec<String>,
}

/// A board's files, ready to be flashed or booted.
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// What it begins with.
    pub initramfs: PathBuf,
    /// The whole flash card.
    pub disk: PathBuf,
}

/// `cargo xtask image …`.
pub fn run(board: &str, identity: &Identity, output: Option<&Path>) -> Outcome {
    let board = Board::read(board)?;
    let dir = steps::root().join("target/images").join(&board.name);
    let image = build(&board, identity, &dir)?;
    let disk = match output {
        Some(output) => {
            fs::copy(&image.disk, output).map_err(|e| format!("{}: {e}", output.display()))?;
            output
        }
        None => &image.disk,
    };
    let size = |file: &Path| fs::metadata(file).map_or(0, |file| file.len() / 1000);
    println!("{}: {}", board.about, disk.display());
    println!("  kernel {} kB, initramfs {} kB", size(&image.kernel), size(&image.initramfs));
    match &identity.name {
        Some(name) => println!("  {name} is in cluster {} when it starts", identity.cluster),
        None => println!("  has no cluster yet: zctl --serial PORT provision NAME gives it one"),
    }
    println!("  write it to a card: cargo xtask flash {} /dev/…", disk.display());
    Ok(())
}

/// Makes a board's image in this directory.
pub fn build(board: &Board, identity: &Identity, dir: &Path) -> Outcome<Image> {
    setup::need_library_source()?;
    if !steps::succeeds("mformat", &["--version"]) || !steps::succeeds("mke2fs", &["-V"]) {
        setup::apt_install(&TOOLS)?;
    }
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let agent = board.target.build(&steps::root().join("target/cross"))?.zhost;
    let kernel = Kernel::get(&board.kernel)?;
    let initramfs = dir.join("initramfs.gz");
    write(&initramfs, &initramfs_bytes(board, &kernel, &agent)?)?;
    let boot = dir.join("boot.fat");
    boot_partition(board, &kernel, &initramfs, &boot)?;
    let data = dir.join("data.ext4");
    data_partition(board, identity, dir, &data)?;
    let disk = dir.join("disk.img");
    assemble(board, &boot, &data, &disk)?;
    Ok(Image { kernel: kernel.image(), initramfs, disk })
}

fn write(file: &Path, bytes: &[u8]) -> Outcome {
    fs::write(file, bytes).map_err(|e| format!("{}: {e}", file.display()))
}

fn read(file: &Path) -> Outcome<Vec<u8>> {
    fs::read(file).map_err(|e| format!("{}: {e}", file.display()))
}

fn initramfs_bytes(board: &Board, kernel: &Kernel, agent: &Path) -> Outcome<Vec<u8>> {
    let mut archive = Archive::default();
    DIRECTORIES.iter().for_each(|name| archive.add(name, &Entry::Directory));
    // What the kernel and a Rust program open before anything is mounted.
    archive.add("dev/console", &Entry::Device(5, 1));
    archive.add("dev/null", &Entry::Device(1, 3));
    archive.add("init", &Entry::File(&read(agent)?, 0o755));
    let settings: String =
        board.settings.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
    archive.add("etc/zhost.yaml", &Entry::File(settings.as_bytes(), 0o644));
    archive.add(
        "sbin/e2fsck",
        &Entry::File(&read(&kernel.file("e2fsck-static", "sbin/e2fsck.static")?)?, 0o755),
    );
    let mut order = String::new();
    for file in kernel.modules(&board.modules)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        order += &format!("{name}\n");
        archive.add(&format!("lib/modules/{name}"), &Entry::File(&read(&file)?, 0o644));
    }
    archive.add("lib/modules/order", &Entry::File(order.as_bytes(), 0o644));
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
    let packed = packed.write_all(&archive.finish()).and_then(|()| packed.finish());
    let packed = packed.map_err(|e| e.to_string())?;
    if packed.len() > INITRAMFS_MAX_BYTES {
        return Err(format!(
            "{}: the initramfs has {} kB, more than {}",
            board.name,
            packed.len() / 1000,
            INITRAMFS_MAX_BYTES / 1000
        ));
    }
    Ok(packed)
}

/// What the board's firmware reads.
fn boot_partition(board: &Board, kernel: &Kernel, initramfs: &Path, fat: &Path) -> Outcome {
    let file = File::create(fat).and_then(|file| file.set_len(u64::from(board.boot_mib) * MIB));
    file.map_err(|e| format!("{}: {e}", fat.display()))?;
    let fat = fat.display().to_string();
    // A fixed serial number: the same image every time.
    steps::output(&mut steps::command("mkfs.fat", &["-F", "32", "-n", "ZHOST", "-i", "7a686f73", &fat]))?;
    let copy = |from: &Path, to: &str| {
        let from = from.display().to_string();
        steps::run(&mut steps::command("mcopy", &["-m", "-i", &fat, &from, &format!("::{to}")]))
    };
    copy(&kernel.image(), "kernel.img")?;
    copy(initramfs, "initramfs.gz")?;
    for tree in &board.device_trees {
        let file = kernel.root.join("usr/lib").join(format!("linux-image-{}", kernel.release)).join(tree);
        copy(&file, tree.rsplit('/').next().unwrap_or(tree))?;
    }
    if board.firmware.is_empty() {
        return Ok(());
    }
    let firmware = kernel::raspberry_firmware()?;
    board.firmware.iter().try_for_each(|file| copy(&firmware.join(file), file))?;
    let config = format!("{}\nkernel=kernel.img\ninitramfs initramfs.gz\n", board.firmware_config.join("\n"));
    let command_line = format!("console={} panic=10 quiet\n", board.console);
    for (name, text) in [("config.txt", config), ("cmdline.txt", command_line)] {
        let file = initramfs.with_file_name(name);
        write(&file, text.as_bytes())?;
        copy(&file, name)?;
    }
    Ok(())
}

/// The file system that outlives the rest, with the board's place in a cluster, if it has one.
fn data_partition(board: &Board, identity: &Identity, dir: &Path, ext4: &Path) -> Outcome {
    let contents = dir.join("data");
    let failed = |e: std::io::Error| format!("{}: {e}", contents.display());
    if contents.exists() {
        fs::remove_dir_all(&contents).map_err(failed)?;
    }
    let own = contents.join("zhost");
    fs::create_dir_all(&own).map_err(failed)?;
    if let (Some(name), Some(secret), Some(control)) =
        (&identity.name, &identity.secret_file, &identity.control_secret_file)
    {
        let private = |file: &str, bytes: &[u8]| {
            let file = own.join(file);
            write(&file, bytes)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(failed)
        };
        private("cluster.secret", &read(secret)?)?;
        private("control.secret", &read(control)?)?;
        let place = board.settings.get("data-dir").map_or("/data/zhost", String::as_str);
        let text = format!(
            "name: {name:?}\ncluster: {:?}\nsecret-file: {place}/cluster.secret\ncontrol-secret-file: {place}/control.secret\n\
             operators: {:?}\npublishers: {:?}\njoin: {:?}\n",
            identity.cluster,
            identity.operator.join(","),
            identity.publisher.join(","),
            identity.join.join(","),
        );
        private("provisioned.yaml", text.as_bytes())?;
    }
    if ext4.exists() {
        fs::remove_file(ext4).map_err(failed)?;
    }
    let script = format!(
        "mke2fs -q -t ext4 -L zhost-data -E root_owner=0:0 -d {} {} {}M",
        contents.display(),
        ext4.display(),
        board.data_mib
    );
    shell(&script, dir)?;
    fs::remove_dir_all(&contents).map_err(failed)
}

/// Puts the partitions behind a partition table of the old kind, which every board's firmware reads.
fn assemble(board: &Board, boot: &Path, data: &Path, disk: &Path) -> Outcome {
    const FAT: u8 = 0x0c;
    const SLOT: u8 = 0xda;
    const LINUX: u8 = 0x83;
    let slot = u64::from(board.slot_mib);
    let sizes =
        [(FAT, u64::from(board.boot_mib)), (SLOT, slot), (SLOT, slot), (LINUX, u64::from(board.data_mib))];
    let mut table = [0; SECTOR_SIZE_BYTES as usize];
    let mut starts = Vec::new();
    let mut start = MIB;
    for (index, (kind, mib)) in sizes.into_iter().enumerate() {
        let (first, count) = (start / SECTOR_SIZE_BYTES, mib * MIB / SECTOR_SIZE_BYTES);
        let entry = &mut table[446 + 16 * index..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&(first as u32).to_le_bytes());
        entry[12..].copy_from_slice(&(count as u32).to_le_bytes());
        starts.push(start);
        start += mib * MIB;
    }
    // The disk's number, from which the kernel makes names of partitions.
    table[440..444].copy_from_slice(b"zhst");
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    let assemble = || {
        let mut file = File::create(disk)?;
        file.set_len(start)?;
        file.write_all(&table)?;
        for (at, part) in [(starts[0], boot), (starts[3], data)] {
            file.seek(SeekFrom::Start(at))?;
            std::io::copy(&mut File::open(part)?, &mut file)?;
        }
        Ok(())
    };
    assemble().map_err(|e: std::io::Error| format!("{}: {e}", disk.display()))
}
