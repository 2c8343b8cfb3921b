//! Parts of zhosts that panic: each begins again, the others go on, and spaces with them.

use crate::{
    family,
    promise::Promise,
    scenario::{self, Report, Run, network},
    vault,
    world::{Machines, World},
};
use std::{collections::VecDeque, sync::Once, time::Duration};
use zhost_base::{Instant, Rng};
use zhost_node::{Moment, Part, Planted};

/// Between two panics pass at most so many milliseconds.
const PAUSE_MAX_MS: u64 = 6000;
/// How soon after a panic messages arrive again.
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// How long a topology makes boards panic.
const POISONED: Duration = Duration::from_secs(240);
/// So many panics over a topology, and it is left alone.
const PANICS_HOLD: u32 = 3;
/// For at most so long, after so few relapses.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(500);
/// How long it is waited for a part to have something to do.
const BUSY_WITHIN: Duration = Duration::from_secs(60);

/// Of one part of a board no more are planted within so long: its agent would end.
const PANICS_MAX: usize = 2;
const WITHIN: Duration = Duration::from_secs(70);

/// What panics, and when the next one is due.
pub(crate) struct Panics {
    rng: Rng,
    pub due: Instant,
    recent: VecDeque<(Instant, usize, Part)>,
}

impl Panics {
    pub fn new(now: Instant, seed: u64) -> Self {
        hush();
        Self { rng: Rng::from_number(seed), due: now, recent: VecDeque::new() }
    }

    /// Which of these boards is struck next, and how.
    pub fn draw(&mut self, now: Instant, live: &[usize]) -> Option<(usize, Planted)> {
        self.due = now + Duration::from_millis(self.rng.below(PAUSE_MAX_MS));
        let board = *self.rng.pick(live)?;
        let part = *self.rng.pick(&Part::ALL)?;
        let moment = if self.rng.chance(500) { Moment::Before } else { Moment::After };
        self.recent.retain(|(at, ..)| now.since(*at) < WITHIN);
        let again = self.recent.iter().filter(|(_, other, of)| (*other, *of) == (board, part)).count();
        self.recent.push_back((now, board, part));
        (again < PANICS_MAX).then_some((board, Planted::Once(part, moment)))
    }
}

/// Planted panics are not news.
fn hush() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.payload_as_str().is_some_and(is_planted) {
                usual(panic);
            }
        }));
    });
}

/// Whether the message of a panic is that of a planted one.
pub(crate) fn is_planted(text: &str) -> bool {
    text.contains("planted in ")
}

/// All sorts of mishaps, and panics on top of them: in counters and stores, in spaces that have to do with each other, or where
/// replicated data is written.
pub fn run(seed: u64, zhosts: usize, verbose: bool) -> Report {
    match seed % 3 {
        0 => scenario::faults_with(seed, zhosts, verbose, true),
        1 => family::run_with(seed, zhosts, verbose, true),
        _ => vault::run_with_panics(seed, vault::MISHAPS, verbose).report,
    }
}

/// A cluster to which nothing happens but that one part after the other panics, on the board to which all messages go, and on
/// another: messages arrive again within a second, and no space starts again.
pub fn alone(seed: u64, zhosts: usize) -> Report {
    hush();
    let world = World::new(seed, Machines { zhosts, cameras: 2, measured: false }, network(0, 5));
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    run.wait_for_quiet("after the submit");
    let before = run.world.starts_of("alpha");
    for part in Part::ALL {
        for moment in [Moment::Before, Moment::After] {
            let live = run.world.live();
            let store = live.iter().copied().find(|index| run.world.runs(*index, "alpha", "store"));
            let somebody = run.world.rng().pick(&live).copied();
            for board in [store, somebody].into_iter().flatten() {
                strike(&mut run, board, part, moment);
                run.world.run_for(WITHIN);
            }
        }
    }
    run.wait_for_quiet("after the panics");
    run.check_flow();
    let after = run.world.starts_of("alpha");
    if after != before {
        run.object(Promise::Running, format!("panics cost {} starts of spaces", after - before));
    }
    run.report(Some(Duration::ZERO))
}

/// Two topologies, of which one makes a part of every board panic whenever that has to do with it, and no more after some
/// minutes. No board ends, the other topology runs on without a further start, and the first runs again by itself.
pub fn poisoned(seed: u64, zhosts: usize, part: Part) -> Report {
    hush();
    let world = World::new(seed, Machines { zhosts, cameras: 2, measured: false }, network(20, 20));
    let mut run = Run::new(world);
    run.power_on();
    run.submit("alpha", 1, "sensors.camera");
    run.submit("beta", 1, "data.read");
    run.wait_for_quiet("after the submits");
    let starts = |run: &Run| run.world.starts_of("beta");
    let before = starts(&run);
    let alpha = zhost_mex::topology_id(&"alpha".parse().expect("a name"));
    for board in run.world.live() {
        run.world.plant(board, Some(Planted::Over(part, alpha)));
    }
    // Something has to be done about it.
    run.submit("alpha", 2, "sensors.camera");
    run.world.run_for(POISONED);
    if !run.world.live().iter().any(|board| run.world.panics(*board, part) >= PANICS_HOLD) {
        run.object(Promise::Sanity, format!("{} has nothing to do", part.name()));
    }
    let after = starts(&run);
    if after != before {
        run.object(Promise::Running, format!("beta was started {after} times, and {before} before"));
    }
    for board in run.world.live() {
        run.world.plant(board, None);
    }
    // It was left alone for ever longer.
    run.world.run_for(LEFT_ALONE_MAX);
    let quiet = run.wait_for_quiet("after the panics");
    run.check_flow();
    run.report(quiet.then_some(Duration::ZERO))
}

/// Has a part of a board panic, and sees that it begins again.
fn strike(run: &mut Run, board: usize, part: Part, moment: Moment) {
    let before = run.world.panics(board, part);
    run.world.plant(board, Some(Planted::Once(part, moment)));
    // Some parts have something to do only when they are asked.
    if part == Part::Operators {
        run.world.ask(board, &zhost_control::protocol::Request::Status);
    }
    let end = run.world.now() + BUSY_WITHIN;
    let struck = run.world.run_until(end, |world| world.panics(board, part) > before);
    run.world.plant(board, None);
    if struck {
        let (seen, back) = (run.world.delivered(), run.world.now() + BACK_WITHIN);
        if !run.world.run_until(back, |world| world.works(board, part) && world.delivered() > seen) {
            let text =
                format!("{BACK_WITHIN:?} after a panic of {} in z{board} no message arrives", part.name());
            run.object(Promise::Sanity, text);
        }
    } else if part != Part::Firmware {
        run.object(Promise::Sanity, format!("{} of z{board} has nothing to do", part.name()));
    }
}
