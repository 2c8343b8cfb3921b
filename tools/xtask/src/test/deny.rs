//! What others have written and we compile: its licences, where it comes from, and whether it is known to be unsafe.

use crate::{Outcome, setup, steps};
use zhost_cluster::without;

/// The workspaces, each with what it compiles.
const WORKSPACES: [&str; 4] =
    ["Cargo.toml", "tests/fuzz/Cargo.toml", "tests/spaces/Cargo.toml", "tools/zspace/Cargo.toml"];

/// Looks at everything that is compiled. What is known to be unsafe stands in a database that has to be fetched.
pub fn run() -> Outcome {
    setup::need_cargo_tool("deny")?;
    let config = steps::root().join("deny.toml").display().to_string();
    for manifest in WORKSPACES {
        let which = ["deny", "--manifest-path", manifest, "--config", &config, "check"];
        let what = ["--hide-inclusion-graph", "licenses", "bans", "sources"];
        steps::run_quietly(&mut steps::command("cargo", &[&which[..], &what[..]].concat()))?;
        println!("{manifest}: licences, bans and sources are as deny.toml has them");
    }
    advisories()
}

/// Where the database cannot be had, that is said, and nothing is pretended.
fn advisories() -> Outcome {
    if steps::run_quietly(&mut steps::command("cargo", &["deny", "fetch", "db"])).is_err() {
        // The one thing that CI may do without: nobody can make the database be there.
        let what = "advisories about what we compile: their database cannot be fetched here";
        return without::note(what, false, Some(&steps::not_run()));
    }
    steps::run(&mut steps::command("cargo", &["deny", "check", "--hide-inclusion-graph", "advisories"]))
}
