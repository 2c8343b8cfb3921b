//! Computes, as a guest and natively: CoreMark (the crate of that name) and six kernels, each a pure function of how
//! much is to be done.

use coremark::Config;

/// The kernels by name.
pub const KERNELS: [(&str, fn(u32) -> u32); 7] = [
    ("coremark", coremark_iterations),
    ("calls", calls),
    ("sieve", sieve),
    ("matrix", matrix),
    ("sort", sort),
    ("checksum", checksum),
    ("words", words),
];

/// Runs a kernel by its number.
pub fn run(kernel: usize, amount: u32) -> u32 {
    KERNELS.get(kernel).map_or(0, |(_, run)| run(amount))
}

/// CoreMark's performance run; the checksum of all it did.
fn coremark_iterations(iterations: u32) -> u32 {
    let results = coremark::run(&Config { iterations, ..Config::default() });
    u32::from(results.crcfinal)
}

/// Function calls: Fibonacci's numbers, the slow way.
fn calls(n: u32) -> u32 {
    if n < 2 { n } else { calls(n - 1).wrapping_add(calls(n - 2)) }
}

/// Bytes here and there: how many primes there are below `n`.
fn sieve(n: u32) -> u32 {
    let mut composite = vec![false; n as usize];
    let mut primes = 0;
    for number in 2..n as usize {
        if !composite[number] {
            primes += 1;
            for multiple in (number.saturating_mul(number)..n as usize).step_by(number) {
                composite[multiple] = true;
            }
        }
    }
    primes
}

/// Floating point: the product of two matrices.
fn matrix(n: u32) -> u32 {
    let n = n as usize;
    let left: Vec<f64> = (0..n * n).map(|at| (at % 97) as f64).collect();
    let right: Vec<f64> = (0..n * n).map(|at| (at % 89) as f64).collect();
    let mut sum = 0.0;
    for row in 0..n {
        for column in 0..n {
            let product: f64 = (0..n).map(|at| left[row * n + at] * right[at * n + column]).sum();
            sum += product;
        }
    }
    (sum % 1e9) as u32
}

fn numbers(seed: u32) -> impl Iterator<Item = u32> {
    // Marsaglia's xorshift, 32 bits.
    std::iter::successors(Some(seed | 1), |last| {
        let mut next = *last;
        next ^= next << 13;
        next ^= next >> 17;
        next ^= next << 5;
        Some(next)
    })
}

/// Comparisons and moves.
fn sort(n: u32) -> u32 {
    let mut sorted: Vec<u32> = numbers(n).take(n as usize).collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// Shifts and tables: CRC-32 of `n` bytes.
fn checksum(n: u32) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| {
            (0..8).fold(byte, |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
        })
        .collect();
    let step = |crc: u32, byte: u32| table[((crc ^ byte) & 0xff) as usize] ^ (crc >> 8);
    !(0..n).fold(!0, step)
}

/// Text: writes `n` numbers out, then counts the words by their length.
fn words(n: u32) -> u32 {
    let text: String = numbers(n).take(n as usize).map(|number| format!("{number} ")).collect();
    text.split_whitespace().map(|word| word.len() as u32 * 31).fold(0, u32::wrapping_add)
}
