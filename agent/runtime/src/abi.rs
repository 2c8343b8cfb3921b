//! The guest ABI: which imports exist, and which capability unlocks each. What they do stands in `ABI.md`, beside this
//! folder; a test holds the two together.

use crate::{imports, interpreter::LoadError};
use zhost_base::SpaceSpec;

/// What unlocks an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlock {
    /// Nothing needs to be declared.
    Always,
    /// The space is an end of a path.
    Path,
    /// This capability.
    Capability(&'static str),
    /// Any capability that begins so.
    AnyUnder(&'static str),
}

/// Every import beside those of WASI: its module, its name, and what unlocks it.
pub const IMPORTS: [(&str, &str, Unlock); 52] = [
    ("sys", "log", Unlock::Capability("sys.log")),
    ("sys", "time_ms", Unlock::Always),
    ("sys", "now_us", Unlock::Always),
    ("sys", "sleep", Unlock::Always),
    ("sys", "yield", Unlock::Always),
    ("sys", "self_emit", Unlock::Always),
    ("sys", "random", Unlock::Always),
    ("sys", "config", Unlock::Always),
    ("sys", "secret", Unlock::AnyUnder("secrets.")),
    ("sys", "argument", Unlock::Always),
    ("sys", "report", Unlock::Always),
    ("net", "emit_to", Unlock::Path),
    ("net", "recv_next", Unlock::Always),
    ("net", "recv_path", Unlock::Always),
    ("net", "recv_kind", Unlock::Always),
    ("net", "sender", Unlock::Always),
    ("net", "undelivered", Unlock::Path),
    ("net", "call", Unlock::Path),
    ("net", "reply", Unlock::Always),
    ("proc", "self", Unlock::Always),
    ("proc", "list", Unlock::Capability("proc.list")),
    ("proc", "spawn", Unlock::Capability("proc.spawn")),
    ("proc", "spawn_link", Unlock::Capability("proc.spawn")),
    ("proc", "exit", Unlock::Capability("proc.spawn")),
    ("proc", "send", Unlock::Capability("proc.send")),
    ("proc", "unsent", Unlock::Capability("proc.send")),
    ("proc", "call", Unlock::Capability("proc.send")),
    ("proc", "link", Unlock::Capability("proc.link")),
    ("proc", "unlink", Unlock::Capability("proc.link")),
    ("proc", "trap_exits", Unlock::Always),
    ("proc", "monitor", Unlock::Capability("proc.monitor")),
    ("proc", "demonitor", Unlock::Capability("proc.monitor")),
    ("proc", "monitor_zhost", Unlock::Capability("proc.monitor")),
    ("names", "register", Unlock::Capability("names.register")),
    ("names", "unregister", Unlock::Capability("names.register")),
    ("names", "whereis", Unlock::Capability("names.whereis")),
    ("data", "get", Unlock::Capability("data.read")),
    ("data", "list", Unlock::Capability("data.read")),
    ("data", "put", Unlock::Capability("data.write")),
    ("data", "delete", Unlock::Capability("data.write")),
    ("data", "batch", Unlock::Capability("data.write")),
    ("data", "sync", Unlock::Capability("data.write")),
    ("sensors", "read", Unlock::AnyUnder("sensors.")),
    ("sensors", "subscribe", Unlock::AnyUnder("sensors.")),
    ("sensors", "unsubscribe", Unlock::AnyUnder("sensors.")),
    ("actuators", "lock", Unlock::AnyUnder("actuators.")),
    ("actuators", "command", Unlock::AnyUnder("actuators.")),
    ("actuators", "release", Unlock::AnyUnder("actuators.")),
    ("audio", "capture", Unlock::AnyUnder("audio.")),
    ("audio", "play", Unlock::AnyUnder("audio.")),
    ("events", "subscribe", Unlock::AnyUnder("sensors.")),
    ("events", "unsubscribe", Unlock::AnyUnder("sensors.")),
];

fn unlock(module: &str, function: &str) -> Option<Unlock> {
    if module == "wasi_snapshot_preview1" {
        return imports::offers_wasi(function).then_some(Unlock::Always);
    }
    let is = |(m, f, _): &&(&str, &str, Unlock)| *m == module && *f == function;
    IMPORTS.iter().find(is).map(|(_, _, unlock)| *unlock)
}

/// Checks one import of a space.
pub fn check_import(
    module: &str,
    function: &str,
    space: &SpaceSpec,
    has_path: bool,
) -> Result<(), LoadError> {
    let import = format!("{module}.{function}");
    let declares = |name: &str| space.capabilities.iter().any(|declared| declared.as_str() == name);
    let missing = match unlock(module, function) {
        None => return Err(LoadError::UnknownImport { import }),
        Some(Unlock::Always) => None,
        Some(Unlock::Path) => (!has_path).then(|| "a path".to_owned()),
        Some(Unlock::Capability(name)) => (!declares(name)).then(|| format!("the capability {name}")),
        Some(Unlock::AnyUnder(prefix)) => {
            let any = space.capabilities.iter().any(|declared| declared.as_str().starts_with(prefix));
            (!any).then(|| format!("any capability {prefix}*"))
        }
    };
    match missing {
        Some(capability) => Err(LoadError::Undeclared { import, capability }),
        None => Ok(()),
    }
}
