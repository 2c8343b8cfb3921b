//! What a space can ask for everywhere.

/// The capabilities every zhost offers, whatever its hardware.
pub const BASE_CAPABILITIES: [&str; 10] = [
    "data.read",
    "data.write",
    "names.register",
    "names.whereis",
    "proc.link",
    "proc.list",
    "proc.monitor",
    "proc.send",
    "proc.spawn",
    "sys.log",
];
