//! Tasks of the loop that are always there: one that panics begins anew, and is seen in `zctl status`.

use smol::{Timer, future::FutureExt};
use std::panic::AssertUnwindSafe;
use zhost_base::panic_text;
use zhost_threads::{backoff, note_failure, note_well};

/// Runs what `make` makes until it ends by itself; a panic costs a wait.
pub async fn keep<F: Future<Output = ()>>(name: &'static str, mut make: impl FnMut() -> F) {
    let mut failures = 0;
    loop {
        note_well(name);
        let attempt = AssertUnwindSafe(async { make().await });
        let Err(panic) = attempt.catch_unwind().await else { return };
        failures += 1;
        note_failure(name, &panic_text(panic.as_ref()));
        Timer::after(backoff(failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use zhost_threads::concerns;

    #[test]
    fn a_task_that_panics_begins_anew() {
        let tries = Cell::new(0);
        let task = keep("planted", || async {
            tries.set(tries.get() + 1);
            assert!(tries.get() > 1, "planted");
        });
        smol::block_on(task);
        assert_eq!(tries.get(), 2);
        let concern = concerns().into_iter().find(|concern| concern.name == "planted").unwrap();
        assert_eq!((concern.failures, concern.is_well), (1, true));
        assert!(concern.last_error.contains("planted"), "{}", concern.last_error);
    }
}
