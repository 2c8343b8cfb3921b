//! The guest ABI: which imports exist, and which capability unlocks each.
//!
//! All numbers are `i32` unless said otherwise; buffers are a pointer and a length in bytes. A negative result is a
//! refusal: −1 not found, −2 try again, −3 too large, −4 not declared, −5 the device or flash failed. A buffer outside
//! the guest's memory is a trap.
//!
//! | import | result | unlocked by |
//! |---|---|---|
//! | `sys.log(level, text, len)`, levels 0 debug, 1 info, 2 warn, 3 error | nothing | `sys.log` |
//! | `sys.time_ms() -> i64`, milliseconds since 1970, 0 while the clock is not set | time | always |
//! | `sys.now_us() -> i64`, monotonic microseconds | time | always |
//! | `sys.sleep(ms)`: after this call returns, call again no sooner, unless a message comes, a path that said "try again" takes messages again, or some did not arrive | nothing | always |
//! | `sys.yield()`: give the others a turn now | nothing | always |
//! | `sys.self_emit(data, len)`: a message to oneself | 0 | always |
//! | `sys.random(buffer, len)` | nothing | always |
//! | `net.emit_to(path, path_len, data, len)` | 0 | being an end of a path |
//! | `net.recv_next(buffer, room)` | size | being an end of a path |
//! | `net.recv_path(buffer, room)`: the path of the message last received | size | being an end of a path |
//! | `net.undelivered(buffer, room)`: messages of one path that were accepted and did not arrive: how many are lost, of how many nobody knows (`u32` each, little-endian), then the path's name | size | being an end of a path |
//! | `data.get(key, key_len, buffer, room)` | size | `data.read` |
//! | `data.list(prefix, prefix_len, buffer, room)`: keys, each behind its length (`u16`, little-endian) | size | `data.read` |
//! | `data.put(key, key_len, value, len)`: durable when this call of `on_process` has ended | 0 | `data.write` |
//! | `data.delete(key, key_len)` | 0 | `data.write` |
//! | `sensors.read(name, name_len, buffer, room)`: JSON, or a camera's next frame | size | `sensors.<name>` |
//!
//! Exports: `memory`, `on_process() -> i32` (0 = go on, else stop me), and optionally `on_init() -> i32` (0 = fine)
//! and `on_close() -> i32`.

use crate::interpreter::LoadError;
use zhost_base::SpaceSpec;

/// What unlocks an import.
enum Unlock {
    Always,
    Path,
    Capability(&'static str),
    AnyUnder(&'static str),
}

fn unlock(module: &str, function: &str) -> Option<Unlock> {
    Some(match (module, function) {
        ("sys", "log") => Unlock::Capability("sys.log"),
        ("sys", "time_ms" | "now_us" | "sleep" | "yield" | "self_emit" | "random") => Unlock::Always,
        ("net", "emit_to" | "recv_next" | "recv_path" | "undelivered") => Unlock::Path,
        ("data", "get" | "list") => Unlock::Capability("data.read"),
        ("data", "put" | "delete") => Unlock::Capability("data.write"),
        ("sensors", "read") => Unlock::AnyUnder("sensors."),
        _ => return None,
    })
}

/// The capabilities every zhost offers, whatever its hardware.
pub const BASE_CAPABILITIES: [&str; 3] = ["data.read", "data.write", "sys.log"];

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
