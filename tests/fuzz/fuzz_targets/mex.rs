//! Packages from strangers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zhost_mex::{Package, Trust};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(package) = Package::open(bytes, Trust::Anybody) {
        // What was accepted must survive being signed and read again.
        let key = zhost_mex::PublisherKey::from_seed([1; 32]);
        let signed = zhost_mex::sign(bytes, &key).expect("an accepted package can be signed");
        let again = Package::open(&signed, Trust::Publishers(&[key.public()])).expect("and read again");
        assert_eq!(again.topology, package.topology);
    }
});
