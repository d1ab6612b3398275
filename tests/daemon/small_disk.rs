//! A filesystem of a few megabytes of its own, to be filled.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A small mounted filesystem; unmounted and removed when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
    mount: PathBuf,
}

impl SmallDisk {
    /// An ext4 filesystem in a file, through a loop device.
    ///
    /// # Errors
    /// With what the system said: making and mounting one needs privileges.
    pub fn ext4(size_bytes: u64) -> Result<SmallDisk, String> {
        let disk = SmallDisk::unmounted()?;
        let image = disk.folder.join("image");
        let made = std::fs::File::create(&image).and_then(|file| file.set_len(size_bytes));
        made.map_err(|error| format!("{}: {error}", image.display()))?;
        // No reserved blocks: the daemon may run as root, which could use them.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&disk.mount))?;
        Ok(disk)
    }

    /// A filesystem in memory.
    ///
    /// # Errors
    /// With what the system said: mounting one needs privileges.
    pub fn tmpfs(size_bytes: u64) -> Result<SmallDisk, String> {
        let disk = SmallDisk::unmounted()?;
        let size = format!("size={size_bytes}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&disk.mount))?;
        Ok(disk)
    }

    /// What a power cut would leave of an ext4 filesystem at this moment, mounted beside it: the blocks that
    /// reached the device, without what the system still holds in memory.
    ///
    /// # Errors
    /// As [`SmallDisk::ext4`].
    pub fn after_power_cut(&self) -> Result<SmallDisk, String> {
        let disk = SmallDisk::unmounted()?;
        let image = disk.folder.join("image");
        let copied = std::fs::copy(self.folder.join("image"), &image);
        copied.map_err(|error| format!("{}: {error}", image.display()))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&disk.mount))?;
        Ok(disk)
    }

    /// The root of the filesystem.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    fn unmounted() -> Result<SmallDisk, String> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .map_err(|error| error.to_string())?
            .keep();
        let mount = folder.join("mount");
        std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
        Ok(SmallDisk { folder, mount })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Fails if it was never mounted; a folder that is still mounted is not removed below.
        let _ = run(Command::new("umount").arg(&self.mount));
        if std::fs::remove_dir(&self.mount).is_ok() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { status, stderr, .. }) => Err(format!(
            "{command:?}: {status}: {}",
            String::from_utf8_lossy(&stderr).trim()
        )),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
