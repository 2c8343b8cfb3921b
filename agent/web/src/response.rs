//! Responses, and the headers that keep a page to its own space.

use crate::TICKET_COOKIE;
use std::sync::Arc;

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Here it is.
    Ok,
    /// A message is on its way.
    Accepted,
    /// It is there, without the ticket in the address.
    SeeOther,
    /// The browser has it already.
    NotModified,
    /// Another zhost has it.
    TemporaryRedirect,
    /// No request that makes sense.
    BadRequest,
    /// No ticket, or one for something else.
    Forbidden,
    /// No such thing.
    NotFound,
    /// Not this method.
    MethodNotAllowed,
    /// A body whose length is not told.
    LengthRequired,
    /// A body that is too large.
    ContentTooLarge,
    /// A head that is too large.
    HeadTooLarge,
    /// Not now.
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Accepted => "202 Accepted",
            Self::SeeOther => "303 See Other",
            Self::NotModified => "304 Not Modified",
            Self::TemporaryRedirect => "307 Temporary Redirect",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::LengthRequired => "411 Length Required",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What every answer says: nobody guesses types, frames the page, learns its address, or gets at it from elsewhere.
const STRICT: &str = "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n\
                      Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n\
                      Permissions-Policy: camera=(), geolocation=(), microphone=()\r\nConnection: close\r\n";

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    head: String,
    body: Vec<u8>,
    /// Size of the content; nothing for an answer that speaks of none.
    size: Option<usize>,
}

impl Response {
    /// An answer without content.
    pub fn new(status: Status) -> Self {
        Self {
            head: format!("HTTP/1.1 {}\r\n{STRICT}", status.line()),
            body: Vec::new(),
            size: (status != Status::NotModified).then_some(0),
        }
    }

    /// An answer to a person, in a sentence.
    pub fn sentence(status: Status, text: &str) -> Self {
        let response = Self::new(status).header("Cache-Control", "no-store");
        let response = if status == Status::MethodNotAllowed {
            response.header("Allow", "GET, HEAD, POST")
        } else {
            response
        };
        response.content("text/plain; charset=utf-8", format!("{text}\n").into_bytes())
    }

    /// Adds a header; `value` must be free of line breaks.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    /// Sends the browser elsewhere.
    pub fn location(self, address: &str) -> Self {
        self.header("Location", address).header("Cache-Control", "no-store")
    }

    /// Has the browser keep a ticket for the addresses below `path`.
    pub fn keep_ticket(self, path: &str, ticket: &str, seconds: u64) -> Self {
        let cookie =
            format!("{TICKET_COOKIE}={ticket}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax");
        self.header("Set-Cookie", &cookie)
    }

    /// Confines a page to the addresses below `path` of `host`: it loads from there, speaks to there, and opens no
    /// window, so that pages of different spaces, which share an origin, stay apart.
    pub fn confine(self, host: &str, path: &str) -> Self {
        // Content Security Policy knows no literal addresses of IPv6.
        let own = if host.starts_with('[') { "'self'".to_owned() } else { format!("http://{host}{path}") };
        let policy = format!(
            "default-src {own}; img-src {own} blob: data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; sandbox allow-scripts allow-same-origin"
        );
        self.header("Content-Security-Policy", &policy)
    }

    /// Adds the content.
    pub fn content(self, media_type: &str, body: Vec<u8>) -> Self {
        Self { size: Some(body.len()), body, ..self.header("Content-Type", media_type) }
    }

    /// Tells of content that is not wanted now.
    pub fn content_size(self, media_type: &str, size_bytes: usize) -> Self {
        Self { size: Some(size_bytes), ..self.header("Content-Type", media_type) }
    }

    /// The head to send, and behind it the content, if it is wanted.
    pub fn into_parts(self, with_content: bool) -> (Vec<u8>, Arc<[u8]>) {
        let length = self.size.map(|size| format!("Content-Length: {size}\r\n")).unwrap_or_default();
        let head = format!("{}{length}\r\n", self.head).into_bytes();
        (head, if with_content { self.body.into() } else { Arc::default() })
    }

    /// The bytes to send; those of the content only if they are wanted.
    pub fn into_bytes(self, with_content: bool) -> Vec<u8> {
        let (head, content) = self.into_parts(with_content);
        [&head, &*content].concat()
    }
}

/// What a stream of events begins with.
pub fn stream_head() -> Vec<u8> {
    let Response { head, .. } = Response::new(Status::Ok);
    format!("{head}Content-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n").into_bytes()
}

/// The media type of a file by its name.
pub fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("ico") => "image/vnd.microsoft.icon",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_strict_and_complete() {
        let response = Response::new(Status::Ok)
            .confine("10.0.0.1:9080", "/a/b/")
            .content(media_type("x/app.js"), b"let x;".to_vec());
        let text = String::from_utf8(response.clone().into_bytes(true)).unwrap();
        for expected in [
            "HTTP/1.1 200 OK\r\n",
            "X-Content-Type-Options: nosniff\r\n",
            "default-src http://10.0.0.1:9080/a/b/;",
            "Content-Type: text/javascript; charset=utf-8\r\n",
            "Content-Length: 6\r\n\r\nlet x;",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        let head = String::from_utf8(response.into_bytes(false)).unwrap();
        assert!(head.ends_with("Content-Length: 6\r\n\r\n"));
    }
}
