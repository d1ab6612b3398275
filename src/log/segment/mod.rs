//! stub
use std::{sync::Arc,path::PathBuf};
use bytes::Bytes;
use super::{Offset,Timestamp,io::Disk,batch::StoredBatch};
/// A segment could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError { #[error("x")] X }
impl SegmentError { pub fn is_storage_full(&self)->bool{false} }
#[derive(Clone,Debug,Default)] pub struct SegmentOptions { pub segment_size_max_bytes: u64, pub index_interval_bytes: u32 }
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub struct FlushedPosition { pub segment: Offset, pub position: u64, pub next_offset: Offset }
#[derive(Debug)] pub struct Segments;
impl Segments {
  pub fn open(_d: Arc<dyn Disk>, _dir: PathBuf, _f: Option<FlushedPosition>, _o: SegmentOptions) -> Result<Segments, SegmentError>{todo!()}
  pub fn append(&self, _b: &[StoredBatch]) -> Result<(), SegmentError>{todo!()}
  pub fn sync(&self) -> Result<(), SegmentError>{todo!()}
  pub fn flushed(&self) -> FlushedPosition{todo!()}
  pub fn first_offset(&self) -> Offset{todo!()}
  pub fn read(&self, _f: Offset, _m: usize) -> Result<Vec<Bytes>, SegmentError>{todo!()}
  pub fn batch_at_time(&self, _ts: Timestamp) -> Result<Option<Bytes>, SegmentError>{todo!()}
  pub fn batch_with_max_timestamp(&self) -> Result<Option<Bytes>, SegmentError>{todo!()}
  pub fn size_bytes(&self) -> u64{todo!()}
}
