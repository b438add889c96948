use super::*;
use crate::scripted_model::ScriptedModel;

#[test]
fn scores_and_pairs() {
    // The scripted model finds the number when dense, but only in the second half of the prompt when sparse.
    let mut model = ScriptedModel::default();
    let task = Retrieval { lengths: vec![3000, 6000], samples: 4, ..Retrieval::default() };
    let mut heard = 0;
    let outcome = task.run(&mut model, &mut Samples::in_memory(), &mut |_| heard += 1).unwrap();
    assert_eq!((heard, outcome.samples.len(), outcome.rows.len(), outcome.agreement.len()), (16, 16, 4, 2));
    let scores: Vec<f64> = outcome.rows.iter().map(|row| row.score).collect();
    assert_eq!(scores, [1.0, 0.5, 1.0, 0.5]);
    assert!(outcome.agreement.iter().all(|a| a.agreement == 0.5 && a.n == 4));
    let keys: std::collections::BTreeSet<_> = outcome.samples.iter().map(|s| &s.key).collect();
    assert_eq!(keys.len(), 8, "each prompt has its own number");
    let json = serde_json::to_value(&outcome.rows[0]).unwrap();
    for key in ["length", "attention", "score", "n", "ci95", "density", "ttft_ms"] {
        assert!(json.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_budget_that_is_too_small_for_one_prompt_is_told_before_the_first_answer() {
    let task = Retrieval { lengths: vec![6000, 3000], goal: Goal::Density(0.1), ..Retrieval::default() };
    let mut model = ScriptedModel::with_budgets_from(4000);
    let error = task.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, EvalError::Task { task: "passkey", length: 3000, .. }), "{error:?}");
    assert_eq!(model.requests, []);
}

#[test]
fn what_is_kept_is_not_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.samples.jsonl");
    let head = crate::samples::Head { origin: crate::origin::Origin::default(), command: vec![] };
    let task = Retrieval { lengths: vec![3000], samples: 3, ..Retrieval::default() };
    let whole = task.run(&mut ScriptedModel::default(), &mut Samples::in_memory(), &mut |_| {}).unwrap();
    task.run(&mut ScriptedModel::default(), &mut Samples::open(&path, &head).unwrap(), &mut |_| {}).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1 + 3 * (1 + 2), "a head; of each prompt itself and two answers");
    // All prompts; of the first both answers, of the second dense alone, of the third nothing.
    let some: String = text.split_inclusive('\n').take(1 + 3 + 3).collect();
    std::fs::write(&path, some).unwrap();
    let mut model = ScriptedModel::default();
    let mut heard = 0;
    let outcome = task.run(&mut model, &mut Samples::open(&path, &head).unwrap(), &mut |_| heard += 1).unwrap();
    assert_eq!((model.requests.len(), heard), (3, 6));
    assert_eq!(outcome.samples, whole.samples);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn refuses_what_cannot_be_asked() {
    let mut model = ScriptedModel::default();
    let mut run = |task: Retrieval| task.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).unwrap_err();
    let base = Retrieval { lengths: vec![1000], samples: 1, ..Retrieval::default() };
    assert!(matches!(run(Retrieval { lengths: vec![], ..base.clone() }), EvalError::Nothing(_)));
    assert!(matches!(run(Retrieval { samples: 0, ..base.clone() }), EvalError::Nothing(_)));
    assert!(matches!(run(Retrieval { attention: vec![], ..base.clone() }), EvalError::Nothing(_)));
    assert!(matches!(run(Retrieval { lengths: vec![99_999], ..base }), EvalError::BeyondContext { .. }));
}

#[test]
fn the_first_number_counts() {
    assert_eq!(first_number(" 71432. Remember 5"), Some("71432"));
    assert_eq!(first_number("is 12"), Some("12"));
    assert_eq!(first_number("none"), None);
}
