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
        receipt: None,
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
    let short = task(&format!("{{\"prompt\": \"{}\"}}\n{{\"prompt\": \"b\"}}", "a".repeat(900)));
    let mut model = ScriptedModel::with_budgets_from(500);
    let budget = Prompts { goal: Goal::Density(0.1), ..short };
    let error = budget.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, EvalError::Prompt { line: 2, .. }) && model.requests.is_empty(), "{error}");
}

/// A file that is cut at any byte is an error, or all that is left of it is answered.
#[test]
fn files_cut_anywhere_are_errors_or_answered() {
    let file = "{\"prompt\": \"é 17 is\", \"answers\": [\"17\"]}\n\n\
        {\"messages\": [{\"role\": \"user\", \"content\": \"29 \\u00e9\"}]}\r\n{\"prompt\": \"last\"}\n";
    let lines = || file.lines().filter(|line| !line.is_empty());
    assert_eq!(lines().count(), 3);
    for cut in 0..=file.len() {
        // What is left of half a character is no text: the program says so before it looks for prompts.
        let Ok(left) = std::str::from_utf8(&file.as_bytes()[..cut]) else { continue };
        let answers = read(left).and_then(|prompts| run(&Prompts { prompts, ..task("") }));
        let whole = left.lines().filter(|left| lines().any(|line| line == left.trim_end())).count();
        let halves = left.lines().filter(|left| !left.trim().is_empty()).count() - whole;
        match answers {
            Ok(outcome) => assert!(halves == 0 && outcome.samples.len() == 2 * whole, "cut at {cut}"),
            Err(error) => assert!(halves > 0 || whole == 0, "cut at {cut}: {error}"),
        }
    }
}
