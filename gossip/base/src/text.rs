//! Text that others wrote, fit to be shown: in a log, on a terminal, in a refusal.

use core::fmt;

/// Characters of a foreign text that are shown.
pub const SHOWN_MAX: usize = 60;

/// Shows a foreign text in quotes, without its control characters, and not without end.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        for c in self.0.chars().take(SHOWN_MAX) {
            match c {
                // Letters of any language, but nothing that moves a cursor or turns the direction of writing round.
                '\'' | '"' => write!(f, "{c}")?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        if self.0.chars().nth(SHOWN_MAX).is_some() {
            f.write_str("…")?;
        }
        f.write_str("'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    #[test]
    fn what_others_wrote_moves_no_cursor_and_ends() {
        assert_eq!(Shown("Küche 1").to_string(), "'Küche 1'");
        assert_eq!(Shown("\x1b[2J\r\n").to_string(), "'\\u{1b}[2J\\r\\n'");
        assert_eq!(Shown("a\u{202e}b").to_string(), "'a\\u{202e}b'");
        let long = "x".repeat(5000);
        assert_eq!(Shown(&long).to_string(), format!("'{}…'", "x".repeat(SHOWN_MAX)));
        assert_eq!(Shown(&long[..SHOWN_MAX]).to_string().len(), SHOWN_MAX + 2, "nothing is cut that fits");
    }
}
