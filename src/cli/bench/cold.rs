//! Files that the page cache has nothing of.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::Advice;

use super::written;

/// Lets the page cache forget the files below `folder`, which nobody may have open or mapped. Their names and sizes
/// stay in the kernel's memory, as on a machine that has just closed them.
pub fn forget(folder: &Path) -> anyhow::Result<()> {
    // Pages that are not yet written are not forgotten.
    written::settle(folder)?;
    for path in files_below(folder)? {
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)
            .with_context(|| format!("dropping {} from the page cache", path.display()))?;
    }
    Ok(())
}

/// All files below `folder`, in the order of their paths.
pub fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let list = || format!("listing {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(list)? {
            let entry = entry.with_context(list)?;
            let is_folder = entry.file_type().with_context(list)?.is_dir();
            let into = if is_folder { &mut folders } else { &mut files };
            into.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
