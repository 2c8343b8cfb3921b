//! Server-sent events: messages of spaces on their way to a page.

use base64::prelude::{BASE64_STANDARD, Engine};

/// A message that came along a path: the event's type is `path:` and its name (a bare `error` would mean something else
/// to a browser), its data the payload in base64.
pub fn event(path: &str, payload: &[u8]) -> Vec<u8> {
    text_event(&format!("path:{path}"), &BASE64_STANDARD.encode(payload))
}

/// An event whose data is one line of text.
pub fn text_event(kind: &str, line: &str) -> Vec<u8> {
    format!("event: {kind}\ndata: {line}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_event_is_what_browsers_expect() {
        assert_eq!(super::event("pictures", b"\x00\xff"), b"event: path:pictures\ndata: AP8=\n\n");
    }
}
