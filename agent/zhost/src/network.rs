//! The sockets of a zhost, its address on the network, and where everybody on that network hears.

use crate::{
    settings::{Settings, SettingsError},
    shell::Sockets,
};
use smol::net::{TcpListener, UdpSocket};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    thread,
    time::{Duration, Instant},
};

/// How long a zhost waits for its machine to get an address, before it goes on without.
const NETWORK_WITHIN: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// The link-local group of zhosts: "zhost" in hexadecimal.
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0x7a, 0x686f, 0x7374);

/// How often the kernel may choose a port.
const PORT_CHOICES_MAX: usize = 16;

/// A zhost's place on its network.
pub struct Place {
    /// The bound sockets.
    pub sockets: Sockets,
    /// Where others reach gossip and links.
    pub addr: SocketAddr,
    /// Where operators reach it.
    pub control_addr: SocketAddr,
    /// Where browsers reach it, if they do.
    pub web_addr: Option<SocketAddr>,
    /// Where everybody on the network hears.
    pub broadcasts: Vec<SocketAddr>,
    /// Follows a changing address, unless it was set by hand.
    pub follower: Option<AddressFollower>,
}

/// Gossip and links have the same port. One that the kernel chose for the former (0) may be taken for the latter: it is to
/// choose again.
async fn bind_both(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    for _ in 0..PORT_CHOICES_MAX {
        let gossip = UdpSocket::bind(listen).await?;
        match TcpListener::bind(gossip.local_addr()?).await {
            Err(error) if listen.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            links => return Ok((gossip, links?)),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Binds the sockets that the settings name.
pub fn bind(settings: &Settings) -> Result<Place, SettingsError> {
    let failed = |name: &'static str| move |e: io::Error| settings.complain(name, &e);
    let listen: SocketAddr = settings.parse("listen")?;
    let control: SocketAddr = settings.parse("control")?;
    let web: Option<SocketAddr> = match settings.text("web") {
        Some("") | None => None,
        Some(_) => Some(settings.parse("web")?),
    };
    let (gossip, links, control, web) = smol::block_on(async {
        let (gossip, links) = bind_both(listen).await.map_err(failed("listen"))?;
        let control = UdpSocket::bind(control).await.map_err(failed("control"))?;
        let web = match web {
            Some(web) => Some(TcpListener::bind(web).await.map_err(failed("web"))?),
            None => None,
        };
        Ok((gossip, links, control, web))
    })?;
    let listen = gossip.local_addr().map_err(failed("listen"))?;
    let control_addr = control.local_addr().map_err(failed("control"))?;
    let join: Vec<SocketAddr> = settings.parse_list("join")?;
    let follower = match settings.text("advertise") {
        Some(_) => None,
        None => Some(AddressFollower { listen, towards: join.first().copied() }),
    };
    let addr = match &follower {
        Some(follower) => follower.wait(),
        None => settings.parse("advertise")?,
    };
    let broadcasts = if settings.parse("discover")? && listen.ip().is_unspecified() {
        discover(&gossip, listen)
    } else {
        Vec::new()
    };
    let reached_at = |bound: SocketAddr| match bound.ip().is_unspecified() {
        true => SocketAddr::new(addr.ip(), bound.port()),
        false => bound,
    };
    let control_addr = reached_at(control_addr);
    let web_addr = web.as_ref().map(TcpListener::local_addr).transpose().map_err(failed("web"))?;
    let follower = follower.filter(|_| listen.ip().is_unspecified());
    Ok(Place {
        sockets: Sockets {
            gossip,
            links,
            control,
            web,
            gossip_is_v6: listen.is_ipv6(),
            control_is_v6: control_addr.is_ipv6(),
        },
        addr,
        control_addr,
        web_addr: web_addr.map(reached_at),
        broadcasts,
        follower,
    })
}

/// Finds out at which address others reach a socket.
#[derive(Clone, Debug)]
pub struct AddressFollower {
    listen: SocketAddr,
    towards: Option<SocketAddr>,
}

impl AddressFollower {
    /// The address at present: for a wildcard, the one the kernel would use to talk to a zhost we join, or to anybody.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        if !self.listen.ip().is_unspecified() {
            return Ok(self.listen);
        }
        // Connecting a UDP socket sends nothing; these are documentation addresses (RFC 5737, RFC 3849) behind the
        // default route.
        let anybody = match self.listen.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        let towards = self.towards.unwrap_or(SocketAddr::new(anybody, 9));
        let wildcard: IpAddr = match towards {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = std::net::UdpSocket::bind(SocketAddr::new(wildcard, 0))?;
        let found = socket.connect(towards).and_then(|()| socket.local_addr());
        let found = found.map(|addr| addr.ip()).ok().or_else(|| local_networks().first().map(|net| net.addr));
        let nothing =
            || io::Error::other("this machine has no network; say how others reach it with --advertise");
        Ok(SocketAddr::new(found.ok_or_else(nothing)?, self.listen.port()))
    }

    /// Waits until the machine has an address: a board may start before its network does. One that gets none goes on
    /// alone, since there may be a serial line, and the network may come later.
    fn wait(&self) -> SocketAddr {
        let deadline = Instant::now() + NETWORK_WITHIN;
        let mut said = false;
        loop {
            match self.addr() {
                Ok(addr) => return addr,
                Err(error) if Instant::now() >= deadline => {
                    log::warn!("{error}; going on without");
                    return SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.listen.port());
                }
                Err(_) => {
                    if !said {
                        log::info!("waiting for the network, up to {} s", NETWORK_WITHIN.as_secs());
                        said = true;
                    }
                    thread::sleep(LOOK_PERIOD);
                }
            }
        }
    }
}

/// Makes the socket speak to and hear everybody; gives the addresses that reach them.
fn discover(gossip: &UdpSocket, listen: SocketAddr) -> Vec<SocketAddr> {
    let port = listen.port();
    let mut addresses = Vec::new();
    if gossip.set_broadcast(true).is_ok() {
        let networks = local_networks();
        addresses.extend(networks.iter().map(|net| SocketAddr::new(net.broadcast.into(), port)));
        if networks.is_empty() {
            // Whatever network comes later.
            addresses.push((Ipv4Addr::BROADCAST, port).into());
        }
    }
    if listen.is_ipv6() {
        let joined =
            interfaces_v6().into_iter().filter(|scope| gossip.join_multicast_v6(&GROUP, *scope).is_ok());
        addresses.extend(joined.map(|scope| SocketAddr::V6(SocketAddrV6::new(GROUP, port, 0, scope))));
    }
    addresses
}

/// An IPv4 network this machine is directly on.
struct LocalNetwork {
    addr: IpAddr,
    broadcast: Ipv4Addr,
}

/// The networks of the kernel's routing table that need no gateway.
fn local_networks() -> Vec<LocalNetwork> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    table.lines().skip(1).filter_map(parse_route).collect()
}

/// A line of `/proc/net/route`: interface, destination, gateway, flags, three counters, mask; addresses in hexadecimal
/// in the machine's own byte order (proc(5)).
fn parse_route(line: &str) -> Option<LocalNetwork> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
    let (destination, gateway, mask) = (number(1)?, number(2)?, number(7)?);
    let is_network = gateway == 0 && mask != 0 && mask != u32::MAX;
    let broadcast = Ipv4Addr::from((destination | !mask).to_ne_bytes());
    let own = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let near = Ipv4Addr::from((destination | (!mask & 1_u32.to_be())).to_ne_bytes());
    let addr = own.connect((near, 9)).and_then(|()| own.local_addr()).ok()?.ip();
    (is_network && !broadcast.is_loopback()).then_some(LocalNetwork { addr, broadcast })
}

/// Numbers of the interfaces with a link-local IPv6 address: the second and last field of `/proc/net/if_inet6`.
fn interfaces_v6() -> Vec<u32> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let link_local = table.lines().filter(|line| line.starts_with("fe80"));
    link_local.filter_map(|line| u32::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()).collect()
}

/// The address as a socket must be given it: those of IPv6 reach IPv4 by mapped addresses.
pub fn for_socket(is_v6: bool, to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(v4) if is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        _ => to,
    }
}

/// The address as everybody else writes it.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(addr.ip().to_canonical(), addr.port())
        }
        _ => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_broadcast_address_and_a_default_route_has_none() {
        let loopback = format!(
            "lo\t{:08X}\t00000000\t0001\t0\t0\t0\t{:08X}\t0\t0\t0",
            0x7f00_0000_u32.to_be(),
            0xff00_0000_u32.to_be()
        );
        assert!(parse_route(&loopback).is_none(), "loopback is no network to look around on");
        let default = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert!(parse_route(default).is_none());
        assert!(parse_route("nonsense").is_none());
    }

    #[test]
    fn addresses_of_ipv4_pass_through_sockets_of_ipv6() {
        let peer: SocketAddr = "10.0.0.1:9200".parse().unwrap();
        assert_eq!(canonical(for_socket(true, peer)), peer);
        assert_eq!(for_socket(false, peer), peer);
        let v6: SocketAddr = "[2001:db8::1]:9200".parse().unwrap();
        assert_eq!(canonical(for_socket(true, v6)), v6);
    }
}
