//! What a guest may use up. Fuel is wasmi's: about one unit per instruction.

use std::time::Duration;

/// Fuel of one slice, before another space has its turn: about a millisecond on a laptop.
pub const SLICE_FUEL: u64 = 200_000;

/// Fuel of a slice that the agent's loop runs itself, before it goes on with its own work.
pub const SHORT_SLICE_FUEL: u64 = 50_000;

/// Turns of spaces that have just woken up, after which one that needs much has its turn.
pub const TURNS_PASSED_MAX: u32 = 8;

/// Fuel `on_init` may burn before its watchdog ends the space.
pub const INIT_FUEL_MAX: u64 = 400_000_000;

/// Fuel one call of `on_process` may burn before its watchdog ends the space. A program with `_start` has no such
/// limit: it is one call.
pub const PROCESS_FUEL_MAX: u64 = 100_000_000;

/// Fuel `on_close` may burn before the space is dropped.
pub const CLOSE_FUEL_MAX: u64 = 50_000_000;

/// How long a space may take to close, waiting for its turns included.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon `on_process` is called again when the guest neither sleeps nor has messages.
pub const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// `sys.sleep` of so many milliseconds means: until something comes.
pub const SLEEP_FOREVER_MS: u32 = u32::MAX;

/// Log lines a guest may write at once; more are dropped, and the drop is logged.
pub const LOG_LINES_BURST: u32 = 32;

/// Log lines it may write per second in the long run.
pub const LOG_LINES_PER_SECOND: u64 = 10;

/// Size of a key of the `data` imports.
pub const DATA_KEY_MAX_BYTES: usize = 256;

/// Size of a value of the `data` imports.
pub const DATA_VALUE_MAX_BYTES: usize = 64 * 1024;

/// Size of what `data.batch` takes.
pub const DATA_BATCH_MAX_BYTES: usize = 256 * 1024;

/// Keys written in one call of `on_process`; further puts are refused until it returns.
pub const DATA_WRITES_PER_CALL_MAX: usize = 256;

/// Bytes of keys and values written in one call; further puts are refused until it returns.
pub const DATA_BYTES_PER_CALL_MAX: usize = 1024 * 1024;

/// Keys one `list` returns.
pub const DATA_LIST_MAX_KEYS: usize = 1024;

/// Messages a guest may emit to itself and not yet have received.
pub const SELF_EMIT_MAX_MESSAGES: usize = 32;

/// Sensors and recognisers a guest may be subscribed to.
pub const SUBSCRIPTIONS_MAX: usize = 16;

/// How often a subscribed sensor is read at most.
pub const SUBSCRIPTION_PERIOD_MIN: Duration = Duration::from_millis(10);

/// Readings of one subscription that wait; until they are taken, the sensor is not read.
pub const READINGS_WAITING_MAX: usize = 8;

/// Size of a command to an actuator, and of samples for a loudspeaker.
pub const COMMAND_MAX_BYTES: usize = 16 * 1024;

/// What a space is told when it is spawned.
pub const ARGUMENT_MAX_BYTES: usize = 4096;

/// Ends of spaces and zhosts, and lost names, that wait in a mailbox; a guest that lets more pile up has crashed.
pub const SIGNALS_WAITING_MAX: usize = 2048;

/// What a guest may do to others while what it wrote is not stored; one that does more has crashed.
pub const EFFECTS_MAX: usize = 8192;

/// Entries of a guest's tables.
pub const TABLE_ENTRIES_MAX: usize = 10_000;
