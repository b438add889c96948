//! Which models kernels fit, known before weights are loaded.

use crate::config::ModelConfig;
use cuda::Error;
use cuda::qkv_rope_store::QkvRopeStore;

/// Rows are read in vectors of so many elements.
const VECTOR: usize = 8;

/// Refuses what a kernel would refuse with the first token: who lets the program choose a device gets the CPU then.
pub(super) fn check(config: &ModelConfig) -> Result<(), Error> {
    QkvRopeStore::check_head_dim(config.head_dim, config.qk_norm)?;
    let of_experts = config.experts.as_ref().map_or(0, |experts| experts.intermediate_size);
    let sizes =
        [("hidden size", config.hidden_size), ("MLP size", config.dense_mlp_size()), ("size of an expert", of_experts)];
    match sizes.into_iter().find(|(_, size)| !size.is_multiple_of(VECTOR)) {
        None => Ok(()),
        Some((what, size)) => {
            let (expected, found) = (format!("a multiple of {VECTOR} on a GPU"), size.to_string());
            Err(Error::Unsupported { what, expected, found })
        }
    }
}
