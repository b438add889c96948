//! Asking and scoring.

use super::super::{Credit, Ruler, Task};
use super::sources;
use crate::EvalError;
use crate::origin::Origin;
use crate::samples::{Head, Samples};
use crate::scripted_model::ScriptedModel;
use crate::tasks::exercises::{Arm, Asking};
use runtime::request::{AttentionMode, Goal};

fn ruler(tasks: &[Task]) -> Ruler {
    Ruler {
        tasks: tasks.to_vec(),
        sources: sources(),
        asking: Asking::Plain,
        lengths: vec![2000, 3000],
        samples: 4,
        arms: Arm::all(&[AttentionMode::Dense, AttentionMode::Sparse], &[Goal::default()]),
        seed: 0,
        receipt: None,
    }
}

#[test]
fn answers_get_what_ruler_gives() {
    let right = ["Ab".to_string(), "12".into(), "c d".into(), "no".into()];
    for (answer, share, any) in
        [("AB, 12 and C D", 3, 1), ("12", 1, 1), ("c  d", 0, 0), ("", 0, 0), ("none: AB12c d", 4, 1)]
    {
        assert_eq!(Credit::Share.found(answer, &right), (share, 4), "{answer}");
        assert_eq!(Credit::Any.found(answer, &right), (any, 1), "{answer}");
    }
}

#[test]
fn scores_and_pairs() {
    // The scripted model answers with the first number: that of the only needle when dense, when sparse where it stands in the
    // second half.
    let mut heard = 0;
    let task = Ruler { samples: 12, ..ruler(&[Task::Single1]) };
    let outcome = task.run(&mut ScriptedModel::default(), &mut Samples::in_memory(), &mut |_| heard += 1).unwrap();
    assert_eq!((heard, outcome.rows.len(), outcome.beside_dense.len()), (task.answers(), 4, 2));
    for beside in &outcome.beside_dense {
        let row = |arm| outcome.rows.iter().find(|row| (row.length, row.arm) == (beside.length, arm)).unwrap();
        let (dense, sparse) = (row(Arm::DENSE), row(beside.arm));
        assert_eq!((dense.right, dense.score.value, dense.n), (12, 1.0, 12));
        assert!(sparse.right < 12 && sparse.right > 0);
        assert_eq!((beside.lost, beside.won), (12 - sparse.right, 0));
        assert!((beside.difference.value - (sparse.score.value - 1.0)).abs() < 1e-9);
        assert!((beside.p_value - beside.p_lost_won).abs() < 1e-9 && beside.p_holm >= beside.p_value);
    }
}

#[test]
fn several_goals_are_asked_beside_one_dense() {
    let arms = Arm::all(&[AttentionMode::Dense, AttentionMode::Sparse], &[Goal::Recall(0.9), Goal::Density(0.2)]);
    let task = Ruler { lengths: vec![2000], arms: arms.clone(), ..ruler(&[Task::Single1]) };
    let mut model = ScriptedModel::default();
    let outcome = task.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).unwrap();
    assert_eq!(model.requests.len(), 4 * 3);
    assert_eq!(outcome.rows.iter().map(|row| row.arm).collect::<Vec<_>>(), arms);
    assert_eq!(outcome.beside_dense.iter().map(|beside| beside.arm).collect::<Vec<_>>(), arms[1..]);
    let json = serde_json::to_value(&outcome.rows[2]).unwrap();
    assert_eq!(json["attention"], "sparse");
    assert!(json["goal"]["density"].is_number(), "{json}");
}

#[test]
fn a_budget_that_is_too_small_for_one_prompt_is_told_before_the_first_answer() {
    // The prompts of the shorter length, which come second, cannot have it.
    let arms = Arm::all(&[AttentionMode::Dense, AttentionMode::Sparse], &[Goal::default(), Goal::Density(0.1)]);
    let task = Ruler { lengths: vec![3000, 2000], arms, ..ruler(&[Task::Single1, Task::Single2]) };
    let mut model = ScriptedModel::with_budgets_from(2500);
    let error = task.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).unwrap_err();
    assert!(
        matches!(&error, EvalError::Task { task: "niah_single_1", length: 2000, source } if
        matches!(**source, EvalError::Engine(runtime::engine::EngineError::Budget { prompt_tokens: 1500..=2000, .. }))),
        "{error:?}"
    );
    assert_eq!(model.requests, []);
    let dense = Ruler { arms: vec![Arm::DENSE], ..task };
    assert!(dense.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).is_ok(), "dense has no goal");
}

#[test]
fn what_is_kept_is_not_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.samples.jsonl");
    let head = Head { origin: Origin::default(), command: vec![] };
    let task = ruler(&[Task::Single2, Task::CommonWords]);
    let run = |model: &mut ScriptedModel| {
        task.run(model, &mut Samples::open(&path, &head).unwrap(), &mut |_| {}).unwrap().samples
    };
    let whole = run(&mut ScriptedModel::default());
    let text = std::fs::read_to_string(&path).unwrap();
    let (prompts, answers) = (2 * 2 * 4, 2 * 2 * 4 * 2);
    assert_eq!(text.lines().count(), 1 + prompts + answers);
    let some: String = text.split_inclusive('\n').take(1 + prompts + 5).collect();
    std::fs::write(&path, some).unwrap();
    let mut model = ScriptedModel::default();
    assert_eq!(run(&mut model), whole);
    assert_eq!(model.requests.len(), answers - 5);
}

#[test]
fn refuses_what_cannot_be_asked_before_anything_is() {
    let mut model = ScriptedModel::default();
    let mut run = |task: Ruler| task.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).unwrap_err();
    let base = || ruler(&[Task::Single1, Task::HotpotQa]);
    for empty in [
        ruler(&[]),
        Ruler { lengths: vec![], ..base() },
        Ruler { samples: 0, ..base() },
        Ruler { arms: vec![], ..base() },
    ] {
        assert!(matches!(run(empty), EvalError::Nothing(_)));
    }
    assert!(matches!(run(Ruler { lengths: vec![99_999], ..base() }), EvalError::BeyondContext { .. }));
    let short = run(Ruler { lengths: vec![3000, 100], ..base() });
    assert!(matches!(&short, EvalError::Task { task: "niah_single_1", length: 100, .. }), "{short}");
    let missing = run(Ruler { sources: Default::default(), ..ruler(&[Task::Squad]) });
    assert!(matches!(missing, EvalError::Task { task: "qa_1", .. }), "{missing}");
    assert!(model.requests.is_empty());
}
