//! Every kind of row, of a whole prompt and of a chunk behind a prefix, and what has no kernel or no room.

mod on_device;

use attention::shape::HeadShape;
use cuda::Error;
use cuda::bench::{Kernel, KernelBench, Row, What};

fn bench(prefix: usize, head_dim: usize) -> KernelBench {
    KernelBench {
        heads: HeadShape::new(4, 2, head_dim).unwrap(),
        prefix,
        densities: vec![0.2],
        columns: 100,
        centres: true,
        sequences: 2,
        kernel: Kernel::Best,
        what: What::ALL.to_vec(),
        runs: 3,
    }
}

#[test]
fn every_row_has_times_and_rates() {
    let Some(device) = on_device::device() else { return };
    for (prefix, head_dim) in [(0, 64), (0, 128), (1000, 64), (1000, 128)] {
        let rows = bench(prefix, head_dim).run(&device, 4096).unwrap();
        let of = |what: &str| rows.iter().filter(|row| row.what == what).collect::<Vec<&Row>>();
        assert_eq!(["dense", "sparse", "search", "found", "decode"].map(|what| of(what).len()), [1, 2, 1, 1, 1]);
        assert!(of("stage").len() > 3 && rows.iter().all(|row| row.runs == 3));
        for row in &rows {
            println!("{row:?}");
            let times = row.times;
            assert!(0.0 < times.fastest_ms && times.fastest_ms <= times.median_ms, "{row:?}");
            assert!(times.median_ms <= times.slowest_ms, "{row:?}");
            assert!(row.tflops.into_iter().chain(row.gb_per_s).all(|rate| rate.is_finite() && rate > 0.0), "{row:?}");
        }
        let [bare, with] = of("sparse")[..] else { panic!("two rows") };
        assert_eq!(
            (bare.columns, bare.centres, with.columns, with.centres),
            (Some(0), Some(false), Some(100), Some(true))
        );
        assert_eq!(bare.tflops, bare.tflops_with_extras);
        assert!(with.tflops < with.tflops_with_extras && bare.density < with.density);
        assert_eq!((of("decode")[0].tokens, of("decode")[0].sequences), (4096 + prefix, 2));
    }
}

#[test]
fn one_kind_of_row_alone_and_the_older_kernel() {
    let Some(device) = on_device::device() else { return };
    for what in What::ALL {
        let rows = KernelBench { kernel: Kernel::Sm80, what: vec![what], ..bench(0, 128) }.run(&device, 2048).unwrap();
        assert!(rows.iter().filter(|row| row.what != "dense").all(|row| row.of_dense.is_none()), "{rows:?}");
    }
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let Some(device) = on_device::device() else { return };
    assert!(matches!(bench(0, 128).run(&device, usize::MAX), Err(Error::Shape(_))));
    assert!(matches!(bench(usize::MAX, 128).run(&device, 4096), Err(Error::Shape(_))));
    let no_such_head_dim = KernelBench { kernel: Kernel::Sm90, ..bench(0, 96) };
    assert!(matches!(no_such_head_dim.run(&device, 4096), Err(Error::Unsupported { .. })));
    let crowd = KernelBench { sequences: usize::MAX, what: vec![What::Decode], ..bench(0, 128) };
    assert!(crowd.run(&device, 4096).is_err());
}
