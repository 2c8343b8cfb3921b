//! Microphones and loudspeakers of the zhost. Each needs its own capability, `audio.<name>`. Samples are signed, of 16
//! bits, little-endian, one channel, [`RATE_HZ`].

use crate::{Refusal, imports::audio, outcome};

/// Samples a second.
pub const RATE_HZ: u32 = 16_000;
/// What is heard, or played, at once: half a second.
pub const PORTION_MAX_BYTES: usize = 16 * 1024;

/// What a microphone has heard since the last time; [`Refusal::TryAgain`] if that is nothing. What nobody takes for a
/// second is lost.
pub fn capture<'a>(name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
    let size = outcome(audio::capture(name.as_ptr(), name.len(), buffer.as_mut_ptr(), buffer.len()))?;
    buffer.get(..size).ok_or(Refusal::Failed)
}

/// Plays at most [`PORTION_MAX_BYTES`]; [`Refusal::TryAgain`] while there is no room for all of it, and then nothing is
/// played.
pub fn play(name: &str, samples: &[u8]) -> Result<(), Refusal> {
    outcome(audio::play(name.as_ptr(), name.len(), samples.as_ptr(), samples.len())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage;

    #[test]
    fn what_is_heard_is_there_once_and_what_is_played_is_kept() {
        let mut buffer = [0; 4];
        assert_eq!(capture("microphone", &mut buffer), Err(Refusal::TryAgain));
        stage::set_heard("microphone", &[1, 2, 3, 4]);
        assert_eq!(capture("microphone", &mut buffer[..2]), Err(Refusal::TooLarge));
        assert_eq!(capture("microphone", &mut buffer), Ok(&[1, 2, 3, 4][..]));
        assert_eq!(capture("microphone", &mut buffer), Err(Refusal::TryAgain));
        assert_eq!(play("speaker", &[5, 6]), Ok(()));
        assert_eq!(stage::played(), [("speaker".into(), [5, 6].into())]);
    }
}
