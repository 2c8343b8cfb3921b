//! `zctl firmware build`: signed agents for boards, made on the laptop.

use crate::{files, keys};
use std::path::Path;
use zhost_base::{Name, limits::FIRMWARE_PROGRAM_MAX_BYTES};
use zhost_mex::{PublisherKey, firmware};

/// Where an ELF file says for which processor it is (System V ABI, gABI 4.1: `e_machine`).
const MACHINE_AT: usize = 18;

/// Packs and signs a program.
pub fn build(
    agent: &Path,
    target: &Name,
    version: &Name,
    key: &Path,
    output: &Path,
) -> Result<String, String> {
    let program = files::read(agent, "an agent", FIRMWARE_PROGRAM_MAX_BYTES)?;
    check(&program, target).map_err(|reason| format!("{}: {reason}", agent.display()))?;
    let key = PublisherKey::from_seed(keys::read(key)?);
    let bytes = firmware::build(target, version, &program, &key).map_err(|e| e.to_string())?;
    files::write(output, &bytes)?;
    Ok(format!(
        "built {} ({} bytes, {target}, version {version}), signed as {}\n",
        output.display(),
        bytes.len(),
        key.public()
    ))
}

/// A program for another processor would only cost every board a restart.
fn check(program: &[u8], target: &Name) -> Result<(), String> {
    let machine = match target.as_str().split('-').next() {
        Some("aarch64") => 183,
        Some("arm" | "armv7") => 40,
        Some("x86_64") => 62,
        _ => return Err(format!("there is no target {target}; `cargo xtask cross` names them")),
    };
    let told = program.get(MACHINE_AT..MACHINE_AT + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    match told {
        Some(told) if program.starts_with(b"\x7fELF") && told == machine => Ok(()),
        _ => Err(format!("is no program for {target}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_for_the_target_are_packed() {
        let elf = |machine: u8| [b"\x7fELF".as_slice(), &[0; 14], &[machine, 0], &[0; 40]].concat();
        let target = |text: &str| text.parse::<Name>().unwrap();
        assert_eq!(check(&elf(183), &target("aarch64-unknown-linux-musl")), Ok(()));
        assert_eq!(check(&elf(40), &target("arm-unknown-linux-musleabihf")), Ok(()));
        assert!(check(&elf(62), &target("aarch64-unknown-linux-musl")).is_err());
        assert!(check(&elf(62), &target("m68k")).is_err());
        assert!(check(b"#!/bin/sh\n", &target("x86_64-unknown-linux-musl")).is_err());
    }
}
