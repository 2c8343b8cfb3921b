//! Runs the guests in `tests/spaces/conformance`: every import, and the refusals and limits that its documentation
//! names. In place of a node they look into a mirror, which answers everything in a fixed way; how nodes answer is
//! tested where nodes are.
//!
//! `CONFORMANCE=overwrite` writes the table in `agent/runtime/ABI.md` anew.

use crate::bench::{Bench, key, name};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};
use zhost_base::{Batch, ExitReason, Generation, Pid, ZhostId};
use zhost_exchange::{Act, Ask, Exit, Refusal, Sender, Signal, Undelivered, WorkerCommand, WorkerEvent};
use zhost_runtime::abi::{IMPORTS, Unlock};

const BEGIN: &str = "<!-- the table is written by agent/runtime/tests/all/conformance.rs -->\n";

struct Guest {
    name: String,
    text: String,
    declares: Vec<String>,
    more: String,
    /// Whether flash and devices are slow.
    is_slow: bool,
    recognizers: Vec<(String, String)>,
    logs: Vec<String>,
    /// Imports as `module.function`, and under which name the guest calls them.
    imports: BTreeMap<String, String>,
    /// The refusals of imports that the guest provokes.
    shows: BTreeMap<String, Vec<String>>,
}

impl Guest {
    fn calls(&self, import: &str) -> bool {
        let called = |alias: &String| {
            let call = format!("(call {alias}");
            self.text.match_indices(&call).any(|(at, _)| self.text[at + call.len()..].starts_with([' ', ')']))
        };
        self.imports.get(import).is_some_and(called)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn guests() -> Vec<Guest> {
    let dir = root().join("tests/spaces/conformance");
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wat"));
    files.sort();
    files
        .iter()
        .map(|file| read(file.file_stem().unwrap().to_str().unwrap(), &fs::read_to_string(file).unwrap()))
        .collect()
}

fn read(name: &str, text: &str) -> Guest {
    let header = |key: &str| -> Vec<String> {
        let prefix = format!(";; {key}:");
        text.lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(|rest| rest.trim().to_owned())
            .collect()
    };
    let words = |text: &String| {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut imports = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("(import ")) {
        let quoted: Vec<&str> = line.split('"').collect();
        let alias = line.split_once("(func ").unwrap().1.split([' ', ')']).next().unwrap();
        imports.insert(format!("{}.{}", quoted[1], quoted[3]), alias.to_owned());
    }
    let shows = header("shows");
    let shows = shows.iter().map(words).map(|words| (words[0].clone(), words[1..].to_vec())).collect();
    Guest {
        name: name.to_owned(),
        text: text.to_owned(),
        declares: header("declares").iter().flat_map(words).collect(),
        more: header("more").first().map_or(String::new(), |more| format!(", {more}")),
        is_slow: header("slow") == ["yes"],
        recognizers: header("recognizes")
            .iter()
            .map(|line| line.split_once(": ").map(|(name, spec)| (name.to_owned(), spec.to_owned())).unwrap())
            .collect(),
        logs: header("logs"),
        imports,
        shows,
    }
}

/// `(expect CALL CODE)` becomes a return of the line's number if the call does not give that code.
fn expand(text: &str) -> String {
    let expanded = text.lines().enumerate().map(|(index, line)| {
        let Some((indent, rest)) = line.split_once("(expect ") else { return line.to_owned() };
        let (call, code) = rest.rsplit_once(' ').unwrap();
        let code = code.strip_suffix(')').unwrap();
        format!(
            "{indent}(if (i32.ne {call} (i32.const {code})) (then (return (i32.const {}))))",
            index + 1001
        )
    });
    expanded.collect::<Vec<_>>().join("\n")
}

fn child() -> Pid {
    Pid { zhost: ZhostId(1), generation: Generation(1), number: 77 }
}

/// What the mirror says to a question; nothing to some.
fn reflect(ask: &Ask) -> Option<Result<Vec<u8>, Refusal>> {
    let pid = || Ok(child().encode().to_vec());
    Some(match ask {
        Ask::CallPath(_, payload) | Ask::CallPid(_, payload) if payload == b"silence" => return None,
        Ask::CallPath(_, payload) | Ask::CallPid(_, payload) => match payload.as_slice() {
            b"gone" => Err(Refusal::NotFound),
            b"later" => Err(Refusal::TryAgain),
            b"fails" => Err(Refusal::Failed),
            payload => Ok(payload.iter().rev().copied().collect()),
        },
        Ask::Spawn { space, .. } => match space.as_str() {
            "silence" => return None,
            "child" => pid(),
            "again" => Err(Refusal::TryAgain),
            "barred" => Err(Refusal::Denied),
            "crasher" => Err(Refusal::Failed),
            "crowded" => Err(Refusal::Full),
            _ => Err(Refusal::NotFound),
        },
        Ask::Register(name) => match name.as_str() {
            "silence" => return None,
            "taken" => Err(Refusal::Taken),
            "many" => Err(Refusal::Full),
            "super" => Err(Refusal::TryAgain),
            _ => Ok(Vec::new()),
        },
        Ask::Whereis(name) if name.as_str() == "known" => pid(),
        Ask::Whereis(_) => Err(Refusal::NotFound),
        Ask::Zhosts => Ok(b"\x02\x00z1".to_vec()),
    })
}

fn mirror(bench: &mut Bench, guest: &str, act: Act) {
    let (key, number) = (key(guest), 1);
    let exit_reason = || ExitReason { normal: true, reason: "normal".into() };
    let signal = match act {
        Act::Ask(serial, ask) => {
            if let Some(answer) = reflect(&ask) {
                let command = WorkerCommand::Answer { key, number, serial, answer };
                bench.worker.handle_command(bench.now, command);
            }
            return;
        }
        Act::Link(pid) => vec![Signal::Exit(pid, exit_reason())],
        Act::Monitor(pid) => vec![Signal::Down(pid, exit_reason())],
        Act::MonitorZhost(name) => vec![
            Signal::ZhostDown(name),
            Signal::Message(child(), Batch::from_iter([b"hi".as_slice()])),
            Signal::Undelivered(child(), Undelivered { lost: 1, unknown: 0 }),
        ],
        _ => return,
    };
    for signal in signal {
        let command = WorkerCommand::Signal { key: key.clone(), number, signal };
        bench.worker.handle_command(bench.now, command);
    }
}

fn deliver(bench: &mut Bench, guest: &str) {
    let (key, path, from) = (key(guest), name("in"), name("partner"));
    let pid = Pid { zhost: ZhostId(2), generation: Generation(1), number: 9 };
    let payloads = Batch::from_iter([b"hello".as_slice()]);
    let sender = Sender { pid, window: 1 };
    let call = Signal::Call(pid, 4, Some(path.clone()), b"ask".to_vec());
    for command in [
        WorkerCommand::Deliver { key: key.clone(), from, sender, path, payloads },
        WorkerCommand::Signal { key: key.clone(), number: 1, signal: call },
        WorkerCommand::Undelivered {
            key,
            path: 0,
            undelivered: Undelivered { lost: 2, unknown: 1 },
            credit_bytes: None,
        },
    ] {
        bench.worker.handle_command(bench.now, command);
    }
}

fn run(guest: &Guest) {
    let mut bench = Bench::new();
    let wasm = wat::parse_str(expand(&guest.text)).unwrap_or_else(|e| panic!("{}: {e}", guest.name));
    let declares: Vec<&str> = guest.declares.iter().map(String::as_str).collect();
    bench.memory_kib = 512;
    bench.recognizers.clone_from(&guest.recognizers);
    bench.start_with(&guest.name, &declares, &guest.more, &wasm);
    let target = WorkerCommand::Target { key: key(&guest.name), path: 0, up: true };
    let mut seen = 0;
    let mut exit = None;
    for step in 0..60_000 {
        bench.is_slow = guest.is_slow && step > 0 && step % 7000 < 6000;
        bench.run_for(Duration::from_millis(1));
        match step {
            // It runs, but has done nothing yet.
            0 => bench.worker.handle_command(bench.now, target.clone()),
            500 => deliver(&mut bench, &guest.name),
            _ => {}
        }
        while seen < bench.events.len() {
            let event = bench.events[seen].clone();
            seen += 1;
            match event {
                WorkerEvent::Acted(_, _, act) => mirror(&mut bench, &guest.name, act),
                WorkerEvent::Exited(exited, _, how) if exited == key(&guest.name) => exit = Some(how),
                _ => {}
            }
        }
        if exit.is_some() {
            break;
        }
    }
    match exit {
        Some(Exit::Ended(0 | 1)) => {}
        Some(Exit::Ended(code)) => {
            let line = guest.text.lines().nth(code as usize - 1001).unwrap_or("?");
            panic!("{}.wat, line {}: {}", guest.name, code - 1000, line.trim());
        }
        other => panic!("{}.wat: {other:?}; it logged {:?}", guest.name, bench.logs()),
    }
    for line in &guest.logs {
        assert!(bench.logs().contains(&line.as_str()), "{}: {:?}", guest.name, bench.logs());
    }
}

#[test]
fn every_guest_finds_what_the_reference_says() {
    guests().iter().for_each(run);
}

fn unlocked_by(unlock: Unlock) -> String {
    match unlock {
        Unlock::Always => "always".into(),
        Unlock::Path => "a path".into(),
        Unlock::Capability(name) => format!("`{name}`"),
        Unlock::AnyUnder(prefix) => format!("any `{prefix}*`"),
    }
}

/// The table of the reference, from what the guests really do.
fn table(guests: &[Guest]) -> String {
    let mut table = String::from("| import | unlocked by | shown by |\n|---|---|---|\n");
    for (module, function, unlock) in IMPORTS {
        let import = format!("{module}.{function}");
        let users = guests.iter().filter(|guest| guest.calls(&import));
        let names: Vec<String> = users.map(|guest| format!("`{}.wat`", guest.name)).collect();
        table += &format!("| `{import}` | {} | {} |\n", unlocked_by(unlock), names.join(" "));
    }
    table
}

/// The refusals that the reference says an import has, in the column behind its signature.
fn documented(reference: &str, import: &str) -> BTreeSet<String> {
    let signature = format!("| `{import}(");
    let line = reference.lines().find(|line| line.starts_with(&signature));
    let line = line.unwrap_or_else(|| panic!("ABI.md does not describe {import}"));
    let refusals = line.split(" | ").nth(1).unwrap_or_default().split(' ');
    refusals.filter(|word| word.starts_with('−')).map(|code| code.replace('−', "-")).collect()
}

#[test]
fn the_reference_says_what_the_guests_show() {
    let guests = guests();
    for guest in &guests {
        for (import, codes) in &guest.shows {
            let alias = guest.imports.get(import).unwrap_or_else(|| panic!("{}: {import}", guest.name));
            for code in codes {
                let shows = |line: &str| {
                    line.trim().starts_with(&format!("(expect (call {alias}"))
                        && line.ends_with(&format!(" {code})"))
                };
                assert!(guest.text.lines().any(shows), "{}.wat does not show {import} {code}", guest.name);
            }
        }
    }
    let file = root().join("agent/runtime/ABI.md");
    let reference = fs::read_to_string(&file).unwrap();
    for (module, function, _) in IMPORTS {
        let import = format!("{module}.{function}");
        assert!(guests.iter().any(|guest| guest.calls(&import)), "no guest calls {import}");
        let shown: BTreeSet<String> =
            guests.iter().filter_map(|guest| guest.shows.get(&import)).flatten().cloned().collect();
        assert_eq!(documented(&reference, &import), shown, "refusals of {import}: documented, and shown");
    }
    let (head, rest) = reference.split_once(BEGIN).expect("ABI.md has a place for the table");
    let (_, tail) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let expected = format!("{head}{BEGIN}{}\n{tail}", table(&guests));
    if std::env::var("CONFORMANCE").is_ok_and(|how| how == "overwrite") {
        fs::write(&file, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == expected,
        "the table in ABI.md is not what the guests show; CONFORMANCE=overwrite writes it anew"
    );
}

/// How the header for C says the type of an import: its parameters and its result.
fn declared_in_c(header: &str, module: &str, function: &str) -> String {
    let marker = format!("ZSPACE_IMPORT({module}, {function})");
    let (_, rest) =
        header.split_once(&marker).unwrap_or_else(|| panic!("zspace.h lacks {module}.{function}"));
    let (declaration, _) = rest.split_once(");").expect("a declaration ends");
    let (head, parameters) = declaration.split_once('(').expect("a function");
    let of = |text: &str| match text {
        _ if text.contains('*') => "i32",
        _ if text.contains("int64_t") => "i64",
        _ => "i32",
    };
    let parameters: Vec<&str> =
        parameters.split(',').filter(|parameter| parameter.trim() != "void").map(of).collect();
    let result = if head.trim().starts_with("void ") { "" } else { of(head) };
    format!("({}) -> ({result})", parameters.join(" "))
}

/// How a guest says it.
fn declared_in_wat(guests: &[Guest], module: &str, function: &str) -> String {
    let import = format!("(import \"{module}\" \"{function}\" ");
    let mut lines = guests.iter().flat_map(|guest| guest.text.lines());
    let line = lines.find(|line| line.trim().starts_with(&import)).expect("a guest imports it");
    let part = |word: &str| {
        let inside = line.split_once(&format!("({word} ")).map(|(_, rest)| rest);
        inside.and_then(|rest| rest.split(')').next()).unwrap_or_default()
    };
    format!("({}) -> ({})", part("param"), part("result"))
}

/// What was promised to guests stays: of every import that there ever was, its type, in `tests/spaces/abi-1.txt`.
#[test]
fn nothing_of_the_abi_is_ever_taken_away() {
    let guests = guests();
    let promised = fs::read_to_string(root().join("tests/spaces/abi-1.txt")).unwrap();
    let header = fs::read_to_string(root().join("tools/zspace/c/zspace.h")).unwrap();
    let offered: Vec<String> = IMPORTS
        .iter()
        .map(|(module, function, _)| {
            let ty = declared_in_wat(&guests, module, function);
            assert_eq!(declared_in_c(&header, module, function), ty, "zspace.h: {module}.{function}");
            format!("{module}.{function} {ty}")
        })
        .collect();
    for line in promised.lines() {
        assert!(offered.iter().any(|offered| offered == line), "guests were promised {line}");
    }
    for line in &offered {
        assert!(promised.lines().any(|promised| promised == line), "add to abi-1.txt: {line}");
    }
}
