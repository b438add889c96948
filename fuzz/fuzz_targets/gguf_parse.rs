#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::reader("gguf_parse").expect("a target")(bytes);
});
