//! Hosts on one computer: network namespaces, joined by one cable or by a switch.
//!
//! The switch is a bridge in a namespace of its own, so nothing is added to the computer's own network, and
//! all of it goes when the namespaces go. Addresses are 10.77.0.1 and up, IPv6 is off, nothing delays or
//! drops packets unless told to.
//!
//! Each host also has a CPU of its own, or shares one with as few as possible, of those that this process may
//! use. Where the scheduler puts the two ends of a conversation makes a difference of several times
//! otherwise, and another one in each run. Under `taskset --cpu-list 0` all hosts share one.

use crate::{
    Outcome,
    process::{self, Process},
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const NAMESPACES: &str = "/run/netns";
const ETHERNET_HEADER_SIZE_BYTES: u64 = 14;
const RELAY: &str = include_str!("delay.py");
const RELAY_READY_WITHIN: Duration = Duration::from_secs(10);
const NO_IPV6: &str = "for scope in all default; do file=/proc/sys/net/ipv6/conf/$scope/disable_ipv6; \
                       test ! -e $file || echo 1 > $file; done";

/// Hosts that can reach each other.
pub struct Hosts {
    /// None if all are this computer, each with another loopback address.
    network: Option<Network>,
    cpus: Vec<usize>,
}

impl Hosts {
    /// Two hosts on one cable.
    pub fn pair() -> Outcome<Self> {
        Self::or_loopback(Network::pair())
    }

    /// Hosts on one switch.
    pub fn switched(count: usize) -> Outcome<Self> {
        Self::or_loopback(Network::switched(count))
    }

    fn or_loopback(network: Outcome<Network>) -> Outcome<Self> {
        static SAID: Once = Once::new();
        if let Err(reason) = &network {
            SAID.call_once(|| {
                eprintln!("zhosts: no network namespaces, so hosts are loopback addresses: {reason}");
            });
        }
        Ok(Self { network: network.ok(), cpus: allowed_cpus()? })
    }

    /// What the hosts are, in a few words.
    pub fn describe(&self) -> String {
        let kind = if self.network.is_some() { "namespaces" } else { "loopback" };
        let cpus: Vec<String> = self.cpus.iter().map(usize::to_string).collect();
        format!("{kind} on CPU {}", cpus.join(", "))
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        let last = u8::try_from(host + 1).unwrap_or(u8::MAX);
        let first = if self.network.is_some() { 10 } else { 127 };
        Ipv4Addr::new(first, 77, 0, last)
    }

    /// A port of a host.
    pub fn socket(&self, host: usize, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address(host)), port)
    }

    /// A command that will run on a host. It is killed when the thread that starts it ends, whatever ends
    /// that.
    pub fn command(&self, host: usize, program: impl AsRef<Path>) -> Command {
        let cpu = self.cpus[host % self.cpus.len()].to_string();
        let mut command = match &self.network {
            Some(network) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &network.name(host), "setpriv"]);
                command
            }
            None => Command::new("setpriv"),
        };
        command.args(["--pdeathsig", "KILL", "--", "taskset", "--cpu-list", &cpu]).arg(program.as_ref());
        command
    }

    /// Whether the hosts are namespaces, with cables that can be cut.
    pub fn have_cables(&self) -> bool {
        self.network.is_some()
    }

    fn network(&self) -> Outcome<&Network> {
        self.network.as_ref().ok_or_else(|| "this needs network namespaces (as root)".into())
    }

    /// Pulls a host's cable out of the switch, or plugs it in again. The host itself sees nothing of it.
    pub fn plug(&self, host: usize, plugged: bool) -> Outcome {
        let network = self.network()?;
        let (switch, state) = (network.switch(), if plugged { "up" } else { "down" });
        ip(&format!("-n {switch} link set port{host} {state}"))
    }

    /// Lets nothing out of a host any more, though it hears everything; or lets it out again.
    pub fn mute(&self, host: usize, mute: bool) -> Outcome {
        let drop_all =
            "table inet mute { chain out { type filter hook output priority 0; oifname eth0 drop; }; }";
        self.filter(host, "mute", drop_all, mute)
    }

    /// Makes a host lose that many of a hundred packets that come in.
    pub fn lose(&self, host: usize, per_cent: u32) -> Outcome {
        let rules = format!(
            "table inet lose {{ chain in {{ type filter hook input priority 0; iifname eth0 numgen random mod 100 < {per_cent} drop; }}; }}"
        );
        self.filter(host, "lose", &rules, per_cent > 0)
    }

    /// Makes everything to and from a host arrive that much later, for as long as the process lives that this gives;
    /// when it ends, the host is cut off. `log` is where it complains.
    pub fn delay(&self, host: usize, by: Duration, log: &Path) -> Outcome<Process> {
        let network = self.network()?;
        let switch = network.switch();
        // Frames must leave their senders whole: checked, and no larger than the cable takes.
        for sender in 0..network.hosts {
            offload_nothing(&network.name(sender), "eth0")?;
        }
        let (port, near, far) = (format!("port{host}"), format!("near{host}"), format!("far{host}"));
        ip(&format!("-n {switch} link set {port} nomaster"))?;
        ip(&format!("-n {switch} link add {near} type veth peer name {far}"))?;
        ip(&format!("-n {switch} link set {far} master switch up"))?;
        ip(&format!("-n {switch} link set {near} up"))?;
        for interface in [&port, &near, &far] {
            offload_nothing(&switch, interface)?;
        }
        let mut relay = Command::new("ip");
        relay.args([
            "netns",
            "exec",
            &switch,
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
            "python3",
            "-c",
            RELAY,
        ]);
        let relay = Process::start(relay.args([&port, &near, &by.as_millis().to_string()]), log)?;
        let ready = || Ok(relay.said()?.contains("ready").then_some(()));
        process::watch(RELAY_READY_WITHIN, ready)?;
        Ok(relay)
    }

    fn filter(&self, host: usize, table: &str, rules: &str, on: bool) -> Outcome {
        let name = self.network()?.name(host);
        let command = if on { format!("nft '{rules}'") } else { format!("nft delete table inet {table}") };
        process::output(Command::new("ip").args(["netns", "exec", &name, "sh", "-c", &command])).map(drop)
    }

    /// What a host has sent so far.
    pub fn sent(&self, host: usize) -> Outcome<Sent> {
        self.network()?.sent(host)
    }

    /// What each of the first `count` hosts sends in a second, on average, while `period` passes: bytes from
    /// the IP header on.
    pub fn sent_per_second(&self, count: usize, period: Duration) -> Outcome<f64> {
        let total =
            || (0..count).map(|host| self.sent(host).map(|sent| sent.ip_bytes())).sum::<Outcome<u64>>();
        let (before, start) = (total()?, Instant::now());
        thread::sleep(period);
        let (after, elapsed) = (total()?, start.elapsed());
        Ok(after.saturating_sub(before) as f64 / elapsed.as_secs_f64() / count as f64)
    }
}

/// What went out of a host's network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes, with Ethernet headers.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
}

impl Sent {
    /// Bytes without Ethernet headers: for a UDP datagram its payload and 28 bytes.
    pub fn ip_bytes(self) -> u64 {
        self.bytes.saturating_sub(self.packets * ETHERNET_HEADER_SIZE_BYTES)
    }
}

/// Network namespaces; they are removed when this is dropped.
pub struct Network {
    prefix: String,
    hosts: usize,
}

impl Network {
    /// Two namespaces joined by one cable.
    pub fn pair() -> Outcome<Self> {
        let network = Self::unjoined(2)?;
        let (near, far) = (network.name(0), network.name(1));
        ip(&format!("link add eth0 netns {near} type veth peer name eth0 netns {far}"))?;
        (0..2).try_for_each(|host| network.address_host(host))?;
        Ok(network)
    }

    /// Namespaces joined by a switch.
    pub fn switched(hosts: usize) -> Outcome<Self> {
        let network = Self::unjoined(hosts)?;
        let switch = network.switch();
        add_namespace(&switch)?;
        ip(&format!("-n {switch} link add switch type bridge mcast_snooping 0"))?;
        ip(&format!("-n {switch} link set switch up"))?;
        for host in 0..hosts {
            let name = network.name(host);
            ip(&format!("-n {switch} link add port{host} type veth peer name eth0 netns {name}"))?;
            ip(&format!("-n {switch} link set port{host} master switch up"))?;
            network.address_host(host)?;
        }
        Ok(network)
    }

    fn unjoined(hosts: usize) -> Outcome<Self> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Self { prefix: process::own_name(number), hosts };
        (0..hosts).try_for_each(|host| add_namespace(&network.name(host)))?;
        Ok(network)
    }

    fn address_host(&self, host: usize) -> Outcome {
        let name = self.name(host);
        ip(&format!("-n {name} address add 10.77.0.{}/24 dev eth0", host + 1))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} link set eth0 up"))
    }

    /// The name of a host's namespace.
    pub fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    fn sent(&self, host: usize) -> Outcome<Sent> {
        let name = self.name(host);
        let shown =
            process::output(Command::new("ip").args(["-n", &name, "-j", "-s", "link", "show", "eth0"]))?;
        let links: serde_json::Value = serde_json::from_str(&shown).map_err(|e| format!("ip: {e}"))?;
        let count = |what: &str| {
            let count = links[0]["stats64"]["tx"][what].as_u64();
            count.ok_or_else(|| format!("ip does not tell how many {what} {name} sent"))
        };
        Ok(Sent { bytes: count("bytes")?, packets: count("packets")? })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = (0..self.hosts).map(|host| self.name(host));
        hosts.chain([self.switch()]).filter(|name| exists(name)).for_each(|name| remove_namespace(&name));
    }
}

/// The CPUs that this process may use; at least one.
fn allowed_cpus() -> Outcome<Vec<usize>> {
    let file = "/proc/self/status";
    let status = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cpus = list.map(|list| parse_cpus(list.trim())).unwrap_or_default();
    if cpus.is_empty() { Err(format!("{file} names no CPU that may be used")) } else { Ok(cpus) }
}

/// The numbers in a list such as `0-2,5`.
fn parse_cpus(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// Switches off what lets hosts pass on frames that no real cable would carry.
fn offload_nothing(namespace: &str, interface: &str) -> Outcome {
    let features = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "ethtool", "-K", interface]).args(features);
    process::output(&mut command).map(drop)
}

fn ip(args: &str) -> Outcome {
    process::output(Command::new("ip").args(args.split(' '))).map(drop)
}

fn exists(namespace: &str) -> bool {
    Path::new(NAMESPACES).join(namespace).exists()
}

fn add_namespace(name: &str) -> Outcome {
    ip(&format!("netns add {name}"))?;
    process::output(Command::new("ip").args(["netns", "exec", name, "sh", "-c", NO_IPV6])).map(drop)
}

fn remove_namespace(name: &str) {
    if let Err(reason) = ip(&format!("netns delete {name}")) {
        eprintln!("zhosts: {reason}");
    }
}

/// Removes the namespaces of processes like this one that were killed before they could.
pub(crate) fn remove_leftovers() {
    process::leftovers(Path::new(NAMESPACES)).iter().for_each(|name| remove_namespace(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse_cpus("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_cpus("3"), [3]);
        assert!(parse_cpus("all").is_empty());
    }

    #[test]
    fn ethernet_headers_do_not_count() {
        assert_eq!(Sent { bytes: 242, packets: 2 }.ip_bytes(), 214);
    }
}
