//! What a browser, or anybody, sends to the port for browsers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let zhost_web::Parsed::Request(request) = zhost_web::parse(bytes) {
        assert!(request.path.starts_with('/') && !request.path.contains("//"));
        assert!(request.body.len() <= zhost_web::BODY_MAX_BYTES);
        // No header of an answer can be made to hold another.
        assert!(!request.host.contains(['\r', '\n', ' ', ';']));
    }
});
