//! Arrow's own format, as `save_to_disk` and Feather write it: a stream of messages, in a file behind its mark. Each
//! message is looked over before the decoder gets it, which trusts what messages say of their buffers.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::SchemaRef;
use rewardscope_store::ByteStream;

use crate::{DataError, format_error};

/// A larger description of a message, body or buffer is damage or malice.
const MOST_HEADER_BYTES: usize = 64 << 20;
const MOST_BODY_BYTES: i64 = 2 << 30;

/// More rows than a batch has.
const MOST_ROWS: i64 = 50_000_000;

/// What begins a message, in all but the first versions.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The batches of a file or a stream.
pub(crate) struct ArrowBatches {
    stream: ByteStream,
    decoder: StreamDecoder,
    pending: Vec<u8>,
    start: usize,
    /// Decoded with the schema.
    waiting: Option<RecordBatch>,
    is_done: bool,
}

impl ArrowBatches {
    /// Reads up to the schema.
    pub async fn open(mut stream: ByteStream, is_file: bool) -> Result<Self, DataError> {
        let mut start = 0;
        let mut pending = Vec::new();
        if is_file {
            // The file's mark, and what fills it up: to eight bytes, or to as many as the writer keeps to.
            stream.peek(256).await?;
            pending = stream.next().await?.unwrap_or_default();
            let filled = pending.iter().skip(6).take(256).take_while(|byte| **byte == 0).count();
            start = ((6 + filled) / 4 * 4).min(pending.len());
        }
        let mut found = Self { stream, decoder: StreamDecoder::new(), pending, start, waiting: None, is_done: false };
        while found.decoder.schema().is_none() && !found.is_done {
            found.waiting = found.decode().await?;
        }
        Ok(found)
    }

    pub fn schema(&self) -> Result<SchemaRef, DataError> {
        self.decoder.schema().ok_or_else(|| self.damaged("no schema"))
    }

    fn damaged(&self, found: impl std::fmt::Display) -> DataError {
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

    /// Whether so many bytes are there.
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

    /// Decodes one message.
    async fn decode(&mut self) -> Result<Option<RecordBatch>, DataError> {
        // A stream ends with a mark or with its bytes; what follows in a file is its footer.
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
        let checked = check_compressed(&message[prefix..prefix + size], &message[prefix + size..]);
        // The body in memory of its own, where its buffers lie as they do in it.
        let (described, body) = message.split_at(prefix + size);
        let (mut described, mut body) = (Buffer::from(described.to_vec()), Buffer::from_slice_ref(body));
        self.start += whole;
        let decoded = checked.and_then(|()| {
            let alone = self.decoder.decode(&mut described).map_err(|e| e.to_string())?;
            Ok(self.decoder.decode(&mut body).map_err(|e| e.to_string())?.or(alone))
        });
        if decoded.is_err() {
            self.is_done = true;
        }
        decoded.map_err(|found| self.damaged(found))
    }

    /// Tells the decoder that no message follows: it keeps one without a body until then.
    fn end(&mut self) -> Result<Option<RecordBatch>, DataError> {
        self.is_done = true;
        let mark = [CONTINUATION, [0; 4]].concat();
        self.decoder.decode(&mut Buffer::from(mark)).map_err(|e| self.damaged(e))
    }

    fn cut(&mut self) -> DataError {
        self.is_done = true;
        self.damaged("its end is missing")
    }
}

/// How many bytes follow a message's description, which is looked over: that its buffers lie within them, and that
/// counts are such.
fn body_bytes(description: &[u8]) -> Result<usize, String> {
    let message = root_as_message(description).map_err(|e| e.to_string())?;
    let bytes = message.bodyLength();
    if !(0..=MOST_BODY_BYTES).contains(&bytes) {
        return Err(format!("a message of {bytes} bytes"));
    }
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => Some(message.header_as_record_batch().ok_or("a batch without its description")?),
        MessageHeader::DictionaryBatch => {
            let dictionary = message.header_as_dictionary_batch().ok_or("a dictionary without its description")?;
            Some(dictionary.data().ok_or("a dictionary without values")?)
        }
        _ => None,
    };
    if let Some(batch) = batch {
        let is_count = |count: i64| (0..=MOST_ROWS).contains(&count);
        let mut nodes = batch.nodes().into_iter().flatten();
        if !is_count(batch.length()) || !nodes.all(|node| is_count(node.length()) && is_count(node.null_count())) {
            return Err("a batch of an impossible number of rows".to_owned());
        }
        let lies_within = |start: i64, length: i64| {
            // As the format has it, at multiples of eight.
            start >= 0 && start % 8 == 0 && length >= 0 && start.checked_add(length).is_some_and(|end| end <= bytes)
        };
        if !batch.buffers().into_iter().flatten().all(|buffer| lies_within(buffer.offset(), buffer.length())) {
            return Err("a buffer outside of its message, or out of line".to_owned());
        }
    }
    Ok(bytes as usize)
}

/// Refuses packed buffers that say they are larger than any is.
fn check_compressed(description: &[u8], body: &[u8]) -> Result<(), String> {
    let message = root_as_message(description).map_err(|e| e.to_string())?;
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|of| of.data()),
        _ => None,
    };
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else {
        return Ok(());
    };
    for buffer in batch.buffers().into_iter().flatten() {
        let start = buffer.offset() as usize;
        let packed = &body[start..start + buffer.length() as usize];
        // Packed bytes follow their number when unpacked; -1 where they are not packed.
        match packed.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes)) {
            None if packed.is_empty() => {}
            Some(bytes) if (-1..=1 << 30).contains(&bytes) => {}
            _ => return Err("a packed buffer of an impossible size".to_owned()),
        }
    }
    Ok(())
}
