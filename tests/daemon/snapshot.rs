//! The content of a folder, to show that it was left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Length and checksum of every file below `folder` by its path, and nothing for folders.
///
/// The lock file is left out: taking the lock writes the holder's process id into it.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Option<(u64, u32)>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(path, None);
            } else if path.file_name().is_none_or(|name| name != "lock") {
                let content = std::fs::read(&path).expect("a readable file");
                found.insert(path, Some((content.len() as u64, crc32fast::hash(&content))));
            }
        }
    }
    found
}
