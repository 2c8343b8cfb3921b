//! Links between zhosts: `Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s` over any byte stream.
//!
//! Both sides prove the cluster secret from the first message on, so a stranger gets silence and no key; then each
//! proves its static identity key. Frames are batched: many small ones travel in one Noise message.

mod identity;
mod link;
pub mod noise;
pub mod stream;
pub mod tunnel;

pub use identity::Identity;
pub use link::{FRAME_SIZE_MAX_BYTES, Link, LinkError, push_frame};
