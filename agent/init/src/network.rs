//! The board's network: each interface that is like Ethernet gets an address, and one of its own while nobody gives one.

use crate::{
    dhcp::{Dhcp, Lease, Output},
    netlink::Netlink,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeSet,
    fs, io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant as SystemInstant},
};
use zhost_base::{Instant, Rng};
use zhost_threads::{Care, Run, keep};

/// How long to wait for a DHCP server before the board takes an address of its own beside.
const ALONE_AFTER: Duration = Duration::from_secs(5);
/// How often an interface that is not there, or was lost, is looked for, and whether a cable is plugged in.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// Interfaces that get an address; further ones get none.
const INTERFACES_MAX: usize = 4;
/// How long the kernel may take over an address or a route; then another thread goes on in this one's place.
const KERNEL_WITHIN: Duration = Duration::from_secs(30);
const PACKET_SIZE_MAX_BYTES: usize = 1500;
/// The kernel's number for Ethernet and what looks like it.
const ETHERNET: &str = "1";

/// How the board gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// From a server; one of its own while there is none.
    Dhcp,
    /// This one.
    Static(Lease),
    /// Somebody else cares for it.
    None,
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is neither dhcp, none, nor an address such as 192.168.1.5/24 via 192.168.1.1")
        };
        match text {
            "dhcp" => return Ok(Self::Dhcp),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let (network, gateway) = match text.split_once(" via ") {
            Some((network, gateway)) => (network, Some(gateway.trim().parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (addr, prefix) = network.trim().split_once('/').ok_or_else(wrong)?;
        let (addr, prefix) = (addr.parse().map_err(|_| wrong())?, prefix.parse().map_err(|_| wrong())?);
        if prefix > 32 {
            return Err(wrong());
        }
        Ok(Self::Static(Lease { addr, prefix, gateway }))
    }
}

/// An interface the kernel has.
struct Interface {
    name: String,
    index: u32,
    mac: [u8; 6],
}

impl Interface {
    /// Those that are like Ethernet, by name.
    fn all() -> Vec<Self> {
        let entries = fs::read_dir("/sys/class/net").into_iter().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names.into_iter().filter_map(Self::read).collect()
    }

    fn read(name: String) -> Option<Self> {
        let dir = Path::new("/sys/class/net").join(&name);
        let read = |file: &str| Some(fs::read_to_string(dir.join(file)).ok()?.trim().to_owned());
        // Wireless ones need somebody who knows the password.
        if read("type")? != ETHERNET || dir.join("wireless").exists() {
            return None;
        }
        let mut mac = [0; 6];
        for (byte, digits) in mac.iter_mut().zip(read("address")?.split(':')) {
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self { index: read("ifindex")?.parse().ok()?, mac, name })
    }

    /// Whether the kernel still has it, under the same number.
    fn is_there(&self) -> bool {
        Self::read(self.name.clone()).is_some_and(|now| now.index == self.index)
    }

    /// Whether a cable is plugged in.
    fn has_carrier(&self) -> bool {
        let file = Path::new("/sys/class/net").join(&self.name).join("carrier");
        fs::read_to_string(file).is_ok_and(|carrier| carrier.trim() == "1")
    }

    /// An address of its own (RFC 3927); that another board has drawn the same is possible and not looked for.
    fn own_address(&self) -> Ipv4Addr {
        let drawn =
            self.mac.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        Ipv4Addr::from(Ipv4Addr::new(169, 254, 1, 0).to_bits() + drawn % 0xfe00)
    }
}

/// Brings up the loopback interface, and in threads of their own whatever else there is and will be.
pub fn start(plan: Plan, name: &str, seed: [u8; 32]) -> io::Result<()> {
    let netlink = Netlink::open()?;
    if let Some(index) = loopback() {
        netlink.set_up(index)?;
    }
    if plan == Plan::None {
        return Ok(());
    }
    let name = name.to_owned();
    let (rng, attended) = (Mutex::new(Rng::new(seed)), Attended::default());
    keep("network", Care::replaceable(KERNEL_WITHIN), move |thread| {
        while thread.goes_on() {
            attend_all(plan, &name, &rng, &attended);
            thread::sleep(LOOK_PERIOD);
        }
        Ok(())
    })
}

/// The interfaces that have a thread, by the kernel's numbers.
type Attended = Arc<Mutex<BTreeSet<u32>>>;

/// A panic elsewhere has left what is in there whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives each interface a thread for as long as it is there. A fixed address is for the first one alone.
fn attend_all(plan: Plan, name: &str, rng: &Mutex<Rng>, attended: &Attended) {
    let most = if plan == Plan::Dhcp { INTERFACES_MAX } else { 1 };
    for interface in Interface::all() {
        let index = interface.index;
        if lock(attended).len() >= most || !lock(attended).insert(index) {
            continue;
        }
        let (name, rng, all) = (name.to_owned(), Mutex::new(lock(rng).fork()), attended.clone());
        let concern = format!("network {}", interface.name);
        let started = keep(&concern, Care::replaceable(KERNEL_WITHIN), move |thread| {
            let is_there = || interface.is_there();
            tend(thread, &interface.name, is_there, || {
                attend(&Netlink::open()?, &interface, plan, &name, lock(&rng).fork(), thread)
            });
            if thread.goes_on() {
                lock(&all).remove(&index);
            }
            Ok(())
        });
        if let Err(error) = started {
            log::warn!("no thread for a network interface: {error}");
            lock(attended).remove(&index);
        }
    }
}

/// Attends to an interface for as long as it is there.
fn tend(thread: &Run, name: &str, is_there: impl Fn() -> bool, attend: impl Fn() -> io::Result<()>) {
    while thread.goes_on() && is_there() {
        if let Err(error) = attend() {
            log::warn!("network interface {name}: {error}");
            thread::sleep(LOOK_PERIOD);
        }
    }
}

fn loopback() -> Option<u32> {
    fs::read_to_string("/sys/class/net/lo/ifindex").ok()?.trim().parse().ok()
}

/// Sets an interface up and keeps its address, until it is gone.
fn attend(
    netlink: &Netlink,
    interface: &Interface,
    plan: Plan,
    name: &str,
    rng: Rng,
    thread: &Run,
) -> io::Result<()> {
    netlink.set_up(interface.index)?;
    let put = |lease: &Lease| {
        netlink.add_address(interface.index, lease.addr, lease.prefix)?;
        if let Some(gateway) = lease.gateway {
            netlink.set_default_route(interface.index, gateway)?;
        }
        log::info!("network interface {}: {}/{}", interface.name, lease.addr, lease.prefix);
        io::Result::Ok(())
    };
    if let Plan::Static(lease) = plan {
        put(&lease)?;
        while thread.goes_on() && interface.is_there() {
            thread::sleep(LOOK_PERIOD);
        }
        return Ok(());
    }
    let start = SystemInstant::now();
    let now = || Instant::from_micros(1 + start.elapsed().as_micros() as u64);
    let socket = dhcp_socket(&interface.name)?;
    let mut dhcp = Dhcp::new(now(), interface.mac, name, rng);
    let own = Lease { addr: interface.own_address(), prefix: 16, gateway: None };
    let mut used: Option<Lease> = None;
    let mut alone_at = Some(now() + ALONE_AFTER);
    let mut buffer = [0; PACKET_SIZE_MAX_BYTES];
    let mut has_carrier = interface.has_carrier();
    while interface.is_there() {
        let had_carrier = std::mem::replace(&mut has_carrier, interface.has_carrier());
        if has_carrier && !had_carrier {
            dhcp.handle_carrier(now());
        }
        dhcp.handle_timeout(now());
        while let Some(output) = dhcp.poll_output() {
            let next = match output {
                Output::Send(packet) => {
                    // A packet that cannot be sent (no cable yet) is sent again.
                    let _ = socket.send_to(&packet, SocketAddr::from((Ipv4Addr::BROADCAST, 67)));
                    continue;
                }
                Output::Use(lease) => Some(lease),
                Output::Drop => Some(own),
            };
            alone_at = None;
            replace(netlink, interface.index, &mut used, next, &put)?;
        }
        if alone_at.is_some_and(|at| at <= now()) {
            alone_at = None;
            replace(netlink, interface.index, &mut used, Some(own), &put)?;
        }
        let wake = alone_at.into_iter().fold(dhcp.poll_timeout().0, Instant::min).min(now() + LOOK_PERIOD);
        socket.set_read_timeout(Some(wake.since(now()).max(Duration::from_millis(1))))?;
        thread.rests();
        let received = socket.recv_from(&mut buffer);
        // Another may have taken over while the kernel kept us waiting.
        if !thread.goes_on() {
            return Ok(());
        }
        match received {
            Ok((size, _)) => dhcp.handle_packet(now(), &buffer[..size]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Uses another address from now on.
fn replace(
    netlink: &Netlink,
    index: u32,
    used: &mut Option<Lease>,
    next: Option<Lease>,
    put: &impl Fn(&Lease) -> io::Result<()>,
) -> io::Result<()> {
    if *used == next {
        return Ok(());
    }
    if let Some(old) = used.take() {
        netlink.remove_address(index, old.addr, old.prefix)?;
    }
    if let Some(next) = &next {
        put(next)?;
    }
    *used = next;
    Ok(())
}

/// A socket at port 68 that needs no address to broadcast.
fn dhcp_socket(interface: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)).into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use zhost_threads::{concerns, look_after};

    #[test]
    fn a_panic_over_an_address_costs_a_wait_and_the_next_try_goes_on() {
        static TRIES: AtomicU64 = AtomicU64::new(0);
        let attend = || match TRIES.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("planted"),
            _ => Err(io::ErrorKind::NotConnected.into()),
        };
        let body = move |thread: &Run| {
            tend(thread, "net0", || true, attend);
            Ok(())
        };
        keep("network", Care::replaceable(KERNEL_WITHIN), body).unwrap();
        let network = || concerns().into_iter().find(|concern| concern.name == "network").unwrap();
        while network().failures == 0 {
            look_after(Instant::ZERO);
            thread::yield_now();
        }
        while TRIES.load(Ordering::SeqCst) < 3 {
            look_after(Instant::ZERO + Duration::from_secs(1));
            thread::yield_now();
        }
        assert!(network().last_error.contains("planted"), "{:?}", network());
    }

    #[test]
    fn plans_are_read_or_refused_with_an_example() {
        assert_eq!("dhcp".parse(), Ok(Plan::Dhcp));
        let lease = Lease {
            addr: Ipv4Addr::new(192, 168, 1, 5),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(192, 168, 1, 1)),
        };
        assert_eq!("192.168.1.5/24 via 192.168.1.1".parse(), Ok(Plan::Static(lease)));
        for wrong in ["", "192.168.1.5", "192.168.1.5/33", "192.168.1.5/24 via nobody"] {
            assert!(wrong.parse::<Plan>().unwrap_err().contains("such as"), "{wrong}");
        }
    }
}
