//! Text of bounded size, without an allocator.

use core::fmt;

/// At most `N` bytes of text; what does not fit is cut.
#[derive(Clone, Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    size: usize,
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const fn new() -> Self {
        Self { bytes: [0; N], size: 0 }
    }

    /// The formatted text.
    pub fn format(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        // Running full is what bounded text does.
        let _ = fmt::write(&mut text, arguments);
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.size]).unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let end = self.size + c.len_utf8();
            let room = self.bytes.get_mut(self.size..end).ok_or(fmt::Error)?;
            c.encode_utf8(room);
            self.size = end;
        }
        Ok(())
    }
}
