//! Sites as they are: addresses change, come late, are of IPv6 alone, lie behind a bridge that comes first, on two networks;
//! all zhosts are told to join the same ones. Real processes with default settings, each in a network namespace. Needs root.

use std::{
    env, fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};
use zhost_cluster::{Cluster, Outcome, Programs, cast, lan::Lan, watch, without::do_without};

/// How long a site may take to be one cluster once it can be.
const TOGETHER_WITHIN: Duration = Duration::from_secs(15);

/// Says that it is there each second.
const TICK: &str = r#"(module
  (import "sys" "log" (func $log (param i32 i32 i32)))
  (import "sys" "sleep" (func $sleep (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "tick")
  (func (export "on_process") (result i32)
    (call $log (i32.const 1) (i32.const 0) (i32.const 4)) (call $sleep (i32.const 1000)) (i32.const 0)))"#;
const TOPOLOGY: &str = "apiVersion: samoza/v1
kind: Topology
metadata: {name: clock}
spaces:
  - {name: one, type: IO, capabilities: [sys.log]}
";

/// Hosts, where they can be made.
fn lan(hosts: usize, switches: usize) -> Option<Lan> {
    let lan = Lan::new(hosts, switches);
    if let Err(reason) = &lan {
        do_without(&format!("networks: no network namespaces, which take root: {reason}")).unwrap();
    }
    lan.ok()
}

struct Site {
    cluster: Cluster,
    dir: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Site {
    /// Boards that do not run yet; `settings` are added to those of each.
    fn new(name: &str, lan: Lan, zhosts: usize, settings: &str) -> Self {
        let dir = env::temp_dir().join(format!("zhost-networks-{name}-{}", std::process::id()));
        let programs = Programs::beside_tests().unwrap();
        let cluster = Cluster::create_in(&dir, &programs, cast(zhosts), lan, settings).unwrap();
        Self { cluster, dir }
    }

    fn lan(&self) -> &Lan {
        self.cluster.lan().unwrap()
    }

    fn start(&mut self, zhosts: impl Iterator<Item = usize>) {
        zhosts.for_each(|index| self.cluster.start(index).unwrap());
    }

    /// How many a zhost takes for alive, all under a super.
    fn alive(&self, index: usize) -> Outcome<usize> {
        let zhosts = self.cluster.ask_at(index, &["cluster", "zhosts"])?;
        let is_alive = |z: &&serde_json::Value| z["state"] == "alive" && z["super_node"] != "-";
        Ok(zhosts.as_array().map_or(0, |list| list.iter().filter(is_alive).count()))
    }

    /// Waits until these zhosts see exactly each other; how long that took.
    fn wait_together(&self, zhosts: &[usize], within: Duration) -> Duration {
        let begun = Instant::now();
        for index in zhosts {
            let left = within.saturating_sub(begun.elapsed()).max(Duration::from_secs(1));
            let all = || Ok((self.alive(*index)? == zhosts.len()).then_some(()));
            watch(left, all).unwrap_or_else(|reason| {
                panic!("zhost {index} does not see {zhosts:?}: {reason}\n{}", self.logs(zhosts))
            });
        }
        begun.elapsed()
    }

    fn logs(&self, zhosts: &[usize]) -> String {
        let log = |index: &usize| format!("-- {index}\n{}", self.cluster.log(*index).unwrap_or_default());
        zhosts.iter().map(log).collect()
    }

    /// How often anybody has said something.
    fn said(&self, zhosts: usize, what: &str) -> usize {
        let count = |index| self.cluster.log(index).unwrap_or_default().matches(what).count();
        (0..zhosts).map(count).sum()
    }

    fn submit_clock(&self) {
        let files = [("spaces/one/core.wasm".to_owned(), wat::parse_str(TICK).unwrap())];
        let mex = self.cluster.pack("clock", TOPOLOGY, &["one"], &files).unwrap();
        watch(TOGETHER_WITHIN, || self.cluster.ask_at(0, &["topo", "submit", &mex]).map(Some)).unwrap();
        watch(TOGETHER_WITHIN, || Ok((self.said(5, "space one is running") > 0).then_some(()))).unwrap();
    }
}

/// The addresses at which a zhost reaches the others.
fn addresses(site: &Site, index: usize) -> Vec<String> {
    let peers = site.cluster.ask_at(index, &["mesh", "peers"]).unwrap();
    let addrs = peers.as_array().into_iter().flatten().filter_map(|peer| peer["addr"].as_str());
    addrs.map(str::to_owned).collect()
}

#[test]
fn a_site_that_is_renumbered_while_it_runs_is_one_cluster_again() {
    const ZHOSTS: usize = 5;
    let Some(lan) = lan(ZHOSTS, 1) else { return };
    let give = |lan: &Lan, host: usize, network: u8| {
        lan.ip(host, &format!("address add 10.{network}.0.{}/24 dev eth0", host + 1)).unwrap();
        lan.ip(host, &format!("route add default via 10.{network}.0.254")).unwrap();
    };
    for host in 0..ZHOSTS {
        lan.plug(host, 0).unwrap();
        lan.only_given(host, 0).unwrap();
        give(&lan, host, 1);
    }
    let mut site = Site::new("renumbered", lan, ZHOSTS, "");
    site.start(0..ZHOSTS);
    let all: Vec<usize> = (0..ZHOSTS).collect();
    site.wait_together(&all, TOGETHER_WITHIN);
    site.submit_clock();
    for (network, gap) in [(2, Duration::from_secs(3)), (3, Duration::ZERO)] {
        (0..ZHOSTS).for_each(|host| site.lan().ip(host, "address flush dev eth0 scope global").unwrap());
        thread::sleep(gap);
        (0..ZHOSTS).for_each(|host| give(site.lan(), host, network));
        let begun = Instant::now();
        let moved = || {
            let here = format!("10.{network}.0.");
            let is_here = |addr: &String| addr.starts_with(&here);
            Ok(all
                .iter()
                .all(|index| addresses(&site, *index).iter().filter(|a| is_here(a)).count() == ZHOSTS - 1)
                .then_some(()))
        };
        watch(TOGETHER_WITHIN, moved).unwrap_or_else(|reason| panic!("{reason}\n{}", site.logs(&all)));
        site.wait_together(&all, TOGETHER_WITHIN.saturating_sub(begun.elapsed()));
    }
    assert_eq!(site.said(ZHOSTS, "space one is running"), 1, "no space ran twice\n{}", site.logs(&all));
    site.cluster.end().unwrap();
}

#[test]
fn a_network_of_ipv6_alone_works_with_default_settings() {
    let Some(lan) = lan(3, 1) else { return };
    for host in 0..3 {
        lan.plug(host, 0).unwrap();
        lan.ip(host, "link set eth0 mtu 1280").unwrap();
        lan.ip(host, &format!("address add fd00:7::{}/64 dev eth0 nodad", host + 1)).unwrap();
    }
    let mut site = Site::new("ipv6", lan, 3, "");
    site.start(0..3);
    site.wait_together(&[0, 1, 2], TOGETHER_WITHIN);
    let others = addresses(&site, 1);
    assert!(others.iter().all(|addr| addr.starts_with("[fd00:7::")), "{others:?}");
    site.cluster.end().unwrap();
}

#[test]
fn whoever_starts_before_the_lease_joins_without_a_gateway() {
    let Some(lan) = lan(3, 1) else { return };
    for host in 1..3 {
        lan.plug(host, 0).unwrap();
        lan.only_given(host, 0).unwrap();
    }
    lan.ip(1, "address add 10.3.0.2/24 dev eth0").unwrap();
    let mut site = Site::new("late", lan, 3, "");
    site.start(0..3);
    // Alone, it founds a cluster; so do the others after a while, without any network.
    watch(Duration::from_secs(30), || Ok((site.said(3, "founding a cluster") == 3).then_some(()))).unwrap();
    // One gets an interface and a lease, one a lease.
    site.lan().plug(0, 0).unwrap();
    site.lan().only_given(0, 0).unwrap();
    (0..3).filter(|host| *host != 1).for_each(|host| {
        site.lan().ip(host, &format!("address add 10.3.0.{}/24 dev eth0", host + 1)).unwrap();
    });
    site.wait_together(&[0, 1, 2], TOGETHER_WITHIN);
    site.cluster.end().unwrap();
}

#[test]
fn a_bridge_before_the_network_misleads_nobody() {
    let Some(lan) = lan(3, 1) else { return };
    for host in 0..3 {
        lan.ip(host, "link add docker0 type bridge").unwrap();
        lan.ip(host, "address add 172.17.0.1/16 dev docker0").unwrap();
        lan.ip(host, "link set docker0 up").unwrap();
        lan.plug(host, 0).unwrap();
        lan.ip(host, &format!("address add 192.168.50.{}/24 dev eth0", host + 1)).unwrap();
    }
    let mut site = Site::new("bridge", lan, 3, "");
    site.start(0..3);
    site.wait_together(&[0, 1, 2], TOGETHER_WITHIN);
    let others = addresses(&site, 2);
    assert!(others.iter().all(|addr| addr.starts_with("192.168.50.")), "{others:?}");
    site.cluster.end().unwrap();
}

#[test]
fn a_zhost_on_two_networks_is_alive_for_its_neighbours_on_both() {
    let Some(lan) = lan(3, 2) else { return };
    for (host, switch) in [(0, 0), (0, 1), (1, 0), (2, 1)] {
        lan.plug(host, switch).unwrap();
        lan.ip(host, &format!("address add 10.{}.0.{}/24 dev eth{switch}", switch + 1, host + 1)).unwrap();
    }
    let mut site = Site::new("two", lan, 3, "");
    site.start(0..3);
    site.wait_together(&[0, 1, 2], TOGETHER_WITHIN);
    assert!(addresses(&site, 1).contains(&"10.1.0.1:9200".into()), "{:?}", addresses(&site, 1));
    assert!(addresses(&site, 2).contains(&"10.2.0.1:9200".into()), "{:?}", addresses(&site, 2));
    thread::sleep(Duration::from_secs(10));
    assert_eq!(site.said(3, "is down"), 0, "{}", site.logs(&[0, 1, 2]));
    // Whoever reaches nobody but the one in the middle is linked through it.
    let peers = site.cluster.ask_at(1, &["mesh", "peers"]).unwrap();
    let states: Vec<&str> =
        peers.as_array().into_iter().flatten().filter_map(|peer| peer["state"].as_str()).collect();
    assert!(states.contains(&"linked") && states.contains(&"relayed"), "{peers}");
    site.cluster.end().unwrap();
}

#[test]
fn zhosts_that_are_all_told_to_join_the_same_ones_found_one_cluster() {
    let Some(lan) = lan(3, 1) else { return };
    for host in 0..3 {
        lan.plug(host, 0).unwrap();
        lan.ip(host, &format!("address add 10.4.0.{}/24 dev eth0", host + 1)).unwrap();
    }
    let mut site =
        Site::new("named", lan, 3, "discover: false\njoin: [10.4.0.1, 10.4.0.2, 10.4.0.3, localhost]\n");
    site.start(0..3);
    let took = site.wait_together(&[0, 1, 2], TOGETHER_WITHIN);
    assert_eq!(site.said(3, "founding a cluster"), 1, "after {took:?}: {}", site.logs(&[0, 1, 2]));
    site.cluster.end().unwrap();
}

#[test]
fn who_is_named_and_silent_is_waited_for_and_then_not() {
    let site = |name: &str, network: u8| {
        let lan = lan(3, 1)?;
        for host in 0..3 {
            lan.plug(host, 0).unwrap();
            lan.ip(host, &format!("address add 10.{network}.0.{}/24 dev eth0", host + 1)).unwrap();
        }
        let named = (1..4).map(|last| format!("10.{network}.0.{last}")).collect::<Vec<_>>().join(", ");
        Some(Site::new(name, lan, 3, &format!("discover: false\njoin: [{named}]\n")))
    };
    // In one site the last one never starts, in the other it is cut off.
    let (Some(mut missing), Some(mut cut)) = (site("missing", 5), site("cut", 6)) else { return };
    cut.lan().cut(2, 0, true).unwrap();
    missing.start(0..2);
    cut.start(0..3);
    thread::sleep(Duration::from_secs(20));
    for site in [&missing, &cut] {
        assert_eq!(site.said(3, "founding a cluster"), 0, "{}", site.logs(&[0, 1, 2]));
    }
    missing.wait_together(&[0, 1], TOGETHER_WITHIN);
    assert_eq!(missing.said(3, "founding a cluster"), 1, "{}", missing.logs(&[0, 1]));
    cut.wait_together(&[0, 1], TOGETHER_WITHIN);
    cut.wait_together(&[2], TOGETHER_WITHIN);
    assert_eq!(cut.said(3, "founding a cluster"), 2, "each side founded one: {}", cut.logs(&[0, 1, 2]));
    cut.lan().cut(2, 0, false).unwrap();
    cut.wait_together(&[0, 1, 2], TOGETHER_WITHIN);
    missing.cluster.end().unwrap();
    cut.cluster.end().unwrap();
}
