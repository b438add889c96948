//! Question answering: the documents that answer a question, among others.

use super::sources::{Corpus, CorpusQuestion};
use crate::random::Random;
use crate::tasks::exercises::{Exercise, Writer};
use std::ops::RangeInclusive;

/// A sample of a task.
pub(super) struct Documents<'s> {
    corpus: &'s Corpus,
    question: &'s CorpusQuestion,
    random: Random,
}

impl<'s> Documents<'s> {
    /// Asks a question of the corpus: in its order, from the beginning again after the last.
    pub(super) fn new(corpus: &'s Corpus, sample: usize, random: Random) -> Self {
        Self { corpus, question: &corpus.questions[sample % corpus.questions.len()], random }
    }

    /// Numbers of `count` documents: those of the question, others of its article, and any others.
    fn chosen(&self, count: usize) -> Vec<usize> {
        let all = self.corpus.documents.len();
        let CorpusQuestion { own, related, .. } = self.question;
        if count >= all {
            return (0..all).cycle().take(count).collect();
        }
        let mut random = self.random.clone();
        let mut chosen = own.clone();
        chosen.extend(random.sample(related.len(), count - own.len()).into_iter().map(|n| related[n]));
        let further = count - chosen.len();
        let is_there = |document: &usize| own.contains(document) || related.contains(document);
        let others = random.sample(all, further + own.len() + related.len());
        chosen.extend(others.into_iter().filter(|document| !is_there(document)).take(further));
        chosen
    }
}

impl Writer for Documents<'_> {
    /// Documents.
    fn counts(&self) -> RangeInclusive<usize> {
        self.question.own.len()..=usize::MAX
    }

    fn write(&self, count: usize) -> Exercise {
        let mut chosen = self.chosen(count);
        self.random.clone().fork().shuffle(&mut chosen);
        let documents: Vec<String> = (chosen.into_iter().zip(1..))
            .map(|(document, n)| format!("Document {n}:\n{}", self.corpus.documents[document]))
            .collect();
        Exercise {
            shown: None,
            question: format!(
                "Answer the question based on the given documents. Only give me the answer and do not output any other \
                 words.\n\nThe following are given documents.\n\n{}\n\nAnswer the question based on the given documents. Only \
                 give me the answer and do not output any other words.\n\nQuestion: {}",
                documents.join("\n\n"),
                self.question.question
            ),
            opening: " Answer:".into(),
            answers: self.question.answers.clone(),
        }
    }
}
