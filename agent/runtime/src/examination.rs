//! Whether a package's spaces can run, before any of them is started: on the zhost that takes it, and on the laptop.

use crate::interpreter::Interpreter;
use zhost_base::{SpaceKind, SpaceSpec};
use zhost_mex::Package;

/// Checks every space of a package against what it declares; the error names the space.
pub fn examine(package: &Package, interpreter: &dyn Interpreter) -> Result<(), String> {
    package.topology.spaces.iter().try_for_each(|space| {
        let checked = match space.kind {
            SpaceKind::Ui => check_files(package, space),
            _ => check_wasm(package, space, interpreter),
        };
        checked.map_err(|reason| format!("space '{}': {reason}", space.name))
    })
}

fn check_files(package: &Package, space: &SpaceSpec) -> Result<(), String> {
    let prefix = format!("spaces/{}/", space.name);
    let files = package.files().filter(|(file, _)| file.starts_with(&prefix));
    let size: usize = files.map(|(_, size)| size).sum();
    if size > space.memory_bytes as usize {
        let needed = size.div_ceil(1024);
        return Err(format!("its files have {needed} KiB, more than its resources.memoryKiB"));
    }
    Ok(())
}

fn check_wasm(package: &Package, space: &SpaceSpec, interpreter: &dyn Interpreter) -> Result<(), String> {
    let wasm = package.wasm(&space.name).ok_or("it has no WASM")?;
    let has_path = package.topology.has_path(&space.name);
    interpreter.check(wasm, space, has_path).map_err(|error| error.to_string())
}
