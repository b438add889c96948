//! Pages of keys and values that go to the host and come back.

mod on_device;

use attention::BLOCK_N;
use attention::shape::HeadShape;
use cuda::kv::KvPages;
use on_device::Numbers;

const PAGES: usize = 5;

#[test]
fn a_page_comes_back_as_it_was() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for (heads, kv_heads, head_dim) in [(1, 1, 16), (14, 2, 64), (8, 8, 128)] {
        let heads = HeadShape::new(heads, kv_heads, head_dim).unwrap();
        let mut pages = KvPages::new(&device, heads, BLOCK_N, PAGES).unwrap();
        let of_page = pages.len() / PAGES;
        let (k, v) = (numbers.bf16s(pages.len(), 1.0), numbers.bf16s(pages.len(), 1.0));
        pages.write(&k, &v).unwrap();
        // Of two layers; this is the second.
        let bytes = KvPages::page_bytes(heads, BLOCK_N) as usize;
        let mut room = device.host_room(2 * bytes).unwrap();
        pages.copy_page_to(3, &mut room, bytes).unwrap();
        // What is asked for behind the copy may write to the page.
        let zeros = vec![half::bf16::ZERO; pages.len()];
        pages.write(&zeros, &zeros).unwrap();
        pages.copy_page_from(1, &room, bytes).unwrap();
        let (got_k, got_v) = pages.read().unwrap();
        for (got, was) in [(&got_k, &k), (&got_v, &v)] {
            assert_eq!(got[of_page..2 * of_page], was[3 * of_page..4 * of_page]);
            assert!(
                got[..of_page].iter().chain(&got[2 * of_page..]).all(|x| x.to_f32() == 0.0),
                "no other page changed"
            );
        }
        let error = pages.copy_page_to(PAGES as u32, &mut room, 0).unwrap_err().to_string();
        assert!(error.contains("a page below 5 was expected, found 5"), "{error}");
        let error = pages.copy_page_from(0, &room, bytes + 1).unwrap_err().to_string();
        assert!(error.contains("host memory"), "{error}");
    }
}
