//! No text may make the reader of static patterns panic or take memory out of proportion to its length; what it reads is
//! written as it was read.
#![no_main]

use attention::static_patterns::StaticPatterns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(patterns) = StaticPatterns::from_json(text) else { return };
    assert!(patterns.check_model(patterns.layers().len(), patterns.layers()[0].len()).is_ok());
    assert_eq!(StaticPatterns::from_json(&patterns.to_json()), Ok(patterns));
});
