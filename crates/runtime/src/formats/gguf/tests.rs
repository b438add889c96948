use super::*;
use proptest::prelude::*;

/// Writes GGUF files, right and wrong ones.
pub(crate) struct Writer {
    pub version: u32,
    pub entries: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Writer {
    pub fn new() -> Self {
        Self { version: 3, entries: Vec::new(), tensors: Vec::new() }
    }

    /// An entry of a type number and its bytes.
    pub fn raw(mut self, key: &str, kind: u32, bytes: &[u8]) -> Self {
        self.entries.push((key.into(), [&kind.to_le_bytes(), bytes].concat()));
        self
    }

    pub fn text(self, key: &str, text: &str) -> Self {
        self.raw(key, 8, &string(text))
    }

    pub fn size(self, key: &str, n: u32) -> Self {
        self.raw(key, 4, &n.to_le_bytes())
    }

    pub fn float(self, key: &str, x: f32) -> Self {
        self.raw(key, 6, &x.to_le_bytes())
    }

    pub fn texts(self, key: &str, items: &[&str]) -> Self {
        let items: Vec<u8> = items.iter().flat_map(|item| string(item)).collect();
        let count = items_count(&items);
        self.raw(key, 9, &[&8u32.to_le_bytes()[..], &count.to_le_bytes(), &items].concat())
    }

    /// A tensor of a GGML type; dimensions innermost first.
    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32, data: &[u8]) -> Self {
        self.tensors.push((name.into(), dims.to_vec(), kind, data.to_vec()));
        self
    }

    pub fn f32_tensor(self, name: &str, dims: &[u64]) -> Self {
        let count: u64 = dims.iter().product();
        let data: Vec<u8> = (0..count).flat_map(|n| (n as f32 / 7.0).sin().to_le_bytes()).collect();
        self.tensor(name, dims, 0, &data)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            out.extend(string(key));
            out.extend(value);
        }
        let mut data = Vec::new();
        for (name, dims, kind, bytes) in &self.tensors {
            out.extend(string(name));
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}

/// Strings in a run of length-prefixed strings.
fn items_count(bytes: &[u8]) -> u64 {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        at += 8 + u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        count += 1;
    }
    count
}

fn example() -> Writer {
    Writer::new()
        .text("general.architecture", "llama")
        .size("a.size", 7)
        .float("a.float", 0.5)
        .raw("a.bool", 7, &[1])
        .texts("a.texts", &["one", "zwei", ""])
        .raw("a.i64", 11, &(-5i64).to_le_bytes())
        .raw("a.i8s", 9, &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xff, 7])
        .f32_tensor("m", &[4, 3])
        .f32_tensor("v", &[5])
}

#[test]
fn reads_what_was_written() {
    let bytes = example().bytes();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.text("general.architecture").unwrap(), "llama");
    assert_eq!(gguf.size("a.size").unwrap(), 7);
    assert_eq!(gguf.float("a.float").unwrap(), 0.5);
    assert_eq!(gguf.optional_bool("a.bool").unwrap(), Some(true));
    assert_eq!(gguf.optional_bool("missing").unwrap(), None);
    assert_eq!(gguf.texts("a.texts").unwrap(), ["one", "zwei", ""]);
    assert_eq!(gguf.get("a.i64"), Some(&Value::Integer(-5)));
    assert_eq!(gguf.integers("a.i8s").unwrap(), [-1, 7]);
    assert_eq!(gguf.keys().count(), 7);
    let place = gguf.tensor("m").unwrap();
    assert_eq!((place.rows, place.cols, place.encoding), (3, 4, Encoding::F32));
    let mut row = [0.0; 4];
    place.encoding.decode(&bytes[place.bytes.clone()][16..32], &mut row);
    assert_eq!(row, [4.0, 5.0, 6.0, 7.0].map(|n: f32| (n / 7.0).sin()));
    assert_eq!(gguf.tensor("v").unwrap().rows, 1);
    assert!(matches!(gguf.size("missing"), Err(GgufError::MissingKey(_))));
    assert!(matches!(gguf.size("a.texts"), Err(GgufError::KeyType { .. })));
    assert!(matches!(gguf.texts("a.size"), Err(GgufError::KeyType { .. })));
    assert!(matches!(gguf.size("a.i64"), Err(GgufError::KeyType { .. })));
    assert!(matches!(gguf.texts("a.i8s"), Err(GgufError::KeyType { .. })));
    let error = gguf.integers("a.texts").unwrap_err().to_string();
    assert!(error.contains("an array of 3 values of type 8"), "{error}");
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = example().bytes();
    let end = Gguf::parse(&bytes).unwrap().tensor("v").unwrap().bytes.end;
    for len in 0..end {
        let error = Gguf::parse(&bytes[..len]).expect_err(&format!("{len} of {end} bytes"));
        assert!(matches!(error, GgufError::Truncated { .. }), "{len}: {error}");
    }
}

#[test]
fn every_broken_rule_is_an_error_that_says_so() {
    let parse = |writer: Writer| Gguf::parse(&writer.bytes()).unwrap_err();
    let mut other = example().bytes();
    other[..4].copy_from_slice(b"GGML");
    assert!(matches!(Gguf::parse(&other), Err(GgufError::Magic(_))));
    assert!(matches!(parse(Writer { version: 1, ..example() }), GgufError::Version(1)));
    let big_endian = parse(Writer { version: 3u32.swap_bytes(), ..example() });
    assert!(big_endian == GgufError::BigEndian && big_endian.to_string().contains("big-endian"), "{big_endian}");
    assert!(matches!(parse(example().tensor("q", &[256], 99, &[])), GgufError::Encoding { id: 99, .. }));
    for (broken, says) in [
        (example().size("a.size", 8), "twice"),
        (example().f32_tensor("m", &[4, 3]), "twice"),
        (example().raw("x", 77, &[]), "unknown type 77"),
        (example().raw("x", 7, &[2]), "truth value"),
        (example().raw("x", 8, &[2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe]), "UTF-8"),
        (example().size("general.alignment", 33), "alignment"),
        (example().size("general.alignment", 0), "alignment"),
        (example().tensor("z", &[0, 3], 0, &[]), "dimensions"),
        (example().tensor("z", &[], 0, &[]), "0 dimensions"),
        (example().tensor("z", &[1, 1, 1, 1, 1], 0, &[0; 4]), "5 dimensions"),
        (example().tensor("z", &[1 << 40, 1 << 40], 0, &[]), "dimensions"),
        (example().tensor("z", &[33], 8, &[0; 64]), "whole"),
        (example().raw("x", 9, &[[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(9), vec![0; 64]].concat()), "deeper"),
    ] {
        let error = parse(broken);
        assert!(matches!(error, GgufError::Corrupt(_)) && error.to_string().contains(says), "{says}: {error}");
    }
}

#[test]
fn tensors_follow_one_another() {
    let tensors = || Writer::new().f32_tensor("one", &[8, 3]).f32_tensor("two", &[8]).f32_tensor("three", &[40]);
    Gguf::parse(&tensors().bytes()).unwrap();
    // The offset of a tensor ends its entry in the table.
    let moved = |name: &str, offset: u64| {
        let mut bytes = tensors().bytes();
        let name = string(name);
        let entry = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
        let dims = u32::from_le_bytes(bytes[entry..entry + 4].try_into().unwrap()) as usize;
        bytes[entry + 8 + 8 * dims..][..8].copy_from_slice(&offset.to_le_bytes());
        Gguf::parse(&bytes).unwrap_err()
    };
    for (name, offset, says) in [
        ("one", 32, "tensor `one` starts at offset 32, expected 0"),
        ("two", 64, "tensor `two` starts at offset 64, expected 96"),
        ("two", 128, "tensor `two` starts at offset 128, expected 96"),
        ("three", 0, "tensor `three` starts at offset 0, expected 128"),
    ] {
        let error = moved(name, offset);
        assert!(matches!(error, GgufError::Corrupt(_)) && error.to_string().contains(says), "{says}: {error}");
    }
    // Half as large as its data: as f16, or of fewer rows.
    for (dims, kind) in [([8, 6], 1), ([8, 3], 0)] {
        let changed = Writer::new().tensor("one", &dims, kind, &[0; 192]).f32_tensor("two", &[8]);
        let error = Gguf::parse(&changed.bytes()).unwrap_err().to_string();
        assert!(error.contains("tensor `two` starts at offset 192, expected 96"), "{error}");
    }
}

#[test]
fn claims_of_more_than_the_file_holds_cost_nothing() {
    let huge = u64::MAX.to_le_bytes();
    for bytes in [
        [b"GGUF\x03\0\0\0".as_slice(), &huge, &[0; 8]].concat(),
        [b"GGUF\x03\0\0\0".as_slice(), &[0; 8], &huge].concat(),
        example().raw("x", 8, &huge).bytes(),
        example().raw("x", 9, &[&4u32.to_le_bytes()[..], &huge].concat()).bytes(),
        example().tensor("z", &[1 << 30, 1 << 20], 0, &[]).bytes(),
    ] {
        assert!(matches!(Gguf::parse(&bytes), Err(GgufError::Truncated { .. })), "{:?}", Gguf::parse(&bytes).err());
    }
}

#[test]
fn an_array_takes_the_memory_of_its_bytes() {
    let elements = vec![1u8; 1 << 16];
    let header = [&0u32.to_le_bytes()[..], &(elements.len() as u64).to_le_bytes()].concat();
    let gguf = Gguf::parse(&example().raw("x", 9, &[header, elements.clone()].concat()).bytes()).unwrap();
    let Some(Value::Array(array)) = gguf.get("x") else { panic!("{:?}", gguf.get("x")) };
    assert_eq!((array.count, array.bytes.capacity()), (1 << 16, 1 << 16));
    assert_eq!(gguf.integers("x").unwrap().len(), elements.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Gguf::parse(&[b"GGUF\x03\0\0\0".as_slice(), &bytes].concat());
    }
}
