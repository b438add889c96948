//! Which experts of a mixture each token takes.

use crate::device::{Buffer, Device, Grid, Kernel, Pointer, PointerMut};
use crate::{Error, image};

/// The experts of some tokens, `[token][per_token]`.
pub struct Choices {
    pub(crate) experts: Buffer<u32>,
    pub(crate) shares: Buffer<f32>,
    per_token: usize,
}

impl Choices {
    /// Room for the choices of `tokens` tokens.
    ///
    /// # Errors
    /// When a token takes none, there are more than a kernel can count, or there is no room.
    pub fn room(device: &Device, tokens: usize, per_token: usize) -> Result<Self, Error> {
        let num = tokens.saturating_mul(per_token);
        if per_token == 0 || num > i32::MAX as usize / 2 {
            let (expected, found) = ("at least 1 a token, fewer than 2^30 in all".into(), num.to_string());
            return Err(Error::Unsupported { what: "chosen experts", expected, found });
        }
        Ok(Self { experts: device.room(num)?, shares: device.room(num)?, per_token })
    }

    /// Bytes of those of `tokens` tokens.
    pub fn bytes(tokens: usize, per_token: usize) -> usize {
        tokens * per_token * (size_of::<u32>() + size_of::<f32>())
    }

    /// Experts and their shares, on the host.
    ///
    /// # Errors
    /// Whatever went wrong in the work asked for before.
    pub fn read(&self) -> Result<(Vec<u32>, Vec<f32>), Error> {
        Ok((self.experts.read()?, self.shares.read()?))
    }

    /// Replaces all of them.
    ///
    /// # Errors
    /// When there are not as many, or the driver refuses.
    pub fn write(&mut self, experts: &[u32], shares: &[f32]) -> Result<(), Error> {
        self.experts.write(experts)?;
        self.shares.write(shares)
    }

    /// Experts of a token.
    pub fn per_token(&self) -> usize {
        self.per_token
    }

    /// How many there are, of all tokens.
    pub fn len(&self) -> usize {
        self.experts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn device(&self) -> &Device {
        self.experts.device()
    }
}

/// What chooses experts.
#[derive(Clone, Copy)]
pub struct Router<'a> {
    /// A row an expert, `[count][features]`, times the weight of the norm.
    pub weights: &'a Buffer<f32>,
    /// Experts there are.
    pub count: usize,
    /// Whether the shares of those that a token takes are divided by their sum.
    pub normalised: bool,
    /// Epsilon of the norm.
    pub eps: f32,
}

/// The kernel.
pub struct Route {
    kernel: Kernel,
}

/// `Arguments` in `kernels/route.cu`.
#[repr(C)]
struct Arguments {
    x: Pointer<f32>,
    router: Pointer<f32>,
    experts: PointerMut<u32>,
    shares: PointerMut<f32>,
    rows: i32,
    features: i32,
    count: i32,
    per_token: i32,
    normalised: i32,
    eps: f32,
}

/// `warps` and `block_rows` in the kernel.
const THREADS: u32 = 256;
const BLOCK_ROWS: usize = 4;
/// Their logits fill the shared memory of a block.
const MOST_EXPERTS: usize = 1 << 12;

impl Route {
    /// Loads the kernel.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self { kernel: device.kernel(image!("route"), "route", shared_bytes(MOST_EXPERTS))? })
    }

    /// For each row of `x`, `[row][features]`, the experts with the largest shares of a softmax over `router * x / rms(x)`,
    /// the first ones of those with the same share, in the order of the experts.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, there are more experts than 4,096 or fewer than a token takes,
    /// `features` is not a multiple of 8, or the driver refuses.
    pub fn launch(&self, x: &Buffer<f32>, router: Router, choices: &mut Choices) -> Result<(), Error> {
        let Router { weights, count, normalised, eps } = router;
        if count < choices.per_token || count > MOST_EXPERTS {
            let expected = format!("{} to {MOST_EXPERTS}", choices.per_token);
            return Err(Error::Unsupported { what: "experts", expected, found: count.to_string() });
        }
        let features = weights.len() / count;
        Error::check_features(features)?;
        let rows = choices.len() / choices.per_token;
        Error::check_len("router", count * features, weights.len())?;
        Error::check_len("residual stream", rows * features, x.len())?;
        let operands = [("residual stream", x.device()), ("router", weights.device()), ("choices", choices.device())];
        self.kernel.check_device(operands)?;
        if rows == 0 {
            return Ok(());
        }
        let arguments = Arguments {
            x: x.pointer(),
            router: weights.pointer(),
            experts: choices.experts.pointer_mut(),
            shares: choices.shares.pointer_mut(),
            rows: rows as i32,
            features: features as i32,
            count: count as i32,
            per_token: choices.per_token as i32,
            normalised: normalised.into(),
            eps,
        };
        let grid = Grid { shared_bytes: shared_bytes(count) as u32, ..Grid::rows(rows.div_ceil(BLOCK_ROWS), THREADS) };
        // SAFETY: `Arguments` mirrors the kernel's; blocks read rows and write choices below the checked lengths, and there
        // are at least as many experts as a row takes.
        unsafe { self.kernel.launch(grid, &arguments) }
    }
}

fn shared_bytes(count: usize) -> usize {
    BLOCK_ROWS * count * size_of::<f32>()
}
