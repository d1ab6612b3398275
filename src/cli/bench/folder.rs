//! A folder for one measurement, removed when it is over.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::output;

/// A new folder; dropping it removes it with all its content.
#[derive(Debug)]
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// Makes a folder inside `parent`.
    pub fn create(parent: &Path) -> anyhow::Result<ScratchFolder> {
        let path = parent.join(format!("doorbuster-bench-{:012x}", rand::random::<u64>() >> 16));
        std::fs::create_dir_all(&path).with_context(|| format!("creating folder {}", path.display()))?;
        Ok(ScratchFolder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            output::status(&format!(
                "cannot remove {}: {error}; remove it by hand",
                self.0.display()
            ));
        }
    }
}
