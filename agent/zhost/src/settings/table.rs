//! Every setting there is: its name, its default, its bounds. The one source of `--help`, of reading, and of what is checked
//! at the start.

use super::files;
use std::{fmt::Display, net::SocketAddr, str::FromStr};
use zhost_base::Name;
use zhost_hal::{Wire, v4l2::Wish};
use zhost_init::network::Plan;
use zhost_mex::PublicKey;
use zhost_node::Named;

/// A setting: its name as a flag and in the file (the environment has it as `ZHOST_NAME`), what its value is, what it
/// means, its default, and what it takes.
pub struct Setting {
    pub name: &'static str,
    pub value: &'static str,
    pub help: &'static str,
    pub default: Option<&'static str>,
    pub kind: Kind,
}

/// What a setting takes.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A whole number within these bounds, both included.
    Number(u64, u64),
    /// The name of a file or a folder.
    Path,
    /// As a path, or nothing.
    MaybePath,
    /// What this does not complain about.
    Text(fn(&str) -> Result<(), String>),
    /// As text, or nothing.
    MaybeText(fn(&str) -> Result<(), String>),
}

/// Of two numbers, one must leave room for so many times the other.
pub struct Relation {
    pub small: &'static str,
    pub times: u64,
    pub large: &'static str,
    pub why: &'static str,
}

/// What numbers have to do with each other.
pub const RELATIONS: [Relation; 1] = [Relation {
    small: "heartbeat-ms",
    times: 2,
    large: "heartbeat-timeout-ms",
    why: "a zhost has failed when several of its reports are missing, not before the next one is due",
}];

/// Reads a text as a `T`, to see whether it is one.
fn is<T: FromStr>(text: &str) -> Result<(), String>
where
    T::Err: Display,
{
    text.parse::<T>().map(drop).map_err(|e| e.to_string())
}

/// Items of a list, separated by commas.
pub fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn are<T: FromStr>(text: &str) -> Result<(), String>
where
    T::Err: Display,
{
    items(text).try_for_each(|item| is::<T>(item))
}

fn is_bool(text: &str) -> Result<(), String> {
    is::<bool>(text).map_err(|_| "expected true or false".into())
}

fn is_level(text: &str) -> Result<(), String> {
    is::<log::LevelFilter>(text).map_err(|_| "expected error, warn, info or debug".into())
}

fn are_operators(text: &str) -> Result<(), String> {
    let is_key = |item: &str| files::parse_operator(item).is_some();
    match items(text).all(is_key) {
        true => Ok(()),
        false => Err("expected keys of 64 hexadecimal digits; zctl keygen makes one".into()),
    }
}

fn is_line(text: &str) -> Result<(), String> {
    crate::serial::Line::parse(text).map(drop)
}

const fn setting(
    name: &'static str,
    value: &'static str,
    help: &'static str,
    default: Option<&'static str>,
    kind: Kind,
) -> Setting {
    Setting { name, value, help, default, kind }
}

/// Every setting there is.
pub const SETTINGS: [Setting; 32] = [
    setting(
        "data-dir",
        "DIR",
        "where identity, ledger, packages and data are kept",
        Some("/var/lib/zhost"),
        Kind::Path,
    ),
    setting("cluster", "NAME", "the cluster's name", Some("default"), Kind::Text(is::<Name>)),
    setting("name", "NAME", "what people call this zhost", Some("zhost"), Kind::Text(is::<Name>)),
    setting("region", "NAME", "where it stands", Some("default"), Kind::Text(is::<Name>)),
    setting("kind", "NAME", "what sort of machine it is", Some("board"), Kind::Text(is::<Name>)),
    setting(
        "listen",
        "ADDR",
        "gossip (UDP) and links (TCP); [::] is every address, of IPv4 too",
        Some("[::]:9200"),
        Kind::Text(is::<SocketAddr>),
    ),
    setting(
        "advertise",
        "ADDR",
        "how others reach `listen`; left out, the addresses of the machine, whatever they are at the time",
        None,
        Kind::Text(is::<SocketAddr>),
    ),
    setting(
        "control",
        "ADDR",
        "where zctl is answered (UDP)",
        Some("[::]:9000"),
        Kind::Text(is::<SocketAddr>),
    ),
    setting(
        "serial",
        "FILE[@BAUD]",
        "a serial line where zctl is answered, such as /dev/ttyAMA0@115200; a board without a secret-file takes \
         provisioning there, and nothing else",
        None,
        Kind::Text(is_line),
    ),
    setting(
        "web",
        "ADDR",
        "where browsers are shown UI spaces (TCP); empty: nowhere",
        Some("[::]:9080"),
        Kind::MaybeText(is::<SocketAddr>),
    ),
    setting(
        "join",
        "ADDR|NAME,…",
        "zhosts to join the cluster at, if they are not on the same network; port 9200 if none is given; names are looked \
         up anew each time",
        Some(""),
        Kind::MaybeText(are::<Named>),
    ),
    setting(
        "discover",
        "BOOL",
        "look for the cluster on the local network; founds one if nobody answers",
        Some("true"),
        Kind::Text(is_bool),
    ),
    setting("secret-file", "FILE", "the cluster's secret: 64 hexadecimal digits, mode 600", None, Kind::Path),
    setting("control-secret-file", "FILE", "the secret of zctl sessions, likewise", None, Kind::Path),
    setting(
        "operators",
        "KEY,…",
        "public keys of operators who may command (zctl keygen)",
        Some(""),
        Kind::MaybeText(are_operators),
    ),
    setting(
        "publishers",
        "KEY,…",
        "public keys of publishers whose packages run (zctl mex keygen)",
        Some(""),
        Kind::MaybeText(are::<PublicKey>),
    ),
    setting("eligible", "BOOL", "may become a super node", Some("true"), Kind::Text(is_bool)),
    setting("run-spaces", "BOOL", "runs spaces", Some("true"), Kind::Text(is_bool)),
    setting("memory-mib", "N", "memory given to spaces", Some("64"), Kind::Number(1, 4095)),
    setting(
        "devices",
        "NAME=KIND:WHERE,…",
        "what is wired to the board: gpio-in:LINE, gpio-out:LINE, i2c:i2c-1, lm75:i2c-1@48, spi:spidev0.0@HZ, \
         uart:ttyS0@BAUD, pwm:pwmchip0@CHANNEL",
        Some(""),
        Kind::MaybeText(are::<Wire>),
    ),
    setting(
        "camera",
        "WIDTHxHEIGHT [FORMAT]",
        "what pictures cameras are asked for: GREY, YUYV, MJPG or a format of their own; they give the nearest",
        Some("320x240"),
        Kind::Text(is::<Wish>),
    ),
    setting("secrets-dir", "DIR", "secrets for spaces: file x, mode 600, is secrets.x", None, Kind::Path),
    setting(
        "watchdog",
        "FILE",
        "feed this hardware watchdog, such as /dev/watchdog, while all is well; empty: none",
        Some(""),
        Kind::MaybePath,
    ),
    setting(
        "hardware-replay",
        "DIR",
        "play recorded hardware instead of this computer's (see agent/hal)",
        None,
        Kind::Path,
    ),
    setting("camera-replay", "FILE", "offer sensors.camera, playing recorded PGM pictures", None, Kind::Path),
    setting(
        "camera-period-ms",
        "N",
        "time between two recorded pictures",
        Some("200"),
        Kind::Number(10, 3_600_000),
    ),
    setting(
        "network",
        "PLAN",
        "how a board on which zhost is the first process gets its address: dhcp, ADDR/BITS [via ADDR], or none",
        Some("dhcp"),
        Kind::Text(is::<Plan>),
    ),
    setting(
        "heartbeat-ms",
        "N",
        "how often to report to the super node",
        Some("10000"),
        Kind::Number(100, 3_600_000),
    ),
    setting(
        "heartbeat-timeout-ms",
        "N",
        "a zhost silent for this long has failed",
        Some("30000"),
        Kind::Number(500, 86_400_000),
    ),
    setting(
        "alone-ms",
        "N",
        "how long to wait for a known cluster before going on alone",
        Some("15000"),
        Kind::Number(100, 3_600_000),
    ),
    setting(
        "record",
        "BOOL",
        "write all that happens to this zhost to DATA-DIR/recording, up to 64 MiB for each start: what `cargo xtask replay` \
         tells again; holds all messages, but no key",
        Some("false"),
        Kind::Text(is_bool),
    ),
    setting("log", "LEVEL", "error, warn, info or debug", Some("info"), Kind::Text(is_level)),
];
