//! What is sealed: datagrams between zhosts, links, tunnels through relays, the sessions of operators and the tickets of
//! browsers. All keys are here, before the node: it is told what was opened and who is proved to have sealed it, and what
//! it says is sealed on its way out.

mod tickets;

use crate::{
    config::Keys,
    input::Input,
    mesh::{
        links::{ConnectionId, Received},
        tunnels::{TunnelNews, TunnelOrder},
    },
    output::{Output, Plain, Port},
    spaces::web::WebId,
};
use litemap::LiteMap;
use serde_bytes::ByteBuf;
use std::{collections::VecDeque, net::SocketAddr};
use tickets::Tickets;
use zhost_base::{Instant, Rng, ZhostId};
use zhost_control::{
    Caller, Server, SessionId, Trust,
    line::{self, LineReader},
    protocol::{Reply, Request},
};
use zhost_gossip::seal::{OpenError, Sealer};
use zhost_link::{
    Identity, Link,
    noise::Role,
    tunnel::{Arrivals, Envelope, Tunnel},
};

/// Everything of a zhost that has a key.
pub(crate) struct Channels {
    identity: Identity,
    link_key: [u8; 32],
    tunnel_key: [u8; 32],
    sealer: Sealer,
    tickets: Tickets,
    /// As many as the node has connections: it says which are closed.
    links: LiteMap<ConnectionId, Link>,
    /// To whom the node has streams.
    tunnels: LiteMap<ZhostId, Tunnel>,
    arrivals: Arrivals,
    server: Server,
    line: LineReader,
    /// Never the node's: who knows its draws must not know any key.
    rng: Rng,
}

impl Channels {
    /// With these keys, for operators with these public ones.
    pub fn new(now: Instant, keys: Keys, operators: Vec<[u8; 32]>, mut rng: Rng) -> Self {
        let Keys { secret, identity, control } = keys;
        Self {
            link_key: secret.derive("zhost link v1"),
            tunnel_key: secret.derive("zhost tunnel v1"),
            sealer: Sealer::new(&secret),
            tickets: Tickets::new(secret),
            links: LiteMap::new(),
            tunnels: LiteMap::new(),
            arrivals: Arrivals::default(),
            server: Server::new(now, identity.clone(), control, Trust::Operators(operators), rng.fork()),
            line: LineReader::default(),
            identity,
            rng,
        }
    }

    /// A datagram arrived; what the node is to know of it.
    pub fn open_datagram(
        &mut self,
        now: Instant,
        port: Port,
        from: SocketAddr,
        sealed: &[u8],
    ) -> Option<Input> {
        match port {
            Port::Gossip => match self.sealer.open(sealed) {
                Ok(plain) => Some(Input::Gossip(from, plain)),
                Err(OpenError::WrongSecret) => Some(Input::Foreign(from)),
                Err(OpenError::Malformed) => None,
            },
            Port::Control => {
                self.server.handle_datagram(now, Caller::Network(from), sealed);
                None
            }
        }
    }

    /// Bytes came from the serial line.
    pub fn open_serial(&mut self, now: Instant, bytes: &[u8]) {
        self.line.handle_bytes(bytes);
        // What is no datagram is somebody typing at the console, or noise.
        self.line.take_text();
        while let Some(datagram) = self.line.poll_datagram() {
            self.server.handle_datagram(now, Caller::Serial, &datagram);
        }
    }

    /// A connection is there, or asked for: of two sides, who asked speaks first.
    pub fn begin_link(&mut self, id: ConnectionId, role: Role) {
        self.links.insert(id, Link::new(role, &self.identity, &self.link_key, self.rng.fork()));
    }

    pub fn end_link(&mut self, id: ConnectionId) {
        self.links.remove(&id);
    }

    /// Bytes arrived on a connection.
    pub fn open_bytes(&mut self, id: ConnectionId, bytes: &[u8]) -> Option<Input> {
        let link = self.links.get_mut(&id)?;
        let received = link.handle_bytes(bytes).map(|()| Received {
            from: link.remote(),
            frames: std::iter::from_fn(|| link.poll_frame()).map(ByteBuf::from).collect(),
        });
        Some(Input::Received(id, received))
    }

    /// What a link has to write: a message of its handshake, or what was sealed.
    pub fn poll_bytes(&mut self, id: ConnectionId) -> Option<Output> {
        Some(Output::Write(id, self.links.get_mut(&id)?.poll_bytes()?))
    }

    /// A browser asks; with until when the ticket is good that it shows for this.
    pub fn admit(&self, id: WebId, request: zhost_web::Request) -> Input {
        let good_until_s = self.tickets.good_until_s(&request);
        Input::Asked { id, request, good_until_s }
    }

    /// Seals what the node says, for the shell; with what the node is to know of it.
    pub fn seal(&mut self, now: Instant, plain: Plain, outputs: &mut VecDeque<Output>) -> Option<Input> {
        match plain {
            Plain::Gossip(to, datagram) => {
                let sealed = self.sealer.seal(&mut self.rng, &datagram);
                outputs.push_back(Output::Datagram(Port::Gossip, to, sealed));
                None
            }
            Plain::Frames(id, frames) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.seal(&frames);
                }
                outputs.extend(self.poll_bytes(id));
                None
            }
            Plain::Reply(session, message, reply) => {
                self.server.reply(now, session, message, reply);
                None
            }
            Plain::Tunnel(order) => self.order(order).map(Input::Tunnel),
            Plain::Page { asker, page, until_s } => {
                Some(Input::Page(asker, page.address(&self.tickets.ticket(&page, until_s))))
            }
        }
    }

    fn order(&mut self, order: TunnelOrder) -> Option<TunnelNews> {
        match order {
            TunnelOrder::Open { to, route } => {
                let opened = Tunnel::open(to, &self.identity, &self.tunnel_key, self.rng.fork());
                let (tunnel, envelope) = opened?;
                self.tunnels.insert(to, tunnel);
                Some(TunnelNews::Envelope(route, envelope))
            }
            TunnelOrder::Seal { to, route, packet } => {
                let envelope = self.tunnels.get_mut(&to)?.seal(&packet)?;
                Some(TunnelNews::Envelope(route, envelope))
            }
            TunnelOrder::Confirm(to) => {
                self.tunnels.get_mut(&to)?.confirm();
                None
            }
            TunnelOrder::Close(to) => {
                self.tunnels.remove(&to);
                None
            }
            TunnelOrder::Take { back, envelope } => match envelope {
                Envelope::Open(number, message) => {
                    let rng = self.rng.fork();
                    let (identity, key) = (&self.identity, &self.tunnel_key);
                    let answer = self.arrivals.handle_open(number, &message, identity, key, rng)?;
                    Some(TunnelNews::Envelope(back, answer))
                }
                Envelope::Accept(number, message) => {
                    let peer = back.last().copied()?;
                    let tunnel = self.tunnels.get_mut(&peer)?;
                    tunnel.handle_accept(number, &message);
                    tunnel.is_open().then_some(TunnelNews::Opened(peer))
                }
                Envelope::Sealed { tunnel, finish, nonce, bytes } => {
                    let (from, packet) =
                        self.arrivals.handle_sealed(tunnel, finish.as_deref(), nonce, &bytes)?;
                    Some(TunnelNews::Packet(from, packet))
                }
            },
        }
    }

    /// What an operator asked since the last time.
    pub fn poll_request(&mut self) -> Option<(SessionId, u32, Option<Request>)> {
        let (session, message, request) = self.server.poll_request()?;
        Some((session, message, Request::decode(&request)))
    }

    /// Answers it.
    pub fn reply(&mut self, now: Instant, session: SessionId, message: u32, reply: &Reply) {
        self.server.reply(now, session, message, reply.encode());
    }

    /// What operators are sent next.
    pub fn poll_datagram(&mut self) -> Option<Output> {
        let (caller, datagram) = self.server.poll_datagram()?;
        Some(match caller {
            Caller::Network(addr) => Output::Datagram(Port::Control, addr, datagram),
            Caller::Serial => Output::Serial(line::frame(&datagram)),
        })
    }

    /// For how many connections and tunnels there are keys.
    pub fn sizes(&self) -> (usize, usize) {
        (self.links.len(), self.tunnels.len())
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.server.handle_timeout(now);
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.server.poll_timeout()
    }
}
