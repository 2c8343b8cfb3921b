//! Prints figures of simulated clusters.

use clap::Parser;
use std::time::{Duration, Instant};
use zhost_sim::{
    figures::{self, Death},
    scenario,
};

#[derive(Parser)]
#[command(name = "figures", about = "Prints how fast simulated clusters notice deaths, and what they cost.")]
struct Options {
    /// Deaths of each sort.
    #[arg(long, default_value_t = 200)]
    runs: u64,
    /// Sizes at which the cost of doing nothing is measured.
    #[arg(long, value_delimiter = ',', default_value = "20,50,100,500,1000")]
    idle: Vec<usize>,
    /// Size of the cluster that comes together and loses a tenth; 0 leaves it out.
    #[arg(long, default_value_t = 1000)]
    scale: usize,
    /// Messages that pass two relays; 0 leaves them out.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Times a link breaks meanwhile.
    #[arg(long, default_value_t = 100)]
    breaks: u32,
    /// Length of the runs with heavy loss, minutes; 0 leaves them out.
    #[arg(long, default_value_t = 60)]
    lossy_minutes: u64,
}

fn main() {
    let options = Options::parse();
    println!("20 zhosts, 2 % loss: seconds until a death is known by all");
    print_detection("process killed", 20, Death::Killed, options.runs);
    print_detection("power lost", 20, Death::Silent, options.runs);
    if options.lossy_minutes > 0 {
        println!("20 zhosts under heavy loss");
        for loss in [200, 300] {
            print_detection(
                &format!("power lost at {} % loss", loss / 10),
                loss,
                Death::Silent,
                options.runs.min(20),
            );
            let length = Duration::from_secs(60 * options.lossy_minutes);
            let deaths = figures::false_deaths(1, 20, loss, length);
            println!(
                "  live zhosts declared dead in {} min at {} % loss: {deaths}",
                options.lossy_minutes,
                loss / 10
            );
        }
    }
    if options.messages > 0 {
        print_hops(options.messages, options.breaks);
    }
    if !options.idle.is_empty() {
        println!(
            "idle: bytes a second sent by each zhost (the busiest), headers and sealing included; flash a day"
        );
    }
    for size in &options.idle {
        let started = Instant::now();
        let length = Duration::from_secs(if *size > 200 { 60 } else { 300 });
        let idle = figures::idle(1, *size, length);
        println!(
            "  {size:>5} zhosts  {:>6.0} B/s ({:>6.0})  {:>7.0} kB/day  took {:.0} s",
            idle.bytes_per_second,
            idle.bytes_per_second_max,
            idle.flash_bytes_per_day / 1000.0,
            started.elapsed().as_secs_f64()
        );
    }
    if options.scale > 0 {
        print_scale(options.scale);
    }
}

fn print_detection(what: &str, loss_per_mille: u64, death: Death, runs: u64) {
    let times = (0..runs).map(|seed| figures::detection(seed, 20, loss_per_mille, death));
    let mut times: Vec<f64> = times.map(|time| time.map_or(f64::INFINITY, |t| t.as_secs_f64())).collect();
    times.sort_by(f64::total_cmp);
    let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) else { return };
    println!("  {what}: median {median:.2}, worst {worst:.2} ({runs} runs)");
}

fn print_hops(messages: u64, breaks: u32) {
    let started = Instant::now();
    let report = scenario::three_hops(1, messages, breaks);
    let flaws = if report.flaws.is_empty() {
        "none lost, repeated or reordered".into()
    } else {
        format!("{:?}", report.flaws)
    };
    println!(
        "{messages} messages over 3 links (2 relays), which broke {breaks} times: {flaws}; took {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

fn print_scale(zhosts: usize) {
    let started = Instant::now();
    let scale = figures::scale(1, zhosts, zhosts / 10);
    let seconds =
        |time: Option<Duration>| time.map_or("never".into(), |t| format!("{:.1} s", t.as_secs_f64()));
    println!(
        "{zhosts} zhosts started at once agree {} after the last start ({:.0} kB sent by each); after {} of them lost \
         power, the rest agrees in {} ({:.0} kB sent by each); took {:.0} s",
        seconds(scale.join),
        scale.join_bytes / 1000.0,
        zhosts / 10,
        seconds(scale.loss),
        scale.loss_bytes / 1000.0,
        started.elapsed().as_secs_f64()
    );
}
