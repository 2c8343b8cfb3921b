//! The addresses of this machine's network interfaces, and news of them, through rtnetlink (`man 7 rtnetlink`).

use rustix::{
    fd::OwnedFd,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        send, socket_with,
    },
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const REQUEST_DUMP: u16 = 1 | 0x300;
/// Notices of links, of addresses of IPv4, and of those of IPv6.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
const HEADER_SIZE_BYTES: usize = 16;
/// Bytes of one part of an answer; the kernel makes them no larger than that.
const PART_SIZE_MAX_BYTES: usize = 32 * 1024;
/// Parts of an answer, and notices read at once.
const PARTS_MAX: usize = 64;
/// Addresses of one machine; further ones are not seen.
const ADDRESSES_MAX: usize = 256;

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const IS_UP: u32 = 0x1;
const IS_LOOPBACK: u32 = 0x8;
/// It is not known yet, or known not to be so, that no other machine has the address.
const UNPROVED: u32 = 0x40 | 0x08;
/// Beside others of the interface, for a while only, or on its way out.
const SECOND_CHOICE: u32 = 0x01 | 0x20;

/// An address of an interface that is up and leads to other machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub interface: u32,
    /// The address.
    pub addr: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// Whether another one of the interface is better.
    is_second_choice: bool,
}

impl Address {
    /// The address at which everybody on its network hears, if it is one of IPv4 with others.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        let IpAddr::V4(addr) = self.addr else { return None };
        let host_bits = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        (host_bits > 1).then(|| Ipv4Addr::from(addr.to_bits() | host_bits))
    }
}

/// An interface.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    index: u32,
    name: String,
    leads_somewhere: bool,
}

impl Link {
    /// Bridges, tunnels and the like lead to machines inside this one more often than to others.
    fn is_device(&self) -> bool {
        Path::new("/sys/class/net").join(&self.name).join("device").exists()
    }
}

/// The addresses at present: those of devices first, then by the number of the interface, the best of each first.
pub fn addresses() -> io::Result<Vec<Address>> {
    let mut links = dump(RTM_GETLINK, RTM_NEWLINK, 16, parse_link)?;
    links.retain(|link| link.leads_somewhere);
    links.sort_by_key(|link| (!link.is_device(), link.index));
    let place = |address: &Address| links.iter().position(|link| link.index == address.interface);
    let mut addresses = dump(RTM_GETADDR, RTM_NEWADDR, 8, parse_address)?;
    addresses.retain(|address| place(address).is_some());
    addresses.sort_by_key(|address| (place(address), address.is_second_choice));
    Ok(addresses)
}

/// A socket that has something to read when an interface or an address has changed; [`swallow`] reads it.
pub fn notices() -> io::Result<OwnedFd> {
    let socket = open()?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// Reads the notices there are, and tells whether there was one. What they say is asked anew.
pub fn swallow(notices: &OwnedFd) -> io::Result<bool> {
    let mut part = [0; 512];
    for count in 0..PARTS_MAX {
        match recv(notices, &mut part, RecvFlags::empty()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count > 0),
            // More than the kernel kept for us: there was news.
            Err(rustix::io::Errno::NOBUFS) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // The protocol rtnetlink is number 0.
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?)
}

/// Everything of a kind that the kernel has. It answers while it is asked, so nothing is waited for.
fn dump<T>(
    question: u16,
    answer: u16,
    body_size_bytes: usize,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Vec<T>> {
    let socket = open()?;
    let mut message = Vec::from(((HEADER_SIZE_BYTES + body_size_bytes) as u32).to_ne_bytes());
    message.extend_from_slice(&question.to_ne_bytes());
    message.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    message.resize(HEADER_SIZE_BYTES + body_size_bytes, 0);
    send(&socket, &message, SendFlags::empty())?;
    let mut found = Vec::new();
    let mut part = vec![0; PART_SIZE_MAX_BYTES];
    for _ in 0..PARTS_MAX {
        let (size, _) = recv(&socket, part.as_mut_slice(), RecvFlags::empty())?;
        for (kind, body) in Messages(&part[..size.min(PART_SIZE_MAX_BYTES)]) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(io::Error::other("the kernel does not list its interfaces")),
                _ if kind == answer && found.len() < ADDRESSES_MAX => found.extend(parse(body)),
                _ => {}
            }
        }
    }
    Ok(found)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What stands behind something of this size that begins the bytes: everything is aligned to four.
fn behind(bytes: &[u8], size: usize) -> &[u8] {
    bytes.get(size.next_multiple_of(4)..).unwrap_or_default()
}

/// The messages in bytes of the kernel: kind and body.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = u32_at(self.0, 0)? as usize;
        let (kind, body) = (u16_at(self.0, 4)?, self.0.get(HEADER_SIZE_BYTES..size)?);
        self.0 = behind(self.0, size);
        Some((kind, body))
    }
}

/// The attributes in the body of a message: kind and value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = usize::from(u16_at(self.0, 0)?);
        let (kind, value) = (u16_at(self.0, 2)?, self.0.get(4..size)?);
        self.0 = behind(self.0, size);
        Some((kind, value))
    }
}

/// A `struct ifinfomsg` and its attributes.
fn parse_link(body: &[u8]) -> Option<Link> {
    const NAME: u16 = 3;
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    let name = Attributes(body.get(16..)?).find(|(kind, _)| *kind == NAME);
    let name = name.and_then(|(_, name)| std::str::from_utf8(name).ok()).unwrap_or_default();
    let leads_somewhere = flags & IS_UP != 0 && flags & IS_LOOPBACK == 0;
    Some(Link { index, name: name.trim_end_matches('\0').to_owned(), leads_somewhere })
}

/// A `struct ifaddrmsg` and its attributes; nothing if the address cannot be used yet.
fn parse_address(body: &[u8]) -> Option<Address> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    const FLAGS: u16 = 8;
    let [family, prefix, few_flags, _] = *body.first_chunk()?;
    let interface = u32_at(body, 4)?;
    let (mut address, mut local, mut flags) = (None, None, u32::from(few_flags));
    for (kind, value) in Attributes(body.get(8..)?) {
        match kind {
            ADDRESS => address = ip(family, value),
            // At a point-to-point link the former is the other end's.
            LOCAL => local = ip(family, value),
            FLAGS => flags = u32_at(value, 0).unwrap_or(flags),
            _ => {}
        }
    }
    let addr = local.or(address)?;
    let is_usable = flags & UNPROVED == 0 && !addr.is_loopback();
    is_usable.then_some(Address { interface, addr, prefix, is_second_choice: flags & SECOND_CHOICE != 0 })
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        IPV4 => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
        IPV6 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_SIZE_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER_SIZE_BYTES, 0);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn address_body(flags: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let head = [vec![IPV4, 24, flags, 0], 7_u32.to_ne_bytes().to_vec()].concat();
        [head, attributes.concat()].concat()
    }

    #[test]
    fn messages_and_their_attributes_are_read() {
        let body = address_body(0, &[attribute(1, &[10, 0, 0, 9]), attribute(2, &[10, 0, 0, 5])]);
        let link = [vec![0; 4], 7_u32.to_ne_bytes().into(), IS_UP.to_ne_bytes().into(), vec![0; 4]].concat();
        let link = [link, attribute(3, b"eth0\0")].concat();
        let bytes = [message(RTM_NEWLINK, &link), message(RTM_NEWADDR, &body)].concat();
        let messages: Vec<_> = Messages(&bytes).collect();
        assert_eq!(messages.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [RTM_NEWLINK, RTM_NEWADDR]);
        let expected = Link { index: 7, name: "eth0".into(), leads_somewhere: true };
        assert_eq!(parse_link(messages[0].1), Some(expected));
        let address = parse_address(messages[1].1).unwrap();
        assert_eq!((address.addr, address.interface), ("10.0.0.5".parse().unwrap(), 7), "our own end");
        assert_eq!(address.broadcast(), Some(Ipv4Addr::new(10, 0, 0, 255)));
    }

    #[test]
    fn an_address_that_may_be_another_machines_is_not_used_yet() {
        let plain = |flags| address_body(flags, &[attribute(1, &[10, 0, 0, 5])]);
        assert!(parse_address(&plain(0x40)).is_none());
        assert!(parse_address(&plain(0x01)).unwrap().is_second_choice);
        let more = address_body(0, &[attribute(1, &[10, 0, 0, 5]), attribute(8, &0x40_u32.to_ne_bytes())]);
        assert!(parse_address(&more).is_none(), "flags that do not fit the head");
    }

    #[test]
    fn networks_of_one_or_two_have_no_broadcasts() {
        let broadcast = |prefix| {
            let addr = IpAddr::from([10, 0, 0, 5]);
            Address { interface: 1, addr, prefix, is_second_choice: false }.broadcast()
        };
        assert_eq!(broadcast(16), Some(Ipv4Addr::new(10, 0, 255, 255)));
        assert_eq!((broadcast(31), broadcast(32), broadcast(200)), (None, None, None));
    }

    #[test]
    fn the_kernel_lists_its_interfaces() {
        assert!(addresses().unwrap().iter().all(|address| !address.addr.is_loopback()));
        swallow(&notices().unwrap()).unwrap();
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_they_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, body) in Messages(&bytes) {
                parse_link(body);
                parse_address(body);
            }
            prop_assert!(Attributes(&bytes).count() <= bytes.len());
            parse_link(&bytes);
            parse_address(&bytes);
        }
    }
}
