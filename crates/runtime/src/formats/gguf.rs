//! GGUF, versions 2 and 3: metadata and where the tensors lie.
//!
//! The file is input from anyone. Every count, length and offset is checked against the bytes that are there before it is
//! used, so a hostile file costs memory in proportion to its own size and ends in an error, never in a panic.

use std::collections::BTreeMap;
use std::ops::Range;

use super::encoding::Encoding;

/// A parsed header: all metadata, and the place of every tensor.
#[derive(Clone, Debug)]
pub struct Gguf {
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorPlace>,
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer type.
    Integer(i128),
    /// `f32` or `f64`.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// UTF-8 text.
    String(String),
    /// Values of one type.
    Array(Array),
}

/// An array as it is stored, checked: one [`Value`] an element would take many times the memory of the file.
#[derive(Clone, PartialEq)]
pub struct Array {
    kind: u32,
    count: u64,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "an array of {} values of type {}", self.count, self.kind)
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// How rows are stored.
    pub encoding: Encoding,
    /// Which file of several it is in; the first is 0.
    pub part: usize,
    /// Bytes of the file.
    pub bytes: Range<usize>,
}

/// What is wrong with a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// Another kind of file.
    #[error("not a GGUF file: it starts with {0:02x?}, expected \"GGUF\"; give the path of a .gguf model")]
    Magic(Vec<u8>),
    /// Numbers the other way round.
    #[error(
        "a big-endian GGUF file; take the little-endian file of the model, or convert this one with `gguf-convert-endian FILE little` of the Python package gguf"
    )]
    BigEndian,
    /// A version this reader does not know.
    #[error("GGUF version {0}: versions 2 and 3 are supported; convert the model with a current llama.cpp")]
    Version(u32),
    /// The file ends early.
    #[error(
        "the file ends at byte {len} in the middle of {what}, which needs bytes up to {needed}; it is truncated or corrupt: download it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Last byte needed.
        needed: u64,
        /// Bytes there are.
        len: u64,
    },
    /// A rule of the format is broken.
    #[error("corrupt GGUF: {0}; download the file again")]
    Corrupt(String),
    /// A tensor stored in a way this reader does not know.
    #[error(
        "tensor `{name}` is stored as GGML type {id}; supported: F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K"
    )]
    Encoding {
        /// Tensor.
        name: String,
        /// Number of the type.
        id: u32,
    },
    /// A metadata key is missing.
    #[error("metadata key `{0}` is missing: the file was not written as a complete model")]
    MissingKey(String),
    /// A metadata value of another type or range.
    #[error("metadata key `{key}`: expected {expected}, found {found}")]
    KeyType {
        /// Key.
        key: String,
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

/// Arrays inside arrays are legal; deeper than any real file they are an attack on the stack.
const MAX_DEPTH: usize = 4;
const MAX_DIMS: u32 = 4;
/// Type numbers that more than one place needs.
const STRING: u32 = 8;
const ARRAY: u32 = 9;

impl Gguf {
    /// Parses the header of a whole file.
    ///
    /// # Errors
    /// [`GgufError`] for anything that does not hold; no input panics.
    pub fn parse(file: &[u8]) -> Result<Self, GgufError> {
        Self::parse_head(file, file.len() as u64)
    }

    /// Parses the header of a file of `file_len` bytes that begins with `head`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); [`GgufError::Truncated`] with a `needed` of no more than `file_len` means that the header
    /// is longer than `head`.
    pub fn parse_head(head: &[u8], file_len: u64) -> Result<Self, GgufError> {
        let mut reader = Reader { head, file_len, at: 0 };
        let magic = reader.take(4, "the magic number")?;
        if magic != b"GGUF" {
            return Err(GgufError::Magic(magic.to_vec()));
        }
        let version = reader.u32("the version")?;
        if (1..=3).contains(&version.swap_bytes()) {
            return Err(GgufError::BigEndian);
        }
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version(version));
        }
        let num_tensors = reader.count("the tensor count", 24)?;
        let num_entries = reader.count("the metadata count", 12)?;

        let mut metadata = BTreeMap::new();
        for _ in 0..num_entries {
            let key = reader.str("a metadata key")?.to_string();
            let kind = reader.u32("a metadata type")?;
            let value = reader.value(kind, &key, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(GgufError::Corrupt(format!("metadata key `{key}` stands twice")));
            }
        }
        let mut headers = Vec::new();
        for _ in 0..num_tensors {
            headers.push(reader.tensor_header()?);
        }

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::Integer(n)) if *n > 0 && *n <= 1 << 20 && (*n as u64).is_power_of_two() => *n as usize,
            Some(other) => return Err(GgufError::Corrupt(format!("general.alignment is {other:?}"))),
        };
        let data_start = reader.at.next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        // Tensors follow one another in the order of the table, with nothing but padding between them: a type, a dimension or
        // an offset that was changed shows, instead of weights that are something else.
        let mut expected = 0;
        for header in headers {
            let place = header.place(data_start, alignment, file_len)?;
            if header.offset != expected {
                let TensorHeader { name, offset, .. } = header;
                return Err(GgufError::Corrupt(format!(
                    "tensor `{name}` starts at offset {offset}, expected {expected}"
                )));
            }
            expected = (place.bytes.end - data_start).next_multiple_of(alignment) as u64;
            if tensors.insert(header.name.clone(), place).is_some() {
                return Err(GgufError::Corrupt(format!("tensor `{}` stands twice", header.name)));
            }
        }
        Ok(Self { metadata, tensors })
    }

    /// Takes the tensors of another file of the same model, which is part `part` of it.
    ///
    /// # Errors
    /// What says that it is of another model.
    pub(super) fn append(&mut self, other: Self, part: usize) -> Result<(), String> {
        let differs = |(key, value): &(&String, &Value)| {
            !key.starts_with("split.") && self.metadata.get(*key).is_some_and(|own| own != *value)
        };
        if let Some((key, _)) = other.metadata.iter().find(differs) {
            return Err(format!("`{key}` is not what the first part says"));
        }
        for (name, place) in other.tensors {
            if self.tensors.contains_key(&name) {
                return Err(format!("tensor `{name}` is in an earlier part, too"));
            }
            self.tensors.insert(name, TensorPlace { part, ..place });
        }
        Ok(())
    }

    /// Place of a tensor.
    pub fn tensor(&self, name: &str) -> Option<&TensorPlace> {
        self.tensors.get(name)
    }

    /// Names and places of all tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorPlace)> {
        self.tensors.iter().map(|(name, place)| (name.as_str(), place))
    }

    /// All metadata keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    fn require(&self, key: &str) -> Result<&Value, GgufError> {
        self.get(key).ok_or_else(|| GgufError::MissingKey(key.into()))
    }

    /// A whole number from 0 to 2^31 - 1, the range of every size in a model.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn size(&self, key: &str) -> Result<usize, GgufError> {
        match self.require(key)? {
            Value::Integer(n) if (0..=i32::MAX as i128).contains(n) => Ok(*n as usize),
            other => Err(wrong_type(key, "a whole number from 0 to 2^31 - 1", other)),
        }
    }

    /// As [`size`](Self::size), `None` when the key is missing.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        self.get(key).map(|_| self.size(key)).transpose()
    }

    /// A number.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn float(&self, key: &str) -> Result<f64, GgufError> {
        match self.require(key)? {
            Value::Float(x) => Ok(*x),
            other => Err(wrong_type(key, "a number", other)),
        }
    }

    /// A truth value, `None` when the key is missing.
    ///
    /// # Errors
    /// When the key holds something else.
    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(x)) => Ok(Some(*x)),
            Some(other) => Err(wrong_type(key, "a truth value", other)),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        match self.require(key)? {
            Value::String(s) => Ok(s),
            other => Err(wrong_type(key, "text", other)),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>, GgufError> {
        match self.require(key)? {
            Value::Array(array) if array.kind == STRING => {
                let mut reader = Reader::of(&array.bytes);
                (0..array.count).map(|_| reader.str(key)).collect()
            }
            other => Err(wrong_type(key, "a list of texts", other)),
        }
    }

    /// A list of floating-point numbers.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn floats(&self, key: &str) -> Result<Vec<f64>, GgufError> {
        let value = self.require(key)?;
        let wrong = || wrong_type(key, "a list of numbers", value);
        let Value::Array(array) = value else { return Err(wrong()) };
        let mut reader = Reader::of(&array.bytes);
        let float = |_| match reader.value(array.kind, key, 1)? {
            Value::Float(x) => Ok(x),
            _ => Err(wrong()),
        };
        (0..array.count).map(float).collect()
    }

    /// A list of whole numbers.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>, GgufError> {
        let value = self.require(key)?;
        let wrong = || wrong_type(key, "a list of whole numbers", value);
        let Value::Array(array) = value else { return Err(wrong()) };
        let mut reader = Reader::of(&array.bytes);
        let integer = |_| match reader.value(array.kind, key, 1)? {
            Value::Integer(n) => i64::try_from(n).map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        (0..array.count).map(integer).collect()
    }
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> GgufError {
    let mut found = format!("{found:?}");
    if let Some((cut, _)) = found.char_indices().nth(60) {
        found.truncate(cut);
        found.push_str("...");
    }
    GgufError::KeyType { key: key.into(), expected, found }
}

struct TensorHeader {
    name: String,
    dims: Vec<u64>,
    type_id: u32,
    offset: u64,
}

impl TensorHeader {
    fn place(&self, data_start: usize, alignment: usize, file_len: u64) -> Result<TensorPlace, GgufError> {
        let name = &self.name;
        let corrupt = |what: String| GgufError::Corrupt(format!("tensor `{name}` {what}"));
        let encoding =
            Encoding::from_ggml(self.type_id).ok_or(GgufError::Encoding { name: name.clone(), id: self.type_id })?;
        let too_large = || corrupt(format!("has dimensions {:?}", self.dims));
        let cols = usize::try_from(self.dims[0]).map_err(|_| too_large())?;
        let rows = self.dims[1..].iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(too_large)?;
        let rows = usize::try_from(rows).map_err(|_| too_large())?;
        if cols == 0 || rows == 0 {
            return Err(too_large());
        }
        let row_bytes = encoding
            .row_bytes(cols)
            .ok_or_else(|| corrupt(format!("has rows of {cols} elements, not whole {encoding:?} blocks")))?;
        let len = row_bytes.checked_mul(rows).ok_or_else(too_large)?;
        if !self.offset.is_multiple_of(alignment as u64) {
            return Err(corrupt(format!("starts at offset {}, not a multiple of {alignment}", self.offset)));
        }
        let start = usize::try_from(self.offset).ok().and_then(|offset| offset.checked_add(data_start));
        let end = start.and_then(|start| start.checked_add(len));
        match (start, end) {
            (Some(start), Some(end)) if end as u64 <= file_len => {
                Ok(TensorPlace { rows, cols, encoding, part: 0, bytes: start..end })
            }
            _ => {
                let needed = (data_start as u64).saturating_add(self.offset).saturating_add(len as u64);
                Err(GgufError::Truncated { what: format!("tensor `{name}`"), needed, len: file_len })
            }
        }
    }
}

/// A cursor that cannot leave the head of the file.
struct Reader<'a> {
    head: &'a [u8],
    file_len: u64,
    at: usize,
}

impl<'a> Reader<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { head: bytes, file_len: bytes.len() as u64, at: 0 }
    }

    fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], GgufError> {
        let needed = (self.at as u64).saturating_add(len);
        if needed > self.head.len() as u64 {
            return Err(GgufError::Truncated { what: what.into(), needed, len: self.file_len });
        }
        let bytes = &self.head[self.at..needed as usize];
        self.at = needed as usize;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        Ok(self.take(N as u64, what)?.try_into().expect("N bytes were taken"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of items of at least `item_bytes` each, which the rest of the file must be able to hold.
    fn count(&mut self, what: &str, item_bytes: u64) -> Result<u64, GgufError> {
        let count = self.u64(what)?;
        let needed = (self.at as u64).saturating_add(count.saturating_mul(item_bytes));
        if needed > self.file_len {
            return Err(GgufError::Truncated { what: format!("{count} items ({what})"), needed, len: self.file_len });
        }
        Ok(count)
    }

    fn str(&mut self, what: &str) -> Result<&'a str, GgufError> {
        let len = self.u64(what)?;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|error| GgufError::Corrupt(format!("{what} is not UTF-8: {error}")))
    }

    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Result<Value, GgufError> {
        let what = key;
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.array(what)?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array(what)?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array(what)?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array(what)?).into()),
            4 => Value::Integer(u32::from_le_bytes(self.array(what)?).into()),
            5 => Value::Integer(i32::from_le_bytes(self.array(what)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(what)?).into()),
            7 => match self.array::<1>(what)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                byte => return Err(GgufError::Corrupt(format!("`{key}` is a truth value of {byte}"))),
            },
            STRING => Value::String(self.str(what)?.into()),
            ARRAY if depth < MAX_DEPTH => {
                let (kind, count, bytes) = self.array_elements(key, depth)?;
                Value::Array(Array { kind, count, bytes: bytes.to_vec() })
            }
            ARRAY => return Err(GgufError::Corrupt(format!("`{key}` nests arrays deeper than {MAX_DEPTH}"))),
            10 => Value::Integer(u64::from_le_bytes(self.array(what)?).into()),
            11 => Value::Integer(i64::from_le_bytes(self.array(what)?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array(what)?)),
            _ => return Err(GgufError::Corrupt(format!("`{key}` has unknown type {kind}"))),
        })
    }

    /// Type, number and checked bytes of the elements of an array.
    fn array_elements(&mut self, key: &str, depth: usize) -> Result<(u32, u64, &'a [u8]), GgufError> {
        let kind = self.u32(key)?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            ARRAY => 12,
            _ => 8,
        };
        let count = self.count(key, least)?;
        let start = self.at;
        for _ in 0..count {
            match kind {
                // Not through `value`, which would copy what is only to be checked.
                STRING => _ = self.str(key)?,
                ARRAY if depth + 1 < MAX_DEPTH => _ = self.array_elements(key, depth + 1)?,
                _ => _ = self.value(kind, key, depth + 1)?,
            }
        }
        Ok((kind, count, &self.head[start..self.at]))
    }

    fn tensor_header(&mut self) -> Result<TensorHeader, GgufError> {
        let name = self.str("a tensor name")?.to_string();
        let num_dims = self.u32("a tensor's dimension count")?;
        if !(1..=MAX_DIMS).contains(&num_dims) {
            return Err(GgufError::Corrupt(format!("tensor `{name}` has {num_dims} dimensions")));
        }
        let dims = (0..num_dims).map(|_| self.u64("a tensor's dimensions")).collect::<Result<_, _>>()?;
        let type_id = self.u32("a tensor's type")?;
        let offset = self.u64("a tensor's offset")?;
        Ok(TensorHeader { name, dims, type_id, offset })
    }
}

#[cfg(test)]
pub(crate) mod tests;
