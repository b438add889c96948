//! Bias, norms, rotation and page store against f64.

mod on_device;

use attention::shape::{HeadShape, QueryRange};
use cuda::batch::{Batch, SequencePages};
use cuda::kv::KvPages;
use cuda::qkv_rope_store::{HeadParameters, Pairing, QkvRopeStore, Turning};
use half::bf16;
use on_device::Numbers;

#[test]
fn rotates_and_stores() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = QkvRopeStore::new(&device).unwrap();
    for ((q_heads, kv_heads, d), rotary_dim, page_size, pairing, with_bias, with_norms) in [
        ((4, 2, 64), 64, 64, Pairing::Halves, true, false),
        ((3, 1, 128), 128, 128, Pairing::Adjacent, false, true),
        ((2, 2, 16), 16, 64, Pairing::Adjacent, true, true),
        ((14, 2, 80), 80, 256, Pairing::Halves, false, false),
        ((5, 1, 128), 128, 64, Pairing::Halves, false, true),
        ((4, 1, 256), 256, 64, Pairing::Halves, false, true),
        // Parts: whole vectors, vectors of which some turn, less than a vector, a single pair.
        ((3, 1, 128), 96, 64, Pairing::Halves, false, false),
        ((2, 1, 128), 96, 64, Pairing::Halves, true, true),
        ((4, 2, 16), 12, 64, Pairing::Halves, true, true),
        ((2, 1, 80), 20, 128, Pairing::Halves, true, false),
        ((2, 2, 64), 2, 64, Pairing::Halves, false, true),
        ((3, 1, 64), 36, 64, Pairing::Adjacent, true, true),
        ((2, 1, 128), 96, 64, Pairing::Adjacent, false, false),
    ] {
        let heads = HeadShape::new(q_heads, kv_heads, d).unwrap();
        let ranges = [(70, 70), (1, 300), (130, 200)].map(|(q, kv)| QueryRange::new(q, kv).unwrap());
        let mut pages: Vec<u32> = (0..20).collect();
        numbers.shuffle(&mut pages);
        let tables = [&pages[..5], &pages[5..12], &pages[12..]];
        let sequences: Vec<_> =
            ranges.iter().zip(tables).map(|(&range, pages)| SequencePages { range, pages }).collect();
        let batch = Batch::new(&device, &sequences, 128, page_size).unwrap();
        let (rows, width) = (batch.num_rows(), (q_heads + 2 * kv_heads) * d);

        let qkv = numbers.bf16s(rows * width, 3.0);
        let bias: Vec<f32> = (0..width).map(|_| if with_bias { numbers.next() } else { 0.0 }).collect();
        let norms =
            [(); 2].map(|()| (0..d).map(|_| if with_norms { numbers.next() } else { 1.0 }).collect::<Vec<f32>>());
        let angles: Vec<f64> = (0..rows * rotary_dim / 2).map(|_| numbers.next() as f64 * 3.0).collect();
        let rotations: Vec<[f32; 2]> = angles.iter().map(|a| [a.cos() as f32, a.sin() as f32]).collect();
        let mut kv = KvPages::new(&device, heads, page_size, pages.len()).unwrap();
        let sentinel = vec![bf16::NAN; kv.len()];
        kv.write(&sentinel, &sentinel).unwrap();
        let mut q = device.upload(&vec![bf16::NAN; rows * q_heads * d]).unwrap();
        let of_bias = with_bias.then(|| device.upload(&bias).unwrap());
        let of_norms = norms.each_ref().map(|norm| device.upload(norm).unwrap());
        let parameters = HeadParameters {
            bias: of_bias.as_ref(),
            norms: with_norms.then_some((&of_norms[0], &of_norms[1])),
            eps: 1e-5,
        };
        let (of_qkv, of_rotations) = (device.upload(&qkv).unwrap(), device.upload(&rotations).unwrap());
        let turning = Turning { rotations: &of_rotations, rotary_dim, pairing };
        kernel.launch(&of_qkv, parameters, turning, &batch, &mut q, &mut kv).unwrap();

        let (q, (k, v)) = (q.read().unwrap(), kv.read().unwrap());
        let mut row = 0;
        for (range, table) in ranges.iter().zip(tables) {
            for position in range.q_start()..range.kv_len() {
                let x = |head: usize, i: usize| qkv[row * width + head * d + i].to_f64() + bias[head * d + i] as f64;
                let normed = |head: usize, i: usize| {
                    let squares: f64 = (0..d).map(|i| x(head, i).powi(2)).sum();
                    let scale = if with_norms { (squares / d as f64 + 1e-5).sqrt() } else { 1.0 };
                    x(head, i) / scale * norms[usize::from(head >= q_heads)][i] as f64
                };
                let rotated = |head: usize, i: usize| {
                    let half = rotary_dim / 2;
                    let (pair, first, second) = match pairing {
                        _ if i >= rotary_dim => return normed(head, i),
                        Pairing::Halves => (i % half, i % half, i % half + half),
                        Pairing::Adjacent => (i / 2, i / 2 * 2, i / 2 * 2 + 1),
                    };
                    let (sin, cos) = angles[row * half + pair].sin_cos();
                    let (x, y) = (normed(head, first), normed(head, second));
                    if i == first { x * cos - y * sin } else { x * sin + y * cos }
                };
                let check = |found: bf16, expected: f64| {
                    let error = (found.to_f64() - expected).abs();
                    assert!(
                        error <= expected.abs() / 250.0 + 1e-5,
                        "{heads:?}, {rotary_dim} rotate, row {row}: {found}, expected {expected}"
                    );
                };
                for i in 0..d {
                    for head in 0..q_heads {
                        check(q[(row * q_heads + head) * d + i], rotated(head, i));
                    }
                    for head in 0..kv_heads {
                        let page = table[position / page_size] as usize;
                        let at = ((page * kv_heads + head) * page_size + position % page_size) * d + i;
                        check(k[at], rotated(q_heads + head, i));
                        check(v[at], x(q_heads + kv_heads + head, i));
                    }
                }
                row += 1;
            }
        }
        // Nothing else was written.
        let written = rows * kv_heads * d;
        assert_eq!(k.iter().filter(|x| !x.is_nan()).count(), written);
        assert_eq!(v.iter().filter(|x| !x.is_nan()).count(), written);
    }
}

#[test]
fn refuses_parts_that_are_none() {
    let Some(device) = on_device::device() else { return };
    let kernel = QkvRopeStore::new(&device).unwrap();
    let heads = HeadShape::new(1, 1, 64).unwrap();
    let range = QueryRange::new(2, 2).unwrap();
    let batch = Batch::new(&device, &[SequencePages { range, pages: &[0] }], 128, 64).unwrap();
    let mut kv = KvPages::new(&device, heads, 64, 1).unwrap();
    let (qkv, mut q) = (device.zeros(2 * 3 * 64).unwrap(), device.zeros(2 * 64).unwrap());
    for (rotary_dim, pairs, says) in [
        (0, 0, "rotated elements of a head: expected an even number from 2 to 64, found 0"),
        (66, 33, "rotated elements of a head: expected an even number from 2 to 64, found 66"),
        (31, 15, "rotated elements of a head: expected an even number from 2 to 64, found 31"),
        (48, 32, "rotations: expected 48 elements, found 64"),
    ] {
        let rotations = device.zeros(2 * pairs).unwrap();
        let turning = Turning { rotations: &rotations, rotary_dim, pairing: Pairing::Halves };
        let error = kernel.launch(&qkv, HeadParameters::default(), turning, &batch, &mut q, &mut kv).unwrap_err();
        assert_eq!(error.to_string(), says);
    }
}
