//! A node has one door: whatever changes it comes through [`zhost_node::Node::handle`], where its time stands still while the
//! loop does not run, and every consequence is worked off. Nobody may build a second one.

use std::{fs, path::Path};

/// Names of the public functions in `impl Node` of a file that can change a node.
fn doors(text: &str) -> Vec<String> {
    let blocks = text.split("\nimpl Node {\n").skip(1);
    let blocks = blocks.map(|block| block.split("\n}\n").next().unwrap_or_default());
    let functions = blocks.flat_map(|block| block.split("    pub fn ").skip(1));
    let signatures =
        functions.filter_map(|function| function.split_once('{')).map(|(signature, _)| signature);
    let change = signatures.filter(|signature| signature.contains("&mut self"));
    change.filter_map(|signature| signature.split('(').next()).map(str::to_owned).collect()
}

#[test]
fn a_node_is_changed_through_one_door() {
    let mut names = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => names.extend(doors(&fs::read_to_string(&path).unwrap())),
            }
        }
    }
    names.sort();
    assert_eq!(names, ["handle", "poll_output"]);
}
