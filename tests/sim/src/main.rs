//! Runs the fault scenario over many seeds and prints those that fail.

use clap::Parser;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use zhost_sim::{
    scenario::{self, Report},
    vault,
};

/// Lines of the trace shown of the first seed that fails.
const TRACE_LINES_SHOWN: usize = 60;

#[derive(Parser)]
#[command(name = "sim", about = "Simulates clusters under faults drawn from seeds, and judges them.")]
struct Options {
    /// Seeds, such as 0..500 or 17 or 3,17,0..100.
    #[arg(long, default_value = "0..200", value_parser = parse_seeds)]
    seeds: Seeds,
    /// Boards in the cluster.
    #[arg(long, default_value_t = 7)]
    zhosts: usize,
    /// Print the whole trace of every seed.
    #[arg(long)]
    trace: bool,
    /// Instead of a cluster under all sorts of faults: a space with replicated data whose board dies again and again.
    #[arg(long)]
    vault: bool,
    /// Instead of faults: leave a cluster alone for that many simulated seconds, and say what it still does.
    #[arg(long)]
    rest: Option<u64>,
    /// Before that, kill so many boards and pull so many cables.
    #[arg(long, requires = "rest")]
    battered: Option<usize>,
    /// Plant this bug and stop at the first seed that finds it; all of them one after the other with `all`.
    #[arg(long)]
    bug: Option<String>,
}

#[derive(Clone, Debug)]
struct Seeds(Vec<u64>);

fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("{text:?} is not a seed"));
    let mut seeds = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            Some((from, to)) => seeds.extend(number(from)?..number(to)?),
            None => seeds.push(number(part)?),
        }
    }
    Ok(Seeds(seeds))
}

/// What came of all seeds.
#[derive(Default)]
struct Tally {
    failed: Vec<u64>,
    simulated_s: f64,
    slowest_s: f64,
}

fn main() {
    let mut options = Options::parse();
    if let Some(name) = options.bug.clone() {
        return hunt(&name, &mut options);
    }
    if let Some(seconds) = options.rest {
        for seed in &options.seeds.0 {
            let length = Duration::from_secs(seconds);
            let (rest, report) = match options.battered {
                Some(mishaps) => scenario::battered(*seed, options.zhosts, mishaps, length),
                None => scenario::rest(*seed, options.zhosts, length),
            };
            println!("seed {seed}: {rest}");
            report.flaws.iter().for_each(|flaw| println!("  {flaw}"));
        }
        return;
    }
    let started = Instant::now();
    let tally = run_all(&options, false);
    let wall = started.elapsed().as_secs_f64();
    let hours = tally.simulated_s / 3600.0;
    println!(
        "{} seeds of {} zhosts, {} failed{}; {hours:.1} simulated hours in {wall:.0} s ({:.2} h/s); slowest quiet {:.1} s",
        options.seeds.0.len(),
        options.zhosts,
        tally.failed.len(),
        if tally.failed.is_empty() { String::new() } else { format!(": {:?}", tally.failed) },
        hours / wall,
        tally.slowest_s
    );
    if let Some(first) = tally.failed.first() {
        println!("reproduce one with: cargo xtask sim --seeds {first} --zhosts {} --trace", options.zhosts);
        std::process::exit(1);
    }
}

/// Runs the seeds on all processors; up to the first that fails, if `first_only`.
fn run_all(options: &Options, first_only: bool) -> Tally {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let threads = if options.trace { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(seed) = options.seeds.0.get(index).copied() else { return };
                    let failed = run(seed, options, &tally, first_only);
                    if failed && first_only {
                        next.store(options.seeds.0.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.failed.sort_unstable();
    tally
}

/// Runs one seed; whether it failed.
fn run(seed: u64, options: &Options, tally: &Mutex<Tally>, is_hunt: bool) -> bool {
    let run = std::panic::catch_unwind(|| match options.vault {
        true => vault::run(seed, vault::MISHAPS, options.trace).report,
        false => scenario::faults(seed, options.zhosts, options.trace),
    });
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = match &run {
        Ok(report) => {
            tally.simulated_s += report.simulated.as_secs_f64();
            tally.slowest_s =
                tally.slowest_s.max(report.quiet_after.map_or(0.0, |quiet| quiet.as_secs_f64()));
            !report.flaws.is_empty()
        }
        Err(_) => true,
    };
    if failed {
        let shows_trace = tally.failed.is_empty() && !options.trace && !is_hunt;
        tally.failed.push(seed);
        if let Ok(report) = &run {
            show(seed, report, shows_trace, if is_hunt { 1 } else { 8 });
        }
    } else if let (Ok(report), 1) = (&run, options.seeds.0.len()) {
        println!(
            "seed {seed} passes (trace hash {:016x}, quiet after {:?})",
            report.trace_hash, report.quiet_after
        );
    }
    failed
}

fn show(seed: u64, report: &Report, with_trace: bool, flaws: usize) {
    println!("seed {seed} fails (trace hash {:016x}):", report.trace_hash);
    report.flaws.iter().take(flaws).for_each(|flaw| println!("  {flaw}"));
    if with_trace {
        let skipped = report.trace.len().saturating_sub(TRACE_LINES_SHOWN);
        report.trace.iter().skip(skipped).for_each(|line| println!("  | {line}"));
    }
}

/// Plants bugs: a referee that does not find them is none.
fn hunt(name: &str, options: &mut Options) {
    let bugs: Vec<zhost_base::planted::Bug> =
        zhost_base::planted::Bug::ALL.into_iter().filter(|bug| name == "all" || bug.name() == name).collect();
    if bugs.is_empty() {
        let names: Vec<_> = zhost_base::planted::Bug::ALL.iter().map(|bug| bug.name()).collect();
        eprintln!("there is no bug {name:?}; there are {}", names.join(", "));
        std::process::exit(2);
    }
    // A panic is a way to be found; its text is not of interest here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unfound = Vec::new();
    for bug in bugs {
        zhost_base::planted::plant(Some(bug));
        options.vault = bug.harms_data();
        let found = run_all(options, true).failed.first().copied();
        match found {
            Some(seed) => println!("{}: found by seed {seed}", bug.name()),
            None => unfound.push(bug.name()),
        }
    }
    zhost_base::planted::plant(None);
    if !unfound.is_empty() {
        println!("not found: {}", unfound.join(", "));
        std::process::exit(1);
    }
}
