#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::reader("chat_template").expect("a target")(bytes);
});
