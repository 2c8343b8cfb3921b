//! This program as the application of a peer: it runs itself again on the hosts.

use crate::{Outcome, net::Hosts, peers, talk};
use std::{
    net::SocketAddr,
    process::{Command, ExitCode},
};

const SIDE: &str = "bench-side";

/// One of two applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asks; on host 0.
    Near,
    /// Answers; on host 1.
    Far,
}

impl Role {
    /// Both, in the order to start them.
    pub const BOTH: [Self; 2] = [Self::Far, Self::Near];

    /// The host it is on.
    pub fn host(self) -> usize {
        match self {
            Self::Near => 0,
            Self::Far => 1,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// A command that runs this program as the application `what` on a host.
pub fn command(hosts: &Hosts, host: usize, what: &str, args: &[String]) -> Outcome<Command> {
    let ourselves = std::env::current_exe().map_err(|e| format!("where this program is: {e}"))?;
    let mut command = hosts.command(host, ourselves);
    command.args([SIDE, what]).args(args);
    Ok(command)
}

/// A command that runs this program as one side of a conversation with what serves at `address`.
pub fn talker(hosts: &Hosts, role: Role, what: &str, address: SocketAddr) -> Outcome<Command> {
    command(hosts, role.host(), what, &[role.name().into(), address.to_string()])
}

/// Runs this program as an application, if that is what it was started for.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next()? != SIDE {
        return None;
    }
    let what = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    Some(match run(&what, &args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    })
}

fn run(what: &str, args: &[String]) -> Outcome {
    if what == peers::chitchat::SIDE {
        return peers::chitchat::run_member(args);
    }
    let [role, address] = args else { return Err("a side needs a role and an address".into()) };
    let role = if role == Role::Near.name() { Role::Near } else { Role::Far };
    let address = address.parse().map_err(|e| format!("{address}: {e}"))?;
    match what {
        peers::raw_tcp::SIDE => converse(role, peers::raw_tcp::connect(role, address)?),
        peers::nats::SIDE => converse(role, peers::nats::Client::connect(role, address)?),
        peers::mosquitto::SIDE => converse(role, peers::mosquitto::Client::connect(role, address)?),
        other => Err(format!("there is no side {other}")),
    }
}

fn converse(role: Role, mut channel: impl talk::Channel) -> Outcome {
    match role {
        Role::Far => talk::answer(&mut channel),
        Role::Near => {
            let figures = talk::ask(&mut channel)?;
            println!("{}", serde_json::to_string(&figures).map_err(|e| e.to_string())?);
            Ok(())
        }
    }
}
