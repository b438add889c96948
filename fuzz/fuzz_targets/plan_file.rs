//! No text may make the plan reader panic or take memory out of proportion to its length; what it reads can be counted,
//! and is written as it was read.
#![no_main]

use attention::plan::file::SavedPlan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(saved) = SavedPlan::from_json(text) else { return };
    // Counting takes memory in proportion to the sequence, which a few digits can make as long as can be.
    if saved.range().kv_len() < 1 << 24 && !saved.plan().heads.is_empty() {
        assert!((0.0..=1.0).contains(&saved.plan().density(saved.range())));
    }
    assert_eq!(SavedPlan::from_json(&saved.to_json()).as_ref(), Ok(&saved));
});
