//! A model before it is on a device.

use super::{EngineError, EngineOptions};
use crate::config::ModelConfig;
use crate::model_files::{HubProgress, ModelFiles};
use crate::weights::{LoadError, ModelWeights, RandomWeights};
use std::path::Path;

/// What the heads of its files say.
pub(crate) struct Opened {
    pub weights: ModelWeights,
    /// `None` of random weights.
    pub files: Option<ModelFiles>,
    pub name: String,
    /// Tokens of the context by the files and its stretching, whatever else was asked for.
    pub own_context: usize,
}

impl Opened {
    /// Reads them; `report` hears what comes from a hub first.
    pub fn open(
        model: &str,
        options: &EngineOptions,
        report: &mut dyn FnMut(HubProgress),
    ) -> Result<Self, EngineError> {
        let mut opened = match options.random_weights {
            Some(kind) => Self::random(Path::new(model), kind)?,
            None => Self::files(model, report)?,
        };
        if let Some(stretch) = options.stretch {
            opened.weights.stretch(stretch)?;
        }
        opened.own_context = opened.weights.config().max_context;
        if let Some(tokens) = options.context {
            opened.weights.set_context(tokens)?;
        }
        Ok(opened)
    }

    fn files(model: &str, report: &mut dyn FnMut(HubProgress)) -> Result<Self, EngineError> {
        let files = ModelFiles::locate_with(model, report)?;
        let weights = files.open()?;
        Ok(Self { own_context: weights.config().max_context, weights, name: files.name(), files: Some(files) })
    }

    fn random(config: &Path, kind: RandomWeights) -> Result<Self, EngineError> {
        let file = if config.is_dir() { config.join("config.json") } else { config.to_path_buf() };
        let stem = if config.is_dir() { config.file_name() } else { config.file_stem() };
        let name = format!("{} (random weights)", stem.unwrap_or_default().to_string_lossy());
        let weights = ModelWeights::random(ModelConfig::from_json(&file).map_err(LoadError::from)?, kind);
        Ok(Self { own_context: weights.config().max_context, weights, files: None, name })
    }
}
