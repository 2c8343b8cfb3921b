//! Runs the fault scenario over many seeds and prints those that fail.

use clap::Parser;
use std::{ops::Range, time::Instant};

#[derive(Parser)]
#[command(name = "sim", about = "Simulates clusters under faults drawn from seeds, and judges them.")]
struct Options {
    /// Seeds, such as 0..500 or 17.
    #[arg(long, default_value = "0..200", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Boards in the cluster.
    #[arg(long, default_value_t = 7)]
    zhosts: usize,
    /// Print the whole trace of every seed.
    #[arg(long)]
    trace: bool,
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a seed"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

fn main() {
    let options = Options::parse();
    let started = Instant::now();
    let (mut failed, mut simulated, mut slowest) = (Vec::new(), 0.0, 0.0_f64);
    let total = options.seeds.end.saturating_sub(options.seeds.start);
    for seed in options.seeds.clone() {
        let run =
            std::panic::catch_unwind(|| zhost_sim::scenario::faults(seed, options.zhosts, options.trace));
        match run {
            Ok(report) => {
                simulated += report.simulated.as_secs_f64();
                slowest = slowest.max(report.quiet_after.map_or(0.0, |quiet| quiet.as_secs_f64()));
                if !report.flaws.is_empty() {
                    println!("seed {seed} fails (trace hash {:016x}):", report.trace_hash);
                    report.flaws.iter().take(8).for_each(|flaw| println!("  {flaw}"));
                    if failed.is_empty() && !options.trace {
                        report.trace.iter().rev().take(60).rev().for_each(|line| println!("  | {line}"));
                    }
                    failed.push(seed);
                } else if total == 1 {
                    println!(
                        "seed {seed} passes (trace hash {:016x}, quiet after {:?})",
                        report.trace_hash, report.quiet_after
                    );
                }
            }
            Err(_) => failed.push(seed),
        }
    }
    let wall = started.elapsed().as_secs_f64();
    println!(
        "{} seeds of {} zhosts, {} failed{}; {:.1} simulated hours in {wall:.0} s ({:.2} h/s); slowest quiet {slowest:.1} s",
        total,
        options.zhosts,
        failed.len(),
        if failed.is_empty() { String::new() } else { format!(": {failed:?}") },
        simulated / 3600.0,
        simulated / 3600.0 / wall,
    );
    if !failed.is_empty() {
        println!(
            "reproduce one with: cargo xtask sim --seeds {} --zhosts {} --trace",
            failed[0], options.zhosts
        );
        std::process::exit(1);
    }
}
