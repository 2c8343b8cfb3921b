//! The sockets of a zhost, its addresses on the networks it is on, and where everybody on them hears. All of it may
//! change at any time: what is found here at the start is looked at again whenever the kernel says so, and now and then.

use crate::{
    event::Event,
    settings::{Settings, SettingsError},
    sockets::Sockets,
};
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketFlags, SocketType, bind as bind_fd, listen, socket_with, sockopt},
};
use smol::{
    Async, Timer,
    channel::{Sender, TrySendError},
    net::{TcpListener, UdpSocket},
};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs},
    time::Duration,
};
use zhost_base::limits::{JOIN_ADDRESSES_MAX, JOIN_MAX};
use zhost_init::interfaces::{self, Address};
use zhost_node::{Input, Named};
use zhost_threads::{Run, once};

/// The link-local group of zhosts: "zhost" in hexadecimal.
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0x7a, 0x686f, 0x7374);
/// How often the kernel may choose a port.
const PORT_CHOICES_MAX: usize = 16;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Addresses at which everybody hears; those of further interfaces are left out.
const BROADCASTS_MAX: usize = 32;
/// How long a name may take; what the resolver of the system waits for its servers is less.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(60);
/// Changes of a network come in swarms: this long after the first, it is looked at.
const SWARM: Duration = Duration::from_millis(100);

/// A zhost's place on its networks.
pub struct Place {
    /// The bound sockets.
    pub sockets: Sockets,
    /// Where gossip and links are listened to.
    pub listen: SocketAddr,
    /// Where operators reach it.
    pub control_addr: SocketAddr,
    /// Where browsers reach it, if they do.
    pub web_addr: Option<SocketAddr>,
    /// Follows the networks.
    pub follower: Follower,
    /// What they are at present.
    pub networks: Networks,
    /// Zhosts to join.
    pub join: Vec<Named>,
}

/// What this machine is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Where others reach this zhost.
    pub addrs: Vec<SocketAddr>,
    /// Where everybody hears.
    pub broadcasts: Vec<SocketAddr>,
    /// The machine's addresses, whether others are told of them or not.
    own: Vec<IpAddr>,
}

impl Networks {
    /// Whether a connection from that address of ours can go on.
    pub fn have(&self, own: IpAddr) -> bool {
        own.is_loopback() || self.own.contains(&own)
    }
}

/// A socket at an address; one at all addresses of IPv6 is at those of IPv4, too.
fn socket(addr: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !addr.ip().is_unspecified())?;
    }
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind_fd(&socket, &addr)?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// The same, for kernels that have no IPv6 with IPv4 alone.
fn socket_anyhow(addr: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    match socket(addr, kind) {
        Err(error) if addr.is_ipv6() && addr.ip().is_unspecified() && lacks_ipv6(&error) => {
            socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()), kind)
        }
        result => result,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let kinds = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    kinds.iter().any(|kind| error.raw_os_error() == Some(kind.raw_os_error()))
}

/// Gossip and links have the same port. One that the kernel chose for the former (0) may be taken for the latter: it is to
/// choose again.
fn bind_both(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    for _ in 0..PORT_CHOICES_MAX {
        let gossip = UdpSocket::try_from(socket_anyhow(listen, SocketType::DGRAM)?)?;
        match socket(gossip.local_addr()?, SocketType::STREAM) {
            Err(error) if listen.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            links => return Ok((gossip, links?.try_into()?)),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Binds the sockets that the settings name.
pub fn bind(settings: &Settings) -> Result<Place, SettingsError> {
    let failed = |name: &'static str| move |e: io::Error| settings.complain(name, &e);
    let web: Option<SocketAddr> = match settings.text("web") {
        Some("") | None => None,
        Some(_) => Some(settings.parse("web")?),
    };
    let join: Vec<Named> = settings.parse_list("join")?;
    if join.len() > JOIN_MAX {
        let reason = format!("at most {JOIN_MAX} can be named; any zhost of the cluster knows the others");
        return Err(settings.complain("join", &reason));
    }
    let (gossip, links) = bind_both(settings.parse("listen")?).map_err(failed("listen"))?;
    let control = socket_anyhow(settings.parse("control")?, SocketType::DGRAM).map_err(failed("control"))?;
    let control = UdpSocket::try_from(control).map_err(failed("control"))?;
    let web = web.map(|web| TcpListener::try_from(socket_anyhow(web, SocketType::STREAM)?)).transpose();
    let web = web.map_err(failed("web"))?;
    let listen = gossip.local_addr().map_err(failed("listen"))?;
    let control_addr = control.local_addr().map_err(failed("control"))?;
    let web_addr = web.as_ref().map(TcpListener::local_addr).transpose().map_err(failed("web"))?;
    let advertised = match settings.text("advertise") {
        Some(_) => Some(settings.parse("advertise")?),
        None => None,
    };
    let mut follower = Follower {
        listen,
        advertised,
        discovers: settings.parse("discover")?,
        joined: BTreeSet::new(),
        last: None,
    };
    let networks = follower.changed(&gossip).unwrap_or_default();
    Ok(Place {
        sockets: Sockets {
            gossip,
            links,
            control,
            web,
            gossip_is_v6: listen.is_ipv6(),
            control_is_v6: control_addr.is_ipv6(),
        },
        listen,
        control_addr,
        web_addr,
        follower,
        networks,
        join,
    })
}

/// Follows the networks that this machine is on.
pub struct Follower {
    listen: SocketAddr,
    /// What others are to be told, if it was set by hand.
    advertised: Option<SocketAddr>,
    discovers: bool,
    /// The interfaces on which the group is heard.
    joined: BTreeSet<u32>,
    /// What was found last.
    last: Option<Networks>,
}

impl Follower {
    /// Whether this zhost looks for others on its networks.
    pub fn discovers(&self) -> bool {
        self.discovers && self.listen.ip().is_unspecified()
    }

    /// What the networks are now, if that is something else than before.
    pub fn changed(&mut self, gossip: &UdpSocket) -> Option<Networks> {
        let addresses = match interfaces::addresses() {
            Ok(addresses) => addresses,
            Err(error) => {
                log::debug!("looking at the network interfaces: {error}");
                return None;
            }
        };
        let networks = Networks {
            addrs: self.told(&addresses),
            broadcasts: if self.discovers() { self.broadcasts(&addresses) } else { Vec::new() },
            own: addresses.iter().map(|address| address.addr).collect(),
        };
        if self.last.as_ref() == Some(&networks) {
            return None;
        }
        if self.discovers() {
            self.listen_to_everybody(gossip, &addresses);
        }
        self.last = Some(networks.clone());
        Some(networks)
    }

    /// Whether addresses of that kind reach us.
    fn hears(&self, addr: IpAddr) -> bool {
        self.listen.is_ipv6() || addr.is_ipv4()
    }

    /// What others are told: the best address of each interface and kind. The node leaves out what cannot be told.
    fn told(&self, addresses: &[Address]) -> Vec<SocketAddr> {
        if let Some(addr) = self.advertised {
            return vec![addr];
        }
        if !self.listen.ip().is_unspecified() {
            return vec![self.listen];
        }
        let mut seen = BTreeSet::new();
        let can_be_told = |addr: IpAddr| match addr {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        let usable = addresses.iter().filter(|a| self.hears(a.addr) && can_be_told(a.addr));
        let best = usable.filter(|a| seen.insert((a.interface, a.addr.is_ipv6())));
        best.map(|a| SocketAddr::new(a.addr, self.listen.port())).collect()
    }

    /// Where everybody hears: on each network of IPv4, and for IPv6 on each interface.
    fn broadcasts(&self, addresses: &[Address]) -> Vec<SocketAddr> {
        let port = self.listen.port();
        let mut broadcasts = Vec::new();
        for address in addresses.iter().filter(|address| self.hears(address.addr)) {
            let everybody = match address.addr {
                IpAddr::V4(_) => address.broadcast().map(|addr| SocketAddr::new(addr.into(), port)),
                IpAddr::V6(_) => Some(SocketAddrV6::new(GROUP, port, 0, address.interface).into()),
            };
            broadcasts.extend(everybody.filter(|everybody| !broadcasts.contains(everybody)));
        }
        broadcasts.truncate(BROADCASTS_MAX);
        broadcasts
    }

    /// Makes the socket speak to and hear everybody.
    fn listen_to_everybody(&mut self, gossip: &UdpSocket, addresses: &[Address]) {
        if let Err(error) = gossip.set_broadcast(true) {
            log::debug!("broadcasts: {error}");
        }
        if !self.listen.is_ipv6() {
            return;
        }
        let v6 = addresses.iter().filter(|address| address.addr.is_ipv6());
        let present: BTreeSet<u32> = v6.map(|address| address.interface).collect();
        for interface in present.difference(&self.joined) {
            // One that was away has forgotten what it was told, while the socket has not.
            let _ = gossip.leave_multicast_v6(&GROUP, *interface);
            if let Err(error) = gossip.join_multicast_v6(&GROUP, *interface) {
                log::debug!("hearing multicasts on interface {interface}: {error}");
            }
        }
        self.joined = present;
    }
}

/// Says whenever the kernel tells of a change. Without its notices, the look now and then has to do.
pub async fn attend(events: Sender<Event>) {
    let notices = match interfaces::notices().and_then(Async::new) {
        Ok(notices) => notices,
        Err(error) => return log::warn!("the kernel does not tell of network changes: {error}"),
    };
    while notices.readable().await.is_ok() {
        Timer::after(SWARM).await;
        match interfaces::swallow(notices.get_ref()) {
            Ok(false) => {}
            Ok(true) if events.send(Event::Network).await.is_ok() => {}
            Ok(true) => return,
            Err(error) => return log::warn!("the kernel tells of network changes no longer: {error}"),
        }
    }
}

/// Looks names up: that takes as long as the name server does, so it has a thread of its own. The node asks for one such
/// look-up at a time, and is answered in any case.
pub fn resolve(names: Vec<String>, events: Sender<Event>) {
    let (answers, gone) = (events.clone(), events.clone());
    let work = move |thread: &Run| {
        let look_up = |name: &String| thread.goes_on().then(|| look_up(name));
        let found: Option<Vec<_>> = names.iter().map(look_up).collect();
        if let Some(found) = found.filter(|_| thread.goes_on()) {
            // The loop has ended when nobody listens.
            let _ = answers.send_blocking(Event::Node(Input::Resolved(found)));
        }
    };
    let lost = move |_: &str| {
        !matches!(gone.try_send(Event::Node(Input::Resolved(Vec::new()))), Err(TrySendError::Full(_)))
    };
    if let Err(error) = once("names", LOOK_UP_WITHIN, work, lost) {
        log::warn!("no thread to look names up: {error}");
        let _ = events.try_send(Event::Node(Input::Resolved(Vec::new())));
    }
}

fn look_up(name: &str) -> (String, Vec<SocketAddr>) {
    let found = name.to_socket_addrs().map(|addrs| addrs.take(JOIN_ADDRESSES_MAX).collect());
    let addrs = found.unwrap_or_else(|error| {
        log::debug!("join: {name}: {error}");
        Vec::new()
    });
    (name.to_owned(), addrs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::canonical;

    #[test]
    fn one_socket_hears_both_kinds_of_addresses() {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        let socket = UdpSocket::try_from(socket_anyhow(any, SocketType::DGRAM).unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let asker = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        asker.send_to(b"hello", (Ipv4Addr::LOCALHOST, port)).unwrap();
        let (_, from) = smol::block_on(socket.recv_from(&mut [0; 8])).unwrap();
        assert_eq!(canonical(from), asker.local_addr().unwrap());
    }

    #[test]
    fn a_listener_at_one_address_tells_that_and_looks_for_nobody() {
        let listen = "127.0.0.1:9200".parse().unwrap();
        let follower =
            Follower { listen, advertised: None, discovers: true, joined: BTreeSet::new(), last: None };
        assert_eq!(follower.told(&[]), [listen]);
        assert!(!follower.discovers());
    }
}
