//! Flags of `bench kernel`.

use super::choices;
use super::numbers::{at_least_one, head_counts, share, whole};
use attention::shape::HeadShape;
use clap::Args;
use cuda::bench::{Kernel, KernelBench, What};
use runtime::request::Device;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "Examples:
  sparse-accelerate bench kernel --json kernel.json
  sparse-accelerate bench kernel --heads 14,2,64 --lengths 8192,32768 --centres --runs 30
  sparse-accelerate bench kernel --lengths 4096 --prefix 28672 --what dense,sparse
  sparse-accelerate bench kernel --lengths 32768 --kernel sm80 --what dense")]
pub struct BenchKernel {
    /// GPU to measure
    #[arg(long, default_value = "cuda:0", value_name = "DEVICE", value_parser = choices::device(), help_heading = "Model")]
    pub device: Device,
    /// Query heads, kv heads and head size of the layer
    #[arg(long, default_value = "32,8,128", value_name = "Q,KV,DIM", value_parser = head_shape)]
    pub heads: HeadShape,
    /// Prompt lengths in tokens; when decoding, keys
    #[arg(long, value_delimiter = ',', default_value = "8192,32768,131072", value_name = "L,..", value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    /// Share of the blocks before the diagonal that random plans list
    #[arg(long, value_delimiter = ',', default_value = "0.065,0.11,0.26,0.5", value_name = "D,..", value_parser = density)]
    pub densities: Vec<f64>,
    /// Measure each density also with so many single columns a head; 0 is without
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = whole::<usize>)]
    pub columns: usize,
    /// Represent left-out blocks by their centres in those additional rows
    #[arg(long)]
    pub centres: bool,
    /// Keys cached before the first query, as in a chunk of a longer prompt
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = whole::<usize>)]
    pub prefix: usize,
    /// Sequences decoded at a time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = at_least_one)]
    pub sequences: usize,
    /// Attention kernel
    #[arg(long, default_value = "best", value_name = "KERNEL", value_parser = choices::kernel())]
    pub kernel: Kernel,
    /// What to time
    #[arg(long, value_delimiter = ',', default_value = "dense,sparse,search,decode", value_name = "WHAT,..", value_parser = choices::what())]
    pub what: Vec<What>,
    /// Times of each row
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = at_least_one)]
    pub runs: usize,
    /// Write the rows to a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
}

impl BenchKernel {
    pub fn bench(&self) -> KernelBench {
        KernelBench {
            heads: self.heads,
            prefix: self.prefix,
            densities: self.densities.clone(),
            columns: self.columns,
            centres: self.centres,
            sequences: self.sequences,
            kernel: self.kernel,
            what: self.what.clone(),
            runs: self.runs,
        }
    }
}

/// Query heads, kv heads and head size, like `32,8,128`.
fn head_shape(text: &str) -> Result<HeadShape, String> {
    let parts = text.rsplit_once(',').filter(|(counts, _)| counts.contains(','));
    let expected = || format!("expected query heads, kv heads and head size like 32,8,128, found `{text}`");
    let (counts, head_dim) = parts.ok_or_else(expected)?;
    let head_dim = head_dim.trim().parse().map_err(|_| expected())?;
    let (q, kv) = head_counts(counts)?;
    HeadShape::new(q, kv, head_dim).map_err(|error| error.to_string())
}

/// As [`share`], in the digits that were given.
fn density(text: &str) -> Result<f64, String> {
    share(text)?;
    text.parse().map_err(|_| "expected a number above 0, at most 1".into())
}

#[cfg(test)]
mod tests {
    use crate::arguments::{Arguments, BenchCommand, Command, command};
    use clap::FromArgMatches;

    fn parse(more: &[&str]) -> Result<super::BenchKernel, String> {
        let all = ["sparse-accelerate", "bench", "kernel"].iter().chain(more);
        let matches = command().try_get_matches_from(all);
        let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
        match parsed.map_err(|error| error.to_string())?.command {
            Command::Bench(BenchCommand::Kernel(kernel)) => Ok(kernel),
            _ => Err("another command".into()),
        }
    }

    #[test]
    fn without_flags_everything_is_timed() {
        let bench = parse(&[]).unwrap().bench();
        assert_eq!((bench.heads.num_q_heads(), bench.heads.num_kv_heads(), bench.heads.head_dim()), (32, 8, 128));
        assert_eq!(bench.what, cuda::bench::What::ALL);
        assert_eq!(bench.densities, [0.065, 0.11, 0.26, 0.5]);
        assert_eq!((bench.columns, bench.centres, bench.prefix), (256, false, 0));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_is_wrong() {
        let refused = |flag: &str, value: &str, says: &str| {
            let message = parse(&[flag, value]).err().expect("refused");
            assert!(message.contains(flag) && message.contains(says), "expected `{says}` in: {message}");
        };
        refused("--heads", "3,2,64", "3 query heads cannot share 2 kv heads");
        refused("--heads", "4,2,63", "head_dim 63");
        refused("--heads", "4,2", "like 32,8,128");
        refused("--heads", "4,2,64,1", "like 32,8");
        refused("--heads", "2048,2,64", "1 to 1024");
        refused("--device", "tpu", "cuda:N");
        refused("--lengths", "8192,0", "above 0");
        refused("--densities", "0.1,1.5", "above 0, at most 1");
        refused("--densities", "nan", "above 0, at most 1");
        refused("--kernel", "sm70", "best, sm80, sm90, fp8, int8");
        refused("--what", "dense,magic", "dense, sparse, search, decode");
        refused("--runs", "0", "above 0");
    }
}
