//! What would make a kernel read or write outside its buffers is refused.

mod attention_case;
mod on_device;

use attention::shape::{HeadShape, QueryRange};
use attention_case::Case;
use cuda::Error;
use cuda::attend::Attend;
use cuda::batch::{Batch, SequencePages};
use cuda::decode_attention::DecodeAttention;
use cuda::device::{Buffer, Device, ViewMut};
use cuda::embed::Embed;
use cuda::gate::{Activation, Gate};
use cuda::kv::KvPages;
use cuda::quantised::{Encoding, QuantisedMatrix};
use cuda::rms_norm::RmsNorm;
use cuda::rotations::Rotations;
use half::bf16;
use on_device::Numbers;

fn says<T>(result: Result<T, Error>, text: &str) {
    let error = result.err().unwrap_or_else(|| panic!("must be refused: {text}")).to_string();
    assert!(error.contains(text), "{error}: expected {text}");
}

fn range(q_len: usize, kv_len: usize) -> QueryRange {
    QueryRange::new(q_len, kv_len).unwrap()
}

#[test]
fn a_batch_moves_on_over_its_own_pages_alone() {
    let Some(device) = on_device::device() else { return };
    let sequence = SequencePages { range: range(1, 64), pages: &[3, 1, 2] };
    let mut batch = Batch::new(&device, &[sequence], 128, 64).unwrap();
    batch.advance(range(1, 65), &[3, 1, 2]).unwrap();
    // What lies past the keys does not matter.
    batch.advance(range(1, 128), &[3, 1]).unwrap();
    batch.advance(range(1, 128), &[3, 1, 1 << 30]).unwrap();
    says(batch.advance(range(1, 129), &[3, 1, 1 << 30]), "page 2 was 2 when the batch was made");
    says(batch.advance(range(1, 1), &[4, 1, 2]), "page 0 was 3");
    says(batch.advance(range(1, 193), &[3, 1, 2, 4]), "need 4 pages, found 3");
    says(batch.advance(range(1, 129), &[3, 1]), "need 3 pages, found 2");
    says(batch.advance(range(2, 65), &[3, 1, 2]), "queries to move on to");
}

#[test]
fn pages_that_are_not_there_are_refused() {
    let Some(device) = on_device::device() else { return };
    let heads = HeadShape::new(2, 1, 64).unwrap();
    let kv = KvPages::new(&device, heads, 64, 3).unwrap();
    let batch = |page| Batch::new(&device, &[SequencePages { range: range(1, 5), pages: &[page] }], 128, 64);
    let mut decode = DecodeAttention::new(&device, heads, 1).unwrap();
    let q = device.zeros::<bf16>(128).unwrap();
    let mut o = device.zeros::<bf16>(128).unwrap();
    decode.launch(&q, &kv, &batch(2).unwrap(), &mut o, None).unwrap();
    says(decode.launch(&q, &kv, &batch(3).unwrap(), &mut o, None), "names page 3, there are 3");
    says(batch(u32::MAX), "beyond what a kernel can count");
    device.synchronize().unwrap();
}

#[test]
fn lengths_beyond_counting_are_refused() {
    let Some(device) = on_device::device() else { return };
    assert!(matches!(device.zeros::<u64>(usize::MAX / 4), Err(Error::Memory { .. })));
    assert!(matches!(device.room::<u64>((usize::MAX >> 3) + 2), Err(Error::Memory { .. })));
    let heads = HeadShape::new(8, 8, 64).unwrap();
    for num_pages in [usize::MAX / 64 + 2, (i32::MAX as usize / 512) + 1] {
        says(KvPages::new(&device, heads, 64, num_pages), "pages of keys and values");
    }
    let wide = HeadShape::new(1 << 20, 1, 64).unwrap();
    says(KvPages::new(&device, wide, 64, 1), "pages of keys and values");
    says(DecodeAttention::new(&device, heads, usize::MAX / 2), "sequences");
    let (rows, cols) = (usize::MAX / 32 + 1, 32);
    says(QuantisedMatrix::new(&device, Encoding::Q8_0, rows, cols, &[]), "quantised matrix");
}

#[test]
fn whole_caches_are_written_and_read() {
    let Some(device) = on_device::device() else { return };
    let mut kv = KvPages::new(&device, HeadShape::new(2, 1, 64).unwrap(), 64, 2).unwrap();
    let mut numbers = Numbers::fresh();
    let (k, v) = (numbers.bf16s(kv.len(), 1.0), numbers.bf16s(kv.len(), 1.0));
    kv.write(&k, &v).unwrap();
    assert!(kv.read().unwrap() == (k.clone(), v.clone()));
    says(kv.write(&k[1..], &v), "values to upload");
    says(kv.write(&k, &v[1..]), "values to upload");
}

#[test]
fn views_that_vectors_do_not_fit_are_refused() {
    let Some(device) = on_device::device() else { return };
    let gate_up = device.zeros::<bf16>(33).unwrap();
    let mut out = device.zeros::<bf16>(17).unwrap();
    let gate = Gate::new(&device).unwrap();
    gate.launch(Activation::Silu, gate_up.view(0..32), 16, out.view_mut(0..16)).unwrap();
    says(gate.launch(Activation::Silu, gate_up.view(1..33), 16, out.view_mut(0..16)), "a multiple of 16 bytes");
    says(gate.launch(Activation::Silu, gate_up.view(0..32), 16, out.view_mut(1..17)), "a multiple of 16 bytes");
    device.synchronize().unwrap();
}

/// A device that is opened again has a stream of its own, which nothing orders against the first.
#[test]
fn operands_of_another_opening_are_refused() {
    let (Some(device), Some(other)) = (on_device::device(), on_device::device()) else { return };
    fn check(result: Result<(), Error>, operand: &str) {
        match result {
            Err(Error::OtherDevice { what, .. }) => assert_eq!(what, operand),
            other => panic!("{operand}: {other:?}"),
        }
    }
    let f32s = |device: &Device, n| -> Buffer<f32> { device.zeros(n).unwrap() };
    let bf16s = |device: &Device, n| -> Buffer<bf16> { device.zeros(n).unwrap() };

    let rms_norm = RmsNorm::new(&device).unwrap();
    let (x, weight) = (f32s(&device, 64), f32s(&device, 64));
    let mut out = bf16s(&device, 64);
    rms_norm.launch(&x, &weight, 1e-5, &mut out).unwrap();
    check(rms_norm.launch(&f32s(&other, 64), &weight, 1e-5, &mut out), "residual stream");
    check(rms_norm.launch(&x, &f32s(&other, 64), 1e-5, &mut out), "norm");
    check(rms_norm.launch(&x, &weight, 1e-5, &mut bf16s(&other, 64)), "normalised rows");
    check(Gate::new(&other).unwrap().launch(Activation::Silu, &bf16s(&other, 128), 64, &mut out), "gated rows");
    check(ViewMut::from(&mut out).copy_from((&bf16s(&other, 64)).into()), "values to copy");
    let ids = other.upload(&[0u32]).unwrap();
    let embed = Embed::new(&device).unwrap();
    check(embed.launch(&bf16s(&device, 64), 64, &ids, &mut f32s(&device, 64)), "ids");

    let mut numbers = Numbers::fresh();
    let heads = HeadShape::new(2, 1, 64).unwrap();
    let case = Case::new(&mut numbers, heads, 64, &[(1, 100)]);
    let attend = Attend::new(&device, heads).unwrap();
    let mut decode = DecodeAttention::new(&device, heads, 1).unwrap();
    let mut own = case.upload(&device, attend.block_m());
    let mut foreign = case.upload(&other, attend.block_m());
    check(attend.launch(&foreign.q, &own.kv, &own.batch, &mut own.o, None, None), "queries");
    check(attend.launch(&own.q, &foreign.kv, &own.batch, &mut own.o, None, None), "keys and values");
    check(attend.launch(&own.q, &own.kv, &own.batch, &mut foreign.o, None, None), "output");
    check(attend.launch(&own.q, &own.kv, &own.batch, &mut own.o, Some(&mut foreign.lse), None), "lse");
    check(decode.launch(&foreign.q, &foreign.kv, &foreign.batch, &mut foreign.o, None), "batch");
    let mut rotations = device.zeros::<[f32; 2]>(32).unwrap();
    let frequencies = device.zeros::<f64>(32).unwrap();
    let kernel = Rotations::new(&device).unwrap();
    check(kernel.launch(&frequencies, 1.0, &foreign.batch, &mut rotations), "batch");
    device.synchronize().unwrap();
    other.synchronize().unwrap();
}
