//! UI spaces of real zhosts, seen over HTTP.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use zhost_cluster::{
    Cluster, Programs,
    browser::{Page, ask},
    cast, watch,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Says on `echoes` what it hears on `orders`.
const ECHO: &str = r#"(module
  (import "net" "recv_next" (func $recv (param i32 i32) (result i32)))
  (import "net" "emit_to" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "echoes")
  (func (export "on_process") (result i32) (local $size i32)
    (local.set $size (call $recv (i32.const 64) (i32.const 4096)))
    (if (i32.ge_s (local.get $size) (i32.const 0))
      (then (drop (call $emit (i32.const 0) (i32.const 6) (i32.const 64) (local.get $size)))))
    (i32.const 0)))"#;

const TOPOLOGY: &str = "apiVersion: samoza/v1
kind: Topology
metadata: {name: shop}
spaces:
  - {name: echo, type: CALL}
  - {name: window, type: UI}
  - {name: office, type: UI}
paths:
  - {from: window, to: echo, name: orders}
  - {from: echo, to: window, name: echoes}
";

fn package(cluster: &Cluster) -> String {
    let page = |space: &str| {
        [
            (format!("spaces/{space}/index.html"), "<p>open</p>\n".repeat(100).into_bytes()),
            (format!("spaces/{space}/deep/index.html"), b"deep".to_vec()),
        ]
    };
    let echo = ("spaces/echo/core.wasm".to_owned(), wat::parse_str(ECHO).unwrap());
    let files: Vec<_> = ["window", "office"].into_iter().flat_map(page).chain([echo]).collect();
    cluster.pack("shop", TOPOLOGY, &["echo", "window", "office"], &files).unwrap()
}

/// A cluster with the shop running.
fn shop(name: &str) -> Cluster {
    let dir = env::temp_dir().join(format!("zhost-{name}-{}", std::process::id()));
    let mut cluster = Cluster::create(&dir, &Programs::beside_tests().unwrap(), cast(2)).unwrap();
    (0..2).for_each(|index| cluster.start(index).unwrap());
    let mex = package(&cluster);
    watch(PATIENCE, || cluster.ask(&["topo", "submit", &mex]).map(Some)).unwrap();
    watch(PATIENCE, || Ok((cluster.ask(&["topo", "status", "shop"])?["state"] == "running").then_some(())))
        .unwrap();
    cluster
}

fn address(cluster: &Cluster, space: &str) -> String {
    cluster.ask(&["spaces", "open", space]).unwrap()["address"].as_str().unwrap().to_owned()
}

/// How long a zhost whose spaces close at once may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(4);

fn end(mut cluster: Cluster) {
    let start = Instant::now();
    cluster.end().unwrap();
    assert!(start.elapsed() < ENDS_WITHIN, "spaces that run were not asked to close: {:?}", start.elapsed());
    fs::remove_dir_all(&cluster.dir).unwrap();
}

#[test]
fn a_page_is_served_strictly_and_its_messages_come_and_go() {
    let cluster = shop("page");
    let address = address(&cluster, "window");
    let page = Page::open(&address).unwrap();

    let plain = page.ask("GET", "", &[], b"").unwrap();
    assert_eq!(plain.body, "<p>open</p>\n".repeat(100).as_bytes());
    let policy = plain.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with(&format!("default-src {};", page.address)), "{policy}");
    assert_eq!(plain.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(plain.header("Content-Type"), Some("text/html; charset=utf-8"));

    let packed = page.ask("GET", "", &[("Accept-Encoding", "gzip")], b"").unwrap();
    assert_eq!(packed.header("Content-Encoding"), Some("gzip"));
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len() / 4);
    assert_ne!(packed.header("ETag"), plain.header("ETag"));
    let etag = plain.header("ETag").unwrap();
    assert_eq!(page.ask("GET", "", &[("If-None-Match", etag)], b"").unwrap().status, 304);
    assert_eq!(page.ask("HEAD", "", &[], b"").unwrap().header("Content-Length"), Some("1200"));
    assert_eq!(page.ask("GET", "deep/", &[], b"").unwrap().body, b"deep");

    for (method, below, headers, status) in [
        ("GET", "missing.js", &[][..], 404),
        ("GET", "space.yaml", &[], 404),
        ("GET", "../office/", &[], 404),
        ("PUT", "", &[], 405),
        ("POST", "", &[], 405),
        ("POST", "-/paths/echoes", &[], 404),
        ("POST", "-/paths/orders", &[("Origin", "http://evil.example")], 403),
        ("POST", "-/paths/orders", &[("Sec-Fetch-Site", "cross-site")], 403),
    ] {
        assert_eq!(page.ask(method, below, headers, b"x").unwrap().status, status, "{method} {below}");
    }
    assert_eq!(page.ask("POST", "-/paths/orders", &[], &[b'x'; 4097]).unwrap().status, 413);

    assert_eq!(page.ask("POST", "-/paths/orders", &[], b"roses").unwrap().status, 202);
    // In base64; kept for those that come later.
    assert_eq!(page.watch(&["echoes"]).unwrap(), ["cm9zZXM="]);
    assert_eq!(page.watch(&["echoes"]).unwrap(), ["cm9zZXM="]);
    end(cluster);
}

#[test]
fn a_ticket_opens_one_space_and_any_zhost_leads_there() {
    let cluster = shop("ticket");
    let (window, office) = (address(&cluster, "window"), address(&cluster, "office"));
    let (bare, ticket) = window.split_once("?ticket=").unwrap();
    let office = office.split_once('?').unwrap().0;
    for refused in [
        bare.to_owned(),
        format!("{bare}?ticket="),
        format!("{bare}?ticket=ffffffff.{}", ticket.split_once('.').unwrap().1),
        format!("{office}?ticket={ticket}"),
        bare.replace("shop/window", "nothing/there"),
        bare.replace("/shop/window/", "/"),
    ] {
        assert_eq!(ask("GET", &refused, &[], b"").unwrap().status, 403, "{refused}");
    }
    // Whichever zhost runs it: the ports of the others are known from their settings.
    let web = |index: usize| {
        let config = cluster.dir.join(format!("{}.yaml", cluster.zhosts[index].character.name));
        let text = fs::read_to_string(config).unwrap();
        text.lines().find_map(|line| line.strip_prefix("web: ")).unwrap().to_owned()
    };
    for at in [web(0), web(1)] {
        // One that has not heard of the topology yet says so.
        let open = || Page::open(&format!("http://{at}/shop/window/?ticket={ticket}")).map(Some);
        let page = watch(PATIENCE, open).unwrap();
        assert_eq!(page.address, bare);
    }
    cluster.zctl(&["topo", "stop", "shop"]).unwrap();
    let gone = || Ok((ask("GET", &window, &[], b"")?.status == 303).then_some(()));
    watch(PATIENCE, gone).unwrap();
    let page = format!("zhost-ticket={ticket}");
    watch(PATIENCE, || Ok((ask("GET", bare, &[("Cookie", &page)], b"")?.status == 503).then_some(())))
        .unwrap();
    end(cluster);
}

#[test]
fn strangers_at_the_port_for_browsers_do_no_harm() {
    let cluster = shop("strangers");
    let address = address(&cluster, "window");
    let host = address.trim_start_matches("http://").split('/').next().unwrap();
    // More connections than are taken, half of them silent, the others talking nonsense.
    let (mut silent, mut loud) = (Vec::new(), Vec::new());
    for index in 0..100 {
        let mut stranger = TcpStream::connect(host).unwrap();
        if index % 2 == 1 {
            let _ = stranger.write_all(&[index as u8; 20_000]);
            loud.push(stranger);
        } else {
            silent.push(stranger);
        }
    }
    for mut stranger in loud {
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        // Refused in words, or closed.
        let _ = stranger.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    watch(PATIENCE, || Page::open(&address).map(Some)).unwrap();
    drop(silent);
    // One that has asked and goes on talking is hung up on, and keeps nobody from the loop.
    let mut talker = TcpStream::connect(host).unwrap();
    talker.set_write_timeout(Some(PATIENCE)).unwrap();
    let path = "/shop/window/";
    write!(talker, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let refused = (0..10_000).find(|_| talker.write_all(&[0; 10_000]).is_err());
    assert!(refused.is_some(), "it took 100 MB of nothing");
    let begin = Instant::now();
    cluster.ask(&["status"]).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(2), "the loop was busy: {:?}", begin.elapsed());
    end(cluster);
}
