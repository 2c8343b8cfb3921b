//! HTTP/1.1 (RFC 9112) between a browser and a zhost: requests as they come in, responses as they go out. Pure: no
//! sockets, no time. One request per connection; what is streamed are server-sent events (WHATWG HTML, section 9.2).

mod event;
mod request;
mod response;

pub use event::{event, text_event};
pub use request::{Method, Parsed, Request, parse};
pub use response::{Response, Status, media_type, stream_head};

/// Size of a request's head; a larger one is refused (431).
pub const HEAD_MAX_BYTES: usize = 8 * 1024;
/// Headers of a request; more are refused (431).
pub const HEADERS_MAX: usize = 64;
/// Size of a request's body; a larger one is refused (413).
pub const BODY_MAX_BYTES: usize = 4 * 1024;
/// The cookie that holds a ticket.
pub const TICKET_COOKIE: &str = "zhost-ticket";
/// The parameter of an address that holds a ticket.
pub const TICKET_PARAMETER: &str = "ticket";
