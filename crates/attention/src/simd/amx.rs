//! [`multiply`](super::multiply) on AMX tiles, in inline assembly since the intrinsics are not stable.
//!
//! A tile register is 16 rows of 64 bytes. `tdpbf16ps` multiplies 16 rows x 32 bf16 by a packed panel step (16 pairs
//! x 16 lanes) into a 16 x 16 f32 tile; a block of 2 row tiles x 2 panels loads four tiles for four products.

use super::{LANES, ROW_TILE, Rows};
use half::bf16;
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::Cell;
use std::sync::OnceLock;

/// Whether the processor has AMX bf16 tiles and the operating system lets this process use them.
///
/// Linux gives a process the tile state only on request (`arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`), because it
/// makes signal frames larger.
pub(super) fn request_permission() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(|| {
        let leaf7 = __cpuid(0).eax >= 7;
        let edx = if leaf7 { __cpuid_count(7, 0).edx } else { 0 };
        let (amx_bf16, amx_tile) = (edx >> 22 & 1 == 1, edx >> 24 & 1 == 1);
        amx_bf16 && amx_tile && ask_kernel()
    })
}

#[cfg(target_os = "linux")]
fn ask_kernel() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XTILEDATA: libc::c_long = 18;
    // SAFETY: a system call with two integers and no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn ask_kernel() -> bool {
    false
}

/// Operand of `ldtilecfg`: palette 1, eight tiles of 16 rows x 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

thread_local! {
    static CONFIGURED: Cell<bool> = const { Cell::new(false) };
}

/// Loads the tile configuration once a thread. It stays: nothing else in the process uses tiles.
fn configure() {
    CONFIGURED.with(|done| {
        if !done.replace(true) {
            // SAFETY: the operand is a valid 64-byte configuration; permission was granted before `Simd::Amx` existed.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) }
        }
    })
}

/// # Safety
/// [`request_permission`] must have returned true and `a.k` must not be 0: the loops below count down to it. `Rows` and the caller's assertions bound every address.
pub(super) unsafe fn multiply(a: Rows, b: &[bf16], panels: usize, c: &mut [f32], c_stride: usize, accumulate: bool) {
    configure();
    let row_tiles = a.rows / ROW_TILE;
    for panel in (0..panels).step_by(2) {
        let b = b[panel * a.k * LANES..].as_ptr();
        for tile in (0..row_tiles).step_by(2) {
            let c = c[panel * c_stride + tile * ROW_TILE * LANES..].as_mut_ptr();
            // SAFETY: offsets of row tiles below `row_tiles` and panels below `panels` only; see `super::multiply`.
            unsafe {
                let block = Block {
                    a: a.data.as_ptr().add(tile * a.tile_stride),
                    row_bytes: 2 * a.row_stride,
                    step_bytes: 2 * a.step_stride,
                    steps: a.k / super::K_STEP,
                    accumulate,
                };
                match (tile + 1 < row_tiles, panel + 1 < panels) {
                    (true, true) => block.run_2x2(a.tile_stride, b, a.k * LANES, c, c_stride),
                    (true, false) => block.run_2x1(a.tile_stride, b, c),
                    (false, two) => {
                        block.run_1x1(b, c);
                        if two {
                            block.run_1x1(b.add(a.k * LANES), c.add(c_stride));
                        }
                    }
                }
            }
        }
    }
}

struct Block {
    a: *const bf16,
    row_bytes: usize,
    step_bytes: usize,
    steps: usize,
    accumulate: bool,
}

/// f32 elements of a result tile.
const TILE: usize = ROW_TILE * LANES;

impl Block {
    unsafe fn run_2x2(&self, tile_stride: usize, b: *const bf16, b_stride: usize, c: *mut f32, c_stride: usize) {
        // SAFETY: the caller bounds both row tiles, both panels and all four result tiles. One block of assembly,
        // so that nothing between two products can touch the tiles.
        unsafe {
            asm!(
                "test {accumulate:e}, {accumulate:e}",
                "jz 3f",
                "tileloadd tmm0, [{c0} + {line}]",
                "tileloadd tmm1, [{c1} + {line}]",
                "tileloadd tmm2, [{c0} + {line} + 1024]",
                "tileloadd tmm3, [{c1} + {line} + 1024]",
                "jmp 2f",
                "3:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a0} + {row}]",
                "tileloadd tmm6, [{b0} + {line}]",
                "tileloadd tmm7, [{b1} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a1} + {row}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, {step}",
                "add {a1}, {step}",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c0} + {line}], tmm0",
                "tilestored [{c1} + {line}], tmm1",
                "tilestored [{c0} + {line} + 1024], tmm2",
                "tilestored [{c1} + {line} + 1024], tmm3",
                a0 = inout(reg) self.a => _,
                a1 = inout(reg) self.a.add(tile_stride) => _,
                b0 = inout(reg) b => _,
                b1 = inout(reg) b.add(b_stride) => _,
                c0 = in(reg) c,
                c1 = in(reg) c.add(c_stride),
                row = in(reg) self.row_bytes,
                step = in(reg) self.step_bytes,
                line = in(reg) 64usize,
                steps = inout(reg) self.steps => _,
                accumulate = in(reg) self.accumulate as u32,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        }
    }

    unsafe fn run_2x1(&self, tile_stride: usize, b: *const bf16, c: *mut f32) {
        // SAFETY: as `run_2x2`, one panel.
        unsafe {
            asm!(
                "test {accumulate:e}, {accumulate:e}",
                "jz 3f",
                "tileloadd tmm0, [{c} + {line}]",
                "tileloadd tmm1, [{c} + {line} + 1024]",
                "jmp 2f",
                "3:",
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm4, [{a0} + {row}]",
                "tileloadd tmm5, [{a1} + {row}]",
                "tileloadd tmm6, [{b} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm5, tmm6",
                "add {a0}, {step}",
                "add {a1}, {step}",
                "add {b}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {line}], tmm0",
                "tilestored [{c} + {line} + 1024], tmm1",
                a0 = inout(reg) self.a => _,
                a1 = inout(reg) self.a.add(tile_stride) => _,
                b = inout(reg) b => _,
                c = in(reg) c,
                row = in(reg) self.row_bytes,
                step = in(reg) self.step_bytes,
                line = in(reg) 64usize,
                steps = inout(reg) self.steps => _,
                accumulate = in(reg) self.accumulate as u32,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
                options(nostack),
            )
        }
    }

    unsafe fn run_1x1(&self, b: *const bf16, c: *mut f32) {
        // SAFETY: as `run_2x2`, one row tile and one panel.
        unsafe {
            asm!(
                "test {accumulate:e}, {accumulate:e}",
                "jz 3f",
                "tileloadd tmm0, [{c} + {line}]",
                "jmp 2f",
                "3:",
                "tilezero tmm0",
                "2:",
                "tileloadd tmm4, [{a} + {row}]",
                "tileloadd tmm6, [{b} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "add {a}, {step}",
                "add {b}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {line}], tmm0",
                a = inout(reg) self.a => _,
                b = inout(reg) b => _,
                c = in(reg) c,
                row = in(reg) self.row_bytes,
                step = in(reg) self.step_bytes,
                line = in(reg) 64usize,
                steps = inout(reg) self.steps => _,
                accumulate = in(reg) self.accumulate as u32,
                out("tmm0") _, out("tmm4") _, out("tmm6") _,
                options(nostack),
            )
        }
    }
}

const _: () = assert!(TILE * size_of::<f32>() == 1024);
