//! Agents from strangers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_mex::{PublisherKey, firmware};

fuzz_target!(|bytes: &[u8]| {
    let key = PublisherKey::from_seed([1; 32]);
    if let Ok(firmware) = firmware::Firmware::verify(bytes) {
        let _ = firmware.program();
    }
    // What is beyond the signature: a head that a fuzzer cannot sign, around what it made up.
    let name = "fuzz".parse().expect("a name");
    let built = firmware::build(&name, &name, bytes, &key).expect("small enough");
    let opened = firmware::Firmware::open(&built, &[key.public()]).expect("just built");
    assert_eq!(opened.program().expect("just packed"), bytes);
});
