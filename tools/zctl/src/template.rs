//! `zctl space new`: what a new space begins with. The SDK is put beside it, so that it builds anywhere.

use crate::{commands::Language, files};
use std::{fs, path::Path};
use zhost_base::{Name, SpaceKind};

type File = (&'static str, &'static str);

/// A template of the SDK, or of the space: its name in the new directory, and its text.
macro_rules! file {
    ($to:literal, $from:literal) => {
        ($to, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $from)))
    };
}

const PACKAGE: [File; 3] = [
    file!("package/manifest.yaml", "templates/package/manifest.yaml"),
    file!("package/topology.yaml", "templates/package/topology.yaml"),
    file!("package/spaces/{name}/space.yaml", "templates/package/space.yaml"),
];
const RUST: [File; 3] = [
    file!("Cargo.toml", "templates/rust/Cargo.toml"),
    file!(".cargo/config.toml", "templates/rust/config.toml"),
    file!("README.md", "templates/rust/README.md"),
];
const C: [File; 2] = [file!("space.c", "templates/c/space.c"), file!("README.md", "templates/c/README.md")];
const UI: [File; 3] = [
    file!("package/spaces/{name}/index.html", "templates/ui/index.html"),
    file!("package/spaces/{name}/page.js", "templates/ui/page.js"),
    file!("README.md", "templates/ui/README.md"),
];
/// Copied as they are.
const C_SDK: [File; 1] = [file!("zspace.h", "../zspace/c/zspace.h")];
const UI_SDK: [File; 1] = [file!("package/spaces/{name}/zhost.js", "../zspace/web/zhost.js")];
const RUST_SDK: [File; 15] = [
    file!("zspace/Cargo.toml", "../zspace/Cargo.toml"),
    file!("zspace/src/actuators.rs", "../zspace/src/actuators.rs"),
    file!("zspace/src/audio.rs", "../zspace/src/audio.rs"),
    file!("zspace/src/data.rs", "../zspace/src/data.rs"),
    file!("zspace/src/imports.rs", "../zspace/src/imports.rs"),
    file!("zspace/src/lib.rs", "../zspace/src/lib.rs"),
    file!("zspace/src/net.rs", "../zspace/src/net.rs"),
    file!("zspace/src/proc.rs", "../zspace/src/proc.rs"),
    file!("zspace/src/sensors.rs", "../zspace/src/sensors.rs"),
    file!("zspace/src/stage.rs", "../zspace/src/stage.rs"),
    file!("zspace/src/stage/imports.rs", "../zspace/src/stage/imports.rs"),
    file!("zspace/src/stage/others.rs", "../zspace/src/stage/others.rs"),
    file!("zspace/src/sys.rs", "../zspace/src/sys.rs"),
    file!("zspace/src/text.rs", "../zspace/src/text.rs"),
    file!("zspace/src/typed.rs", "../zspace/src/typed.rs"),
];

/// Makes a directory with a space that builds, and says what comes next.
pub fn new_space(dir: &Path, kind: SpaceKind, language: Language) -> Result<String, String> {
    let text = dir.file_name().and_then(|name| name.to_str());
    let text =
        text.ok_or_else(|| format!("{} gives the space no name; write one, such as meter", dir.display()))?;
    let name: Name = text.parse().map_err(|e| format!("{text:?} cannot be a space's name: {e}"))?;
    if dir.exists() {
        return Err(format!("{} is there already; choose another name", dir.display()));
    }
    let (source, capabilities): (File, _) = match kind {
        SpaceKind::Data => (file!("src/lib.rs", "templates/rust/data.rs"), "data.read, data.write, sys.log"),
        SpaceKind::Call | SpaceKind::Chat => (file!("src/lib.rs", "templates/rust/call.rs"), "sys.log"),
        _ => (file!("src/lib.rs", "templates/rust/io.rs"), "sensors.cpu, sys.log"),
    };
    let (own, sdk, capabilities): (Vec<File>, &[File], _) = match (kind, language) {
        (SpaceKind::Ui, _) => (UI.to_vec(), &UI_SDK, ""),
        (_, Language::C) => (C.to_vec(), &C_SDK, "sensors.cpu, sys.log"),
        (_, Language::Rust) => (RUST.into_iter().chain([source]).collect(), &RUST_SDK, capabilities),
    };
    // Names are safe in file names; a crate's are narrower.
    let module = name.as_str().replace(['-', '.'], "_");
    let fill = |text: &str| {
        text.replace("{name}", name.as_str())
            .replace("{module}", &module)
            .replace("{type}", kind.as_str())
            .replace("{capabilities}", capabilities)
    };
    for (to, text) in own.into_iter().chain(PACKAGE) {
        write(&dir.join(fill(to)), &fill(text))?;
    }
    for (to, text) in sdk {
        write(&dir.join(fill(to)), text)?;
    }
    Ok(format!("made {}; its README.md says how to build, sign and submit it\n", dir.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    let parent = file.parent().map_or(Ok(()), fs::create_dir_all);
    parent.and_then(|()| fs::write(file, text)).map_err(|e| files::error(file, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_sdk_comes_along() {
        let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../zspace/src")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let comes_along = RUST_SDK.iter().any(|file| file.1 == text);
                assert!(comes_along, "{} does not come along", path.display());
            }
        }
    }
}
