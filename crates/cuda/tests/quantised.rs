//! Quantised weights against values that the gguf package decoded (`scripts/reference`), and products against f64.

mod on_device;

use cuda::quantised::{Encoding, Product, Quantised, QuantisedMatrix};
use half::bf16;
use on_device::Numbers;

const ENCODINGS: [(&str, Encoding); 8] = [
    ("Q4_0", Encoding::Q4_0),
    ("Q4_1", Encoding::Q4_1),
    ("Q5_0", Encoding::Q5_0),
    ("Q5_1", Encoding::Q5_1),
    ("Q8_0", Encoding::Q8_0),
    ("Q4_K", Encoding::Q4_K),
    ("Q5_K", Encoding::Q5_K),
    ("Q6_K", Encoding::Q6_K),
];

#[test]
fn decodes_as_the_gguf_package_does_and_multiplies() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let quantised = Quantised::new(&device);
    let rows: serde_json::Value =
        serde_json::from_str(include_str!("../../runtime/tests/reference/quant.json")).unwrap();
    for (name, encoding) in ENCODINGS {
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name).expect(name);
        let bytes: Vec<u8> = row["bytes"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u8).collect();
        let values: Vec<f64> = row["values"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let cols = values.len();
        // An odd number of rows, so that the last warp has one too few; the row's blocks in another order in each.
        let (elements, size) = encoding.block();
        let blocks = cols / elements;
        let (mut all, mut expected) = (Vec::new(), Vec::new());
        for row in 0..11 {
            for at in 0..blocks {
                let from = (at + row) % blocks;
                all.extend_from_slice(&bytes[from * size..][..size]);
                expected.extend_from_slice(&values[from * elements..][..elements]);
            }
        }
        let matrix = QuantisedMatrix::new(&device, encoding, 11, cols, &all).unwrap();

        let mut decoded = device.upload(&vec![bf16::NAN; 11 * cols]).unwrap();
        quantised.dequantise(&matrix, (&mut decoded).into()).unwrap();
        for (found, expected) in decoded.read().unwrap().iter().zip(&expected) {
            assert!((found.to_f64() - expected).abs() <= expected.abs() / 250.0 + 1e-6, "{name}: {found}, {expected}");
        }

        let ids = [3u32, 10, 0, 10];
        let mut embedded = device.upload(&vec![f32::NAN; ids.len() * cols]).unwrap();
        quantised.embed(&matrix, &device.upload(&ids).unwrap(), &mut embedded).unwrap();
        for (found, id) in embedded.read().unwrap().chunks(cols).zip(ids) {
            for (found, expected) in found.iter().zip(&expected[id as usize * cols..]) {
                assert!(
                    (*found as f64 - expected).abs() <= 1e-6 * expected.abs().max(1e-2),
                    "{name}: {found}, {expected}"
                );
            }
        }

        let x = numbers.bf16s(cols, 1.0);
        let of_x = device.upload(&x).unwrap();
        let start: Vec<f32> = (0..11).map(|_| numbers.next()).collect();
        let mut narrow = device.upload(&[bf16::NAN; 11]).unwrap();
        let (mut wide, mut sum) = (device.upload(&[f32::NAN; 11]).unwrap(), device.upload(&start).unwrap());
        quantised.multiply(&matrix, &of_x, Product::Narrow((&mut narrow).into())).unwrap();
        quantised.multiply(&matrix, &of_x, Product::Wide((&mut wide).into())).unwrap();
        quantised.multiply(&matrix, &of_x, Product::Add((&mut sum).into())).unwrap();
        let (narrow, wide, sum) = (narrow.read().unwrap(), wide.read().unwrap(), sum.read().unwrap());
        for (row, weights) in expected.chunks(cols).enumerate() {
            let terms = || weights.iter().zip(&x).map(|(weight, x)| weight * x.to_f64());
            let (product, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let close = |found: f64, expected: f64, tolerance: f64| {
                assert!((found - expected).abs() <= tolerance, "{name}, row {row}: {found}, expected {expected}");
            };
            close(wide[row] as f64, product, 1e-5 * size);
            close(narrow[row].to_f64(), product, 1e-5 * size + product.abs() / 250.0);
            close(sum[row] as f64, product + start[row] as f64, 1e-5 * (size + 1.0));
        }
    }
}

#[test]
fn refuses_what_is_no_whole_number_of_blocks() {
    let Some(device) = on_device::device() else { return };
    let error = QuantisedMatrix::new(&device, Encoding::Q4_K, 2, 128, &[0; 144]).err().unwrap();
    assert_eq!(
        error.to_string(),
        "quantised matrix: expected at least one row of a multiple of 256 elements, and fewer than 2^34 in all, found 2 x 128"
    );
    let error = QuantisedMatrix::new(&device, Encoding::Q8_0, 2, 32, &[0; 67]).err().unwrap();
    assert_eq!(error.to_string(), "bytes of a quantised matrix: expected 68 elements, found 67");
}
