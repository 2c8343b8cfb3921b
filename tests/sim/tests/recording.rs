//! What was recorded of a board comes to the same when it is told again, or says where it does not.

use zhost_base::planted::{self, Bug};
use zhost_node::{Outgoing, Recording, Replay, ReplayError};
use zhost_sim::recording::{recordings, replay};

#[test]
fn what_is_told_again_comes_to_the_same() {
    for (zhosts, seeds) in [(3, 4), (7, 2), (20, 1)] {
        for seed in 0..seeds {
            for recording in recordings(seed, zhosts) {
                let told = replay(&recording).unwrap_or_else(|error| panic!("{error}: seed {seed}"));
                assert!(told > 50, "{told} inputs");
            }
        }
    }
}

/// What a node says to the input of this number; to none: at its start.
fn answers(recording: &[u8], number: u64) -> Vec<Outgoing> {
    let mut replay = Replay::new(Recording::read(recording).unwrap());
    for _ in 0..number {
        let step = replay.next_step().unwrap().unwrap();
        replay.tell(step);
    }
    replay.outputs().to_vec()
}

#[test]
fn a_bug_is_found_by_a_recording_alone() {
    planted::plant(Some(Bug::ForgetFlash));
    let recordings = recordings(1, 3);
    assert!(recordings.iter().all(|recording| replay(recording).is_ok()), "with the bug it is the same");
    planted::plant(None);
    for recording in &recordings {
        let Err(ReplayError::Differs(number)) = replay(recording) else { panic!("nothing differs") };
        // Without the bug what was not written is.
        let outputs = answers(recording, number);
        let writes = |output: &Outgoing| format!("{output:?}").contains("Commit([Write { table: \"ledger\"");
        assert!(outputs.iter().any(writes), "input {number}: {outputs:?}");
    }
}

#[test]
fn what_is_cut_off_is_told_as_far_as_it_goes_and_what_is_damaged_or_none_is_refused() {
    let recording = recordings(2, 3).swap_remove(1);
    let all = replay(&recording).unwrap();
    for part in 1..20 {
        let told = replay(&recording[..recording.len() * part / 20]).unwrap();
        assert!(told > 0 && told < all, "{told} of {all}");
    }
    assert_eq!(replay(b"no recording"), Err(ReplayError::NoRecording));
    assert_eq!(replay(&[]), Err(ReplayError::NoRecording));
    let mut refused = 0;
    for place in 1..20 {
        let mut damaged = recording.clone();
        damaged[recording.len() * place / 20] ^= 0x55;
        refused += u32::from(replay(&damaged) != Ok(all));
    }
    assert!(refused > 10, "only {refused} of 19 damages change anything");
}

#[test]
fn no_key_is_in_a_recording() {
    for recording in recordings(3, 3) {
        for key in zhost_sim::keys(3, 3) {
            assert!(!recording.windows(key.len()).any(|bytes| bytes == key));
        }
    }
}
