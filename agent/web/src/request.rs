//! Requests: foreign bytes, of which everything is checked and most is ignored.

use serde::{Deserialize, Serialize};

use crate::{BODY_MAX_BYTES, HEAD_MAX_BYTES, HEADERS_MAX, Status, TICKET_COOKIE, TICKET_PARAMETER};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// The content.
    Get,
    /// What [`Method::Get`] would answer, without the content.
    Head,
    /// Take this.
    Post,
}

/// A request of a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// The path, as it stands in the address: never empty, and it has no `%`, no empty part and no part of dots.
    pub path: String,
    /// To whom the browser believes to speak: host and port.
    pub host: String,
    /// The ticket in the address.
    pub ticket_given: Option<String>,
    /// The ticket in a cookie.
    pub ticket_kept: Option<String>,
    /// Whether the answer may be compressed with gzip.
    pub accepts_gzip: bool,
    /// The version that the browser has (`If-None-Match`).
    pub has_etag: Option<String>,
    /// Whether a page of this very address asks, as far as the browser tells.
    pub is_same_origin: bool,
    /// What comes with it.
    pub body: Vec<u8>,
}

impl Request {
    /// The ticket that counts.
    pub fn ticket(&self) -> Option<&str> {
        self.ticket_given.as_deref().or(self.ticket_kept.as_deref())
    }
}

/// What bytes of a connection are so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not all of a request yet.
    Partial,
    /// A request.
    Request(Request),
    /// Nothing that will be answered otherwise than with this.
    Refused(Status),
}

/// Reads what came over a connection.
pub fn parse(bytes: &[u8]) -> Parsed {
    match try_parse(bytes) {
        Ok(Some(request)) => Parsed::Request(request),
        Ok(None) => Parsed::Partial,
        Err(status) => Parsed::Refused(status),
    }
}

fn try_parse(bytes: &[u8]) -> Result<Option<Request>, Status> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let visible = &bytes[..bytes.len().min(HEAD_MAX_BYTES)];
    let head_size = match head.parse(visible) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX_BYTES => return Err(Status::HeadTooLarge),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        _ => return Err(Status::MethodNotAllowed),
    };
    let headers = Headers(head.headers);
    if headers.all("transfer-encoding").next().is_some() {
        return Err(Status::LengthRequired);
    }
    let length = match headers.one("content-length")? {
        Some(length) => digits(length).ok_or(Status::BadRequest)?,
        None => 0,
    };
    if length > BODY_MAX_BYTES {
        return Err(Status::ContentTooLarge);
    }
    let Some(body) = bytes[head_size..].get(..length) else { return Ok(None) };
    let (path, query) = split_target(head.path.unwrap_or_default())?;
    let host = headers.one("host")?.filter(|host| is_host(host)).ok_or(Status::BadRequest)?;
    let mut cookies = headers.all("cookie").flat_map(|line| line.split(';'));
    Ok(Some(Request {
        method,
        path: path.to_owned(),
        host: host.to_owned(),
        ticket_given: query.split('&').find_map(|item| value_of(item, TICKET_PARAMETER)),
        ticket_kept: cookies.find_map(|item| value_of(item.trim(), TICKET_COOKIE)),
        accepts_gzip: headers.all("accept-encoding").any(accepts_gzip),
        has_etag: headers.one("if-none-match")?.map(str::to_owned),
        is_same_origin: is_same_origin(&headers, host)?,
        body: body.to_vec(),
    }))
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.filter_map(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    }

    /// A header that must not occur twice.
    fn one(&self, name: &'a str) -> Result<Option<&'a str>, Status> {
        let mut found = self.all(name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Status::BadRequest),
            (found, None) => Ok(found),
        }
    }
}

/// A number without a sign, which `str::parse` would take.
fn digits(text: &str) -> Option<usize> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

fn split_target(target: &str) -> Result<(&str, &str), Status> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '/');
    let parts = path.strip_prefix('/').ok_or(Status::BadRequest)?;
    let inner = parts.strip_suffix('/').unwrap_or(parts);
    let is_plain_part = |part: &str| !part.is_empty() && part.chars().any(|c| c != '.');
    if !path.chars().all(plain)
        || path.contains("//")
        || !(inner.is_empty() || inner.split('/').all(is_plain_part))
    {
        return Err(Status::NotFound);
    }
    Ok((path, query))
}

fn value_of(item: &str, name: &str) -> Option<String> {
    let value = item.strip_prefix(name)?.strip_prefix('=')?;
    Some(value.to_owned())
}

/// A host that a zhost can be known under. Names with dots are those of other sites, but for `.local`: answering to
/// these would let a foreign page that has its name resolved to us read what is ours (DNS rebinding).
fn is_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.parse::<std::net::Ipv4Addr>().is_ok() || is_label(name.strip_suffix(".local").unwrap_or(name))
}

fn accepts_gzip(line: &str) -> bool {
    let mut codings = line.split(',').map(|coding| coding.split(';').map(str::trim));
    codings.any(|mut coding| {
        matches!(coding.next(), Some("gzip" | "*")) && !coding.any(|q| matches!(q, "q=0" | "q=0.0"))
    })
}

/// Browsers say where a request comes from; who says nothing is no browser, and has a ticket or is refused.
fn is_same_origin(headers: &Headers<'_>, host: &str) -> Result<bool, Status> {
    if let Some(site) = headers.one("sec-fetch-site")? {
        return Ok(matches!(site, "same-origin" | "none"));
    }
    Ok(headers.one("origin")?.is_none_or(|origin| origin.strip_prefix("http://") == Some(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn refused(text: &str) -> Status {
        match parse(text.as_bytes()) {
            Parsed::Refused(status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_browsers_request_is_understood() {
        let text = "GET /garden/cockpit/app.js?x=1&ticket=abc HTTP/1.1\r\nHost: 10.0.0.1:9080\r\n\
                    Accept-Encoding: br;q=1.0, gzip;q=0.5\r\nIf-None-Match: \"e\"\r\n\
                    Cookie: a=b; zhost-ticket=kept\r\nSec-Fetch-Site: same-origin\r\n\r\n";
        let request = request(text);
        assert_eq!((request.method, request.path.as_str()), (Method::Get, "/garden/cockpit/app.js"));
        assert_eq!(request.ticket(), Some("abc"));
        assert_eq!(request.ticket_kept.as_deref(), Some("kept"));
        assert!(request.accepts_gzip && request.is_same_origin);
        assert_eq!(request.has_etag.as_deref(), Some("\"e\""));
    }

    #[test]
    fn a_request_may_come_in_pieces() {
        let text = "POST /a/b/-/paths/orders HTTP/1.1\r\nHost: z1.local\r\nContent-Length: 4\r\n\r\nopen";
        for cut in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..cut]), Parsed::Partial, "{cut}");
        }
        assert_eq!(request(text).body, b"open");
    }

    #[test]
    fn strange_paths_are_not_found_and_strange_hosts_not_served() {
        for path in ["//", "/a/../b", "/a//b", "/%61/b", "/a/b/..", "/./a", "/a\\b"] {
            let status = refused(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            assert!(matches!(status, Status::NotFound | Status::BadRequest), "{path}: {status:?}");
        }
        for host in ["evil.example", "a.b.local", "", "1.2.3.4.5", "[::1]x", "a b"] {
            let status = refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(status, Status::BadRequest, "{host}");
        }
        for host in ["localhost:9080", "z1", "z1.local:80", "192.168.1.5", "[::1]:9080"] {
            assert_eq!(request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).host, host);
        }
    }

    #[test]
    fn limits_are_told() {
        assert_eq!(refused("PUT / HTTP/1.1\r\nHost: a\r\n\r\n"), Status::MethodNotAllowed);
        assert_eq!(
            refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Status::LengthRequired
        );
        assert_eq!(
            refused(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", BODY_MAX_BYTES + 1)),
            Status::ContentTooLarge
        );
        assert_eq!(
            refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            Status::BadRequest
        );
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"), Status::BadRequest);
        let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Status::HeadTooLarge);
        let long = "x".repeat(HEAD_MAX_BYTES);
        assert_eq!(refused(&format!("GET /{long} HTTP/1.1\r\n")), Status::HeadTooLarge);
    }

    #[test]
    fn foreign_pages_are_told_apart() {
        let from = |header: &str| {
            request(&format!("POST /a/b/-/paths/c HTTP/1.1\r\nHost: z1:9080\r\n{header}\r\n\r\n"))
                .is_same_origin
        };
        assert!(from("Origin: http://z1:9080"));
        assert!(!from("Origin: http://evil.example"));
        assert!(!from("Origin: null"));
        assert!(!from("Sec-Fetch-Site: cross-site"));
        assert!(!from("Sec-Fetch-Site: same-site"));
    }
}
