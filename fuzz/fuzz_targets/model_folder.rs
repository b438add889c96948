#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::reader("model_folder").expect("a target")(bytes);
});
