//! Plants bugs: a referee that does not find them is none. And one that cries wolf is none either, so a seed that finds a
//! bug must pass without it.

use crate::{Options, run_all};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Instant,
};
use zhost_base::planted::{self, Bug};
use zhost_sim::{
    promise::Flaw,
    repertoire::{Scenario, Series},
};

/// A seed that fails with a bug and passes without it.
struct Find {
    seed: u64,
    flaw: Flaw,
    /// How many seeds were run until then.
    run: usize,
}

/// Looks for the bug of that name, for all of them, for those that are rare, or for the others.
pub fn run(name: &str, options: &Options) -> ExitCode {
    let is_meant = |bug: &Bug| match name {
        "all" => true,
        "rare" => bug.is_rare(),
        "common" => !bug.is_rare(),
        name => bug.name() == name,
    };
    let bugs: Vec<Bug> = Bug::ALL.into_iter().filter(is_meant).collect();
    if bugs.is_empty() {
        let names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        eprintln!("there is no bug {name:?}; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    // What an idle cluster does is measured once, and without a bug.
    Scenario::Faults.run(0, options.zhosts, false);
    // A panic is a way to be found; its text stands in the report.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut unfound, mut failing) = (Vec::new(), BTreeSet::new());
    for bug in bugs {
        let series = Series { scenario: Scenario::that_finds(bug), ..options.series() };
        let scenario = series.scenario.name();
        let started = Instant::now();
        let find = look_for(bug, series, &mut failing);
        let wall = started.elapsed().as_secs_f64();
        match find {
            Some(Find { seed, flaw, run }) => println!(
                "{}: found by seed {seed} of {scenario} ({run} run, {wall:.0} s), which passes without it: {flaw}",
                bug.name()
            ),
            None => unfound.push(bug.name()),
        }
    }
    if !unfound.is_empty() {
        println!("not found: {}", unfound.join(", "));
    }
    for (scenario, seed) in &failing {
        println!("seed {seed} of {scenario} fails without any bug planted: a failure of the code");
    }
    if unfound.is_empty() && failing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed that finds a bug. Seeds that fail without it, too, are set apart.
fn look_for(bug: Bug, mut series: Series, failing: &mut BTreeSet<(&'static str, u64)>) -> Option<Find> {
    let mut run = 0;
    while !series.seeds.0.is_empty() {
        let failures = Mutex::new(BTreeMap::new());
        planted::plant(Some(bug));
        let tally = run_all(&series, false, &|seed, report| {
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.extend(report.flaws.first().map(|flaw| (seed, flaw.clone())));
            ControlFlow::Break(())
        });
        planted::plant(None);
        run += tally.run;
        for (seed, flaw) in failures.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if crate::run(&series, seed, false).flaws.is_empty() {
                return Some(Find { seed, flaw, run });
            }
            failing.insert((series.scenario.name(), seed));
        }
        series.seeds.0.drain(..tally.run);
    }
    None
}
