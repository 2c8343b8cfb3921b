//! What a guest may use up. Fuel is wasmi's: about one unit per instruction.

use std::time::Duration;

/// Fuel of one slice, before another space has its turn: about a millisecond on a laptop.
pub const SLICE_FUEL: u64 = 200_000;

/// Fuel of a slice that the agent's loop runs itself, before it goes on with its own work.
pub const SHORT_SLICE_FUEL: u64 = 50_000;

/// Fuel `on_init` may burn before its watchdog ends the space.
pub const INIT_FUEL_MAX: u64 = 400_000_000;

/// Fuel one call of `on_process` may burn before its watchdog ends the space.
pub const PROCESS_FUEL_MAX: u64 = 100_000_000;

/// Fuel `on_close` may burn before the space is dropped.
pub const CLOSE_FUEL_MAX: u64 = 50_000_000;

/// How long a space may take to close, waiting for its turns included.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon `on_process` is called again when the guest neither sleeps nor has messages.
pub const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// Log lines a guest may write in one call; more are dropped, and the drop is logged.
pub const LOG_LINES_PER_CALL_MAX: usize = 32;

/// Size of a key of the `data` imports.
pub const DATA_KEY_MAX_BYTES: usize = 256;

/// Size of a value of the `data` imports.
pub const DATA_VALUE_MAX_BYTES: usize = 64 * 1024;

/// Keys written in one call of `on_process`; further puts are refused until it returns.
pub const DATA_WRITES_PER_CALL_MAX: usize = 256;

/// Keys one `list` returns.
pub const DATA_LIST_MAX_KEYS: usize = 1024;

/// Messages a guest may emit to itself and not yet have received.
pub const SELF_EMIT_MAX_MESSAGES: usize = 32;

/// Entries of a guest's tables.
pub const TABLE_ENTRIES_MAX: usize = 10_000;
