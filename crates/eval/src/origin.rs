//! What a measurement holds for: measured again where any of it differs.

use crate::EvalError;
use crate::machine::Machine;
use attention::simd::Simd;
use runtime::model_files::{ModelFiles, gguf_files};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of a model, of texts and of the program, and the machine. Options are in the commands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    model: Vec<Content>,
    texts: Vec<Content>,
    program: Option<Content>,
    machine: String,
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Content {
    name: String,
    bytes: u64,
    /// SipHash of the bytes: for files that changed, not for files made to deceive.
    hash: String,
}

impl Origin {
    /// Reads all of it but the device, which is known once the model is loaded: [`on`](Self::on). Read before the model, so that
    /// a file that changes in between is not taken for what was measured. `texts` are all other files that results depend on.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(model: &str, texts: &[PathBuf]) -> Result<Self, EvalError> {
        let program =
            std::env::current_exe().map_err(|source| EvalError::Read { path: "this program".into(), source })?;
        let machine = Machine::read();
        let parts = [&machine.device(), &machine.platform, &machine.cores.to_string(), Simd::detect().name()];
        Ok(Self {
            model: files_of(model)?.iter().map(|path| Content::read(path)).collect::<Result<_, _>>()?,
            texts: texts.iter().map(|path| Content::read(path)).collect::<Result<_, _>>()?,
            program: Some(Content::read(&program)?),
            machine: parts.join(", "),
        })
    }

    /// The same on a device of the machine.
    pub fn on(self, device: &str) -> Self {
        Self { machine: format!("{}, {device}", self.machine), ..self }
    }

    /// What differs from an earlier one, in words; nothing where nothing does.
    pub fn changed_since(&self, earlier: &Origin) -> Option<&'static str> {
        match () {
            _ if self.model != earlier.model => Some("the model"),
            _ if self.texts != earlier.texts => Some("an input file"),
            _ if self.program != earlier.program => Some("the program"),
            _ if self.machine != earlier.machine => Some("the machine"),
            _ => None,
        }
    }
}

impl Content {
    fn read(path: &Path) -> Result<Self, EvalError> {
        let cannot = |source| EvalError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(cannot)?;
        let (mut hasher, mut bytes, mut buffer) = (DefaultHasher::new(), 0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).map_err(cannot)? {
                0 => break,
                n => {
                    hasher.write(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, bytes, hash: format!("{:016x}", hasher.finish()) })
    }
}

/// The files a model is read from: one or its parts, or those of a folder that any loader looks at, by name.
fn files_of(model: &str) -> Result<Vec<PathBuf>, EvalError> {
    // The config.json that random weights are made for.
    let path = Path::new(model);
    if path.is_file() && path.extension().is_some_and(|end| end == "json") {
        return Ok(vec![path.into()]);
    }
    let found = ModelFiles::locate(model).map_err(|source| EvalError::Model { model: model.into(), source })?;
    let folder = match found {
        ModelFiles::Gguf(path) => return Ok(gguf_files(&path)),
        ModelFiles::Folder(folder) => folder,
    };
    let cannot = |source: io::Error| EvalError::Read { path: folder.clone(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let read = ["json", "safetensors", "jinja", "model", "txt"];
        if path.extension().is_some_and(|end| read.iter().any(|read| end == *read)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Origin {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        Origin::read(path.to_str().unwrap(), &[]).unwrap()
    }

    #[test]
    fn one_byte_of_a_model_is_another_origin() {
        let large = vec![7; (2 << 20) + 5];
        let mut other = large.clone();
        *other.last_mut().unwrap() = 8;
        assert_eq!(of(&large).changed_since(&of(&large)), None);
        assert_eq!(of(&other).changed_since(&of(&large)), Some("the model"));
        assert_eq!(of(&large[1..]).changed_since(&of(&large)), Some("the model"));
    }

    #[test]
    fn every_part_of_a_model_counts() {
        let folder = tempfile::tempdir().unwrap();
        let part = |n: usize| folder.path().join(format!("m-0000{n}-of-00002.gguf"));
        let write = |n: usize, text: &str| std::fs::write(part(n), text).unwrap();
        let read = |n: usize| Origin::read(part(n).to_str().unwrap(), &[]).unwrap();
        write(1, "one");
        write(2, "two");
        let first = read(1);
        assert_eq!(read(2).changed_since(&first), None);
        write(2, "three");
        assert_eq!(read(1).changed_since(&first), Some("the model"));
    }

    #[test]
    fn texts_program_and_machine_count_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let (model, text) = (folder.path().join("m.gguf"), folder.path().join("t.txt"));
        let read = |words: &str| {
            std::fs::write(&model, "m").unwrap();
            std::fs::write(&text, words).unwrap();
            Origin::read(model.to_str().unwrap(), std::slice::from_ref(&text)).unwrap()
        };
        let first = read("one");
        assert_eq!(read("two").changed_since(&first), Some("an input file"));
        let rebuilt = Origin { program: None, ..first.clone() };
        assert_eq!(first.changed_since(&rebuilt), Some("the program"));
        let moved = Origin { machine: "another".into(), ..first.clone() };
        assert_eq!(first.changed_since(&moved), Some("the machine"));
        assert_eq!(first.clone().on("cuda:0").changed_since(&first.on("cpu")), Some("the machine"));
    }

    #[test]
    fn a_folder_is_all_the_files_that_loaders_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let read = || Origin::read(folder.path().to_str().unwrap(), &[]).unwrap();
        ["config.json", "model.safetensors", "tokenizer.json"].iter().for_each(|name| write(name, "{}"));
        let first = read();
        write("README.md", "words");
        assert_eq!(read().changed_since(&first), None);
        write("model.safetensors", "[]");
        assert_eq!(read().changed_since(&first), Some("the model"));
        write("model.safetensors", "{}");
        write("chat_template.jinja", "");
        assert_eq!(read().changed_since(&first), Some("the model"));
    }
}
