//! What can be chosen.

use crate::Error;
use crate::attend::Attend;
use crate::attend_sm80::AttendSm80;
use crate::attend_sm90::AttendSm90;
use crate::device::Device;
use crate::precision::Precision;
use attention::shape::HeadShape;

/// A kind of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Every causal pair.
    Dense,
    /// Random plans.
    Sparse,
    /// The search for a plan, its stages, and the plan that it finds.
    Search,
    /// One query a sequence.
    Decode,
}

impl What {
    /// All of them.
    pub const ALL: [What; 4] = [What::Dense, What::Sparse, What::Search, What::Decode];
}

/// A kernel of attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernel {
    /// The one that the engine takes.
    #[default]
    Best,
    /// The one for every device from compute capability 8.0 on.
    Sm80,
    /// The one for Hopper.
    Sm90,
    /// The same with products of 8-bit floats.
    Fp8,
    /// As `Sm80`, with scores in 8-bit integers.
    Int8,
}

impl Kernel {
    pub(super) fn load(self, device: &Device, heads: HeadShape) -> Result<Attend, Error> {
        match self {
            Kernel::Best => Attend::new(device, heads),
            Kernel::Sm80 => AttendSm80::new(device, heads, Precision::Bf16).map(Attend::Sm80),
            Kernel::Sm90 => AttendSm90::new(device, heads, Precision::Bf16).map(Attend::Sm90),
            Kernel::Fp8 => AttendSm90::new(device, heads, Precision::Fp8).map(Attend::Sm90),
            Kernel::Int8 => AttendSm80::new(device, heads, Precision::Int8).map(Attend::Sm80),
        }
    }
}
