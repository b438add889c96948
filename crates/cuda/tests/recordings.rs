//! Recordings beside what other threads do with the same GPU.

mod on_device;

use cuda::Error;
use cuda::device::{Buffer, Device, Recording};
use cuda::gemm::Gemm;
use cuda::rms_norm::RmsNorm;
use half::bf16;
use on_device::Numbers;
use std::sync::atomic::{AtomicBool, Ordering};

const ROWS: usize = 3;
const INPUTS: usize = 64;
const OUTPUTS: usize = 32;

/// A product to record, which adds up: each time that it is done counts.
struct Sum {
    gemm: Gemm,
    weight: Buffer<bf16>,
    x: Buffer<bf16>,
    out: Buffer<f32>,
    /// What one product adds.
    expected: Vec<f64>,
    device: Device,
}

impl Sum {
    /// Nothing where no GPU is, or no cuBLASLt.
    fn new() -> Option<Self> {
        let device = on_device::device()?;
        if let Err(error) = Gemm::find() {
            on_device::skipped(&error);
            return None;
        }
        let mut numbers = Numbers::fresh();
        let (weight, x) = (numbers.bf16s(OUTPUTS * INPUTS, 1.0), numbers.bf16s(ROWS * INPUTS, 1.0));
        let product = |i: usize| {
            let pairs = x[i / OUTPUTS * INPUTS..][..INPUTS].iter().zip(&weight[i % OUTPUTS * INPUTS..]);
            pairs.map(|(x, w)| x.to_f64() * w.to_f64()).sum()
        };
        Some(Self {
            gemm: Gemm::new(&device).unwrap(),
            expected: (0..ROWS * OUTPUTS).map(product).collect(),
            weight: device.upload(&weight).unwrap(),
            x: device.upload(&x).unwrap(),
            out: device.zeros(ROWS * OUTPUTS).unwrap(),
            device,
        })
    }

    /// Adds the product once more, or asks for that to be recorded, and does `beside` meanwhile.
    fn add(&mut self, recording: &mut Recording, mut beside: impl FnMut()) {
        let Self { gemm, weight, x, out, device, .. } = self;
        let work = || -> Result<(), Error> {
            gemm.multiply_add(&*weight, &*x, INPUTS, &mut *out)?;
            beside();
            Ok(())
        };
        // SAFETY: the same buffers each time, which live until the product is read.
        #[allow(unsafe_code)]
        unsafe { device.replay(recording, work) }.unwrap();
    }

    fn check(&self, times: usize) {
        for (got, expected) in self.out.read().unwrap().iter().zip(&self.expected) {
            let expected = times as f64 * expected;
            assert!(
                (*got as f64 - expected).abs() < 1e-3 * times as f64,
                "{got}, expected {expected}, done {times} times"
            );
        }
    }
}

/// Ends another thread, also where a check fails: it would be waited for.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// To make and to drop what products and kernels need waits for the whole context, which all openings of a GPU share.
#[test]
fn others_open_and_close_the_same_gpu() {
    let Some(mut sum) = Sum::new() else { return };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let device = Device::open(0).unwrap();
                let mut gemm = Gemm::new(&device).unwrap();
                let (weight, x) = (device.zeros(8 * 64).unwrap(), device.zeros(64).unwrap());
                let mut out = device.zeros::<f32>(8).unwrap();
                gemm.multiply_wide(&weight, &x, 64, &mut out).unwrap();
                RmsNorm::new(&device).unwrap();
                assert_eq!(out.read().unwrap(), [0.0; 8]);
            }
        });
        let _ending = Ending(&over);
        for _ in 0..300 {
            let mut recording = Recording::default();
            sum.out.write(&[0.0; ROWS * OUTPUTS]).unwrap();
            // Done, recorded, and replayed twice.
            for times in 1..=4 {
                sum.add(&mut recording, || ());
                sum.check(times);
            }
        }
    });
}

/// As a library beside this one may, whenever it likes.
#[test]
fn a_recording_that_another_thread_breaks_is_done_plainly() {
    let Some(mut sum) = Sum::new() else { return };
    let context = cudarc::driver::CudaContext::new(0).unwrap();
    let (mut recording, mut calls) = (Recording::default(), 0);
    for times in 1..=5 {
        sum.add(&mut recording, || {
            calls += 1;
            if calls == 2 {
                std::thread::scope(|scope| scope.spawn(|| context.synchronize()).join().unwrap())
                    .expect_err("the driver refuses to wait for what is recorded");
            }
        });
        sum.check(times);
    }
    // Done, recorded in vain and done, recorded, and replayed twice.
    assert_eq!(calls, 4);
}
