//! A program as compilers make it, with a standard library that knows nothing of zhost.

use crate::bench::Bench;
use std::{fs, path::PathBuf, process::Command, time::Duration};
use zhost_cluster::without::do_without;
use zhost_exchange::Exit;

fn compile() -> Option<Vec<u8>> {
    let target = "wasm32-wasip1";
    let libraries =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output().ok()?;
    let libraries = PathBuf::from(String::from_utf8(libraries.stdout).ok()?.trim());
    if !libraries.is_dir() {
        let what = "an ordinary program as a space: no standard library";
        do_without(&format!("{what} for {target}; cargo xtask setup installs it where it can")).unwrap();
        return None;
    }
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/spaces/program/main.rs");
    let program = std::env::temp_dir().join(format!("zhost-wasi-{}.wasm", std::process::id()));
    let options = ["--edition", "2024", "-O", "--target", target, "-o"];
    let status = Command::new("rustc").args(options).arg(&program).arg(source).status().ok()?;
    assert!(status.success(), "the program cannot be compiled");
    let wasm = fs::read(&program).ok();
    let _ = fs::remove_file(program);
    wasm
}

#[test]
fn a_program_with_a_standard_library_runs_to_its_end() {
    let Some(wasm) = compile() else { return };
    let mut bench = Bench::new();
    bench.memory_kib = 4096;
    bench.start_with("program", &["sys.log"], ", config: {greeting: hello}", &wasm);
    bench.run_for(Duration::from_secs(1));
    assert_eq!(bench.exit_of("program"), Some(&Exit::Ended(0)), "{:?}", bench.logs());
    let expected = ["I am program", "I am told hello", "it is 50 ms later: true", "there are no files: true"];
    assert_eq!(bench.logs(), expected);
}
