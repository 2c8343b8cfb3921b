//! Addresses and routes of network interfaces, set through rtnetlink (`man 7 rtnetlink`).

use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};
use std::{io, net::Ipv4Addr};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const REQUEST_AND_ACK: u16 = 1 | 4;
const CREATE_OR_REPLACE: u16 = 0x400 | 0x100;
const HEADER_SIZE_BYTES: usize = 16;
const IPV4: u8 = 2;

/// Asks the kernel.
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens the way to the kernel; the protocol rtnetlink is number 0.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket })
    }

    /// Brings an interface up.
    pub fn set_up(&self, index: u32) -> io::Result<()> {
        const UP: u32 = 1;
        let body = [[0; 4], index.to_ne_bytes(), UP.to_ne_bytes(), UP.to_ne_bytes()].concat();
        self.ask(RTM_NEWLINK, 0, &body)
    }

    /// Gives an interface an address.
    pub fn add_address(&self, index: u32, addr: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(RTM_NEWADDR, CREATE_OR_REPLACE, &address(index, addr, prefix))
    }

    /// Takes an address from an interface.
    pub fn remove_address(&self, index: u32, addr: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.ask(RTM_DELADDR, 0, &address(index, addr, prefix))
    }

    /// Sends everything that is not for a known network this way; of several such ways, that of the interface with the
    /// lowest number is used.
    pub fn set_default_route(&self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        const MAIN_TABLE: u8 = 254;
        const BY_DHCP: u8 = 16;
        const UNICAST: u8 = 1;
        let mut body = vec![IPV4, 0, 0, 0, MAIN_TABLE, BY_DHCP, 0, UNICAST, 0, 0, 0, 0];
        body.extend(attribute(4, index.to_ne_bytes()));
        body.extend(attribute(5, gateway.octets()));
        body.extend(attribute(6, index.to_ne_bytes()));
        self.ask(RTM_NEWROUTE, CREATE_OR_REPLACE, &body)
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let size = (HEADER_SIZE_BYTES + body.len()) as u32;
        let mut message = Vec::from(size.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(REQUEST_AND_ACK | flags).to_ne_bytes());
        // Sequence and port: there is one question at a time.
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(body);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = [0_u8; 256];
        let (size, _) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        verdict(&answer[..size.min(256)])
    }
}

/// What the kernel made of a request.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        _ => Err(io::Error::other("the kernel's answer makes no sense")),
    }
}

fn attribute(kind: u16, value: [u8; 4]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&8_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
    bytes[4..].copy_from_slice(&value);
    bytes
}

fn address(index: u32, addr: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut body = vec![IPV4, prefix, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    let broadcast = Ipv4Addr::from(addr.to_bits() | host_bits);
    for (kind, value) in [(2, addr), (1, addr), (4, broadcast)] {
        body.extend(attribute(kind, value.octets()));
    }
    body
}
