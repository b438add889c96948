//! Files of weights: GGUF and safetensors, whole or in parts; how numbers are stored in them.

mod encoding;
mod error;
mod file;
pub mod gguf;
mod json;
pub(crate) mod parts;
pub(crate) mod python_json;
mod safetensors;
mod tensor;
mod unpack;

pub use encoding::Encoding;
pub use error::FileError;
pub(crate) use file::WeightFile;
pub(crate) use json::read_json;
pub(crate) use parts::PartName;
pub(crate) use safetensors::{SHARD_INDEX, Shards, shard_names};
pub use tensor::{Tensor, TensorInfo};
