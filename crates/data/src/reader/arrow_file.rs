//! Reads Arrow's own format, as `save_to_disk` and Feather write it: a stream of messages, or a file with a mark before
//! that stream. Each message is checked before the decoder gets it, because the decoder trusts a message's buffers.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::SchemaRef;
use rewardscope_store::ByteStream;

use super::arrow_check::{body_bytes, check_buffers, schema_of};
use crate::guard::guarded;
use crate::{DataError, format_error};

/// Most bytes of a message's description. A larger one is damage or malice.
const MOST_HEADER_BYTES: usize = 64 << 20;

/// The bytes that begin a message, in all but the first versions of the format.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The batches of a file or a stream.
pub(crate) struct ArrowBatches {
    stream: ByteStream,
    decoder: StreamDecoder,
    schema: Option<SchemaRef>,
    pending: Vec<u8>,
    start: usize,
    is_done: bool,
}

impl ArrowBatches {
    /// Reads up to the schema.
    pub async fn open(mut stream: ByteStream, is_file: bool) -> Result<Self, DataError> {
        let mut start = 0;
        let mut pending = Vec::new();
        if is_file {
            // Skip the file's mark and the zeros behind it: they fill up to eight bytes, or to the writer's alignment.
            stream.peek(256).await?;
            pending = stream.next().await?.unwrap_or_default();
            let filled = pending.iter().skip(6).take(256).take_while(|byte| **byte == 0).count();
            start = ((6 + filled) / 4 * 4).min(pending.len());
        }
        let mut found = Self { stream, decoder: StreamDecoder::new(), schema: None, pending, start, is_done: false };
        while found.schema.is_none() && !found.is_done {
            found.decode().await?;
        }
        Ok(found)
    }

    pub fn schema(&self) -> Result<SchemaRef, DataError> {
        self.schema.clone().ok_or_else(|| self.damaged("no schema"))
    }

    fn damaged(&self, found: impl std::fmt::Display) -> DataError {
        format_error(self.stream.name(), "a whole Arrow file", found)
    }

    /// The next batch; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, DataError> {
        while !self.is_done {
            if let Some(batch) = self.decode().await? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Reads until `bytes` bytes are there; false where the stream ends before.
    async fn has(&mut self, bytes: usize) -> Result<bool, DataError> {
        while self.pending.len() - self.start < bytes {
            let Some(more) = self.stream.next().await? else {
                return Ok(false);
            };
            self.pending.drain(..self.start);
            self.start = 0;
            self.pending.extend(more);
        }
        Ok(true)
    }

    /// Decodes one message; gives a batch where the message completes one.
    async fn decode(&mut self) -> Result<Option<RecordBatch>, DataError> {
        // A stream ends with a mark or with its last byte. In a file the footer follows, which is not read.
        if !self.has(4).await? {
            let left = self.pending.len() - self.start;
            return if left == 0 { self.end() } else { Err(self.cut()) };
        }
        let prefix = if self.pending[self.start..].starts_with(&CONTINUATION) { 8 } else { 4 };
        if !self.has(prefix).await? {
            return Err(self.cut());
        }
        let size = &self.pending[self.start + prefix - 4..self.start + prefix];
        let size = u32::from_le_bytes(std::array::from_fn(|i| size[i])) as usize;
        if size == 0 {
            return self.end();
        }
        if size > MOST_HEADER_BYTES {
            self.is_done = true;
            return Err(self.damaged(format!("a message whose description has {size} bytes")));
        }
        if !self.has(prefix + size).await? {
            return Err(self.cut());
        }
        let described = self.start + prefix..self.start + prefix + size;
        let body = match body_bytes(&self.pending[described]) {
            Ok(body) => body,
            Err(found) => {
                self.is_done = true;
                return Err(self.damaged(found));
            }
        };
        let whole = prefix + size + body;
        if !self.has(whole).await? {
            return Err(self.cut());
        }
        let message = &self.pending[self.start..self.start + whole];
        let description = &message[prefix..prefix + size];
        // The decoder itself knows a schema only after the next message.
        let checked = schema_of(description).and_then(|schema| {
            self.schema = schema.map(Into::into).or(self.schema.take());
            check_buffers(description, &message[prefix + size..], self.schema.as_deref())
        });
        // The body gets memory of its own, so that its buffers stay aligned as they are in the body.
        let (described, body) = message.split_at(prefix + size);
        let (mut described, mut body) = (Buffer::from(described.to_vec()), Buffer::from_slice_ref(body));
        self.start += whole;
        let decoder = &mut self.decoder;
        let decode = || {
            let alone = decoder.decode(&mut described)?;
            Ok::<_, arrow_schema::ArrowError>(decoder.decode(&mut body)?.or(alone))
        };
        let decoded = checked.and_then(|()| guarded(decode)?.map_err(|e| e.to_string()));
        if decoded.is_err() {
            self.is_done = true;
        }
        decoded.map_err(|found| self.damaged(found))
    }

    fn end(&mut self) -> Result<Option<RecordBatch>, DataError> {
        self.is_done = true;
        // The decoder keeps back a message without a body until the next one comes.
        let mark = [CONTINUATION, [0; 4]].concat();
        self.decoder.decode(&mut Buffer::from(mark)).map_err(|e| self.damaged(e))
    }

    fn cut(&mut self) -> DataError {
        self.is_done = true;
        self.damaged("its end is missing")
    }
}
