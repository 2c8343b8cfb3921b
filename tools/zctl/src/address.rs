//! Where zhosts are asked: addresses and names, with the port or without.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Where a zhost answers `zctl` if it is not told otherwise.
pub const PORT: u16 = 9000;
/// Addresses that are asked at once.
pub const ADDRESSES_MAX: usize = 128;
/// How long names may take if there is nobody else to ask.
const NAMES_WITHIN: Duration = Duration::from_millis(2500);
/// How long they may take if there is.
const NAMES_HEAD_START: Duration = Duration::from_millis(500);

/// Where a zhost is, as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
}

/// A place, and what became of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// As it was written.
    pub written: String,
    /// Its addresses, or why there are none.
    pub addresses: Result<Vec<SocketAddr>, String>,
}

/// Reads `192.168.1.10`, `192.168.1.10:9000`, `fd00::1`, `[fd00::1]:9000`, `attic` or `attic:9000`.
pub fn parse(text: &str) -> Result<Place, String> {
    let wrong = |reason: &str| {
        format!("{text:?} is not where a zhost is: {reason}; write 192.168.1.10, [fd00::1]:{PORT} or attic")
    };
    let text = text.trim();
    if text.contains('/') {
        return Err(wrong("that is an address for browsers, or a path"));
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("a bracket is open"))?;
        if host.split('%').next().is_none_or(|literal| literal.parse::<Ipv6Addr>().is_err()) {
            return Err(wrong("no IPv6 address is in the brackets"));
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(wrong("a port follows a colon")),
        }
    } else if text.matches(':').count() > 1 {
        if text.split('%').next().is_none_or(|literal| literal.parse::<Ipv6Addr>().is_err()) {
            return Err(wrong("it has too many colons"));
        }
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port.map(str::parse) {
        None => PORT,
        Some(Ok(port @ 1..)) => port,
        Some(_) => return Err(wrong("a port is a number from 1 to 65535")),
    };
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || host.len() > 253 || !host.chars().all(fits) {
        return Err(wrong("that is no name of a machine"));
    }
    let is_number = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if is_number && host.parse::<IpAddr>().is_err() {
        return Err(wrong("an IPv4 address has four numbers up to 255"));
    }
    Ok(Place { host: host.to_owned(), port })
}

/// Finds the addresses of them all. Whoever needs long is not waited for while others can be asked.
pub fn resolve(places: &[String]) -> Vec<Resolved> {
    resolve_with(places, |place| {
        let found = (place.host.as_str(), place.port).to_socket_addrs();
        found.map(Iterator::collect).map_err(|error| error.to_string())
    })
}

fn resolve_with(
    places: &[String],
    look_up: impl Fn(&Place) -> Result<Vec<SocketAddr>, String> + Clone + Send + 'static,
) -> Vec<Resolved> {
    let late = "nothing says in time which address it has";
    let (sender, receiver) = mpsc::channel();
    let mut resolved: Vec<Resolved> = Vec::new();
    for (index, written) in places.iter().enumerate() {
        let addresses = parse(written).and_then(|place| match place.host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, place.port)]),
            Err(_) => {
                let (sender, look_up) = (sender.clone(), look_up.clone());
                thread::spawn(move || sender.send((index, look_up(&place))));
                Err(format!("{written}: {late}"))
            }
        });
        resolved.push(Resolved { written: written.clone(), addresses });
    }
    drop(sender);
    let since = Instant::now();
    loop {
        let is_known = resolved.iter().any(|place| place.addresses.is_ok());
        let patience = if is_known { NAMES_HEAD_START } else { NAMES_WITHIN };
        let left = patience.saturating_sub(since.elapsed());
        let Ok((index, found)) = receiver.recv_timeout(left) else { return resolved };
        let written = resolved[index].written.clone();
        resolved[index].addresses = match found {
            Ok(found) if !found.is_empty() => Ok(unique(found)),
            Ok(_) => Err(format!("{written}: it has no address")),
            Err(reason) => Err(format!(
                "{written}: no machine of that name is known here ({reason}); a zhost's own name is known in its \
                 cluster only, see the addresses of `zctl cluster zhosts`"
            )),
        };
    }
}

fn unique(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = Vec::new();
    addresses.retain(|address| {
        !seen.contains(address) && {
            seen.push(*address);
            true
        }
    });
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_people_write_is_understood() {
        for (text, host, port) in [
            ("attic", "attic", 9000),
            ("localhost", "localhost", 9000),
            ("attic.local:9001", "attic.local", 9001),
            (" 192.168.1.10 ", "192.168.1.10", 9000),
            ("192.168.1.10:80", "192.168.1.10", 80),
            ("::1", "::1", 9000),
            ("fd00::1", "fd00::1", 9000),
            ("[fd00::1]", "fd00::1", 9000),
            ("[fd00::1]:65535", "fd00::1", 65535),
            ("fe80::1%eth0", "fe80::1%eth0", 9000),
            ("[fe80::1%eth0]:9002", "fe80::1%eth0", 9002),
            ("büro", "büro", 9000),
        ] {
            assert_eq!(parse(text), Ok(Place { host: host.into(), port }), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "no name of a machine"),
            (":9000", "no name of a machine"),
            ("attic:", "a port is a number"),
            ("attic:0", "a port is a number"),
            ("attic:65536", "a port is a number"),
            ("attic:http", "a port is a number"),
            ("http://attic", "for browsers"),
            ("/dev/ttyUSB0", "or a path"),
            ("a b", "no name of a machine"),
            ("att\u{1b}ic", "no name of a machine"),
            ("[fd00::1", "a bracket is open"),
            ("[attic]:9000", "no IPv6 address"),
            ("[::1]9000", "a port follows a colon"),
            ("a:b:c", "too many colons"),
            ("192.168.1", "four numbers"),
            ("192.168.1.300", "four numbers"),
            (&"x".repeat(300), "no name of a machine"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn every_address_of_a_name_is_taken_and_slow_names_hold_nobody_up() {
        let (one, two) = (SocketAddr::from(([10, 0, 0, 1], 9000)), SocketAddr::from(([10, 0, 0, 2], 9000)));
        let places = ["attic", "nowhere", "never", "10.0.0.9:7", "a:b:c"].map(str::to_owned);
        let since = Instant::now();
        let resolved = resolve_with(&places, move |place| match place.host.as_str() {
            "attic" => Ok(vec![one, two, one]),
            "nowhere" => Err("not found".into()),
            _ => {
                thread::sleep(Duration::from_secs(60));
                Ok(Vec::new())
            }
        });
        assert!(since.elapsed() < NAMES_WITHIN, "{:?}", since.elapsed());
        assert_eq!(resolved[0].addresses, Ok(vec![one, two]));
        let said = |index: usize| resolved[index].addresses.clone().unwrap_err();
        assert!(said(1).contains("nowhere: no machine of that name"), "{}", said(1));
        assert!(said(2).contains("never: nothing says in time"), "{}", said(2));
        assert_eq!(resolved[3].addresses, Ok(vec![SocketAddr::from(([10, 0, 0, 9], 7))]));
        assert!(said(4).contains("too many colons"));
    }
}
