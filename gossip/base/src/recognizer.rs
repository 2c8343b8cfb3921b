//! What a package wants to be told of a sensor: declared, so that a guest need not look at every reading.

use crate::Name;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// Watches a sensor and tells of what it recognises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecognizerSpec {
    /// Unique in its topology; the name of its events.
    pub name: Name,
    /// The sensor, as behind `sensors.`.
    pub sensor: Name,
    /// How often it is read.
    pub period_ms: u32,
    /// What is recognised.
    pub rule: Rule,
}

/// What is recognised in a stream of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// The value rises above one bound (`above`), or falls below another (`below`).
    Threshold {
        /// Told when the value gets higher than this.
        above: Milli,
        /// Told when, after that, it gets lower than this.
        below: Milli,
    },
    /// The value changes between zero and not zero.
    Edge(Edge),
    /// The value is another one, and has been for so long.
    Debounce {
        /// Milliseconds.
        stable_ms: u32,
    },
    /// A figure over so many readings, told once per so many.
    Window {
        /// How many readings.
        count: u32,
        /// Which figure.
        figure: Figure,
    },
}

/// Which changes an edge recogniser tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edge {
    /// From zero.
    Rising,
    /// To zero.
    Falling,
    /// Both.
    Both,
}

/// What is computed over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Figure {
    /// The mean.
    Mean,
    /// The lowest value.
    Min,
    /// The highest value.
    Max,
    /// The sum.
    Sum,
}

/// A number in thousandths, so that a board without floating point compares and prints it alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Milli(pub i64);

/// The text is not a decimal number, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANumber;

macro_rules! words {
    ($type:ident, $expected:literal, $($word:literal => $variant:ident),*) => {
        impl FromStr for $type {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, &'static str> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($expected),
                }
            }
        }
    };
}

words!(Edge, "expected rising, falling or both", "rising" => Rising, "falling" => Falling, "both" => Both);
words!(Figure, "expected mean, min, max or sum", "mean" => Mean, "min" => Min, "max" => Max, "sum" => Sum);

impl fmt::Display for NotANumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a decimal number")
    }
}

impl FromStr for Milli {
    type Err = NotANumber;
    /// Reads a decimal number; digits behind the third are cut.
    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return Err(NotANumber);
        }
        let fraction =
            fraction.bytes().chain(*b"000").take(3).fold(0, |sum, c| sum * 10 + i64::from(c - b'0'));
        let whole: i64 = whole.parse().map_err(|_| NotANumber)?;
        let milli = whole.checked_mul(1000).and_then(|whole| whole.checked_add(fraction));
        milli.map(|milli| Self(sign * milli)).ok_or(NotANumber)
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        match (value / 1000, value % 1000) {
            (whole, 0) => write!(f, "{sign}{whole}"),
            (whole, fraction) => write!(f, "{sign}{whole}.{fraction:03}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn thousandths_are_read_and_written() {
        for (text, milli) in [("21.5", 21_500), ("-0.0625", -62), ("7", 7000), ("0.001", 1)] {
            assert_eq!(text.parse(), Ok(Milli(milli)));
        }
        for text in ["", "-", ".5", "1e3", "+1", "9999999999999999999", "9223372036854775.9"] {
            assert_eq!(text.parse::<Milli>(), Err(NotANumber), "{text}");
        }
        assert_eq!(Milli(-62).to_string(), "-0.062");
        assert_eq!(Milli(5000).to_string(), "5");
    }
}
