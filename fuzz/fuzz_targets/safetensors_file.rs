#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::reader("safetensors_file").expect("a target")(bytes);
});
