//! Prompts hold what they ask for, right answers get everything, and modes are compared.

use super::{Task, Texts, score};
use crate::EvalError;
use crate::samples::Samples;
use crate::scripted_model::ScriptedModel;
use crate::tasks::exercises::{Arm, Asking, Exercise, Series, Task as _};
use crate::tasks::word_tokens::WordTokens;
use runtime::request::{AttentionMode, Goal};

fn texts() -> Texts {
    let letters = |n: usize| [n / 26 % 26, n % 26].map(|n| char::from(b'a' + n as u8)).iter().collect::<String>();
    let prose: String =
        (0..60).map(|n| format!("Chapter {} begins, {}\n\n", letters(n), "as it must. ".repeat(20))).collect();
    let code: String = (0..60)
        .map(|n| {
            format!("def {}_of(a, b):\n{}    return a\n\n\n", letters(n), "    b = a + b\n\n    a = b\n".repeat(8))
        })
        .collect();
    Texts::of([(prose.as_str(), false), (&code, true)])
}

fn exercise(task: Task, length: usize, sample: usize, seed: u64) -> Exercise {
    let model = ScriptedModel::default();
    task.exercise(&WordTokens::new(&model), Asking::Plain, &texts(), [length, sample], seed).unwrap()
}

/// What a model that is always right goes on with.
fn right_answer(exercise: &Exercise) -> String {
    let begun = exercise.opening.rsplit('\n').next().unwrap().trim();
    let answer = exercise.answers.join("\n");
    answer.strip_prefix(begun).map(String::from).unwrap_or(answer)
}

#[test]
fn prompts_fill_their_length_with_what_is_asked_in_the_middle() {
    for task in Task::ALL {
        for (length, sample) in [(4000, 0), (7000, 1)] {
            let exercise = exercise(task, length, sample, 7);
            let (tokens, room) = (exercise.text().len(), length - task.answer_tokens());
            // The longest piece: a tool, a paragraph or a function.
            assert!(tokens <= room && tokens + 650 > room, "{task}: {tokens} of {room}");
            let asked = match task {
                // The schema, by the name of the tool.
                Task::ToolCall => exercise.answers[0].split('"').nth(3).unwrap(),
                Task::QuotePassage | Task::QuoteFunction => exercise.opening.lines().last().unwrap(),
                _ => exercise.answers[0].trim(),
            };
            let depth = exercise.text().find(asked).unwrap() as f64 / tokens as f64;
            let expected = if task == Task::Update { 0.6..0.85 } else { 0.3..0.65 };
            assert!(expected.contains(&depth), "{task}: at {depth}");
            assert_eq!(exercise, self::exercise(task, length, sample, 7), "{task}");
            for other in [self::exercise(task, length, sample + 1, 7), self::exercise(task, length, sample, 8)] {
                assert_ne!(exercise.question, other.question, "{task}");
            }
        }
    }
}

#[test]
fn right_answers_get_everything_and_others_less() {
    for task in Task::ALL {
        let exercise = exercise(task, 4000, 3, 0);
        let right = right_answer(&exercise);
        let (found, of) = task.found(&exercise, &right);
        assert!(found == of && of > 0, "{task}: {found} of {of} for {right}");
        assert_eq!(task.found(&exercise, &format!("{right}\nAnd more.")), (of, of), "{task}");
        assert_eq!(task.found(&exercise, "").0, 0, "{task}");
        let half: String = right.chars().take(right.chars().count() / 2).collect();
        assert!(task.found(&exercise, &half).0 < of, "{task}: {half}");
    }
    // A number the prompt had before is not what holds now.
    let changed = exercise(Task::Update, 4000, 0, 0);
    let first: String = changed.question.chars().skip_while(|c| !c.is_ascii_digit()).take(5).collect();
    assert_eq!(Task::Update.found(&changed, &format!("{first}, then {}", changed.answers[0])), (0, 1));
}

#[test]
fn quotations_are_whole_pieces() {
    for task in [Task::QuotePassage, Task::QuoteFunction] {
        for sample in 0..5 {
            let exercise = exercise(task, 4000, sample, 0);
            let beginning = exercise.opening.rsplit('\n').next().unwrap();
            let piece = format!("\n\n{beginning}{}\n\n", exercise.answers[0]);
            assert_eq!(exercise.question.matches(&piece).count(), 1, "{piece}");
            let by_half =
                score::similarity(&exercise.answers[0][..exercise.answers[0].len() / 2], &exercise.answers[0]);
            assert!((490..=500).contains(&by_half), "{by_half}");
        }
    }
}

#[test]
fn modes_are_compared_and_what_is_lost_is_listed() {
    // The scripted model answers with the first number: of all when dense, of the second half when sparse. Of a fact that was
    // changed dense has the old number and sparse the new one.
    let series = Series {
        tasks: vec![Task::Middle, Task::Update],
        sources: Texts::default(),
        asking: Asking::Plain,
        lengths: vec![3000],
        samples: 12,
        arms: Arm::all(&[AttentionMode::Dense, AttentionMode::Sparse], &[Goal::default()]),
        seed: 0,
        receipt: None,
    };
    let mut model = ScriptedModel::default();
    let outcome = series.run(&mut model, &mut Samples::in_memory(), &mut |_| {}).unwrap();
    let [middle, update] = &outcome.beside_dense[..] else { panic!("two tasks") };
    assert!(middle.lost > 0 && middle.lost < 12 && middle.won == 0, "{} lost", middle.lost);
    assert_eq!((update.lost, update.won), (0, 12));
    assert!(update.p_holm < 0.01 && update.p_holm >= update.p_value);
    assert_eq!(outcome.lost.len(), middle.lost);
    for lost in &outcome.lost {
        assert_eq!(
            (lost.task, lost.arm.attention, lost.found, lost.dense_found),
            (Task::Middle, AttentionMode::Sparse, 0, 1)
        );
        assert!(lost.dense_answer.contains(&lost.answers[0]) && !lost.answer.contains(&lost.answers[0]));
    }
}

#[test]
fn what_there_are_no_texts_for_is_said() {
    let model = ScriptedModel::default();
    let none = Texts::default();
    for task in [Task::QuotePassage, Task::QuoteFunction] {
        let error = task.exercise(&WordTokens::new(&model), Asking::Plain, &none, [4000, 0], 0).unwrap_err();
        assert!(matches!(error, EvalError::NothingToQuote { .. }) && error.to_string().contains("--texts"), "{error}");
    }
    let longer =
        Task::QuotePassage.exercise(&WordTokens::new(&model), Asking::Plain, &texts(), [100_000, 0], 0).unwrap_err();
    assert!(matches!(longer, EvalError::SourceUsedUp { .. }), "{longer}");
}
