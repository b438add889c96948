//! What can stop an evaluation.

use runtime::engine::EngineError;

/// Rounds that a result with an interval takes at least.
pub const LEAST_ROUNDS: usize = 3;

/// Why an evaluation could not run.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model cannot hold the prompt.
    #[error(
        "length {length} is beyond the model's context of {max_context} tokens: \
         ask for shorter lengths or take a model with a longer context"
    )]
    BeyondContext {
        /// Tokens asked for.
        length: usize,
        /// Tokens the model can hold.
        max_context: usize,
    },
    /// The task's own sentences do not fit.
    #[error(
        "a prompt of at most {limit} tokens cannot be written: with the least text to search it has {least} already: ask for a \
         longer one"
    )]
    PromptTooShort {
        /// Tokens the prompt may have.
        limit: usize,
        /// Tokens of the shortest prompt.
        least: usize,
    },
    /// A line of a file of prompts that holds none.
    #[error(
        "line {line}: {problem}; expected {{\"prompt\": \"...\"}} or {{\"messages\": [{{\"role\": \"user\", \"content\": \"...\"}}]}}, \
         with \"answers\": [\"...\"] where they are known"
    )]
    PromptLine {
        /// Line, from 1.
        line: usize,
        /// What was found.
        problem: String,
    },
    /// A prompt of a file that the model cannot be asked.
    #[error("line {line}: the prompt cannot be asked")]
    Prompt {
        /// Line, from 1.
        line: usize,
        /// Why.
        source: EngineError,
    },
    /// A prompt of a file that leaves no room for an answer.
    #[error(
        "line {line}: the prompt has {tokens} tokens, which with {max_tokens} new ones is beyond the model's context of \
         {max_context}: shorten it, or ask for fewer new tokens"
    )]
    PromptTooLong {
        /// Line, from 1.
        line: usize,
        /// Tokens of the prompt.
        tokens: usize,
        /// New tokens asked for.
        max_tokens: usize,
        /// Tokens the model can hold.
        max_context: usize,
    },
    /// Answers about which nothing could be said.
    #[error(
        "no prompt has answers, and no two attention modes are compared: add \"answers\", or ask for dense and another"
    )]
    NothingToCompare,
    /// More filler makes no longer prompt.
    #[error(
        "a prompt of {limit} tokens cannot be written: the tokenizer makes no more than {tokens} of any longer text"
    )]
    PromptDoesNotGrow {
        /// Tokens the prompt may have.
        limit: usize,
        /// Tokens at which it stopped growing.
        tokens: usize,
    },
    /// A run that ended within its prompt.
    #[error("the model made no token, so there is no time to the first one: ask for at least one, and let the run end")]
    NoToken,
    /// A task whose prompt cannot be written, or not be read by the goal.
    #[error("the prompt of {task} at {length} tokens")]
    Task {
        /// The task.
        task: &'static str,
        /// Tokens asked for.
        length: usize,
        /// Why.
        source: Box<EvalError>,
    },
    /// A source that has no more text.
    #[error("a prompt of {limit} tokens cannot be written: all of the source makes {tokens}; ask for a shorter one")]
    SourceUsedUp {
        /// Tokens the prompt may have.
        limit: usize,
        /// Tokens of all that there is.
        tokens: usize,
    },
    /// A task whose text is not there.
    #[error("{} is missing: `scripts/fetch-ruler-texts DIR` gets it, `--sources DIR` names its folder", missing.join(", "))]
    NoSource {
        /// Files that are not there.
        missing: Vec<&'static str>,
    },
    /// A source text that is not what its name says.
    #[error("{}: {problem}; `scripts/fetch-ruler-texts DIR` gets it anew", path.display())]
    Source {
        /// The file.
        path: std::path::PathBuf,
        /// What was found.
        problem: String,
    },
    /// A task whose texts have nothing for it.
    #[error("the texts have no {what}: `--texts FILE,..` names text or Python files, or folders of them")]
    NothingToQuote {
        /// What was looked for.
        what: &'static str,
    },
    /// A text that is shorter than the prompts that are to be cut from it.
    #[error(
        "the text `{name}` has {tokens} tokens, a prompt of {length} was asked for: take a longer text or shorter lengths"
    )]
    TextTooShort {
        /// Name of the text.
        name: String,
        /// Tokens asked for.
        length: usize,
        /// Tokens of the text.
        tokens: usize,
    },
    /// Nothing to do: an empty list or a count of zero.
    #[error("nothing to measure: {0} is empty or zero")]
    Nothing(&'static str),
    /// Too few rounds to say how far the result may be off.
    #[error("{runs} runs say nothing about how far a result may be off: ask for at least {LEAST_ROUNDS}")]
    TooFewRounds {
        /// Rounds asked for.
        runs: usize,
    },
    /// A range of lengths that has none in it.
    #[error("no length from {from} to {to}: give a first length above 0 and a longer last one")]
    NoLengths {
        /// Shortest length asked for.
        from: usize,
        /// Longest.
        to: usize,
    },
    /// A layer or a head that the model lacks.
    #[error("{what} {index} is not there: the model has {count}, numbered from 0")]
    NotThere {
        /// Layer or head.
        what: &'static str,
        /// Asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A layer without patterns.
    #[error("layer {layer} has a sliding window shorter than the prompt, so nothing is searched there: leave it out")]
    NotPlanned {
        /// Layer.
        layer: usize,
    },
    /// A result file that does not hold what its name says.
    #[error("cannot read {}: {source}; delete it, and its step will be measured again", path.display())]
    ResultFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A file that a result depends on.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No files of this model.
    #[error("cannot find the model `{model}`")]
    Model {
        /// As it was asked for.
        model: String,
        /// Why.
        source: runtime::weights::LoadError,
    },
    /// A file of samples that the system does not let us read, lock or write.
    #[error("cannot keep samples in {}", path.display())]
    SampleFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two runs into one file of samples.
    #[error("another run keeps its samples in {}: wait until it ends, or write to another file", path.display())]
    SampleFileInUse {
        /// The file.
        path: std::path::PathBuf,
    },
    /// Something else stands where samples would be kept.
    #[error("{} is there and holds no samples of an evaluation: move it, or write to another file", path.display())]
    NoSampleFile {
        /// The file.
        path: std::path::PathBuf,
    },
    /// A line of a file of samples that was not written by us, or changed since.
    #[error("line {line} of {} is no sample: delete the line, and it will be measured again", path.display())]
    SampleLine {
        /// The file.
        path: std::path::PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A sample that is not of the task that asks for it, or cannot be written.
    #[error("the sample `{key}` in {} is not what its task writes: delete its line, and it will be measured again", path.display())]
    KeptSample {
        /// The file; empty where there is none.
        path: std::path::PathBuf,
        /// Which sample.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
