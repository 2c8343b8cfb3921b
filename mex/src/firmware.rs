//! An agent for boards, signed, to be put into one of their slots.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `zhostfw` and the version of the format, 1 |
//! | 1 + n | the target the program is for, as Rust calls it |
//! | 1 + n | what its publisher calls this program |
//! | 4 | size of the program, little-endian |
//! | 32 | SHA-256 of the rest of the file |
//! | 32 | the publisher's key (Ed25519) |
//! | 64 | its signature over all before it |
//! | rest | the program, deflated (RFC 1951) |
//!
//! Nothing is unpacked before the signature was found good, and every byte is covered by it.

use crate::{package::digest, signature::PublicKey, signature::PublisherKey};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use std::{
    fmt,
    io::{Read, Write},
};
use zhost_base::{
    Name,
    limits::{FIRMWARE_PROGRAM_MAX_BYTES, FIRMWARE_SIZE_MAX_BYTES},
};

/// How a signed agent begins.
pub const MAGIC: &[u8; 8] = b"zhostfw\x01";
/// Sets signatures over agents apart from those over packages.
const CONTEXT: &[u8] = b"zhost firmware v1\0";

/// An agent whose signature was found good; still packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware<'a> {
    /// The target it is for.
    pub target: Name,
    /// What its publisher calls it.
    pub version: Name,
    /// Who signed it.
    pub signer: PublicKey,
    program_size_bytes: usize,
    packed: &'a [u8],
}

/// Why a file is no agent to be trusted. Reading it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirmwareError {
    /// It has too many bytes, packed or unpacked.
    TooLarge,
    /// It is no such file, or was cut.
    Form,
    /// Its content is not what its head was signed for: it was damaged on its way.
    Damaged,
    /// The signature is not by the key it names.
    BadSignature,
    /// The signature is good, but by a publisher that is not trusted.
    Untrusted(PublicKey),
}

impl fmt::Display for FirmwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(
                f,
                "the firmware is too large: at most {FIRMWARE_SIZE_MAX_BYTES} bytes, and {FIRMWARE_PROGRAM_MAX_BYTES} \
                 unpacked"
            ),
            Self::Form => f.write_str("this is no firmware for zhosts; make one with `zctl firmware build`"),
            Self::Damaged => f.write_str("the firmware is damaged; copy or build it again"),
            Self::BadSignature => f.write_str("the firmware's signature is wrong"),
            Self::Untrusted(key) => write!(
                f,
                "the firmware is signed by a publisher that this cluster does not trust: {key}; sign it with a trusted key"
            ),
        }
    }
}

impl std::error::Error for FirmwareError {}

/// Takes what is wanted off the front.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], FirmwareError> {
    let (front, rest) = bytes.split_at_checked(count).ok_or(FirmwareError::Form)?;
    *bytes = rest;
    Ok(front)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], FirmwareError> {
    take(bytes, N)?.try_into().map_err(|_| FirmwareError::Form)
}

fn take_name(bytes: &mut &[u8]) -> Result<Name, FirmwareError> {
    let [size] = take_array(bytes)?;
    let text = std::str::from_utf8(take(bytes, usize::from(size))?).map_err(|_| FirmwareError::Form)?;
    text.parse().map_err(|_| FirmwareError::Form)
}

impl<'a> Firmware<'a> {
    /// Reads the head, and checks the signature over everything.
    pub fn open(bytes: &'a [u8], trusted: &[PublicKey]) -> Result<Self, FirmwareError> {
        let firmware = Self::verify(bytes)?;
        if trusted.contains(&firmware.signer) {
            Ok(firmware)
        } else {
            Err(FirmwareError::Untrusted(firmware.signer))
        }
    }

    /// The same, whoever signed it: for looking at it, never for running it.
    pub fn verify(bytes: &'a [u8]) -> Result<Self, FirmwareError> {
        if bytes.len() > FIRMWARE_SIZE_MAX_BYTES {
            return Err(FirmwareError::TooLarge);
        }
        let mut rest = bytes;
        if take(&mut rest, MAGIC.len())? != MAGIC {
            return Err(FirmwareError::Form);
        }
        let (target, version) = (take_name(&mut rest)?, take_name(&mut rest)?);
        let program_size_bytes = u32::from_le_bytes(take_array(&mut rest)?) as usize;
        let packed_digest: [u8; 32] = take_array(&mut rest)?;
        let signer = PublicKey::from_bytes(take_array(&mut rest)?);
        let head = &bytes[..bytes.len() - rest.len()];
        let signature: [u8; 64] = take_array(&mut rest)?;
        if program_size_bytes > FIRMWARE_PROGRAM_MAX_BYTES {
            return Err(FirmwareError::TooLarge);
        }
        if !signer.verifies(&[CONTEXT, head].concat(), &signature) {
            return Err(FirmwareError::BadSignature);
        }
        if digest(rest).0 != packed_digest {
            return Err(FirmwareError::Damaged);
        }
        Ok(Self { target, version, signer, program_size_bytes, packed: rest })
    }

    /// The program itself.
    pub fn program(&self) -> Result<Vec<u8>, FirmwareError> {
        let mut program = Vec::with_capacity(self.program_size_bytes);
        let unpacked = DeflateDecoder::new(self.packed).take(self.program_size_bytes as u64 + 1);
        { unpacked }.read_to_end(&mut program).map_err(|_| FirmwareError::Damaged)?;
        if program.len() == self.program_size_bytes { Ok(program) } else { Err(FirmwareError::Damaged) }
    }
}

/// Packs and signs a program.
pub fn build(
    target: &Name,
    version: &Name,
    program: &[u8],
    key: &PublisherKey,
) -> Result<Vec<u8>, FirmwareError> {
    let size = u32::try_from(program.len()).map_err(|_| FirmwareError::TooLarge)?;
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    let packed = packed.write_all(program).and_then(|()| packed.finish()).map_err(|_| FirmwareError::Form)?;
    let mut bytes = MAGIC.to_vec();
    for name in [target, version] {
        bytes.push(name.as_str().len() as u8);
        bytes.extend_from_slice(name.as_str().as_bytes());
    }
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&digest(&packed).0);
    bytes.extend_from_slice(key.public().as_bytes());
    let signature = key.sign(&[CONTEXT, &bytes].concat());
    bytes.extend_from_slice(&signature);
    bytes.extend_from_slice(&packed);
    if bytes.len() > FIRMWARE_SIZE_MAX_BYTES || program.len() > FIRMWARE_PROGRAM_MAX_BYTES {
        return Err(FirmwareError::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PublisherKey {
        PublisherKey::from_seed([5; 32])
    }

    fn sample() -> (Vec<u8>, Vec<u8>) {
        let program: Vec<u8> = (0..5000_u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
        let name = |text: &str| text.parse().unwrap();
        let bytes = build(&name("aarch64-unknown-linux-musl"), &name("0.2.0"), &program, &key()).unwrap();
        (program, bytes)
    }

    #[test]
    fn what_was_built_is_read_again() {
        let (program, bytes) = sample();
        let firmware = Firmware::open(&bytes, &[key().public()]).unwrap();
        assert_eq!(
            (firmware.target.as_str(), firmware.version.as_str()),
            ("aarch64-unknown-linux-musl", "0.2.0")
        );
        assert_eq!(firmware.program().unwrap(), program);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let (_, mut bytes) = sample();
        for at in 0..bytes.len() * 8 {
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(Firmware::open(&bytes, &[key().public()]).is_err(), "bit {at}");
            bytes[at / 8] ^= 1 << (at % 8);
        }
        for size in 0..bytes.len() {
            assert!(Firmware::open(&bytes[..size], &[key().public()]).is_err(), "cut to {size}");
        }
    }

    #[test]
    fn only_trusted_publishers_count() {
        let (_, bytes) = sample();
        let stranger = PublisherKey::from_seed([6; 32]).public();
        let refused = Firmware::open(&bytes, &[stranger]);
        assert_eq!(refused, Err(FirmwareError::Untrusted(key().public())));
    }

    #[test]
    fn a_program_that_unpacks_to_more_or_less_than_it_says_is_refused() {
        let (_, bytes) = sample();
        let firmware = Firmware::verify(&bytes).unwrap();
        for wrong in [0, firmware.program_size_bytes - 1, firmware.program_size_bytes + 1] {
            let lying = Firmware { program_size_bytes: wrong, ..firmware.clone() };
            assert_eq!(lying.program(), Err(FirmwareError::Damaged));
        }
    }

    #[test]
    fn what_is_too_large_is_refused_at_both_ends() {
        let name: Name = "x".parse().unwrap();
        let large = vec![0; FIRMWARE_PROGRAM_MAX_BYTES + 1];
        assert_eq!(build(&name, &name, &large, &key()), Err(FirmwareError::TooLarge));
        assert_eq!(Firmware::verify(&vec![0; FIRMWARE_SIZE_MAX_BYTES + 1]), Err(FirmwareError::TooLarge));
    }
}
