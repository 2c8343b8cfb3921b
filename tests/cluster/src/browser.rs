//! As much of a browser as it takes to see whether a page is served: one request per connection, cookies, redirects
//! and server-sent events.

use crate::Outcome;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// How long a zhost may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Redirects followed.
const REDIRECTS_MAX: usize = 4;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Its content.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Asks: `method`, an address, further headers and a body.
pub fn ask(method: &str, address: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<Answer> {
    let mut reader = open(method, address, headers, body)?;
    let (status, headers) = read_head(&mut reader)?;
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length = answer.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if method != "HEAD" {
        reader.take(length).read_to_end(&mut answer.body).map_err(|e| format!("{address}: {e}"))?;
    }
    Ok(answer)
}

fn open(method: &str, address: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<BufReader<TcpStream>> {
    let rest = address.strip_prefix("http://").ok_or_else(|| format!("{address}: not http"))?;
    let (host, path) = rest.split_once('/').ok_or_else(|| format!("{address}: no path"))?;
    let mut request =
        format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let attempt = || {
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        stream.write_all(body)?;
        Ok(BufReader::new(stream))
    };
    attempt().map_err(|e: std::io::Error| format!("{address}: {e}"))
}

fn read_line(reader: &mut impl BufRead) -> Outcome<String> {
    let mut line = String::new();
    reader.read_line(&mut line).map_err(|e| e.to_string())?;
    Ok(line.trim_end().to_owned())
}

fn read_head(reader: &mut impl BufRead) -> Outcome<(u16, Vec<(String, String)>)> {
    let line = read_line(reader)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| format!("not an answer: {line:?}"))?;
    let mut headers = Vec::new();
    loop {
        match read_line(reader)?.split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

/// A page that is open.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its address, without the ticket.
    pub address: String,
    cookie: String,
}

impl Page {
    /// Opens the page at an address that `zctl spaces open` gave, wherever it leads.
    pub fn open(address: &str) -> Outcome<Self> {
        let (mut address, mut cookie) = (address.to_owned(), String::new());
        for _ in 0..REDIRECTS_MAX {
            let answer = ask("GET", &address, &[("Cookie", &cookie)], b"")?;
            if let Some(kept) = answer.header("Set-Cookie").and_then(|line| line.split(';').next()) {
                kept.clone_into(&mut cookie);
            }
            match (answer.status, answer.header("Location")) {
                (200, _) => return Ok(Self { address, cookie }),
                (303 | 307, Some(location)) if location.starts_with('/') => {
                    let host = address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
                    address = format!("{host}{location}");
                }
                (303 | 307, Some(location)) => location.clone_into(&mut address),
                (status, _) => {
                    return Err(format!(
                        "{address}: {status} {}",
                        String::from_utf8_lossy(&answer.body).trim()
                    ));
                }
            }
        }
        Err(format!("{address}: it leads nowhere"))
    }

    /// Asks for something below the page.
    pub fn ask(&self, method: &str, below: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<Answer> {
        let headers = [&[("Cookie", self.cookie.as_str())], headers].concat();
        ask(method, &format!("{}{below}", self.address), &headers, body)
    }

    /// Watches the messages that come to the page until each of these paths has had one; gives the payloads in base64.
    pub fn watch(&self, paths: &[&str]) -> Outcome<Vec<String>> {
        let mut reader =
            open("GET", &format!("{}-/events", self.address), &[("Cookie", self.cookie.as_str())], b"")?;
        let (status, _) = read_head(&mut reader)?;
        if status != 200 {
            return Err(format!("{}-/events: {status}", self.address));
        }
        let deadline = Instant::now() + PATIENCE;
        let mut seen: Vec<Option<String>> = vec![None; paths.len()];
        let mut path = String::new();
        while Instant::now() < deadline {
            let line = read_line(&mut reader)?;
            if let Some(kind) = line.strip_prefix("event: path:") {
                kind.clone_into(&mut path);
            } else if let Some(data) = line.strip_prefix("data: ")
                && let Some(index) = paths.iter().position(|wanted| *wanted == path)
            {
                seen[index] = Some(data.to_owned());
            }
            if seen.iter().all(Option::is_some) {
                return Ok(seen.into_iter().flatten().collect());
            }
        }
        Err(format!("{}: not all of {paths:?} had a message", self.address))
    }
}
