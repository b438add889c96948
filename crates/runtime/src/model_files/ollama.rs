//! Models as Ollama keeps them: `blobs/sha256-...` are GGUF files, `manifests/REGISTRY/LIBRARY/NAME/TAG` say which.

use crate::weights::LoadError;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// More than any manifest has; weights are longer.
const MANIFEST_BYTES: u64 = 1 << 20;

#[derive(serde::Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

/// The GGUF file that a manifest means; `None` of a file that is no manifest.
pub(super) fn blob_of(path: &Path) -> Result<Option<PathBuf>, LoadError> {
    let fail = |message: String| LoadError::Manifest { path: path.into(), message };
    let Some(Manifest { layers }) = read(path) else { return Ok(None) };
    let of_kind = |kind: &str| {
        let whole = format!("application/vnd.ollama.image.{kind}");
        layers.iter().filter(move |layer| layer.media_type == whole).map(|layer| layer.digest.as_str())
    };
    if of_kind("adapter").next().is_some() {
        return Err(fail("with an adapter, which this version does not run: merge it into the model".into()));
    }
    let (digest, others) = (of_kind("model").next(), of_kind("model").skip(1).count());
    let (Some(digest), 0) = (digest, others) else {
        let found = others + usize::from(digest.is_some());
        return Err(fail(format!(
            "with {found} model files, expected one: give a manifest of a language model in GGUF"
        )));
    };
    let hash = digest.strip_prefix("sha256:").filter(|hash| hash.len() == 64);
    let Some(hash) = hash.filter(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit())) else {
        return Err(fail(format!("names its model `{digest}`, expected sha256 and 64 hexadecimal digits")));
    };
    let name = format!("sha256-{hash}");
    let found = path.ancestors().map(|folder| folder.join("blobs").join(&name)).find(|blob| blob.exists());
    match found {
        Some(blob) => Ok(Some(blob)),
        None => Err(fail(format!("whose model `blobs/{name}` is in no folder above it: run `ollama pull` again"))),
    }
}

fn read(path: &Path) -> Option<Manifest> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MANIFEST_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::super::ModelFiles;

    #[test]
    fn a_manifest_leads_to_its_blob() {
        let folder = tempfile::tempdir().unwrap();
        let hash = "0123456789abcdef".repeat(4);
        let tags = folder.path().join("manifests/registry.ollama.ai/library/llama3.2");
        std::fs::create_dir_all(&tags).unwrap();
        let manifest = tags.join("latest");
        let locate = || ModelFiles::locate(manifest.to_str().unwrap());
        let write = |layers: &[(&str, &str)]| {
            let layer = |(kind, digest): &(&str, &str)| {
                format!(r#"{{"mediaType": "application/vnd.ollama.image.{kind}", "digest": "{digest}", "size": 1}}"#)
            };
            let layers: Vec<String> = layers.iter().map(layer).collect();
            let text = format!(r#"{{"schemaVersion": 2, "config": {{}}, "layers": [{}]}}"#, layers.join(","));
            std::fs::write(&manifest, text).unwrap();
        };
        let model = format!("sha256:{hash}");
        write(&[("template", "sha256:00"), ("model", &model)]);
        let missing = locate().unwrap_err().to_string();
        assert!(missing.contains(&hash) && missing.contains("ollama pull"), "{missing}");

        let blob = folder.path().join(format!("blobs/sha256-{hash}"));
        std::fs::create_dir(folder.path().join("blobs")).unwrap();
        std::fs::write(&blob, "GGUF").unwrap();
        assert_eq!(locate().unwrap(), ModelFiles::Gguf(blob.clone()));
        assert_eq!(ModelFiles::locate(blob.to_str().unwrap()).unwrap(), ModelFiles::Gguf(blob));

        for (layers, says) in [
            (&[("model", "sha256:../../../secret")][..], "64 hexadecimal digits"),
            (&[("template", &model)], "0 model files"),
            (&[("model", &model), ("model", &model)], "2 model files"),
            (&[("model", &model), ("adapter", &model)], "an adapter"),
        ] {
            write(layers);
            let message = locate().unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
    }
}
