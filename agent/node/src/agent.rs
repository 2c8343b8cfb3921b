//! A zhost as its shell sees it: the node, before it what is sealed, and between them who records.

use crate::{
    channels::Channels,
    config::{Keys, NodeConfig},
    disk::Recovered,
    input::Input,
    mesh::links::ConnectionId,
    node::Node,
    output::{Outgoing, Output, Port},
    recording::{Beginning, Recorder, Tape},
    spaces::web::WebId,
};
use std::{collections::VecDeque, net::SocketAddr};
use zhost_base::{Instant, Rng};
use zhost_control::{
    SessionId,
    protocol::{RecordingOrder, Reply, Request},
};
use zhost_link::noise::Role;

/// A node with its keys. What came sealed is told by a function of its own, all else by [`Self::handle`].
pub struct Agent {
    node: Node,
    recorder: Recorder,
    channels: Channels,
    /// What the node has said and is not sealed yet.
    said: VecDeque<Outgoing>,
    outputs: VecDeque<Output>,
}

impl Agent {
    /// A zhost that starts now, with what it found on its flash. With a tape, what its node is told is recorded.
    pub fn new(
        now: Instant,
        config: NodeConfig,
        keys: Keys,
        recovered: Recovered,
        mut rng: Rng,
        tape: Option<Tape>,
    ) -> Self {
        let channels = Channels::new(now, keys, config.operators.clone(), rng.fork());
        let mut seed = [0; 32];
        rng.fill(&mut seed);
        let beginning = Beginning { now, seed, config, recovered };
        let recorder = Recorder::new(tape, &beginning);
        let node = beginning.into_node();
        let mut agent = Self { node, recorder, channels, said: VecDeque::new(), outputs: VecDeque::new() };
        agent.listen();
        agent.work_off(now);
        agent
    }

    /// What it knows and decides.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Takes in what did not come sealed.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => self.channels.handle_timeout(now),
            // What speaks first is written when the connection is there.
            Input::Connected(connection) => return self.handle_connected(now, connection),
            Input::Closed { connection, .. } => self.channels.end_link(connection),
            _ => {}
        }
        self.tell(now, input);
    }

    /// A datagram arrived at a socket.
    pub fn handle_datagram(&mut self, now: Instant, port: Port, from: SocketAddr, sealed: &[u8]) {
        match self.channels.open_datagram(now, port, from, sealed) {
            Some(input) => self.tell(now, input),
            None => self.work_off(now),
        }
    }

    /// Bytes came from the serial line, where operators may be.
    pub fn handle_serial(&mut self, now: Instant, bytes: &[u8]) {
        self.channels.open_serial(now, bytes);
        self.work_off(now);
    }

    /// Somebody connected; the shell gives the connection an odd number.
    pub fn handle_accepted(&mut self, now: Instant, connection: ConnectionId, from: SocketAddr) {
        self.channels.begin_link(connection, Role::Responder);
        self.tell(now, Input::Accepted(connection, from));
    }

    fn handle_connected(&mut self, now: Instant, connection: ConnectionId) {
        self.tell(now, Input::Connected(connection));
        self.outputs.extend(self.channels.poll_bytes(connection));
    }

    /// Bytes arrived on a connection.
    pub fn handle_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        if let Some(input) = self.channels.open_bytes(connection, bytes) {
            self.tell(now, input);
            // Of its handshake, unless the node has closed it.
            self.outputs.extend(self.channels.poll_bytes(connection));
        }
    }

    /// A browser asks.
    pub fn handle_asked(&mut self, now: Instant, id: WebId, request: zhost_web::Request) {
        let input = self.channels.admit(id, request);
        self.tell(now, input);
    }

    fn tell(&mut self, now: Instant, input: Input) {
        self.tell_node(now, input);
        self.work_off(now);
    }

    fn tell_node(&mut self, now: Instant, input: Input) {
        self.recorder.handle_input(now, &input);
        self.node.handle(now, input);
        self.listen();
    }

    fn listen(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.recorder.handle_output(&output);
            self.said.push_back(output);
        }
    }

    /// The recordings are as an operator wanted, or here is what he wanted of them.
    pub fn handle_recorded(&mut self, now: Instant, session: SessionId, message: u32, reply: &Reply) {
        self.channels.reply(now, session, message, reply);
        self.work_off(now);
    }

    /// Takes up what an operator asks: what is about keys or recordings is no business of the node.
    fn take_request(&mut self, now: Instant, session: SessionId, message: u32, request: Option<Request>) {
        match request {
            Some(Request::Provision(_)) => {
                let reply = Reply::Refused("this zhost has a cluster already".into());
                self.channels.reply(now, session, message, &reply);
            }
            Some(Request::Recording(order)) => {
                if order == RecordingOrder::Stop {
                    self.recorder.stop();
                }
                self.outputs.push_back(Output::Recording(session, message, order));
            }
            request => self.tell_node(now, Input::Requested(session, message, request)),
        }
    }

    /// Seals what the node says, and tells it what that comes to, until it says nothing more.
    fn work_off(&mut self, now: Instant) {
        loop {
            let follows = match self.said.pop_front() {
                Some(Outgoing::Plain(plain)) => self.channels.seal(now, plain, &mut self.outputs),
                Some(Outgoing::Shell(output)) => {
                    match output {
                        Output::Connect(connection, _) => {
                            self.channels.begin_link(connection, Role::Initiator);
                        }
                        Output::Close(connection) => self.channels.end_link(connection),
                        _ => {}
                    }
                    self.outputs.push_back(output);
                    None
                }
                None => match self.channels.poll_request() {
                    Some((session, message, request)) => {
                        self.take_request(now, session, message, request);
                        None
                    }
                    None => break,
                },
            };
            if let Some(input) = follows {
                self.tell_node(now, input);
            }
        }
        self.outputs.extend(std::iter::from_fn(|| self.channels.poll_datagram()));
    }

    /// Of what there are keys, how many, and of how many the node knows: there are no more.
    pub fn inspect_channels(&self) -> [(&'static str, usize, usize); 2] {
        let (links, tunnels) = self.channels.sizes();
        let (known_links, known_tunnels) = self.node.inspect_channels();
        [("sealed connections", links, known_links), ("sealed tunnels", tunnels, known_tunnels)]
    }

    /// When [`Input::Timeout`] has something to do, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.node.poll_timeout().into_iter().chain(self.channels.poll_timeout()).min()
    }

    /// The next thing for the shell to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
