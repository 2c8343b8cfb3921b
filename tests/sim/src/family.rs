//! A family under all sorts of mishaps: two placed spaces spawn linked children wherever they like, the children take
//! names, lose them, crash and end, and everybody monitors whoever has a name. What each is told is compared with a model
//! (`cast.rs`).

use crate::{
    actors::{CAPABILITIES, module},
    guests,
    scenario::{Report, Run, network},
    world::{Machines, World},
};
use std::time::Duration;

/// Spaces that are placed; the others are spawned.
const PLACED: usize = 4;
/// How long everybody may need to hear of everything.
const SETTLE: Duration = Duration::from_secs(15);
/// How long nothing goes wrong.
const CALM: Duration = Duration::from_secs(15);
/// A new version, now and then, of a thousand.
const NEW_VERSION_PER_MILLE: u64 = 150;

/// Has up to four children, and closes one now and then.
const PARENT: &str = r#"
  (global $children (mut i32) (i32.const 0))
  (func (export "on_init") (result i32) (call $trap (i32.const 1)) (i32.const 0))
  (func (export "on_process") (result i32)
    (loop $more
      (if (i32.ge_s (call $recv (i32.const 514) (i32.const 200)) (i32.const 0)) (then
        (if (i32.eq (call $kind) (i32.const 4))
          (then (global.set $children (i32.sub (global.get $children) (i32.const 1)))))
        (br $more))))
    (call $random (i32.const 900) (i32.const 4))
    (if (i32.lt_s (global.get $children) (i32.const 4))
      (then
        (if (i32.eq (i32.const 16)
              (call $spawn (i32.const 0) (i32.const 0) (i32.const 32) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 256)))
          (then (global.set $children (i32.add (global.get $children) (i32.const 1))))))
      (else (if (i32.lt_u (i32.load8_u (i32.const 900)) (i32.const 12))
        (then (drop (call $exit (i32.const 256) (i32.const 16) (i32.const 5)))))))
    (call $sleep (i32.const 400))
    (i32.const 0))"#;

/// Takes and gives back names, and monitors whoever has one.
const CHILD: &str = r#"
  (func (export "on_process") (result i32) (local $what i32)
    (loop $more (br_if $more (i32.ge_s (call $recv (i32.const 514) (i32.const 200)) (i32.const 0))))
    (call $random (i32.const 900) (i32.const 4))
    (i32.store8 (i32.const 100) (i32.const 110))
    (i32.store8 (i32.const 101) (i32.add (i32.const 48) (i32.and (i32.load8_u (i32.const 900)) (i32.const 3))))
    (local.set $what (i32.and (i32.load8_u (i32.const 901)) (i32.const 7)))
    (if (i32.lt_u (local.get $what) (i32.const 2))
      (then (drop (call $register (i32.const 100) (i32.const 2)))))
    (if (i32.eq (local.get $what) (i32.const 2))
      (then (drop (call $unregister (i32.const 100) (i32.const 2)))))
    (if (i32.and (i32.gt_u (local.get $what) (i32.const 2)) (i32.lt_u (local.get $what) (i32.const 6))) (then
      (if (i32.eq (call $whereis (i32.const 100) (i32.const 2) (i32.const 256)) (i32.const 16))
        (then (drop (call $monitor (i32.const 256)))))))
    (if (i32.and (i32.eq (local.get $what) (i32.const 6)) (i32.lt_u (i32.load8_u (i32.const 902)) (i32.const MORTALITY)))
      (then
        (if (i32.and (i32.load8_u (i32.const 903)) (i32.const 1)) (then (unreachable)))
        (return (i32.const 5))))
    (call $sleep (i32.const 400))
    (i32.const 0))"#;

/// One in so many seeds has children that are not linked with their parents, and outlive them.
const UNLINKED_EVERY: u64 = 10;

fn package(version: u32, is_linked: bool) -> Vec<u8> {
    let placed = |name: &str, more: &str| {
        format!("  - {{name: {name}, type: IO, capabilities: [{CAPABILITIES}]{more}}}\n")
    };
    let topology = [
        "apiVersion: samoza/v1\nkind: Topology\nmetadata: {name: family}\nspaces:\n".to_owned(),
        placed("mother", ", placement: {region: head}"),
        placed("father", ""),
        placed("aunt", ""),
        placed("uncle", ""),
        format!(
            "  - {{name: child, type: CALL, start: spawned, capabilities: [{CAPABILITIES}], resources: {{memoryKiB: 64}}}}\n"
        ),
    ];
    let parent = match is_linked {
        true => module(PARENT),
        false => module(PARENT).replace("\"spawn_link\"", "\"spawn\""),
    };
    let child = module(&CHILD.replace("MORTALITY", "16"));
    let aunt = module(&CHILD.replace("MORTALITY", "0"));
    let spaces = [
        ("mother", parent.clone()),
        ("father", parent),
        ("aunt", aunt.clone()),
        ("uncle", aunt),
        ("child", child),
    ];
    guests::assemble("family", version, &topology.concat(), &spaces)
}

/// Join, submit, a time in which nothing goes wrong, mishaps, and another such time.
pub fn run(seed: u64, zhosts: usize, verbose: bool) -> Report {
    run_with(seed, zhosts, verbose, false)
}

/// The same, perhaps with parts that panic.
pub(crate) fn run_with(seed: u64, zhosts: usize, verbose: bool, panics: bool) -> Report {
    let mut world = World::new(seed, Machines { zhosts, cameras: 0, measured: false }, network(20, 20));
    world.verbose = verbose;
    let mut run = Run::new(world);
    // Names come and go all the time, and with them rows.
    run.rests = false;
    run.panics = panics.then_some(seed);
    run.power_on();
    let is_linked = seed % UNLINKED_EVERY != UNLINKED_EVERY - 1;
    run.submit_package("family", 1, PLACED, package(1, is_linked));
    if run.wait_for_quiet("after the submit") {
        run.live_on("after the submit");
    }
    if run.flaws.is_empty() {
        let mut version = 1;
        run.trouble(|run| {
            if run.world.rng().chance(NEW_VERSION_PER_MILLE) {
                version += 1;
                run.submit_package("family", version, PLACED, package(version, is_linked));
            }
        });
        // Children that would outlive a version have one more to outlive.
        if !is_linked {
            run.submit_package("family", version + 1, PLACED, package(version + 1, is_linked));
        }
    }
    let start = run.world.now();
    let quiet = run.wait_for_quiet("after the faults");
    let quiet_after = quiet.then(|| run.world.now().since(start));
    if quiet {
        run.live_on("after the faults");
    }
    run.report(quiet_after)
}

impl Run {
    /// Nothing goes wrong for a while: everybody hears of everything.
    fn live_on(&mut self, when: &str) {
        self.world.run_for(SETTLE);
        self.world.set_calm(true);
        self.world.run_for(CALM);
        self.world.set_calm(false);
        let verdict = self.world.cast_verdict();
        self.flaws.extend(verdict.into_iter().map(|flaw| flaw.at(when)));
    }
}
