//! Names that people choose: of zhosts, regions, topologies, spaces and paths.

use crate::limits::NAME_SIZE_MAX_BYTES;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// A short label: 1 to [`NAME_SIZE_MAX_BYTES`] of `a-z A-Z 0-9 . _ -`, not starting with `.` or `-`.
///
/// Safe as a file name, a table name and a terminal cell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "heapless::String<NAME_SIZE_MAX_BYTES>")]
pub struct Name(heapless::String<NAME_SIZE_MAX_BYTES>);

/// Why a text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    Empty,
    /// The text is longer than [`NAME_SIZE_MAX_BYTES`].
    TooLong,
    /// The text holds this character, which no name may hold there.
    Character(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name cannot be empty"),
            Self::TooLong => write!(f, "a name has at most {NAME_SIZE_MAX_BYTES} characters"),
            Self::Character(c) => {
                write!(
                    f,
                    "{c:?} cannot stand there in a name (use a-z A-Z 0-9 . _ -, starting with a letter, digit or _)"
                )
            }
        }
    }
}

impl core::error::Error for NameError {}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if matches!(first, '.' | '-') {
        return Err(NameError::Character(first));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check(text)?;
        heapless::String::try_from(text).map(Self).map_err(|_| NameError::TooLong)
    }
}

impl TryFrom<heapless::String<NAME_SIZE_MAX_BYTES>> for Name {
    type Error = NameError;
    fn try_from(text: heapless::String<NAME_SIZE_MAX_BYTES>) -> Result<Self, NameError> {
        check(&text)?;
        Ok(Self(text))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_with_the_reason() {
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        assert_eq!("../x".parse::<Name>(), Err(NameError::Character('.')));
        assert_eq!("a/b".parse::<Name>(), Err(NameError::Character('/')));
        let long = core::str::from_utf8(&[b'a'; NAME_SIZE_MAX_BYTES + 1]).unwrap();
        assert_eq!(long.parse::<Name>(), Err(NameError::TooLong));
        assert_eq!("camera-watch".parse::<Name>().unwrap().as_str(), "camera-watch");
    }

    #[test]
    fn a_name_from_the_wire_is_checked_too() {
        let mut wire = [0_u8; 8];
        wire[0] = 3;
        wire[1..4].copy_from_slice(b"a/b");
        assert!(postcard::from_bytes::<Name>(&wire).is_err());
    }
}
