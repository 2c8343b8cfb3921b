//! Every input of a node goes through the same door: its time stands still while the loop does not run
//! ([`zhost_node`]'s `steady`), and nobody may forget that.

use std::{fs, path::Path};

/// Public functions of `impl Node` in a file that take an input, each with its body.
fn inputs(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in text.split("\nimpl Node {\n").skip(1) {
        let block = block.split("\n}\n").next().unwrap_or_default();
        for function in block.split("\n    pub fn ").skip(1) {
            let name = function.split('(').next().unwrap_or_default();
            let body = function.split("\n    }\n").next().unwrap_or_default();
            if name.starts_with("handle_") {
                found.push((name.to_owned(), body.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_input_enters_and_settles() {
    let mut names = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            for (name, body) in inputs(&fs::read_to_string(&path).unwrap()) {
                assert!(body.contains("let now = self.enter(now);"), "{name} does not enter");
                assert!(body.contains("self.settle(now);"), "{name} does not settle");
                names.push(name);
            }
        }
    }
    names.sort();
    for known in
        ["handle_datagram", "handle_findings", "handle_timeout", "handle_web_closed", "handle_worker"]
    {
        assert!(names.binary_search(&known.to_owned()).is_ok(), "{known} is not found: {names:?}");
    }
}
