//! What strangers may send as a package, and the sentence each of it is refused with.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
};
use zhost_mex::{MexError, Package, PublicKey, PublisherKey, Trust, build, sign};
use zip::{ZipWriter, write::SimpleFileOptions};

type Files = BTreeMap<String, Vec<u8>>;

const MANIFEST: &str = "apiVersion: samoza/v1
kind: MEX
metadata: {name: garden, version: 1.0.0, publisher: tests}
spec: {topology: topology.yaml, spaces: [eye, store]}
";

const TOPOLOGY: &str = "apiVersion: samoza/v1
kind: Topology
metadata: {name: garden, owner: tests}
spaces:
  - {name: eye, type: IO, capabilities: [sensors.camera]}
  - {name: store, type: DATA, capabilities: [data.write], placement: {region: west}}
paths:
  - {from: eye, to: store, name: frames}
";

fn space(name: &str) -> Vec<u8> {
    format!("apiVersion: samoza/v1\nkind: Space\nmetadata: {{name: {name}}}\n").into_bytes()
}

fn source() -> Files {
    Files::from([
        ("manifest.yaml".into(), MANIFEST.into()),
        ("topology.yaml".into(), TOPOLOGY.into()),
        ("spaces/eye/space.yaml".into(), space("eye")),
        ("spaces/eye/core.wasm".into(), b"\0asm\x01\0\0\0".to_vec()),
        ("spaces/store/space.yaml".into(), space("store")),
        ("spaces/store/core.wasm".into(), b"\0asm\x01\0\0\0 and some more to compress, to compress".to_vec()),
    ])
}

fn key() -> PublisherKey {
    PublisherKey::from_seed([7; 32])
}

fn signed(files: Files) -> Vec<u8> {
    sign(&build(files).unwrap(), &key()).unwrap()
}

fn open(bytes: &[u8]) -> Result<Package, MexError> {
    Package::open(bytes, Trust::Publishers(&[key().public()]))
}

fn refused_source(file: &str, from: &str, to: &str) -> String {
    let mut files = source();
    let text = String::from_utf8(files[file].clone()).unwrap();
    assert!(text.contains(from), "the test's own text has changed");
    files.insert(file.into(), text.replace(from, to).into_bytes());
    build(files).unwrap_err().to_string()
}

/// Packs files as a stranger would, without any of the builder's checks.
fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_good_package_is_accepted_and_reproducible() {
    let package = open(&signed(source())).unwrap();
    assert_eq!(package.topology.spaces.len(), 2);
    assert_eq!(package.signer, Some(key().public()));
    assert!(package.wasm(&"eye".parse().unwrap()).is_some());
    assert_eq!(signed(source()), signed(source()));
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = signed(source());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bad).is_err(), "bit {bit} of byte {} of {}", bit % 8, good.len());
    }
}

#[test]
fn every_cut_is_refused() {
    let good = signed(source());
    for len in 0..good.len() {
        assert!(open(&good[..len]).is_err(), "length {len}");
    }
}

#[test]
fn unsigned_and_wrongly_signed_packages_are_told_apart() {
    assert_eq!(open(&build(source()).unwrap()).unwrap_err(), MexError::Unsigned);
    let stranger = PublisherKey::from_seed([8; 32]);
    let by_stranger = sign(&build(source()).unwrap(), &stranger).unwrap();
    assert_eq!(open(&by_stranger).unwrap_err(), MexError::Untrusted(stranger.public()));
    let mut files: Files = Package::open(&signed(source()), Trust::Anybody).map(|_| source()).unwrap();
    files.insert("manifest.yaml".into(), b"x".to_vec());
    assert!(matches!(build(files), Err(MexError::Yaml { .. })));
}

#[test]
fn a_signature_over_another_manifest_is_refused() {
    let good = signed(source());
    let mut zip = zip::ZipArchive::new(Cursor::new(&good)).unwrap();
    let mut files = Vec::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        let name = entry.name().unwrap().into_owned();
        if name == "manifest.yaml" {
            content = String::from_utf8(content).unwrap().replace("tests", "toast").into_bytes();
        }
        files.push((name, content));
    }
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    assert_eq!(open(&pack(&files)).unwrap_err(), MexError::BadSignature);
}

#[test]
fn paths_that_lead_outside_are_refused() {
    for name in
        ["../evil", "/etc/passwd", "a/../../b", "a\\b", "c:evil", "spaces//x", "./x", "dir/", "tab\there"]
    {
        let error = open(&pack(&[(name, b"x")])).unwrap_err();
        assert!(matches!(error, MexError::Path(_)), "{name}: {error}");
    }
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let zeros = vec![0_u8; 80 << 20];
    let bomb = pack(&[("a", &zeros)]);
    assert!(bomb.len() < 200_000);
    assert!(matches!(open(&bomb).unwrap_err(), MexError::Bomb(_)));
    let many: Vec<String> = (0..600).map(|i| format!("f{i}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert!(matches!(open(&pack(&many)).unwrap_err(), MexError::Bomb(_)));
    assert!(matches!(open(&vec![0; 17 << 20]).unwrap_err(), MexError::TooLarge { .. }));
}

#[test]
fn bytes_around_the_archive_are_refused() {
    let good = signed(source());
    let before: Vec<u8> = [b"#!/bin/sh\n", good.as_slice()].concat();
    let behind: Vec<u8> = [good.as_slice(), b"tail"].concat();
    assert!(open(&before).is_err());
    assert!(open(&behind).is_err());
}

#[test]
fn unknown_keys_are_named() {
    let error = refused_source("topology.yaml", "owner: tests}", "owner: tests, colour: red}");
    assert!(error.contains("topology.yaml") && error.contains("colour"), "{error}");
    let error = refused_source("manifest.yaml", "kind: MEX", "kind: MEX\nextra: 1");
    assert!(error.contains("manifest.yaml") && error.contains("extra"), "{error}");
    let error = refused_source("spaces/eye/space.yaml", "kind: Space", "kind: Space\nport: 80");
    assert!(error.contains("spaces/eye/space.yaml") && error.contains("port"), "{error}");
}

#[test]
fn contradictions_are_named() {
    let cases = [
        ("type: IO", "type: TEAPOT", "TEAPOT"),
        ("{name: store", "{name: eye", "declared twice"),
        ("to: store", "to: shop", "shop, which is not declared"),
        ("to: store", "to: eye", "to itself"),
        ("samoza/v1", "samoza/v9", "samoza/v1"),
        ("type: DATA", "type: UI", "it has no capabilities"),
        ("type: DATA, capabilities: [data.write]", "type: UI", "lacks the file spaces/store/index.html"),
        ("[data.write]", "[data.write], resources: {memoryKiB: 1}", "memoryKiB"),
        ("[data.write]", "[data.write], path: spaces/eye", "expected spaces/store"),
        ("{name: eye,", "{name: e/ye,", "cannot stand there"),
    ];
    for (from, to, expected) in cases {
        let error = refused_source("topology.yaml", from, to);
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn a_ui_space_holds_files_and_no_wasm() {
    let page = |wasm: bool| {
        let mut files = source();
        let topology = TOPOLOGY.replace("type: DATA, capabilities: [data.write]", "type: UI");
        files.insert("topology.yaml".into(), topology.into());
        files.insert("spaces/store/index.html".into(), "<p>store</p>".repeat(50).into());
        if !wasm {
            files.remove("spaces/store/core.wasm");
        }
        build(files)
    };
    let error = page(true).unwrap_err();
    assert_eq!(error, MexError::Unexpected("spaces/store/core.wasm".into()));
    let bytes = sign(&page(false).unwrap(), &key()).unwrap();
    let assets = open(&bytes).unwrap().assets(&bytes, &"store".parse().unwrap()).unwrap();
    assert_eq!(assets.keys().collect::<Vec<_>>(), ["index.html"]);
    let (_, asset) = &assets["index.html"];
    assert_eq!(asset.plain(), "<p>store</p>".repeat(50).into_bytes());
    assert!(asset.gzip().unwrap().len() < 60);
}

#[test]
fn missing_and_surplus_files_are_named() {
    let mut files = source();
    files.remove("spaces/eye/core.wasm");
    assert_eq!(build(files).unwrap_err(), MexError::Missing("spaces/eye/core.wasm".into()));
    let mut files = source();
    files.insert("spaces/eye/notes.txt".into(), b"x".to_vec());
    assert_eq!(build(files).unwrap_err(), MexError::Unexpected("spaces/eye/notes.txt".into()));
}

#[test]
fn hostile_yaml_is_refused_in_bounded_time() {
    let laughs = "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n";
    let mut deep = String::from("apiVersion: ");
    deep.extend(std::iter::repeat_n('[', 5000));
    for text in [laughs, deep.as_str(), "", "---\n---\n", "\u{0}", "a: b: c"] {
        let mut files = source();
        files.insert("topology.yaml".into(), text.into());
        assert!(matches!(build(files), Err(MexError::Yaml { .. })), "{:.20}", text);
    }
}

#[test]
fn keys_have_one_text_form() {
    let text = key().public().to_string();
    assert_eq!(text.parse::<PublicKey>().unwrap(), key().public());
    assert!("AAAA".parse::<PublicKey>().is_err());
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..4096)) {
        proptest::prop_assert!(open(&bytes).is_err());
    }
}
