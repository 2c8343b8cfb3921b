//! The house's rules that no compiler knows: which crate may use which, which modules use each other in a circle, what pure
//! crates stay away from, where the methods of the node stand, and how long files and functions are.

mod circles;
mod code;

use super::PURE_CRATES;
use crate::{Outcome, steps};
use circles::Modules;
use code::{Code, Function};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The crates of the product, each above those that it may use. Tools may use the crates of `tests/`, too, which may use
/// all.
const HOUSE: [&str; 17] = [
    "xtask",
    "zhost-bench",
    "zctl",
    "zhost",
    "zhost-init",
    "zhost-hal",
    "zhost-threads",
    "zhost-runtime",
    "zhost-node",
    "zhost-web",
    "zhost-control",
    "zhost-exchange",
    "zhost-link",
    "zhost-mex",
    "zhost-gossip",
    "zhost-base",
    "kernels",
];
/// Crates of `tests/`, which stand outside.
const TEST_CRATES: [&str; 2] = ["zhost-cluster", "zhost-sim"];
/// What may use those.
const TOOLS: [&str; 2] = ["xtask", "zhost-bench"];

/// Modules of the standard library that touch the world.
const WORLDLY: [&str; 6] = ["std::env", "std::fs", "std::net", "std::os", "std::process", "std::thread"];
/// What of them does not: addresses are values.
const ADDRESSES: [&str; 7] = [
    "std::net::AddrParseError",
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::net::SocketAddrV4",
    "std::net::SocketAddrV6",
];
/// Clocks.
const CLOCKS: [&str; 3] = ["std::time::Instant", "std::time::SystemTime", "std::time::UNIX_EPOCH"];
/// Words that pure code has no use for, wherever they come from: their order differs from run to run.
const UNORDERED: [&str; 3] = ["HashMap", "HashSet", "RandomState"];

/// Where the methods of the node stand.
const NODE: [&str; 2] = ["agent/node/src/node.rs", "agent/node/src/node/"];
/// And where they stand, too, since several concerns meet there.
const NODE_ELSEWHERE: [&str; 6] = [
    "agent/node/src/cluster/founding.rs",
    "agent/node/src/cluster/gossip.rs",
    "agent/node/src/inspection.rs",
    "agent/node/src/operators/commands.rs",
    "agent/node/src/operators/reports.rs",
    "agent/node/src/operators/writes.rs",
];

/// Crates with modules that use each other in a circle; no other may have any.
const CIRCULAR: [&str; 8] =
    ["xtask", "zctl", "zhost-bench", "zhost-gossip", "zhost-hal", "zhost-node", "zhost-runtime", "zhost-sim"];

/// Longer ones are reported.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
/// Longer ones are refused.
const FILE_LINES_MAX: usize = 1000;
const FUNCTION_LINES_MAX: usize = 200;
/// Of what is reported so many, the longest.
const SHOWN: usize = 8;

/// Checks everything.
pub fn run() -> Outcome {
    let crates = Crate::all()?;
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    for each in &crates {
        wrong.extend(wrong_arrows(&each.name, &each.uses));
        let mut modules = Modules::default();
        for file in rust_files(&each.dir)? {
            let shown = file.strip_prefix(steps::root()).unwrap_or(&file).display().to_string();
            let text = fs::read_to_string(&file).map_err(|e| format!("{shown}: {e}"))?;
            let code = Code::read(&text).map_err(|e| format!("{shown}: {e}"))?;
            if each.is_pure() && file.starts_with(each.dir.join("src")) {
                wrong.extend(impure(&code).into_iter().map(|what| format!("{shown}: {what}")));
            }
            wrong.extend(scattered(&shown, &text));
            if let Ok(place) = file.strip_prefix(each.dir.join("src")) {
                modules.take(place, &code);
            }
            files.push((shown, text.lines().count(), code.functions()));
        }
        wrong.extend(circular(&each.name, &modules.circle()));
    }
    wrong.extend(too_long(&files));
    report(&files);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("against the rules of the house:\n  {}", wrong.join("\n  ")))
    }
}

/// A crate whose modules use each other in a circle, or do no more.
fn circular(name: &str, circle: &[&str]) -> Option<String> {
    match (CIRCULAR.contains(&name), circle) {
        (true, []) => Some(format!("{name} has no circle any more; take it off the list of those that have")),
        (false, [_, ..]) => Some(format!("{name}: {} use each other in a circle", circle.join(", "))),
        _ => None,
    }
}

/// Methods of the node outside of its folder make one thing of what should be many.
fn scattered(file: &str, text: &str) -> Option<String> {
    let has_methods = file.starts_with("agent/node/src/") && text.lines().any(|line| line == "impl Node {");
    match NODE_ELSEWHERE.contains(&file) {
        true if !has_methods => Some(format!(
            "{file}: has no methods of the node any more; take it off the list of those that have"
        )),
        false if has_methods && !NODE.iter().any(|place| file.starts_with(place)) => Some(format!(
            "{file}: methods of the node stand in {}; let what these are about own its values",
            NODE[1]
        )),
        _ => None,
    }
}

/// A crate of the workspace.
struct Crate {
    name: String,
    dir: PathBuf,
    /// Our own crates that it uses, but for its tests.
    uses: Vec<String>,
}

impl Crate {
    fn all() -> Outcome<Vec<Self>> {
        let workspace = manifest(&steps::root())?;
        let members = workspace["workspace"]["members"].as_array().ok_or("a workspace without members")?;
        members
            .iter()
            .filter_map(|member| member.as_str())
            .map(|member| Self::read(&steps::root().join(member)))
            .collect()
    }

    fn read(dir: &Path) -> Outcome<Self> {
        let manifest = manifest(dir)?;
        let name =
            manifest["package"]["name"].as_str().ok_or_else(|| format!("{}: no name", dir.display()))?;
        let tables =
            ["dependencies", "build-dependencies"].into_iter().filter_map(|table| manifest.get(table));
        let uses = tables.filter_map(|table| table.as_table()).flat_map(|table| table.keys().cloned());
        let is_ours = |name: &String| HOUSE.contains(&name.as_str()) || name.starts_with("zhost");
        Ok(Self { name: name.to_owned(), dir: dir.to_owned(), uses: uses.filter(is_ours).collect() })
    }

    fn is_pure(&self) -> bool {
        PURE_CRATES.contains(&self.name.as_str())
    }
}

fn manifest(dir: &Path) -> Outcome<toml::Table> {
    let file = dir.join("Cargo.toml");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    text.parse().map_err(|e| format!("{}: {e}", file.display()))
}

/// All files of Rust below a directory.
fn rust_files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_crate = path.join("Cargo.toml").exists() || path.ends_with("templates");
            if path.is_dir() && !is_crate && !path.ends_with("target") {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Which of the crates that one uses do not stand below it.
fn wrong_arrows(name: &str, uses: &[String]) -> Vec<String> {
    if TEST_CRATES.contains(&name) {
        return Vec::new();
    }
    let floor = |name: &str| HOUSE.iter().position(|known| *known == name);
    let Some(here) = floor(name) else { return vec![format!("{name} has no place in the house")] };
    let is_fine = |used: &&String| match floor(used) {
        Some(there) => there <= here,
        None => !(TEST_CRATES.contains(&used.as_str()) && TOOLS.contains(&name)),
    };
    uses.iter()
        .filter(is_fine)
        .map(|used| format!("{name} uses {used}, which does not stand below it"))
        .collect()
}

/// What of this code touches the world, asks a clock, or has no order.
fn impure(code: &Code) -> Vec<String> {
    let is_below = |path: &str, module: &str| {
        path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let is_worldly = |path: &str| {
        WORLDLY.iter().chain(&CLOCKS).any(|module| is_below(path, module))
            && !ADDRESSES.iter().any(|address| is_below(path, address))
    };
    let paths = code.paths.iter().filter(|(path, _)| is_worldly(path) || path == "std::*");
    let unordered =
        code.paths.iter().filter(|(path, _)| path.split("::").any(|word| UNORDERED.contains(&word)));
    let mut found: Vec<String> =
        paths.chain(unordered).map(|(path, line)| format!("line {line}: {path} in a pure crate")).collect();
    found.dedup();
    found
}

type File = (String, usize, Vec<Function>);

/// Files and functions that nobody can see whole.
fn too_long(files: &[File]) -> Vec<String> {
    let long_files = files
        .iter()
        .filter(|(_, lines, _)| *lines > FILE_LINES_MAX)
        .map(|(file, lines, _)| format!("{file} has {lines} lines; at most {FILE_LINES_MAX}"));
    let functions = files.iter().flat_map(|(file, _, functions)| functions.iter().map(move |f| (file, f)));
    let long_functions = functions
        .filter(|(_, function)| function.lines > FUNCTION_LINES_MAX)
        .map(|(file, f)| format!("{file}: {} has {} lines; at most {FUNCTION_LINES_MAX}", f.name, f.lines));
    long_files.chain(long_functions).collect()
}

/// Says what is long.
fn report(files: &[File]) {
    let lines: BTreeMap<&str, usize> = files
        .iter()
        .filter(|(_, lines, _)| *lines > FILE_LINES)
        .map(|(file, lines, _)| (&**file, *lines))
        .collect();
    let functions = files.iter().flat_map(|(file, _, all)| all.iter().map(move |function| (file, function)));
    let mut functions: Vec<_> = functions.filter(|(_, function)| function.lines > FUNCTION_LINES).collect();
    println!(
        "{} files of more than {FILE_LINES} lines, {} functions of more than {FUNCTION_LINES}; the longest:",
        lines.len(),
        functions.len()
    );
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    lines.iter().take(SHOWN).for_each(|(file, lines)| println!("  {lines:>5} {file}"));
    functions.sort_by_key(|(_, function)| std::cmp::Reverse(function.lines));
    functions.iter().take(SHOWN).for_each(|(file, f)| println!("  {:>5} {file}: {}", f.lines, f.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        impure(&Code::read(text).unwrap())
    }

    #[test]
    fn crates_use_only_what_stands_below_them() {
        let uses = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(wrong_arrows("zhost-node", &uses(&["zhost-gossip", "zhost-base"])), [""; 0]);
        assert_eq!(wrong_arrows("zhost-gossip", &uses(&["zhost-link"])).len(), 1);
        assert_eq!(wrong_arrows("zhost-gossip", &uses(&["zhost-gossip"])).len(), 1);
        assert_eq!(wrong_arrows("zhost", &uses(&["zhost-sim"])).len(), 1, "no agent needs a crate of tests");
        assert_eq!(wrong_arrows("xtask", &uses(&["zhost-cluster"])), [""; 0]);
        assert_eq!(wrong_arrows("zhost-shed", &[]).len(), 1, "a crate that nobody has given a place");
    }

    #[test]
    fn methods_of_the_node_stand_in_its_folder_and_where_they_are_known_to_stand() {
        let (methods, none) = ("struct A;\n\nimpl Node {\n}\n", "impl Facts {\n}\n");
        for (file, text, is_wrong) in [
            ("agent/node/src/node/run.rs", methods, false),
            ("agent/node/src/node.rs", methods, false),
            ("agent/node/src/spaces/host.rs", methods, true),
            ("agent/node/src/spaces/host.rs", none, false),
            ("agent/node/src/inspection.rs", methods, false),
            ("agent/node/src/inspection.rs", none, true),
            ("agent/node/src/nodes.rs", methods, true),
            ("tests/sim/src/world.rs", methods, false),
        ] {
            assert_eq!(scattered(file, text).is_some(), is_wrong, "{file}");
        }
    }

    #[test]
    fn circles_are_refused_but_where_they_are_known_to_be() {
        assert!(circular("zhost", &[]).is_none() && circular("zhost", &["a", "b"]).is_some());
        assert!(circular("zhost-node", &["a", "b"]).is_none() && circular("zhost-node", &[]).is_some());
    }

    #[test]
    fn pure_code_is_kept_from_the_world_however_it_is_spelled() {
        for text in [
            "use std::fs;",
            "use std::{collections::{BTreeMap, HashMap}, time::Duration};",
            "use ::std::{fmt, time::{self as t, Instant}};",
            "fn f() { let now = std::time::SystemTime::now(); }",
            "fn f() { m! { std::env::var(\"X\") } }",
            "use std::net::{IpAddr, UdpSocket};",
            "use std::thread as workers;",
            "use std::*;",
            "fn f(map: hashbrown::HashMap<u8, u8>) {}",
        ] {
            assert_eq!(found(text).len(), 1, "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn pure_code_may_know_addresses_and_durations_and_speak_of_the_rest() {
        for text in [
            "use std::{net::{IpAddr, SocketAddr}, time::Duration, collections::BTreeMap};",
            "// std::fs is not for us\n/// nor a HashMap\nfn f() -> &'static str { \"std::fs::read\" }",
            "use crate::env; use zhost_base::Instant; fn f(a: core::net::Ipv6Addr) {}",
            "use std::environs;",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_nobody_can_see_whole_is_refused() {
        let function =
            |lines: usize| format!("fn f<const N: usize>() where u8: Copy {{{}}}\n", "\n".repeat(lines - 1));
        let file =
            |text: &str| ("x.rs".to_owned(), text.lines().count(), Code::read(text).unwrap().functions());
        assert_eq!(too_long(&[file(&function(FUNCTION_LINES_MAX))]), [""; 0]);
        assert_eq!(too_long(&[file(&function(FUNCTION_LINES_MAX + 1))]).len(), 1);
        assert_eq!(too_long(&[file(&"\n".repeat(FILE_LINES_MAX))]), [""; 0]);
        assert_eq!(too_long(&[file(&"\n".repeat(FILE_LINES_MAX + 1))]).len(), 1);
    }

    #[test]
    fn every_crate_of_the_workspace_is_looked_at() {
        let crates = Crate::all().unwrap();
        let pure: Vec<&str> = crates.iter().filter(|each| each.is_pure()).map(|each| &*each.name).collect();
        assert_eq!(pure.len(), PURE_CRATES.len(), "{pure:?}");
        assert!(crates.iter().all(|each| !rust_files(&each.dir).unwrap().is_empty()));
        assert!(
            crates.iter().any(|each| each.name == "zhost" && each.uses.contains(&"zhost-node".to_owned()))
        );
    }
}
