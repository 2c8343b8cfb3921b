//! Where a zhost says that it is reached.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use serde::{Deserialize, Serialize};
use zhost_base::limits::ADDRESSES_MAX;

/// A few addresses of one zhost, of each of its interfaces one; further ones are left out. What means another machine
/// elsewhere (a link-local address), or nobody (no address, no port), is never among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<SocketAddr>", into = "Vec<SocketAddr>")]
pub struct Addrs([Option<SocketAddr>; ADDRESSES_MAX]);

impl Addrs {
    /// The addresses, in the order in which the zhost says them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = SocketAddr> {
        self.0.into_iter().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether `addr` is one of them.
    pub fn contains(&self, addr: SocketAddr) -> bool {
        self.iter().any(|own| own == addr)
    }

    /// Whether one of them is reached from the machine itself alone.
    pub fn are_on_loopback(&self) -> bool {
        self.iter().any(|addr| addr.ip().is_loopback())
    }

    /// How near an address is to the nearest of these, by the bits they have in common. Those of one family are
    /// comparable: whoever is on the same network is nearer than everybody else.
    pub fn nearness(&self, addr: SocketAddr) -> u32 {
        self.iter().map(|own| bits_in_common(own.ip(), addr.ip())).max().unwrap_or(0)
    }
}

/// Of 128; a bit of IPv4 counts four times, so that a network of 24 bits there counts more than one of 64 of IPv6.
fn bits_in_common(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() * 4,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros().min(64),
        _ => 0,
    }
}

/// Whether an address means the same to machines on several networks.
fn can_be_told(addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let means_nobody = ip.is_unspecified() || ip.is_multicast() || addr.port() == 0;
    !means_nobody && !is_link_local(ip)
}

/// Whether an address means somebody else on every network.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

impl FromIterator<SocketAddr> for Addrs {
    fn from_iter<T: IntoIterator<Item = SocketAddr>>(addrs: T) -> Self {
        let mut own = Self::default();
        for addr in addrs {
            let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
            let known = own.contains(addr) || !can_be_told(addr);
            if let Some(free) = own.0.iter_mut().find(|place| place.is_none() && !known) {
                *free = Some(addr);
            }
        }
        own
    }
}

impl From<SocketAddr> for Addrs {
    fn from(addr: SocketAddr) -> Self {
        core::iter::once(addr).collect()
    }
}

impl From<Vec<SocketAddr>> for Addrs {
    fn from(addrs: Vec<SocketAddr>) -> Self {
        addrs.into_iter().collect()
    }
}

impl From<Addrs> for Vec<SocketAddr> {
    fn from(addrs: Addrs) -> Self {
        addrs.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn addrs(texts: &[&str]) -> Addrs {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_few_addresses_are_told_each_once_and_none_that_means_somebody_else_elsewhere() {
        let told = addrs(&["10.0.0.1:9", "[::ffff:10.0.0.1]:9", "169.254.7.7:9", "[fe80::1]:9", "0.0.0.0:9"]);
        assert_eq!(Vec::from(told), vec!["10.0.0.1:9".parse().unwrap()]);
        let many: Vec<SocketAddr> = (0..9).map(|last| SocketAddr::from(([10, 0, last, 1], 9))).collect();
        assert_eq!(Vec::from(Addrs::from(many.clone())), many[..ADDRESSES_MAX]);
        let bytes = postcard::to_allocvec(&many).unwrap();
        assert_eq!(postcard::from_bytes::<Addrs>(&bytes).unwrap(), Addrs::from(many), "on the wire too");
    }

    #[test]
    fn who_is_on_the_same_network_is_nearer() {
        let own = addrs(&["10.1.0.5:9", "192.168.7.1:9", "[fd00:7::1]:9"]);
        let nearest = |texts: &[&str]| addrs(texts).iter().max_by_key(|addr| own.nearness(*addr)).unwrap();
        assert_eq!(nearest(&["172.17.0.1:9", "192.168.7.9:9"]), "192.168.7.9:9".parse().unwrap());
        assert_eq!(nearest(&["10.2.0.1:9", "[fd00:7::2]:9"]), "[fd00:7::2]:9".parse().unwrap());
        assert_eq!(nearest(&["[fd00:7::2]:9", "10.1.0.2:9"]), "10.1.0.2:9".parse().unwrap());
    }
}
