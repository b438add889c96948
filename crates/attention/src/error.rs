//! What the library refuses.

/// An argument that cannot be; each message says what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Query heads must be a multiple of kv heads, and nothing may be zero.
    #[error(
        "{num_q_heads} query heads cannot share {num_kv_heads} kv heads: query heads must be a multiple of kv heads, both above zero"
    )]
    Heads {
        /// Query heads asked for.
        num_q_heads: usize,
        /// Kv heads asked for.
        num_kv_heads: usize,
    },
    /// A head must have an even number of elements between 2 and 512.
    #[error("head_dim {0}: expected an even number from 2 to 512")]
    HeadDim(usize),
    /// Queries are the last positions of the kv range.
    #[error("{q_len} queries end a sequence of {kv_len} keys: expected 0 < q_len <= kv_len <= 2^31 - 1")]
    Range {
        /// Queries.
        q_len: usize,
        /// Keys.
        kv_len: usize,
    },
    /// The system has no memory for a buffer.
    #[error(
        "no memory for {what}: the system refused {bytes} bytes; free some, raise the limit of addresses (`ulimit -v`), or take a shorter prompt"
    )]
    Allocation {
        /// Which buffer.
        what: &'static str,
        /// Bytes asked for.
        bytes: usize,
    },
    /// More threads than any machine has use for.
    #[error(
        "{0} worker threads were asked for, at most {max} are possible: one for each core is fastest, which 0 asks for", max = crate::threads::MAX_THREADS
    )]
    TooManyThreads(usize),
    /// The system starts no more threads: how many there were to be, and what it said.
    #[error(
        "cannot start {0} worker threads: {1}; ask for fewer, or raise the limits of the system (`ulimit -u`, `ulimit -v`)"
    )]
    Threads(usize, String),
    /// A buffer of the wrong length.
    #[error("{what}: expected {expected} elements, found {found}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// A page table that does not hold the sequence or names pages that are not there.
    #[error("page table: {0}")]
    PageTable(String),
    /// A plan that breaks a rule of the format.
    #[error("plan: {0}")]
    Plan(String),
    /// Static patterns that contradict themselves or the model.
    #[error("patterns: {0}")]
    Patterns(String),
    /// Text that is not the file it should be.
    #[error("{what}: {message}")]
    File {
        /// Which kind of file.
        what: &'static str,
        /// What was expected, found, and what to do.
        message: String,
    },
    /// Costs that cannot be used here.
    #[error("calibration: {0}; run `sparse-accelerate calibrate` to measure this machine")]
    Calibration(String),
    /// Costs that cannot be used on this GPU.
    #[error("calibration: {0}; run `sparse-accelerate calibrate --device cuda:N` to measure this GPU")]
    GpuCalibration(String),
    /// A pattern or search parameter out of its range.
    #[error("{what} is {found}: expected {expected}")]
    Parameter {
        /// Which parameter.
        what: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value, printed.
        found: String,
    },
}

impl Error {
    /// As much of a hostile text as a message can bear.
    pub(crate) fn excerpt(text: &str) -> String {
        text.chars().take(40).collect()
    }

    pub(crate) fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
        if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
    }
}
