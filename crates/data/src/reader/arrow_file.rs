//! Arrow's own format, as `save_to_disk` and Feather write it: a stream of batches, in a file behind eight bytes.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::SchemaRef;
use rewardscope_store::ByteStream;

use crate::{DataError, format_error};

/// The batches of a file or a stream.
pub(crate) struct ArrowBatches {
    stream: ByteStream,
    decoder: StreamDecoder,
    pending: Buffer,
    waiting: Option<RecordBatch>,
    is_done: bool,
    is_file: bool,
}

impl ArrowBatches {
    /// Reads up to the schema.
    pub async fn open(mut stream: ByteStream, is_file: bool) -> Result<Self, DataError> {
        let mut pending = Vec::new();
        if is_file {
            // The file's mark, and what fills it up: to eight bytes, or to as many as the writer keeps to.
            stream.peek(256).await?;
            pending = stream.next().await?.unwrap_or_default();
            let filled = pending.iter().skip(6).take(256).take_while(|byte| **byte == 0).count();
            let filled = (6 + filled) / 4 * 4;
            pending.drain(..filled.min(pending.len()));
        }
        let decoder = StreamDecoder::new();
        let mut found = Self { stream, decoder, pending: pending.into(), waiting: None, is_done: false, is_file };
        while found.decoder.schema().is_none() && !found.is_done {
            found.waiting = found.decode().await?;
        }
        Ok(found)
    }

    pub fn schema(&self) -> Result<SchemaRef, DataError> {
        self.decoder.schema().ok_or_else(|| self.damaged(&"no schema"))
    }

    fn damaged(&self, found: &dyn std::fmt::Display) -> DataError {
        format_error(self.stream.name(), "a whole Arrow file", found)
    }

    /// The next batch; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, DataError> {
        if let Some(batch) = self.waiting.take() {
            return Ok(Some(batch));
        }
        while !self.is_done {
            if let Some(batch) = self.decode().await? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    async fn decode(&mut self) -> Result<Option<RecordBatch>, DataError> {
        if self.pending.is_empty() {
            match self.stream.next().await? {
                Some(bytes) => self.pending = bytes.into(),
                None => {
                    self.is_done = true;
                    // A file's footer comes behind the stream's end, which then is in place.
                    let ended = if self.is_file { Ok(()) } else { self.decoder.finish() };
                    return ended.map(|()| None).map_err(|e| self.damaged(&e));
                }
            }
        }
        match self.decoder.decode(&mut self.pending) {
            Ok(found) => Ok(found),
            // What follows the mark of a file's end is its footer.
            Err(_) if self.is_file && self.decoder.finish().is_ok() && self.decoder.schema().is_some() => {
                self.is_done = true;
                Ok(None)
            }
            Err(error) => {
                self.is_done = true;
                Err(self.damaged(&error))
            }
        }
    }
}
