//! Evaluation: the passkey task and the TTFT benchmark.
