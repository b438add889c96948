use super::*;
use crate::scripted_model::ScriptedModel;

/// The scripted model answers with the first number of a prompt; sparse attention sees its second half only.
fn task(file: &str) -> Prompts {
    Prompts {
        prompts: read(file).unwrap(),
        matching: Match::Contains,
        max_tokens: 8,
        attention: vec![AttentionMode::Dense, AttentionMode::Sparse],
        goal: Goal::default(),
    }
}

fn run(task: &Prompts) -> Result<Outcome, EvalError> {
    task.run(&mut ScriptedModel::default(), &mut Samples::in_memory(), &mut |_| {})
}

#[test]
fn known_answers_are_scored_and_all_are_compared_with_dense() {
    let early = "17 is what I said, long before you asked";
    let late = "you asked for it, and what I said is 29";
    let file = format!(
        "{{\"prompt\": \"{early}\", \"answers\": [\"17\"]}}\n{{\"prompt\": \"{late}\", \"answers\": [\"x\", \"29\"]}}\n\
         {{\"messages\": [{{\"role\": \"user\", \"content\": \"{late}\"}}]}}\n{{\"prompt\": \"{early}\"}}\n"
    );
    let Outcome { rows, agreement, samples } = run(&task(&file)).unwrap();
    assert_eq!(rows.iter().map(|row| (row.score, row.n)).collect::<Vec<_>>(), [(Some(1.0), 2), (Some(0.5), 2)]);
    assert_eq!((rows[0].density, rows[1].density), (1.0, 0.5));
    let [beside] = &agreement[..] else { panic!("{agreement:?}") };
    assert_eq!((beside.agreement, beside.n, beside.lost, beside.won), (0.5, 4, 1, 0));
    assert_eq!((samples.len(), samples[5].right, samples[5].line), (8, None, 3));
    let exact = run(&Prompts { matching: Match::Exact, ..task(&file) }).unwrap();
    assert_eq!(exact.rows[0].score, Some(0.0), "the model ends with a full stop");
    let nobody_knows = run(&task(&format!("{{\"prompt\": \"{late}\"}}"))).unwrap();
    assert_eq!((nobody_knows.rows[0].score, nobody_knows.agreement[0].agreement), (None, 1.0));
}

#[test]
fn refused_before_anything_is_asked() {
    let base = task("{\"prompt\": \"a\"}");
    assert!(matches!(run(&Prompts { prompts: vec![], ..base.clone() }), Err(EvalError::Nothing(_))));
    let alone = Prompts { attention: vec![AttentionMode::Sparse], ..base };
    assert!(matches!(run(&alone), Err(EvalError::NothingToCompare)));
    let long = task(&format!("{{\"prompt\": \"a\"}}\n{{\"prompt\": \"{}\"}}", "b".repeat(8186)));
    let error = run(&long).unwrap_err();
    assert!(matches!(error, EvalError::PromptTooLong { line: 2, tokens: 8186, .. }), "{error}");
    assert!(run(&Prompts { max_tokens: 7, ..long }).is_ok());
}
