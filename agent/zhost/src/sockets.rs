//! Sockets: what arrives at them is told the loop, and what the loop wants written is.

use crate::event::Event;
use smol::{
    Timer,
    channel::{Receiver, Sender},
    future,
    io::{AsyncReadExt, AsyncWriteExt},
    lock::Semaphore,
    net::{TcpListener, TcpStream, UdpSocket},
};
use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use zhost_node::{ConnectionId, Port};

/// Reads from a connection, at most this much at once; who says little gets less room.
const READ_SIZE_BYTES: usize = 64 * 1024;
const READ_SIZE_MIN_BYTES: usize = 2 * 1024;
/// Connections that were taken and the node has not heard of yet; further ones wait in the kernel.
const ACCEPTED_MAX: usize = 4;
const DATAGRAM_SIZE_BYTES: usize = 2048;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The sockets of a zhost, bound before it starts.
pub struct Sockets {
    pub gossip: UdpSocket,
    pub links: TcpListener,
    pub control: UdpSocket,
    /// Where browsers ask, if they may.
    pub web: Option<TcpListener>,
    /// Whether gossip and links are bound to an address of IPv6.
    pub gossip_is_v6: bool,
    /// Whether the control socket is.
    pub control_is_v6: bool,
}

/// A socket, and whether it is bound to an address of IPv6.
pub fn socket_of(sockets: &Sockets, port: Port) -> (&UdpSocket, bool) {
    match port {
        Port::Gossip => (&sockets.gossip, sockets.gossip_is_v6),
        Port::Control => (&sockets.control, sockets.control_is_v6),
    }
}

pub async fn receive(sockets: Rc<Sockets>, port: Port, events: Sender<Event>) {
    let mut buffer = [0; DATAGRAM_SIZE_BYTES];
    loop {
        match socket_of(&sockets, port).0.recv_from(&mut buffer).await {
            Ok((size, from)) => {
                let from = canonical(from);
                if events.send(Event::Datagram(port, from, buffer[..size].to_vec())).await.is_err() {
                    return;
                }
            }
            // Errors of earlier sends come back here; a socket that is really broken must not spin.
            Err(error) => {
                log::debug!("receiving on {port:?}: {error}");
                Timer::after(Duration::from_millis(10)).await;
            }
        }
    }
}

pub async fn accept(sockets: Rc<Sockets>, events: Sender<Event>) {
    let room = Arc::new(Semaphore::new(ACCEPTED_MAX));
    loop {
        let place = room.acquire_arc().await;
        match sockets.links.accept().await {
            Ok((stream, from)) => {
                if events.send(Event::Accepted(stream, canonical(from), place)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                log::warn!("accepting a link: {error}");
                Timer::after(Duration::from_millis(100)).await;
            }
        }
    }
}

pub async fn connect(connection: ConnectionId, addr: SocketAddr, events: Sender<Event>) {
    let timeout = async {
        Timer::after(CONNECT_TIMEOUT).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    let event = match future::or(TcpStream::connect(addr), timeout).await {
        Ok(stream) => Event::Connected(connection, stream),
        Err(error) => Event::Closed(connection, error.kind() == io::ErrorKind::ConnectionRefused),
    };
    // The loop has ended when nobody listens.
    let _ = events.send(event).await;
}

pub async fn read(
    connection: ConnectionId,
    mut stream: TcpStream,
    events: Sender<Event>,
    hang_up: Receiver<()>,
) {
    let mut buffer = vec![0; READ_SIZE_MIN_BYTES];
    loop {
        let ended = async {
            // Nothing is ever sent: this ends when the connection is dropped.
            let _ = hang_up.recv().await;
            Ok(0)
        };
        match future::or(stream.read(&mut buffer), ended).await {
            Ok(size) if size > 0 => {
                if events.send(Event::Bytes(connection, buffer[..size].to_vec())).await.is_err() {
                    return;
                }
                if size == buffer.len() {
                    buffer.resize((2 * size).min(READ_SIZE_BYTES), 0);
                }
            }
            _ => {
                let _ = events.send(Event::Closed(connection, false)).await;
                return;
            }
        }
    }
}

pub async fn write(
    mut stream: TcpStream,
    outgoing: Receiver<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
    hang_up: Sender<()>,
) {
    while let Ok(bytes) = outgoing.recv().await {
        queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        if stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    drop(hang_up);
    // The other side sees the end either way.
    let _ = stream.shutdown(std::net::Shutdown::Both);
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
    fn addresses_of_ipv4_pass_through_sockets_of_ipv6() {
        let peer: SocketAddr = "10.0.0.1:9200".parse().unwrap();
        assert_eq!(canonical(for_socket(true, peer)), peer);
        assert_eq!(for_socket(false, peer), peer);
        let v6: SocketAddr = "[2001:db8::1]:9200".parse().unwrap();
        assert_eq!(canonical(for_socket(true, v6)), v6);
    }
}
