//! Hosts as they are on real sites: several switches, interfaces that are plugged in late, addresses that change, no router.
//! Each host is a network namespace whose interfaces and addresses the test makes itself.

use crate::{Outcome, process};
use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Names of what is made here begin where those of [`crate::net`] never get.
const FIRST_NUMBER: u32 = 1_000_000;

/// Hosts without any interface but loopback, and switches.
pub struct Lan {
    prefix: String,
    hosts: usize,
}

impl Lan {
    /// As many hosts, and switches between them; needs root.
    pub fn new(hosts: usize, switches: usize) -> Outcome<Self> {
        static LANS: AtomicU32 = AtomicU32::new(FIRST_NUMBER);
        crate::net::remove_leftovers();
        let lan = Self { prefix: process::own_name(LANS.fetch_add(1, Ordering::Relaxed)), hosts };
        for name in (0..hosts).map(|host| lan.name(host)).chain([lan.switch()]) {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        for switch in 0..switches {
            ip(&format!("-n {} link add switch{switch} type bridge mcast_snooping 0", lan.switch()))?;
            ip(&format!("-n {} link set switch{switch} up", lan.switch()))?;
        }
        Ok(lan)
    }

    fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    /// Gives a host an interface, `eth` and the number of the switch it leads to.
    pub fn plug(&self, host: usize, switch: usize) -> Outcome {
        let (name, on_switch) = (self.name(host), self.switch());
        let port = format!("p{switch}h{host}");
        ip(&format!("-n {on_switch} link add {port} type veth peer name eth{switch} netns {name}"))?;
        ip(&format!("-n {on_switch} link set {port} master switch{switch} up"))?;
        self.ip(host, &format!("link set eth{switch} up"))
    }

    /// Takes from a host's interface the address of IPv6 that it gives itself: the others cannot be reached by it.
    pub fn only_given(&self, host: usize, switch: usize) -> Outcome {
        self.ip(host, &format!("link set eth{switch} addrgenmode none"))?;
        self.ip(host, &format!("address flush dev eth{switch} scope link"))
    }

    /// Pulls the cable of a host's interface out of the switch, or plugs it in again.
    pub fn cut(&self, host: usize, switch: usize, cut: bool) -> Outcome {
        let state = if cut { "down" } else { "up" };
        ip(&format!("-n {} link set p{switch}h{host} {state}", self.switch()))
    }

    /// Runs `ip` with these arguments on a host.
    pub fn ip(&self, host: usize, args: &str) -> Outcome {
        ip(&format!("-n {} {args}", self.name(host)))
    }

    /// A command that will run on a host, and is killed when the thread that starts it ends.
    pub fn command(&self, host: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name(host), "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program);
        command
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in (0..self.hosts).map(|host| self.name(host)).chain([self.switch()]) {
            // Those that were never made need no removal.
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

fn ip(args: &str) -> Outcome {
    process::output(Command::new("ip").args(args.split(' '))).map(drop)
}
