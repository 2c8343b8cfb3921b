//! Runs scenarios over many seeds and prints those that fail.

mod hunt;
mod replay;

use clap::Parser;
use std::{
    any::Any,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use zhost_sim::{
    promise::Promise,
    repertoire::{self, Scenario, Seeds, Series},
    scenario::{self, Report},
};

/// Lines of the trace shown of the first seed that fails.
const TRACE_LINES_SHOWN: usize = 60;
/// Flaws shown of a seed that fails.
const FLAWS_SHOWN: usize = 8;

#[derive(Parser)]
#[command(name = "sim", about = "Simulates clusters under faults drawn from seeds, and judges them.")]
struct Options {
    /// Seeds, such as 0..500 or 17 or 3,17,0..100.
    #[arg(long, default_value = "0..200")]
    seeds: Seeds,
    /// Boards in the cluster.
    #[arg(long, default_value_t = 7)]
    zhosts: usize,
    /// Print the whole trace of every seed, or every input of a recording.
    #[arg(long)]
    trace: bool,
    /// What happens to the cluster.
    #[arg(long, value_enum, default_value = "faults")]
    scenario: Scenario,
    /// Instead of faults: leave a cluster alone for that many simulated seconds, and say what it still does.
    #[arg(long)]
    rest: Option<u64>,
    /// Before that, kill so many boards and pull so many cables.
    #[arg(long, requires = "rest")]
    battered: Option<usize>,
    /// Instead of these seeds: all those that ever failed, of every scenario, each at its size.
    #[arg(long, conflicts_with_all = ["seeds", "scenario", "bug"])]
    failed: bool,
    /// Instead of that: tell a node again what was recorded in this file.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Of a recording, no more than the first so many inputs.
    #[arg(long, requires = "replay")]
    until: Option<u64>,
    /// Plant this bug and stop at the first seed that finds it; all of them one after the other with `all`, those that are
    /// rare with `rare`, the others with `common`. Each is looked for in the scenario that is made for it, and the seed must
    /// pass without it.
    #[arg(long)]
    bug: Option<String>,
}

/// What came of some seeds.
#[derive(Default)]
struct Tally {
    failed: Vec<u64>,
    /// How many seeds were run.
    run: usize,
    simulated_s: f64,
    slowest_s: f64,
    /// The trace of the last one.
    trace_hash: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(file) = &options.replay {
        return match replay::run(file, options.until, options.trace) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("{reason}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(name) = &options.bug {
        return hunt::run(name, &options);
    }
    if let Some(seconds) = options.rest {
        rest(&options, Duration::from_secs(seconds));
        return ExitCode::SUCCESS;
    }
    let series = match options.failed {
        true => repertoire::failed(),
        false => Ok(vec![options.series()]),
    };
    let series = match series {
        Ok(series) => series,
        Err(reason) => {
            eprintln!("failed-seeds.txt: {reason}");
            return ExitCode::from(2);
        }
    };
    let failed = series.iter().filter(|series| !passes(series, options.trace)).count();
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Options {
    fn series(&self) -> Series {
        Series { scenario: self.scenario, zhosts: self.zhosts, seeds: self.seeds.clone() }
    }
}

/// Leaves clusters alone, and says what they still do.
fn rest(options: &Options, length: Duration) {
    for seed in &options.seeds.0 {
        let (rest, report) = match options.battered {
            Some(mishaps) => scenario::battered(*seed, options.zhosts, mishaps, length),
            None => scenario::rest(*seed, options.zhosts, length),
        };
        println!("seed {seed}: {rest}");
        report.flaws.iter().for_each(|flaw| println!("  {flaw}"));
    }
}

/// Runs seeds and says what came of them; whether all passed.
fn passes(series: &Series, trace: bool) -> bool {
    let started = Instant::now();
    let shown = AtomicUsize::new(0);
    let tally = run_all(series, trace, &|seed, report| {
        let is_first = shown.fetch_add(1, Ordering::Relaxed) == 0;
        show(seed, report, is_first && !trace);
        ControlFlow::Continue(())
    });
    let wall = started.elapsed().as_secs_f64();
    let hours = tally.simulated_s / 3600.0;
    println!(
        "{}: {} seeds of {} zhosts, {} failed{}; {hours:.1} simulated hours in {wall:.0} s ({:.2} h/s); slowest quiet {:.1} s",
        series.scenario.name(),
        series.seeds.0.len(),
        series.zhosts,
        tally.failed.len(),
        if tally.failed.is_empty() { String::new() } else { format!(": {:?}", tally.failed) },
        hours / wall,
        tally.slowest_s
    );
    if series.seeds.0.len() == 1 {
        println!("trace hash {:016x}", tally.trace_hash);
    }
    if let Some(first) = tally.failed.first() {
        println!(
            "reproduce one with: cargo xtask sim --scenario {} --seeds {first} --zhosts {} --trace",
            series.scenario.name(),
            series.zhosts
        );
    }
    tally.failed.is_empty()
}

/// Runs the seeds in their order, on all processors, until one fails after which `on_failure` wants no more.
fn run_all(
    series: &Series,
    trace: bool,
    on_failure: &(dyn Fn(u64, &Report) -> ControlFlow<()> + Sync),
) -> Tally {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let threads = if trace { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
    let seeds = &series.seeds.0;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    let report = run(series, seed, trace);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(seed, &report);
                    if !report.flaws.is_empty() && on_failure(seed, &report).is_break() {
                        next.store(seeds.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.failed.sort_unstable();
    tally
}

/// Runs one seed. A panic breaks a promise, too.
fn run(series: &Series, seed: u64, trace: bool) -> Report {
    let run = std::panic::catch_unwind(|| series.scenario.run(seed, series.zhosts, trace));
    run.unwrap_or_else(|panic| Report {
        flaws: vec![Promise::Sanity.broken(format!("panicked: {}", panic_text(panic.as_ref())))],
        trace_hash: 0,
        simulated: Duration::ZERO,
        quiet_after: None,
        trace: Vec::new(),
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

impl Tally {
    fn add(&mut self, seed: u64, report: &Report) {
        self.run += 1;
        self.simulated_s += report.simulated.as_secs_f64();
        self.slowest_s = self.slowest_s.max(report.quiet_after.map_or(0.0, |quiet| quiet.as_secs_f64()));
        self.trace_hash = report.trace_hash;
        if !report.flaws.is_empty() {
            self.failed.push(seed);
        }
    }
}

fn show(seed: u64, report: &Report, with_trace: bool) {
    println!("seed {seed} fails (trace hash {:016x}):", report.trace_hash);
    report.flaws.iter().take(FLAWS_SHOWN).for_each(|flaw| println!("  {flaw}"));
    if with_trace {
        let skipped = report.trace.len().saturating_sub(TRACE_LINES_SHOWN);
        report.trace.iter().skip(skipped).for_each(|line| println!("  | {line}"));
    }
}
