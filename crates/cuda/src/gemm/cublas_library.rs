//! Where cuBLASLt is: where the loader finds it, in a CUDA toolkit, or in a Python environment.

use crate::Error;
use cudarc::cublaslt::sys;
use std::path::PathBuf;

/// Name of the library for the driver's major version.
const FILE: &str = "libcublasLt.so.13";

/// Loads cuBLASLt unless it is loaded already.
pub(super) fn load() -> Result<(), Error> {
    // SAFETY: loads and unloads the library; its initialisers touch no state of ours.
    let found = || unsafe { sys::is_culib_present() };
    if found() {
        return Ok(());
    }
    let places = places();
    for place in &places {
        // SAFETY: as above.
        if let Ok(library) = unsafe { libloading::Library::new(place.join(FILE)) } {
            // Once loaded from anywhere it is found by its name; it must stay.
            std::mem::forget(library);
            if found() {
                return Ok(());
            }
        }
    }
    let places = places.iter().map(|place| place.display().to_string()).collect();
    Err(Error::NoCublas { places })
}

/// Folders to look in beside the loader's, those that exist.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        places.extend(std::env::var_os(variable).map(|home| PathBuf::from(home).join("lib64")));
    }
    places.push("/usr/local/cuda/lib64".into());
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        let Some(environment) = std::env::var_os(variable) else { continue };
        let versions = std::fs::read_dir(PathBuf::from(environment).join("lib")).into_iter().flatten().flatten();
        for version in versions {
            let packages = version.path().join("site-packages/nvidia");
            places.extend(["cu13/lib", "cublas/lib"].map(|folder| packages.join(folder)));
        }
    }
    places.retain(|place| place.is_dir());
    places
}
