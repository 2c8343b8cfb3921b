//! Does once what its environment says, tells what came out of it, and ends.

use std::env;

fn main() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    println!("{}", kernels::run(number("kernel") as usize, number("amount")));
}
