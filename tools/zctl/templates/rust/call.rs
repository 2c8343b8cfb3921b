//! Answers whoever calls with what it was told.

#![cfg_attr(target_arch = "wasm32", no_std)]

use zspace::{Space, net, space, sys};

struct Parrot;

impl Space for Parrot {
    fn init() -> Result<Self, i32> {
        sys::log(sys::Level::Info, "hello");
        Ok(Self)
    }

    fn process(&mut self) -> i32 {
        let mut buffer = [0; 1024];
        while let Ok(question) = net::recv_next(&mut buffer) {
            // Who has given up waiting gets no reply.
            let _ = net::reply(question);
        }
        0
    }
}

space!(Parrot);

#[cfg(test)]
mod tests {
    use super::*;
    use zspace::stage;

    #[test]
    fn it_says_what_it_is_told() {
        stage::deliver_call("questions", b"who?");
        Parrot::init().unwrap().process();
        assert_eq!(stage::replies(), [b"who?"]);
    }
}
