//! Files and folders of the machine.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Resource, getrlimit};

use super::super::aligned::BufferPool;
use super::super::{Disk, DurableWriter, File, Lock, OpenMode};
use super::clock;
use super::direct::{DIRECT_SIZE_MIN_BYTES, DirectFile, STAGING_SIZE_BYTES};
use super::map::FileMap;
use super::plain::PlainWriter;
use super::uring::UringWriter;
use crate::log::Timestamp;

/// Most buffers of one vectored write (`IOV_MAX`, limits.h).
const BUFFERS_PER_WRITE_MAX: usize = 1024;

/// The machine's disk.
#[derive(Debug)]
pub struct LinuxDisk {
    plain_writes: bool,
    staging: Arc<BufferPool>,
    /// The folder, opened before anything was written in it: syncfs(2) reports the errors of write-back since then,
    /// also of files that are closed.
    witness: Mutex<Option<fs::File>>,
}

impl Default for LinuxDisk {
    fn default() -> LinuxDisk {
        LinuxDisk::new(false)
    }
}

impl LinuxDisk {
    /// The disk, with durable writes by plain system calls if `plain_writes`, else by `io_uring` where the
    /// kernel has it.
    pub fn new(plain_writes: bool) -> LinuxDisk {
        LinuxDisk {
            plain_writes,
            staging: BufferPool::new(2 * STAGING_SIZE_BYTES),
            witness: Mutex::default(),
        }
    }
}

impl Disk for LinuxDisk {
    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_blocks.saturating_mul(found.f_frsize))
    }

    fn modified(&self, path: &Path) -> io::Result<Option<Timestamp>> {
        fs::metadata(path)?
            .modified()
            .map(|time| Some(clock::timestamp_of(time)))
    }

    fn open_files_max(&self) -> usize {
        let limit = getrlimit(Resource::Nofile).current;
        limit
            .and_then(|limit| limit.try_into().ok())
            .unwrap_or(usize::MAX)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            // A name that is not UTF-8 is not ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        Ok(Arc::new(LinuxFile {
            file: options.open(path)?,
            direct: DirectFile::new(path, Arc::clone(&self.staging)),
            map: FileMap::default(),
            known_len: AtomicU64::new(0),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match witness.take() {
            Some(file) => file,
            None => fs::File::open(path)?,
        };
        let synced = rustix::fs::syncfs(&file);
        *witness = Some(file);
        Ok(synced?)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder's pid is a courtesy; without it the refusal is still clear.
                let _ = file.read_to_string(&mut holder);
                let message = format!("held by process {}", holder.trim());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        if let Some(folder) = path.parent() {
            let witness = fs::File::open(folder)?;
            *self.witness.lock().unwrap_or_else(PoisonError::into_inner) = Some(witness);
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Box::new(FileLock { _file: file }))
    }

    fn durable_writer(&self, depth: usize) -> io::Result<Box<dyn DurableWriter>> {
        if self.plain_writes {
            return Ok(Box::new(PlainWriter::default()));
        }
        match UringWriter::new(depth) {
            Ok(writer) => Ok(Box::new(writer)),
            Err(error) => {
                tracing::warn!(%error, "io_uring is not available, durable writes use plain system calls");
                Ok(Box::new(PlainWriter::default()))
            }
        }
    }
}

/// The kernel releases the lock with the last descriptor, also when the process is killed.
#[derive(Debug)]
struct FileLock {
    _file: fs::File,
}

impl Lock for FileLock {}

#[derive(Debug)]
struct LinuxFile {
    file: fs::File,
    direct: DirectFile,
    map: FileMap,
    /// A length that the file is known to have had; it is asked again when a slice reaches further.
    known_len: AtomicU64,
}

impl File for LinuxFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let size_bytes: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if size_bytes < DIRECT_SIZE_MIN_BYTES {
            return write_buffered(&self.file, buffers, position);
        }
        self.direct.write_at(&self.file, buffers, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, size_bytes: u64) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size_bytes) {
            // A filesystem without reservation finds out at the write.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn extend(&self, size_bytes: u64) -> io::Result<()> {
        // Without KEEP_SIZE: direct writes that grow a file wait for one another (ext4 takes its lock alone).
        Ok(fallocate(&self.file, FallocateFlags::empty(), 0, size_bytes)?)
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.known_len.store(0, Ordering::Release);
        self.file.set_len(size_bytes)
    }

    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.end > self.known_len.load(Ordering::Acquire) {
            let len = self.len()?;
            self.known_len.store(len, Ordering::Release);
            if range.end > len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.map.slice(&self.file, range)
    }
}

/// Writes all of `buffers` through the page cache.
pub(super) fn write_buffered(file: &fs::File, buffers: &[IoSlice<'_>], mut position: u64) -> io::Result<()> {
    for some in buffers.chunks(BUFFERS_PER_WRITE_MAX) {
        let mut some = some.to_vec();
        let mut rest = some.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(file, rest, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &dyn File, parts: &[&[u8]], position: u64) {
        let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_at(&parts, position).unwrap();
    }

    #[test]
    fn a_slice_sees_a_growing_file_and_ends_at_its_end() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let file = LinuxDisk::default()
            .open(&folder.path().join("a"), OpenMode::CreateNew)
            .unwrap();
        file.allocate(1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 0);
        write(&*file, &[b"hello ", b"", b"world"], 0);
        let first = file.slice(0..11).unwrap();
        assert_eq!(
            file.slice(0..12).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        write(&*file, &[&vec![b'x'; 100_000]], 11);
        assert_eq!(&file.slice(11..100_011).unwrap()[..], &vec![b'x'; 100_000][..]);
        assert_eq!(&first[..], b"hello world");
    }

    #[test]
    fn large_writes_at_any_position_read_back() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let file = LinuxDisk::default()
            .open(&folder.path().join("a"), OpenMode::CreateNew)
            .unwrap();
        let content: Vec<u8> = (0..11_000_000_u32).map(|index| (index / 7) as u8).collect();
        let mut expected = Vec::new();
        for (size, piece) in [
            (5_000, 5_000),
            (6_000_000, 70_001),
            (262_144, 262_144),
            (4_300_000, 999_999),
        ] {
            let part = &content[expected.len()..expected.len() + size];
            let pieces: Vec<_> = part.chunks(piece).collect();
            write(&*file, &pieces, expected.len() as u64);
            expected.extend_from_slice(part);
            assert_eq!(file.len().unwrap(), expected.len() as u64);
            assert!(
                file.slice(0..expected.len() as u64).unwrap()[..] == expected[..],
                "after {size}"
            );
        }
    }

    #[test]
    fn a_second_lock_is_refused_with_the_holder() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let path = folder.path().join("lock");
        let held = LinuxDisk::default().lock(&path).unwrap();
        let error = LinuxDisk::default().lock(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(
            error.to_string(),
            format!("held by process {}", std::process::id())
        );
        drop(held);
        LinuxDisk::default().lock(&path).unwrap();
    }

    #[test]
    fn durable_writes_land_where_they_were_sent_on_both_paths() {
        for plain_writes in [false, true] {
            let folder = tempfile::tempdir_in(".").unwrap();
            let path = folder.path().join("journal");
            let disk = LinuxDisk::new(plain_writes);
            let file = disk.open(&path, OpenMode::CreateNew).unwrap();
            write(&*file, &[&vec![0; 32768]], 0);
            file.sync().unwrap();
            let writer = disk.durable_writer(4).unwrap();
            let slot = writer.attach(&path).unwrap();
            let pool = super::super::super::aligned::BufferPool::new(1 << 20);
            for index in 0..4_u8 {
                let mut buffer = pool.take(8192);
                buffer.extend_from_slice(&[index + 1; 8192]);
                writer
                    .submit(slot, u64::from(index) * 8192, buffer.freeze(), u64::from(index))
                    .unwrap();
            }
            let mut ended = Vec::new();
            while ended.len() < 4 {
                let mut some = Vec::new();
                writer.wait(&mut some).unwrap();
                ended.extend(some.into_iter().map(|completion| {
                    completion.result.unwrap();
                    completion.token
                }));
            }
            ended.sort_unstable();
            assert_eq!(ended, [0, 1, 2, 3]);
            for index in 0..4_u8 {
                let mut found = vec![0; 8192];
                file.read_at(&mut found, u64::from(index) * 8192).unwrap();
                assert_eq!(found, vec![index + 1; 8192], "plain_writes = {plain_writes}");
            }
        }
    }
}
