//! An ordinary program for `wasm32-wasip1`: nothing in it knows of zhost.

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

fn main() {
    println!("I am {}", env::args().next().unwrap_or_default());
    println!("I am told {}", env::var("greeting").unwrap_or_default());
    let start = Instant::now();
    thread::sleep(Duration::from_millis(50));
    eprintln!("it is 50 ms later: {}", start.elapsed() >= Duration::from_millis(50));
    println!("there are no files: {}", fs::read("secret").is_err());
}
