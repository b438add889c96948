//! The embedding table.

mod on_device;

use cuda::embed::Embed;
use on_device::Numbers;

#[test]
fn looks_tokens_up() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let kernel = Embed::new(&device).unwrap();
    for (vocab_size, features, rows) in [(1, 8, 1), (1000, 576, 77), (300, 4096, 5)] {
        let table = numbers.bf16s(vocab_size * features, 1.0);
        let ids: Vec<u32> = (0..rows).map(|_| numbers.below(vocab_size) as u32).collect();
        let mut out = device.upload(&vec![f32::NAN; rows * features]).unwrap();
        kernel.launch(&device.upload(&table).unwrap(), features, &device.upload(&ids).unwrap(), &mut out).unwrap();
        let expected: Vec<f32> = (ids.iter())
            .flat_map(|&id| table[id as usize * features..][..features].iter().map(|x| x.to_f32()))
            .collect();
        assert!(out.read().unwrap() == expected);
    }
}
