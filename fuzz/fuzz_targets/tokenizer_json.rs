#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::reader("tokenizer_json").expect("a target")(bytes);
});
