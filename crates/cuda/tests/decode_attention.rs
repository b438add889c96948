//! Decode attention against the f64 oracle.

mod attention_case;
mod on_device;

use attention::shape::HeadShape;
use attention_case::Case;
use cuda::decode_attention::DecodeAttention;
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
            decode.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o).unwrap();
            case.check_output(&mut numbers, &operands, None);
        }
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
    let error = decode.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o).unwrap_err();
    assert!(error.to_string().contains("sequences of one query"), "{error}");
}
