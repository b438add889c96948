//! Files of the attention library; what is read is written as it was read.

use attention::calibration::Calibration;
use attention::plan::file::SavedPlan;
use attention::static_patterns::StaticPatterns;
use std::str::from_utf8;

pub fn calibration_file(bytes: &[u8]) -> bool {
    let Ok(text) = from_utf8(bytes) else { return false };
    let Ok(read) = Calibration::from_json(text) else { return false };
    for (_, costs) in read.entries() {
        assert!(costs.check().is_ok());
    }
    for (kernel, costs) in read.gpu_entries() {
        assert!(costs.check().is_ok() && read.gpu_costs(kernel).is_ok());
    }
    let written = serde_json::to_string(&read).expect("a calibration is JSON");
    let again = Calibration::from_json(&written).expect("what was written is read");
    assert_eq!(serde_json::to_string(&again.or(read)).ok(), Some(written));
    true
}

pub fn pattern_file(bytes: &[u8]) -> bool {
    let Ok(text) = from_utf8(bytes) else { return false };
    let Ok(patterns) = StaticPatterns::from_json(text) else { return false };
    assert!(patterns.check_model(patterns.layers().len(), patterns.layers()[0].len()).is_ok());
    assert_eq!(StaticPatterns::from_json(&patterns.to_json()), Ok(patterns));
    true
}

pub fn plan_file(bytes: &[u8]) -> bool {
    let Ok(text) = from_utf8(bytes) else { return false };
    let Ok(saved) = SavedPlan::from_json(text) else { return false };
    // Counting takes memory in proportion to the sequence, which a few digits can make as long as can be.
    if saved.range().kv_len() < 1 << 24 && !saved.plan().heads.is_empty() {
        assert!((0.0..=1.0).contains(&saved.plan().density(saved.range())));
    }
    assert_eq!(SavedPlan::from_json(&saved.to_json()).as_ref(), Ok(&saved));
    true
}
