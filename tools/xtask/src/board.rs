//! Boards as `boards/` describes them.

use crate::{
    Outcome,
    cross::{self, Target},
    steps,
};
use serde::Deserialize;
use std::{collections::BTreeMap, fs};

/// The file that all others add to.
const BASE: &str = "base";

/// A kind of board.
#[derive(Clone, Debug)]
pub struct Board {
    /// Its file's name.
    pub name: String,
    /// What people call it.
    pub about: String,
    /// The agent's target.
    pub target: &'static Target,
    /// Debian's name for the kernel.
    pub kernel: String,
    /// Where the kernel writes.
    pub console: String,
    /// Modules by name.
    pub modules: Vec<String>,
    /// MiB of each partition.
    pub boot_mib: u32,
    pub slot_mib: u32,
    pub data_mib: u32,
    /// The agent's settings.
    pub settings: BTreeMap<String, String>,
    /// Files of the Raspberry Pi's firmware, if it is one.
    pub firmware: Vec<String>,
    /// Device trees beside the kernel, of which the firmware picks one.
    pub device_trees: Vec<String>,
    /// What the firmware is told, beside kernel and initramfs.
    pub firmware_config: Vec<String>,
    /// How QEMU plays it, if it does.
    pub qemu: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct BoardFile {
    about: Option<String>,
    target: Option<String>,
    kernel: Option<String>,
    console: Option<String>,
    modules: Vec<String>,
    boot_mib: Option<u32>,
    slot_mib: Option<u32>,
    data_mib: Option<u32>,
    settings: BTreeMap<String, String>,
    firmware: Vec<String>,
    device_trees: Vec<String>,
    firmware_config: Vec<String>,
    qemu: Vec<String>,
}

impl Board {
    /// Reads a board's file and what it adds to.
    pub fn read(name: &str) -> Outcome<Self> {
        let (base, own) = (read_file(BASE)?, read_file(name)?);
        let missing = |key: &str| format!("boards/{name}.toml: {key} is missing");
        let text =
            |own: Option<String>, base: Option<String>, key: &str| own.or(base).ok_or_else(|| missing(key));
        let number =
            |own: Option<u32>, base: Option<u32>, key: &str| own.or(base).ok_or_else(|| missing(key));
        let target = text(own.target, base.target, "target")?;
        let target = cross::targets(&target)?.first().copied().ok_or_else(|| missing("target"))?;
        Ok(Self {
            name: name.to_owned(),
            about: text(own.about, base.about, "about")?,
            target,
            kernel: text(own.kernel, base.kernel, "kernel")?,
            console: text(own.console, base.console, "console")?,
            modules: base.modules.into_iter().chain(own.modules).collect(),
            boot_mib: number(own.boot_mib, base.boot_mib, "boot-mib")?,
            slot_mib: number(own.slot_mib, base.slot_mib, "slot-mib")?,
            data_mib: number(own.data_mib, base.data_mib, "data-mib")?,
            settings: base.settings.into_iter().chain(own.settings).collect(),
            firmware: own.firmware,
            device_trees: own.device_trees,
            firmware_config: own.firmware_config,
            qemu: own.qemu,
        })
    }

    /// The boards there are.
    pub fn names() -> Outcome<Vec<String>> {
        let dir = steps::root().join("boards");
        let files = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let names = files.filter_map(|file| {
            let name = file.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".toml").filter(|name| *name != BASE).map(str::to_owned)
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }
}

fn read_file(name: &str) -> Outcome<BoardFile> {
    let file = steps::root().join("boards").join(format!("{name}.toml"));
    let text = fs::read_to_string(&file).map_err(|e| match Board::names() {
        Ok(names) if name != BASE => format!("there is no board {name}; there are {}", names.join(", ")),
        _ => format!("{}: {e}", file.display()),
    })?;
    toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
}
