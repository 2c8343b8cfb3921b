//! Looks at the hardware of a machine as the agent would see it: for boards on the bench, and for tests on real kernels.
//!
//! What cameras are to be asked for may come first (`640x480 YUYV`). Its other arguments are carried out one after the
//! other: `NAME=KIND:WHERE` wires a device, `list` shows the capabilities,
//! `read CAPABILITY` reads one, `tell CAPABILITY TEXT` and `hex CAPABILITY DIGITS` give it a command, `wait MS` waits,
//! `watchdog FILE SECONDS` arms a watchdog, feeds it for so long, and leaves it armed.

use std::{env, path::Path, thread, time::Duration};
use zhost_base::Instant;
use zhost_exchange::{DeviceError, Devices, Reading};
use zhost_hal::{Board, Machine, Wire, watchdog::Watchdog};

/// How often something that is not there yet is asked for again.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes that are shown.
const SHOWN_MAX: usize = 16;

/// Bytes; of many, only how many there are, and those that follow the first that is not zero.
fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_MAX {
        return format!("{bytes:02x?}");
    }
    let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
    let shown = &bytes[from..bytes.len().min(from + SHOWN_MAX)];
    format!("{} bytes, with {shown:02x?}", bytes.len())
}

fn read(board: &Board, clock: std::time::Instant, capability: &str) -> String {
    for _ in 0..TRIES {
        let now = Instant::from_micros(clock.elapsed().as_micros() as u64);
        match board.read(now, capability) {
            Err(DeviceError::NotYet) => thread::sleep(PAUSE),
            Ok(Reading::Json(json)) => return json,
            Ok(Reading::Bytes(bytes)) => return shown(&bytes),
            Ok(Reading::Frame(frame)) => {
                let sum: u64 = frame.pixels.iter().map(|pixel| u64::from(*pixel)).sum();
                return format!("{} of {} bytes, sum {sum}", frame.describe(), frame.pixels.len());
            }
            Err(error) => return format!("error: {error}"),
        }
    }
    "nothing".into()
}

fn tell(board: &Board, capability: &str, command: &[u8]) -> String {
    match board.command(Instant::ZERO, capability, command) {
        Ok(answer) => format!("{answer:02x?}"),
        Err(error) => format!("error: {error}"),
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

fn feed(file: &str, seconds: u64) -> Result<(), DeviceError> {
    let mut watchdog = Watchdog::arm(Path::new(file))?;
    for _ in 0..seconds {
        watchdog.feed()?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn main() {
    let clock = std::time::Instant::now();
    let mut args = env::args().skip(1).peekable();
    let mut machine = Machine::real();
    if let Some(wish) = args.next_if(|arg| arg.starts_with(|c: char| c.is_ascii_digit())) {
        match wish.parse() {
            Ok(wish) => machine = machine.with_camera(wish),
            Err(reason) => println!("{wish}: {reason}"),
        }
    }
    let mut board = Board::new(machine, None);
    while let Some(step) = args.next() {
        let mut next = || args.next().unwrap_or_default();
        match step.as_str() {
            "list" => {
                board.look_around();
                board.capabilities().iter().for_each(|name| println!("offers {name}"));
            }
            "read" => {
                let capability = next();
                println!("{capability}: {}", read(&board, clock, &capability));
            }
            "tell" => {
                let (capability, text) = (next(), next());
                println!("{capability} told {text}: {}", tell(&board, &capability, text.as_bytes()));
            }
            "hex" => {
                let (capability, digits) = (next(), next());
                println!("{capability} told {digits}: {}", tell(&board, &capability, &from_hex(&digits)));
            }
            "wait" => thread::sleep(Duration::from_millis(next().parse().unwrap_or(0))),
            "watchdog" => {
                let (file, seconds) = (next(), next().parse().unwrap_or(0));
                match feed(&file, seconds) {
                    Ok(()) => println!("{file}: fed for {seconds} s"),
                    Err(error) => println!("{file}: {error}"),
                }
            }
            wire => match wire.parse::<Wire>().map(|wire| board.wire(&wire)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => println!("{wire}: {error}"),
                Err(reason) => println!("{wire}: {reason}"),
            },
        }
    }
}
