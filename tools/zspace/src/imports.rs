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
});

imports!("net" {
    fn emit_to(path: *const u8, path_size: usize, data: *const u8, size: usize) -> i32;
    fn recv_next(buffer: *mut u8, room: usize) -> i32;
    fn recv_path(buffer: *mut u8, room: usize) -> i32;
    fn undelivered(buffer: *mut u8, room: usize) -> i32;
});

imports!("data" {
    fn get(key: *const u8, key_size: usize, buffer: *mut u8, room: usize) -> i32;
    fn list(prefix: *const u8, prefix_size: usize, buffer: *mut u8, room: usize) -> i32;
    fn put(key: *const u8, key_size: usize, value: *const u8, size: usize) -> i32;
    fn delete(key: *const u8, key_size: usize) -> i32;
});

pub mod sensors {
    imports!("sensors" {
        fn read(name: *const u8, name_size: usize, buffer: *mut u8, room: usize) -> i32;
    });
}
