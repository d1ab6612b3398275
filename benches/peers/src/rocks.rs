//! RocksDB with a synced write-ahead log, through the C interface of the system's library.
//!
//! Compactions are off: the write-ahead log and the flushes of full memory tables are what is measured.

use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, anyhow};

use crate::peer::Peer;

// The functions of `rocksdb/c.h` that are used; all objects are opaque.
#[link(name = "rocksdb")]
unsafe extern "C" {
    fn rocksdb_options_create() -> *mut c_void;
    fn rocksdb_options_destroy(options: *mut c_void);
    fn rocksdb_options_set_create_if_missing(options: *mut c_void, value: c_uchar);
    fn rocksdb_options_set_disable_auto_compactions(options: *mut c_void, value: c_int);
    fn rocksdb_options_set_recycle_log_file_num(options: *mut c_void, value: usize);
    fn rocksdb_options_set_compression(options: *mut c_void, value: c_int);
    fn rocksdb_open(options: *mut c_void, name: *const c_char, error: *mut *mut c_char) -> *mut c_void;
    fn rocksdb_close(database: *mut c_void);
    fn rocksdb_writeoptions_create() -> *mut c_void;
    fn rocksdb_writeoptions_destroy(options: *mut c_void);
    fn rocksdb_writeoptions_set_sync(options: *mut c_void, value: c_uchar);
    fn rocksdb_writebatch_create() -> *mut c_void;
    fn rocksdb_writebatch_destroy(batch: *mut c_void);
    fn rocksdb_writebatch_put(
        batch: *mut c_void,
        key: *const c_char,
        key_length: usize,
        value: *const c_char,
        value_length: usize,
    );
    fn rocksdb_write(
        database: *mut c_void,
        options: *mut c_void,
        batch: *mut c_void,
        error: *mut *mut c_char,
    );
    fn rocksdb_free(pointer: *mut c_void);
}

/// Log files that are kept to be written again.
const RECYCLED_LOG_FILES: usize = 4;

/// `rocksdb_no_compression` of `rocksdb/c.h`.
const NO_COMPRESSION: c_int = 0;

/// An open database.
pub struct Rocksdb {
    database: NonNull<c_void>,
    write_options: NonNull<c_void>,
    next: AtomicU64,
}

// SAFETY: RocksDB documents that a database may be used by several threads at once without synchronisation of
// their own, and write options are only read.
unsafe impl Sync for Rocksdb {}

impl Rocksdb {
    /// A new database in `folder`.
    pub fn open(folder: &Path) -> anyhow::Result<Rocksdb> {
        let name = CString::new(folder.join("rocksdb").as_os_str().as_bytes())?;
        let mut error = ptr::null_mut();
        // SAFETY: takes nothing; the options are destroyed below.
        let options = unsafe { rocksdb_options_create() };
        // SAFETY: `options` was just created and is used by nobody else.
        unsafe {
            rocksdb_options_set_create_if_missing(options, 1);
            rocksdb_options_set_disable_auto_compactions(options, 1);
            rocksdb_options_set_recycle_log_file_num(options, RECYCLED_LOG_FILES);
            rocksdb_options_set_compression(options, NO_COMPRESSION);
        }
        // SAFETY: `options` and `name` live, `error` is null as the interface asks for.
        let database = unsafe { rocksdb_open(options, name.as_ptr(), &raw mut error) };
        // SAFETY: the database has copied the options.
        unsafe { rocksdb_options_destroy(options) };
        check(error).context("opening RocksDB")?;
        // SAFETY: takes nothing; destroyed when this is dropped.
        let write_options = unsafe { rocksdb_writeoptions_create() };
        // SAFETY: `write_options` was just created and is used by nobody else.
        unsafe { rocksdb_writeoptions_set_sync(write_options, 1) };
        Ok(Rocksdb {
            database: NonNull::new(database).context("RocksDB gave no database")?,
            write_options: NonNull::new(write_options).context("RocksDB gave no options")?,
            next: AtomicU64::new(0),
        })
    }
}

impl Peer for Rocksdb {
    fn commit(&self, _thread: usize, records: &[Vec<u8>]) -> anyhow::Result<()> {
        let first = self.next.fetch_add(records.len() as u64, Ordering::Relaxed);
        // SAFETY: takes nothing; destroyed below.
        let batch = unsafe { rocksdb_writebatch_create() };
        for (number, record) in (first..).zip(records) {
            let key = number.to_be_bytes();
            // SAFETY: both slices live during the call, which copies them.
            unsafe {
                rocksdb_writebatch_put(
                    batch,
                    key.as_ptr().cast(),
                    key.len(),
                    record.as_ptr().cast(),
                    record.len(),
                );
            }
        }
        let mut error = ptr::null_mut();
        // SAFETY: database and options live as long as `self`, `batch` until the next line.
        unsafe {
            rocksdb_write(
                self.database.as_ptr(),
                self.write_options.as_ptr(),
                batch,
                &raw mut error,
            );
        }
        // SAFETY: created above, destroyed once.
        unsafe { rocksdb_writebatch_destroy(batch) };
        check(error).context("writing to RocksDB")
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Drop for Rocksdb {
    fn drop(&mut self) {
        // SAFETY: created in `open`, destroyed once, used by nobody any more.
        unsafe {
            rocksdb_writeoptions_destroy(self.write_options.as_ptr());
            rocksdb_close(self.database.as_ptr());
        }
    }
}

/// Takes over the error that a function of the interface left.
fn check(error: *mut c_char) -> anyhow::Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the interface leaves a string that ends with a zero and is the caller's.
    let message = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: allocated by the interface, freed once.
    unsafe { rocksdb_free(error.cast()) };
    Err(anyhow!(message))
}
