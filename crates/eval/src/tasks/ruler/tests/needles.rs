//! The eight needle tasks.

use super::super::Task;
use super::super::needles::NOISE;
use super::exercise;

const NEEDLE: &str = "One of the special magic ";

/// Key and value of every needle of a prompt.
fn needles(text: &str) -> Vec<(&str, &str)> {
    let parse = |rest| -> Option<(&str, &str)> {
        let (kind, rest) = str::split_once(rest, " for ")?;
        assert!(["numbers", "uuids"].contains(&kind), "{kind}");
        let (key, rest) = rest.split_once(" is: ")?;
        Some((key, rest.split_once('.')?.0))
    };
    text.split(NEEDLE).skip(1).map(|rest| parse(rest).unwrap()).collect()
}

#[test]
fn keys_values_and_queries_are_as_many_as_published() {
    for (task, keys, values, asked) in [
        (Task::Single1, 1, 1, 1),
        (Task::Single2, 1, 1, 1),
        (Task::Single3, 1, 1, 1),
        (Task::MultiKey1, 4, 1, 1),
        (Task::MultiValue, 1, 4, 1),
        (Task::MultiQuery, 4, 1, 4),
    ] {
        for sample in 0..5 {
            let exercise = exercise(task, 3000, sample, 0);
            let found = needles(&exercise.question);
            assert_eq!((found.len(), exercise.answers.len()), (keys * values, asked * values), "{task}");
            let query = exercise.opening.split(" for ").nth(1).unwrap().split(" mentioned").next().unwrap();
            let queries: Vec<&str> = query.split(", ").map(|key| key.trim_start_matches("and ")).collect();
            assert_eq!(queries.len(), asked, "{query}");
            // What is asked for, in the order of the question, whatever the order in the text.
            let mut right = Vec::new();
            for key in &queries {
                right.extend(found.iter().filter(|(name, _)| name == key).map(|(_, value)| value.to_string()));
            }
            let sorted = |mut all: Vec<String>| {
                all.sort();
                all
            };
            assert_eq!(sorted(right), sorted(exercise.answers.clone()), "{task}");
        }
    }
}

#[test]
fn keys_and_values_have_the_published_form() {
    for (task, is_uuid_key, is_uuid_value) in [
        (Task::Single1, false, false),
        (Task::Single3, false, true),
        (Task::MultiKey2, false, false),
        (Task::MultiKey3, true, true),
    ] {
        for (key, value) in needles(&exercise(task, 4000, 0, 1).question) {
            for (text, is_uuid) in [(key, is_uuid_key), (value, is_uuid_value)] {
                if is_uuid {
                    let parts: Vec<usize> = text.split('-').map(str::len).collect();
                    assert_eq!(parts, [8, 4, 4, 4, 12], "{text}");
                    assert!(text.bytes().all(|byte| byte == b'-' || b"0123456789abcdef".contains(&byte)));
                    assert!(text.as_bytes()[14] == b'4' && b"89ab".contains(&text.as_bytes()[19]), "{text}");
                }
            }
            if !is_uuid_value {
                assert!(value.len() == 7 && value.parse::<u32>().unwrap() >= 1_000_000, "{value}");
            }
            if !is_uuid_key {
                assert!((key.starts_with("big") || key.starts_with("blue-eyed-")) && key.contains("-noun"), "{key}");
            }
        }
    }
}

#[test]
fn haystacks_of_noise_and_needles_are_lines() {
    let noise = exercise(Task::Single1, 3000, 0, 0);
    let lines: Vec<&str> = noise.question.lines().collect();
    let text = &lines[1..lines.len() - 1];
    assert_eq!(text.iter().filter(|line| line.starts_with(NEEDLE)).count(), 1);
    assert!(text.iter().all(|line| line.starts_with(NEEDLE) || *line == NOISE));
    for task in [Task::MultiKey2, Task::MultiKey3] {
        let exercise = exercise(task, 3000, 0, 0);
        let lines: Vec<&str> = exercise.question.lines().collect();
        assert!(lines[1..lines.len() - 1].iter().all(|line| line.starts_with(NEEDLE)));
        assert!(lines.len() > 20);
        assert_eq!(needles(&exercise.question).iter().filter(|(_, value)| *value == exercise.answers[0]).count(), 1);
    }
}

#[test]
fn needles_in_essays_break_no_sentence() {
    for sample in 0..20 {
        let exercise = exercise(Task::MultiQuery, 6000, sample, 0);
        let text = exercise.question.lines().nth(1).unwrap();
        for needle in text.split(". ").filter(|sentence| sentence.contains("special magic")) {
            // Between two sentences, or behind the last, which is cut where the essay is.
            assert!(needle.starts_with(NEEDLE) || text.ends_with(needle), "{needle}");
        }
        // Without needles it is the essay again.
        let plain: Vec<&str> = text.split(". ").filter(|sentence| !sentence.contains("special magic")).collect();
        assert!(plain.join(". ").starts_with("Essay sentence 0 is short. Essay sentence 1 is short."));
    }
}

#[test]
fn one_value_is_asked_for_in_the_singular() {
    let one = exercise(Task::Single3, 3000, 0, 0);
    assert!(one.question.starts_with(
        "A special magic uuid is hidden within the following text. Make sure to memorize it. I will quiz you about the uuid \
         afterwards.\n"
    ));
    let key = one.opening.split(" for ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(
        one.question.ends_with(&format!("\nWhat is the special magic uuid for {key} mentioned in the provided text?"))
    );
    assert_eq!(one.opening, format!(" The special magic uuid for {key} mentioned in the provided text is"));
    let four = exercise(Task::MultiValue, 3000, 0, 0);
    assert!(four.question.starts_with("Some special magic numbers are hidden within the following text."));
    assert!(four.question.contains("\nWhat are all the special magic numbers for "));
    assert!(four.opening.ends_with(" mentioned in the provided text are"));
}
