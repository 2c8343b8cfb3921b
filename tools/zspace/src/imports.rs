//! The raw imports. All of them check their pointers on the other side.

macro_rules! imports {
    ($module:literal { $($(#[$attr:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)* }) => {
        #[link(wasm_import_module = $module)]
        unsafe extern "C" {
            $($(#[$attr])* pub safe fn $name($($arg: $ty),*) $(-> $ret)?;)*
        }
    };
}

imports!("sys" {
    fn log(level: i32, text: *const u8, size: usize);
    fn time_ms() -> i64;
    fn now_us() -> i64;
    fn sleep(ms: u32);
    #[link_name = "yield"]
    fn yield_now();
    fn self_emit(data: *const u8, size: usize) -> i32;
    fn random(buffer: *mut u8, size: usize);
    fn config(key: *const u8, size: usize, buffer: *mut u8, room: usize) -> i32;
    fn secret(name: *const u8, size: usize, buffer: *mut u8, room: usize) -> i32;
    fn argument(buffer: *mut u8, room: usize) -> i32;
    fn report(healthy: i32, saturation: u32, text: *const u8, size: usize);
});

imports!("net" {
    fn emit_to(path: *const u8, path_size: usize, data: *const u8, size: usize) -> i32;
    fn recv_next(buffer: *mut u8, room: usize) -> i32;
    fn recv_path(buffer: *mut u8, room: usize) -> i32;
    fn recv_kind() -> i32;
    fn sender(buffer: *mut u8) -> i32;
    fn undelivered(buffer: *mut u8, room: usize) -> i32;
    fn call(path: *const u8, path_size: usize, data: *const u8, size: usize, ms: u32, reply: *mut u8, room: usize) -> i32;
    fn reply(data: *const u8, size: usize) -> i32;
});

imports!("data" {
    fn get(key: *const u8, key_size: usize, buffer: *mut u8, room: usize) -> i32;
    fn list(prefix: *const u8, prefix_size: usize, buffer: *mut u8, room: usize) -> i32;
    fn put(key: *const u8, key_size: usize, value: *const u8, size: usize) -> i32;
    fn delete(key: *const u8, key_size: usize) -> i32;
    fn batch(writes: *const u8, size: usize) -> i32;
    fn sync() -> i32;
});

pub mod sensors {
    imports!("sensors" {
        fn read(name: *const u8, name_size: usize, buffer: *mut u8, room: usize) -> i32;
        fn subscribe(name: *const u8, name_size: usize, period_ms: u32) -> i32;
        fn unsubscribe(name: *const u8, name_size: usize) -> i32;
    });
}

pub mod events {
    imports!("events" {
        fn subscribe(name: *const u8, name_size: usize) -> i32;
        fn unsubscribe(name: *const u8, name_size: usize) -> i32;
    });
}

pub mod actuators {
    imports!("actuators" {
        fn lock(name: *const u8, name_size: usize) -> i32;
        fn command(name: *const u8, name_size: usize, command: *const u8, size: usize, buffer: *mut u8, room: usize) -> i32;
        fn release(name: *const u8, name_size: usize) -> i32;
    });
}

pub mod audio {
    imports!("audio" {
        fn capture(name: *const u8, name_size: usize, buffer: *mut u8, room: usize) -> i32;
        fn play(name: *const u8, name_size: usize, samples: *const u8, size: usize) -> i32;
    });
}

pub mod proc {
    imports!("proc" {
        #[link_name = "self"]
        fn own(buffer: *mut u8) -> i32;
        fn list(buffer: *mut u8, room: usize) -> i32;
        fn spawn(zhost: *const u8, zhost_size: usize, space: *const u8, space_size: usize, argument: *const u8, size: usize, pid: *mut u8) -> i32;
        fn spawn_link(zhost: *const u8, zhost_size: usize, space: *const u8, space_size: usize, argument: *const u8, size: usize, pid: *mut u8) -> i32;
        fn exit(pid: *const u8, reason: *const u8, size: usize) -> i32;
        fn send(pid: *const u8, data: *const u8, size: usize) -> i32;
        fn unsent(buffer: *mut u8, room: usize) -> i32;
        fn call(pid: *const u8, data: *const u8, size: usize, ms: u32, reply: *mut u8, room: usize) -> i32;
        fn link(pid: *const u8) -> i32;
        fn unlink(pid: *const u8) -> i32;
        fn trap_exits(yes: i32);
        fn monitor(pid: *const u8) -> i32;
        fn demonitor(pid: *const u8) -> i32;
        fn monitor_zhost(name: *const u8, size: usize) -> i32;
    });
}

pub mod names {
    imports!("names" {
        fn register(name: *const u8, size: usize) -> i32;
        fn unregister(name: *const u8, size: usize) -> i32;
        fn whereis(name: *const u8, size: usize, pid: *mut u8) -> i32;
    });
}
