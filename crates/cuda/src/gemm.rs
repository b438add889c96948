//! Matrix products by cuBLASLt, which nothing else knows, with the choice of algorithm made once for each shape.

mod cublas_library;

use crate::Error;
use crate::device::{Buffer, Device, ViewMut, while_nothing_is_recorded};
use crate::rows::Rows;
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t as Attribute;
use half::bf16;
use std::collections::HashMap;
use std::ffi::c_void;

/// Products of one device: a handle, room to work in, and the plans made so far.
///
/// A plan is made for each number of rows that occurs; its heuristic takes tens of microseconds on the host, once. Thousands are kept
/// at most, then all are made anew.
pub struct Gemm {
    device: Device,
    handle: sys::cublasLtHandle_t,
    workspace: Buffer<u8>,
    plans: HashMap<Shape, Plan>,
}

/// What NVIDIA recommends for compute capability 9.0.
const WORKSPACE_BYTES: usize = 32 << 20;

/// Chunks of prompts may have any length: a server would plan for thousands of numbers of rows, some kilobytes each.
const MOST_PLANS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    rows: usize,
    inputs: usize,
    outputs: usize,
    /// f32, else bf16.
    wide: bool,
    /// Weights and rows are 8-bit floats with a scale a row, else bf16.
    fp8: bool,
}

struct Plan {
    product: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Gemm {
    /// Looks for cuBLASLt.
    ///
    /// # Errors
    /// [`Error::NoCublas`], which says where.
    pub fn find() -> Result<(), Error> {
        cublas_library::load()
    }

    /// Finds cuBLASLt and makes a handle.
    ///
    /// # Errors
    /// [`Error::NoCublas`], or what cuBLASLt says.
    pub fn new(device: &Device) -> Result<Self, Error> {
        cublas_library::load()?;
        device.raw_stream()?;
        let handle = while_nothing_is_recorded(result::create_handle)
            .map_err(|error| cublas_error("starting cuBLASLt", error))?;
        Ok(Self { device: device.clone(), handle, workspace: device.zeros(WORKSPACE_BYTES)?, plans: HashMap::new() })
    }

    /// Checks that the device multiplies 8-bit floats with a scale a row: cuBLASLt does from compute capability 9.0 on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it does not.
    pub fn check_fp8(device: &Device) -> Result<(), Error> {
        let (major, minor) = device.properties().capability;
        if major >= 9 {
            return Ok(());
        }
        let expected = "a GPU of compute capability 9.0 (Hopper) or newer".into();
        let found = format!("{} of compute capability {major}.{minor}", device.properties().name);
        Err(Error::Unsupported { what: "products of 8-bit floats", expected, found })
    }

    /// `out[row] = weight x[row]`: `weight` is `[outputs][inputs]`, `x` `[row][inputs]`, `out` `[row][outputs]`; weights and
    /// rows both in bf16 or both in 8-bit floats.
    ///
    /// Sums of 8-bit products are made the fast way, with about fourteen bits of each partial sum.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or cuBLASLt refuses.
    pub fn multiply<'a>(
        &mut self,
        weight: impl Into<Rows<'a>>,
        x: impl Into<Rows<'a>>,
        inputs: usize,
        out: impl Into<ViewMut<'a, bf16>>,
    ) -> Result<(), Error> {
        let (weight, x, out) = (weight.into(), x.into(), out.into());
        let shape = Shape::new(weight, x, inputs, out.len(), false)?;
        self.run(shape, weight, x, &out, 0.0)
    }

    /// [`multiply`](Self::multiply) into f32.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or cuBLASLt refuses.
    pub fn multiply_wide<'a>(
        &mut self,
        weight: impl Into<Rows<'a>>,
        x: impl Into<Rows<'a>>,
        inputs: usize,
        out: impl Into<ViewMut<'a, f32>>,
    ) -> Result<(), Error> {
        let (weight, x, out) = (weight.into(), x.into(), out.into());
        let shape = Shape::new(weight, x, inputs, out.len(), true)?;
        self.run(shape, weight, x, &out, 0.0)
    }

    /// `out[row] += weight x[row]`, in f32: a projection back onto the residual stream.
    ///
    /// # Errors
    /// When lengths or devices do not belong together, or cuBLASLt refuses.
    pub fn multiply_add<'a>(
        &mut self,
        weight: impl Into<Rows<'a>>,
        x: impl Into<Rows<'a>>,
        inputs: usize,
        out: impl Into<ViewMut<'a, f32>>,
    ) -> Result<(), Error> {
        let (weight, x, out) = (weight.into(), x.into(), out.into());
        let shape = Shape::new(weight, x, inputs, out.len(), true)?;
        self.run(shape, weight, x, &out, 1.0)
    }

    fn run<T>(&mut self, shape: Shape, weight: Rows, x: Rows, out: &ViewMut<T>, keep: f32) -> Result<(), Error> {
        self.device.check_owns([("weights", weight.device()), ("rows", x.device()), ("products", out.device())])?;
        if shape.fp8 {
            Self::check_fp8(&self.device)?;
        }
        if shape.rows == 0 {
            return Ok(());
        }
        if self.plans.contains_key(&shape) {
            return self.run_planned(shape, weight, x, out, keep);
        }
        // The first product of a plan loads the kernel that it chose.
        while_nothing_is_recorded(|| {
            if self.plans.len() == MOST_PLANS {
                self.forget_plans();
            }
            let plan = Plan::new(self.handle, shape, [weight, x].map(|rows| rows.addresses().1))
                .map_err(|error| cublas_error(format!("planning the product {shape:?}"), error))?;
            self.plans.insert(shape, plan);
            self.run_planned(shape, weight, x, out, keep)
        })
    }

    fn run_planned<T>(&self, shape: Shape, weight: Rows, x: Rows, out: &ViewMut<T>, keep: f32) -> Result<(), Error> {
        let stream = self.device.raw_stream()?;
        let plan = &self.plans[&shape];
        let one = 1f32;
        let ((weight, of_weight), (x, of_x)) = (weight.addresses(), x.addresses());
        if shape.fp8 {
            set_scales(plan.product, [of_weight, of_x])
                .map_err(|error| cublas_error(format!("giving scales to {shape:?}"), error))?;
        }
        // SAFETY: the layouts describe exactly the buffers' lengths, checked by `Shape::new`; scalars are f32 on the host,
        // as the product says, and read before the call returns; the workspace has the bytes that the plan allows.
        unsafe {
            result::matmul(
                self.handle,
                plan.product,
                (&raw const one).cast(),
                (&raw const keep).cast(),
                weight as *const c_void,
                plan.weight,
                x as *const c_void,
                plan.x,
                out.address() as *const c_void,
                plan.out,
                out.address() as *mut c_void,
                plan.out,
                &plan.algorithm,
                self.workspace.address() as *mut c_void,
                WORKSPACE_BYTES,
                stream.cast(),
            )
        }
        .map_err(|error| cublas_error(format!("multiplying {shape:?}"), error))
    }

    fn forget_plans(&mut self) {
        self.plans.drain().for_each(|(_, plan)| plan.destroy());
    }
}

impl Drop for Gemm {
    fn drop(&mut self) {
        self.forget_plans();
        // SAFETY: made by `new`, and nobody else has it.
        let _ = while_nothing_is_recorded(|| unsafe { result::destroy_handle(self.handle) });
    }
}

// SAFETY: cuBLASLt handles and descriptors belong to no thread, and are used through `&mut self`.
unsafe impl Send for Gemm {}

impl Rows<'_> {
    /// Addresses of elements and of scales; 0 where there are none.
    fn addresses(&self) -> (u64, u64) {
        match self {
            Rows::Bf16(values) => (values.address(), 0),
            Rows::Fp8(rows) => (rows.values.address(), rows.scales.address()),
        }
    }
}

impl Shape {
    fn new(weight: Rows, x: Rows, inputs: usize, out_len: usize, wide: bool) -> Result<Self, Error> {
        let inputs_or_one = inputs.max(1);
        let (rows, outputs) = (x.len() / inputs_or_one, weight.len() / inputs_or_one);
        Error::check_len("rows to multiply", rows * inputs, x.len())?;
        Error::check_len("weights", outputs * inputs, weight.len())?;
        Error::check_len("products", rows * outputs, out_len)?;
        let fp8 = match (weight, x) {
            (Rows::Bf16(_), Rows::Bf16(_)) => false,
            (Rows::Fp8(weight), Rows::Fp8(x)) => {
                Error::check_len("scales of rows", rows, x.scales.len())?;
                Error::check_len("scales of weights", outputs, weight.scales.len())?;
                true
            }
            _ => {
                let (expected, found) = ("both in bf16 or both in 8-bit floats".into(), "one of each".into());
                return Err(Error::Unsupported { what: "weights and rows to multiply", expected, found });
            }
        };
        Ok(Self { rows, inputs, outputs, wide, fp8 })
    }
}

impl Plan {
    /// cuBLASLt counts columns first: to it `weight` is `[inputs][outputs]`, to be transposed, and the product
    /// `[outputs][row]`. The choice of an algorithm for 8-bit floats wants to see scales of weights and rows.
    fn new(handle: sys::cublasLtHandle_t, shape: Shape, scales: [u64; 2]) -> Result<Self, CublasError> {
        let Shape { rows, inputs, outputs, wide, fp8 } = shape;
        let layout =
            |kind, rows: usize, cols: usize| result::create_matrix_layout(kind, rows as u64, cols as u64, rows as i64);
        let narrow = sys::cudaDataType_t::CUDA_R_16BF;
        let single = sys::cudaDataType_t::CUDA_R_32F;
        let factor = if fp8 { sys::cudaDataType_t::CUDA_R_8F_E4M3 } else { narrow };
        let product = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)?;
        if fp8 {
            use_scales_of_rows(product)?;
            set_scales(product, scales)?;
        }
        let weight = layout(factor, inputs, outputs)?;
        let x = layout(factor, inputs, rows)?;
        let out = layout(if wide { single } else { narrow }, outputs, rows)?;
        let transposed = 1i32;
        let preference = result::create_matmul_pref()?;
        let workspace = WORKSPACE_BYTES;
        // SAFETY: the descriptors were made above, and each attribute has the size of its value.
        let heuristic = unsafe {
            set(product, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, transposed)?;
            let attribute = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            result::set_matmul_pref_attribute(
                preference,
                attribute,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )?;
            let heuristic = result::get_matmul_algo_heuristic(handle, product, weight, x, out, out, preference);
            result::destroy_matmul_pref(preference)?;
            heuristic?
        };
        Ok(Self { product, weight, x, out, algorithm: heuristic.algo })
    }

    fn destroy(self) {
        // SAFETY: made by `new`; the plan is not used again.
        unsafe {
            let _ = result::destroy_matmul_desc(self.product);
            for layout in [self.weight, self.x, self.out] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

/// Both factors have a scale a row, and sums are made the fast way.
fn use_scales_of_rows(product: sys::cublasLtMatmulDesc_t) -> Result<(), CublasError> {
    let of_rows = sys::cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F as i32;
    set(product, Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, of_rows)?;
    set(product, Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, of_rows)?;
    set(product, Attribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, 1i8)
}

/// Addresses of the scales of weights and of rows.
fn set_scales(product: sys::cublasLtMatmulDesc_t, [weight, x]: [u64; 2]) -> Result<(), CublasError> {
    set(product, Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, weight)?;
    set(product, Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, x)
}

fn set<T: Copy>(product: sys::cublasLtMatmulDesc_t, attribute: Attribute, value: T) -> Result<(), CublasError> {
    // SAFETY: the descriptor is a live one, and the value has the size that it says; cuBLASLt copies it.
    unsafe { result::set_matmul_desc_attribute(product, attribute, (&raw const value).cast(), size_of::<T>()) }
}

fn cublas_error(what: impl Into<String>, error: CublasError) -> Error {
    Error::Driver { what: what.into(), code: format!("{:?}", error.0) }
}
