//! Decode attention against the f64 oracle.

mod attention_case;
mod on_device;

use attention::shape::HeadShape;
use attention_case::Case;
use cuda::decode_attention::DecodeAttention;
use cuda::device::Recording;
use on_device::Numbers;

#[test]
fn one_query_a_sequence() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let lens = [1, 2, 63, 64, 65, 127, 128, 129, 1000, 4096, 9999];
    for heads in [(32, 8, 128), (14, 2, 64), (4, 4, 64), (40, 2, 128), (3, 1, 80), (2, 1, 256), (7, 1, 16)] {
        let heads = HeadShape::new(heads.0, heads.1, heads.2).unwrap();
        let mut decode = DecodeAttention::new(&device, heads, lens.len()).unwrap();
        let batches: [Vec<usize>; 3] = [lens.to_vec(), vec![numbers.below(3000) + 1], vec![40_000]];
        for lens in batches {
            let lens: Vec<_> = lens.into_iter().map(|len| (1, len)).collect();
            let page_size = numbers.one_of(&[64, 256]);
            let case = Case::new(&mut numbers, heads, page_size, &lens);
            let mut operands = case.upload(&device, 128);
            decode.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None).unwrap();
            case.check_output(&mut numbers, &operands, None);
        }
    }
}

#[test]
fn one_query_a_sequence_behind_a_window() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let lens = [1, 2, 63, 64, 65, 127, 128, 129, 1000, 4096, 9999].map(|len| (1, len));
    for heads in [(32, 8, 128), (14, 2, 64), (3, 1, 80), (2, 1, 256), (20, 1, 16)] {
        let heads = HeadShape::new(heads.0, heads.1, heads.2).unwrap();
        let mut decode = DecodeAttention::new(&device, heads, lens.len()).unwrap();
        for window in [1, 2, 15, 16, 17, 63, 64, 65, 100, 1000, 4096, 20_000, usize::MAX] {
            let page_size = numbers.one_of(&[64, 256]);
            let case = Case::new(&mut numbers, heads, page_size, &lens).with_window(Some(window));
            let mut operands = case.upload(&device, 128);
            decode.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, case.window).unwrap();
            case.check_output(&mut numbers, &operands, None);
        }
    }
}

/// A recording keeps its arguments, so the window must move with the sequence on the device.
#[test]
fn a_replayed_window_moves_with_its_sequence() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let heads = HeadShape::new(4, 2, 64).unwrap();
    let mut decode = DecodeAttention::new(&device, heads, 1).unwrap();
    let lens = [190, 191, 192, 193, 300, 1000, 129];
    let longest = Case::new(&mut numbers, heads, 64, &[(1, 1000)]).with_window(Some(130));
    // One query at the end of each length, over the same keys.
    let cases = lens.map(|len| longest.cut(len));
    let mut operands = longest.upload(&device, 128);
    operands.kv = longest.cut(1000).with_window(None).upload(&device, 128).kv;
    let mut recording = Recording::default();
    for case in cases {
        operands.batch.advance(case.ranges[0], case.table(0)).unwrap();
        operands.o.write(&vec![half::bf16::NAN; operands.o.len()]).unwrap();
        let (q, kv, batch, o) = (&operands.q, &operands.kv, &operands.batch, &mut operands.o);
        // SAFETY: the same operands each time, which outlive the recording's last replay: reading waits for it.
        #[allow(unsafe_code)]
        unsafe { device.replay(&mut recording, || decode.launch(q, kv, batch, o, case.window)) }.unwrap();
        case.check_output(&mut numbers, &operands, None);
    }
}

#[test]
fn prompts_are_refused() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let heads = HeadShape::new(2, 1, 64).unwrap();
    let case = Case::new(&mut numbers, heads, 64, &[(2, 10)]);
    let mut operands = case.upload(&device, 128);
    let mut decode = DecodeAttention::new(&device, heads, 1).unwrap();
    let error = decode.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None).unwrap_err();
    assert!(error.to_string().contains("sequences of one query"), "{error}");
}

#[test]
fn a_window_of_nothing_is_refused() {
    let Some(device) = on_device::device() else { return };
    let heads = HeadShape::new(2, 1, 64).unwrap();
    let case = Case::new(&mut Numbers::fresh(), heads, 64, &[(1, 10)]);
    let mut operands = case.upload(&device, 128);
    let mut decode = DecodeAttention::new(&device, heads, 1).unwrap();
    let error = decode.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, Some(0)).unwrap_err();
    assert!(error.to_string().contains("sliding window"), "{error}");
}
