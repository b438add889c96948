//! No bytes may make the GGUF reader panic, hang or take memory out of proportion to their length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::config::ModelConfig;
use runtime::tokenizer::Tokenizer;
use runtime::weights::gguf::Gguf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::parse(bytes) else { return };
    let bytes_of = |name: &str| gguf.tensor(name).map(|place| bytes[place.bytes.clone()].to_vec());
    let _ = ModelConfig::from_gguf(&gguf, &bytes_of);
    let _ = Tokenizer::from_gguf(&gguf);
    for (_, place) in gguf.tensors() {
        let row_bytes = place.bytes.len() / place.rows;
        // Every place must lie inside the file and hold whole rows.
        let row = &bytes[place.bytes.clone()][..row_bytes];
        if place.cols <= 1 << 16 {
            place.encoding.decode(row, &mut vec![0.0; place.cols]);
        }
    }
});
