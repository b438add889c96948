//! Variable tracking, common and frequent words, documents.

use super::super::Task;
use super::super::needles::NOISE;
use super::{counted, exercise};
use std::collections::HashSet;

#[test]
fn a_chain_has_four_hops_behind_an_example_with_one() {
    for sample in 0..10 {
        let exercise = exercise(Task::Variables, 4000, sample, 0);
        let (example, question) = exercise.question.rsplit_once("Memorize and track").unwrap();
        for (text, letters) in [(example, 3), (question, 5)] {
            let assignments: Vec<&str> = text.lines().filter(|line| line.starts_with("VAR ")).collect();
            assert_eq!(assignments.len(), 5);
            let (first, value) = assignments[0][4..].split_once(" = ").unwrap();
            assert!(value.len() == 5 && value.parse::<u32>().is_ok(), "{value}");
            assert!(text.contains(&format!("assigned the value {value} in the text above.")));
            let mut names = vec![first];
            for assignment in &assignments[1..] {
                let (name, of) = assignment[4..].trim_end().split_once(" = VAR ").unwrap();
                assert_eq!(of, *names.last().unwrap());
                names.push(name);
            }
            assert!(
                names.iter().all(|name| name.len() == letters && name.bytes().all(|byte| byte.is_ascii_uppercase()))
            );
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), 5);
            match letters {
                3 => assert!(text.ends_with(&format!("they are:  {}\n\n", names.join(" "))), "{text}"),
                _ => assert_eq!(names, exercise.answers),
            }
        }
        let opening = "of variable assignment in the text above, 5 variables are assigned the value";
        assert!(exercise.opening.contains(opening) && exercise.opening.ends_with(", they are: "));
        assert!(question.lines().filter(|line| *line == NOISE).count() > 20);
    }
}

/// The words of a numbered list, whose numbers are right.
fn list(question: &str) -> Vec<&str> {
    let items: Vec<&str> = question.lines().nth(1).unwrap().split(' ').collect();
    let numbered = items.chunks(2).enumerate();
    numbered.for_each(|(n, item)| assert_eq!(item[0], format!("{}.", n + 1)));
    items.chunks(2).map(|item| item[1]).collect()
}

#[test]
fn common_words_stand_in_their_list_as_often_as_published() {
    for (length, shown_times, shown_words, times) in [(8000, (10, 3), 40, (30, 3)), (4000, (3, 1), 20, (6, 1))] {
        let exercise = exercise(Task::CommonWords, length, 0, 0);
        let (shown, answer) = exercise.shown.as_ref().unwrap();
        let common: Vec<String> =
            list(&format!("\n{}", answer.rsplit_once(": ").unwrap().1)).into_iter().map(String::from).collect();
        for (question, common, (often, seldom)) in
            [(shown, &common, shown_times), (&exercise.question, &exercise.answers, times)]
        {
            let words = list(question).join(" ");
            let counts = counted(&words);
            assert_eq!(common.len(), 10);
            assert!(common.iter().all(|word| counts[word.as_str()] == often));
            assert!(counts.iter().all(|(word, count)| common.iter().any(|c| c == word) || *count == seldom));
            assert!(question.ends_with("\nQuestion: What are the 10 most common words in the above list?"));
        }
        assert_eq!(counted(&list(shown).join(" ")).len(), shown_words);
        assert!(answer.starts_with(&format!("{} 1. ", exercise.opening)));
    }
}

#[test]
fn frequent_words_follow_the_zeta_distribution() {
    let length = 6050;
    let exercise = exercise(Task::FrequentWords, length, 0, 0);
    let text = exercise.question.split("coded words. ").nth(1).unwrap().split('\n').next().unwrap();
    let counts = counted(text);
    let mut ranked: Vec<(usize, &str)> = counts.iter().map(|(word, count)| (*count, *word)).collect();
    ranked.sort_by(|a, b| b.cmp(a));
    assert_eq!(ranked[0].1, "...");
    let answers: Vec<&str> = ranked[1..4].iter().map(|(_, word)| *word).collect();
    assert_eq!(answers, exercise.answers);
    assert!(answers.iter().all(|word| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_lowercase())));
    for (rank, (count, _)) in ranked.iter().enumerate() {
        let expected = ranked[0].0 as f64 / ((rank + 1) * (rank + 1)) as f64;
        assert!((*count as f64 - expected).abs() <= 1.0, "rank {rank}: {count}, not {expected}");
    }
    assert!(counts.len() <= (length - 50) / 50);
    assert!(exercise.opening.ends_with("the three most frequently appeared words are:"));
}

#[test]
fn documents_hold_those_of_the_question_and_their_article_first() {
    for (task, length, own) in [
        (Task::Squad, 1000, vec!["Paragraph 3 of article 0."]),
        (Task::Squad, 5000, vec!["Paragraph 3 of article 0."]),
        (Task::HotpotQa, 1000, vec!["Page 6\nOf page 6. More.", "Page 7\nOf page 7. More."]),
        // More than all documents: they begin again.
        (Task::HotpotQa, 7000, vec!["Page 6\nOf page 6. More.", "Page 7\nOf page 7. More."]),
    ] {
        let exercise = exercise(task, length, 3, 0);
        let documents: Vec<&str> =
            exercise.question.split("Document ").skip(1).map(|d| d.split("\n\n").next().unwrap()).collect();
        for (n, document) in documents.iter().enumerate() {
            assert!(document.starts_with(&format!("{}:\n", n + 1)), "{document}");
        }
        let texts: Vec<&str> = documents.iter().map(|document| document.split_once(":\n").unwrap().1).collect();
        assert!(own.iter().all(|own| texts.iter().any(|text| text.starts_with(own))), "{texts:?}");
        let different = texts.iter().collect::<HashSet<_>>().len();
        assert_eq!(different, texts.len().min(100));
        if task == Task::Squad {
            let of_article = texts.iter().filter(|text| text.contains("of article 0.")).count();
            assert_eq!(of_article, texts.len().min(5));
            assert_eq!(exercise.answers, ["fact 03", "Fact"]);
            assert!(exercise.question.ends_with("\n\nQuestion: Which fact, 0-3?"));
        } else {
            assert_eq!(exercise.answers, ["yes"]);
        }
        assert_eq!(exercise.opening, " Answer:");
    }
}
