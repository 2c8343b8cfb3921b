//! How fast a kind of line is used, and how patiently.

use std::time::Duration;
use zhost_base::limits::CONTROL_MESSAGE_MAX_BYTES;

/// What both ends of a session keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of a message in one fragment.
    pub fragment_bytes: usize,
    /// Fragments under way when a message begins.
    pub(crate) window_start: u32,
    /// How long a fragment may take before its line is known.
    pub(crate) rto_start: Duration,
    /// How long it may take at most.
    pub(crate) rto_max: Duration,
    /// How often an unanswered hello is repeated.
    pub(crate) hello_period: Duration,
    /// How long a zhost may take to answer the first word.
    pub(crate) answer_within: Duration,
    /// How long a zhost that answered it may take to say that it takes the operator.
    pub(crate) heard_within: Duration,
    /// How long a zhost may be silent in the midst of a session before the session is given up.
    pub(crate) silence_max: Duration,
}

impl Pace {
    /// Datagrams of an IP network.
    pub const NETWORK: Self = Self {
        fragment_bytes: 1100,
        window_start: 16,
        rto_start: Duration::from_millis(250),
        rto_max: Duration::from_secs(2),
        hello_period: Duration::from_millis(300),
        answer_within: Duration::from_secs(3),
        heard_within: Duration::from_millis(1500),
        silence_max: Duration::from_secs(6),
    };
    /// A serial line at 115,200 baud, where a flipped bit costs a whole fragment: 18 ms each.
    pub const SERIAL: Self = Self {
        fragment_bytes: 160,
        window_start: 8,
        rto_start: Duration::from_millis(700),
        rto_max: Duration::from_secs(3),
        hello_period: Duration::from_millis(500),
        answer_within: Duration::from_secs(6),
        heard_within: Duration::from_secs(15),
        silence_max: Duration::from_secs(15),
    };

    /// Into how many fragments the largest message falls.
    pub(crate) fn fragments_max(&self) -> u32 {
        CONTROL_MESSAGE_MAX_BYTES.div_ceil(self.fragment_bytes) as u32
    }
}
