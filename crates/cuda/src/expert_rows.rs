//! The rows of a chunk by expert, for products expert by expert, and what those give back to the tokens.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut, View};
use crate::route::Choices;
use crate::rows::{Rows, RowsMut};
use crate::{Error, image};
use std::ops::Range;

/// The kernels.
pub struct ExpertRows {
    sort: Kernel,
    gather: Kernel,
    add: Kernel,
}

/// Where the rows of each expert are. Each expert's begin at a multiple of [`ROW_GROUP`]; those up to there are nobody's.
pub struct SortedRows {
    /// The choice of each row.
    choices: Buffer<u32>,
    /// The row of each choice.
    rows: Buffer<u32>,
    /// Where each expert's rows begin, then how many there are of each.
    bounds: Buffer<u32>,
    count: usize,
}

/// The rows of an expert begin at a multiple of so many: `row_group` in the kernels.
pub const ROW_GROUP: usize = 16;
/// `sort_threads` in the kernels.
const SORT_THREADS: u32 = 1024;
/// As many as are counted in the shared memory that every block has.
const MOST_EXPERTS: usize = 1 << 12;

impl SortedRows {
    /// Room for the rows of `choices` choices among `count` experts.
    ///
    /// # Errors
    /// When there are more experts than 4,096, or there is no room.
    pub fn room(device: &Device, choices: usize, count: usize) -> Result<Self, Error> {
        if count == 0 || count > MOST_EXPERTS {
            let (expected, found) = (format!("1 to {MOST_EXPERTS}"), count.to_string());
            return Err(Error::Unsupported { what: "experts", expected, found });
        }
        Ok(Self {
            choices: device.room(Self::most_rows(choices, count))?,
            rows: device.room(choices)?,
            bounds: device.room(2 * count)?,
            count,
        })
    }

    /// Rows of `choices` choices among `count` experts at most, those of nobody included: a multiple of [`ROW_GROUP`].
    pub fn most_rows(choices: usize, count: usize) -> usize {
        (choices + (ROW_GROUP - 1) * count.min(choices)).next_multiple_of(ROW_GROUP)
    }

    /// Bytes of the same.
    pub fn bytes(choices: usize, count: usize) -> usize {
        (Self::most_rows(choices, count) + choices + 2 * count) * size_of::<u32>()
    }

    /// The rows of each expert, once the work asked for before is done.
    ///
    /// # Errors
    /// Whatever went wrong in that work.
    pub fn read(&self) -> Result<Vec<Range<usize>>, Error> {
        let bounds = self.bounds.read()?;
        let (starts, lens) = bounds.split_at(self.count);
        Ok(starts.iter().zip(lens).map(|(start, len)| *start as usize..(start + len) as usize).collect())
    }
}

/// `SortArguments` in `kernels/expert_rows.cu`.
#[repr(C)]
struct SortArguments {
    experts: Pointer<u32>,
    bounds: PointerMut<u32>,
    choices: PointerMut<u32>,
    rows: PointerMut<u32>,
    num_choices: i32,
    count: i32,
}

/// `GatherArguments` in the same file.
#[repr(C)]
struct GatherArguments {
    x: Pointer<u8>,
    scales: Pointer<f32>,
    choices: Pointer<u32>,
    out: PointerMut<u8>,
    out_scales: PointerMut<f32>,
    vectors: i32,
    per_token: i32,
    tokens: i32,
}

/// `AddArguments` in the same file.
#[repr(C)]
struct AddArguments {
    products: Pointer<f32>,
    rows: Pointer<u32>,
    shares: Pointer<f32>,
    out: PointerMut<f32>,
    features: i32,
    per_token: i32,
    first: u32,
    end: u32,
}

impl ExpertRows {
    /// Loads the kernels.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        let kernel = |name, shared_bytes| device.kernel(image!("expert_rows"), name, shared_bytes);
        Ok(Self {
            sort: kernel("sort_choices", MOST_EXPERTS * size_of::<u32>())?,
            gather: kernel("gather_rows", 0)?,
            add: kernel("add_rows", 0)?,
        })
    }

    /// Sorts choices by expert, those of one expert in their order.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or the driver refuses.
    pub fn sort(&self, choices: &Choices, sorted: &mut SortedRows) -> Result<(), Error> {
        let (num_choices, count) = (choices.len(), sorted.count);
        Error::check_len("rows of choices", num_choices, sorted.rows.len())?;
        self.sort.check_device([("choices", choices.device()), ("sorted rows", sorted.rows.device())])?;
        let arguments = SortArguments {
            experts: choices.experts.pointer(),
            bounds: sorted.bounds.pointer_mut(),
            choices: sorted.choices.pointer_mut(),
            rows: sorted.rows.pointer_mut(),
            num_choices: num_choices as i32,
            count: count as i32,
        };
        let shared_bytes = (count * size_of::<u32>()) as u32;
        let grid = Grid { shared_bytes, ..Grid::rows(count, SORT_THREADS) };
        // SAFETY: `SortArguments` mirrors the kernel's. Experts that are none are left out; the others' rows are as many as
        // choices, and fewer than a group a expert more, which is what there is room for.
        unsafe { self.sort.launch(grid, &arguments) }
    }

    /// Brings the tokens of sorted rows `range` of `x`, `[token][features]`, together: `out` is `[row][features]`. Rows of
    /// nobody become zeros.
    ///
    /// # Errors
    /// When lengths, precisions or devices do not belong together, or the driver refuses.
    pub fn gather(
        &self,
        x: Rows,
        choices: &Choices,
        sorted: &SortedRows,
        range: Range<usize>,
        mut out: RowsMut,
    ) -> Result<(), Error> {
        let tokens = choices.len() / choices.per_token();
        let features = x.len() / tokens.max(1);
        Error::check_len("rows of choices", choices.len(), sorted.rows.len())?;
        Error::check_len("tokens to gather", tokens * features, x.len())?;
        Error::check_len("gathered rows", range.len() * features, out.len())?;
        let operands =
            [("tokens to gather", x.device()), ("sorted rows", sorted.rows.device()), ("gathered rows", out.device())];
        self.gather.check_device(operands)?;
        x.check_vectors("tokens to gather")?;
        out.check_vectors("gathered rows")?;
        if range.is_empty() || tokens == 0 {
            return Ok(());
        }
        let element_bytes = match (x, &out) {
            (Rows::Bf16(_), RowsMut::Bf16(_)) => 2,
            (Rows::Fp8(x), RowsMut::Fp8(out)) => {
                Error::check_len("scales to gather", tokens, x.scales.len())?;
                Error::check_len("gathered scales", range.len(), out.scales.len())?;
                1
            }
            _ => {
                let (expected, found) = ("as those gathered".into(), "another precision".into());
                return Err(Error::Unsupported { what: "gathered rows", expected, found });
            }
        };
        Error::check_features(features * element_bytes / 2)?;
        let ((x, scales), (to, out_scales)) = (x.pointers(), out.pointers());
        let arguments = GatherArguments {
            x,
            scales,
            choices: sorted.choices.view(range.clone()).pointer(),
            out: to,
            out_scales,
            vectors: (features * element_bytes / 16) as i32,
            per_token: choices.per_token() as i32,
            tokens: tokens as i32,
        };
        // SAFETY: `GatherArguments` mirrors the kernel's; every block reads a token below `tokens`, whatever the choice, and
        // writes its row, below the checked length.
        unsafe { self.gather.launch(Grid::rows(range.len(), 128), &arguments) }
    }

    /// `out[token] += share * products[row]` over those rows of the token that lie in `range`; `products` are those alone,
    /// `[row][features]`, `out` is `[token][features]`.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or the driver refuses.
    pub fn add(
        &self,
        products: View<f32>,
        choices: &Choices,
        sorted: &SortedRows,
        range: Range<usize>,
        out: &mut Buffer<f32>,
    ) -> Result<(), Error> {
        let tokens = choices.len() / choices.per_token();
        let features = out.len() / tokens.max(1);
        Error::check_features(features)?;
        Error::check_len("rows of choices", choices.len(), sorted.rows.len())?;
        Error::check_len("residual stream", tokens * features, out.len())?;
        Error::check_len("products of experts", range.len() * features, products.len())?;
        let operands = [
            ("products of experts", products.device()),
            ("sorted rows", sorted.rows.device()),
            ("choices", choices.device()),
            ("residual stream", out.device()),
        ];
        self.add.check_device(operands)?;
        products.check_vectors("products of experts")?;
        let arguments = AddArguments {
            products: products.pointer(),
            rows: sorted.rows.pointer(),
            shares: choices.shares.pointer(),
            out: out.pointer_mut(),
            features: features as i32,
            per_token: choices.per_token() as i32,
            first: range.start as u32,
            end: range.end as u32,
        };
        // SAFETY: `AddArguments` mirrors the kernel's; every block reads products inside `range`, whose length was checked,
        // and writes its token.
        unsafe { self.add.launch(Grid::rows(tokens, 256), &arguments) }
    }
}
