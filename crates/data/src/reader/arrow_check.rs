//! Checks what Arrow's decoder trusts: that a message's buffers lie within it, and hold whole values of their column's
//! type.

use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::{Buffer, MessageHeader, RecordBatch, root_as_message};
use arrow_schema::{DataType, Schema};

/// Most bytes of a message's body. A larger one is damage or malice.
const MOST_BODY_BYTES: i64 = 2 << 30;

/// Most rows of a batch. A larger number is damage or malice.
const MOST_ROWS: i64 = 50_000_000;

/// The bytes of a message's body, and its batch, where it has one; true where the batch is a dictionary's values.
fn batch_of(description: &[u8]) -> Result<(i64, Option<(RecordBatch<'_>, bool)>), String> {
    let message = root_as_message(description).map_err(|e| e.to_string())?;
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => {
            Some((message.header_as_record_batch().ok_or("a batch without its description")?, false))
        }
        MessageHeader::DictionaryBatch => {
            let dictionary = message.header_as_dictionary_batch().ok_or("a dictionary without its description")?;
            Some((dictionary.data().ok_or("a dictionary without values")?, true))
        }
        _ => None,
    };
    Ok((message.bodyLength(), batch))
}

/// Checks a message's description, and gives how many bytes of body follow it.
///
/// # Errors
/// When a size, a number of rows or a buffer's place is impossible.
pub(super) fn body_bytes(description: &[u8]) -> Result<usize, String> {
    let (bytes, batch) = batch_of(description)?;
    if !(0..=MOST_BODY_BYTES).contains(&bytes) {
        return Err(format!("a message of {bytes} bytes"));
    }
    if let Some((batch, _)) = batch {
        let is_count = |count: i64| (0..=MOST_ROWS).contains(&count);
        let mut nodes = batch.nodes().into_iter().flatten();
        if !is_count(batch.length()) || !nodes.all(|node| is_count(node.length()) && is_count(node.null_count())) {
            return Err("a batch of an impossible number of rows".to_owned());
        }
        // The format puts buffers at multiples of eight bytes.
        let lies_within = |buffer: &Buffer| {
            let (start, length) = (buffer.offset(), buffer.length());
            let end = start.checked_add(length);
            start >= 0 && start % 8 == 0 && length >= 0 && end.is_some_and(|end| end <= bytes)
        };
        if !batch.buffers().into_iter().flatten().all(lies_within) {
            return Err("a buffer outside of its message, or not at a multiple of eight bytes".to_owned());
        }
    }
    Ok(bytes as usize)
}

/// The schema in a message; `None` for messages of other kinds.
///
/// # Errors
/// When the schema cannot be read.
pub(super) fn schema_of(description: &[u8]) -> Result<Option<Schema>, String> {
    let message = root_as_message(description).map_err(|e| e.to_string())?;
    let schema = message.header_as_schema();
    schema.map(|schema| try_fb_to_schema(schema).map_err(|e| e.to_string())).transpose()
}

/// Checks that a message's buffers hold whole values of their columns' types. `body` is what follows the description.
///
/// # Errors
/// When a buffer holds something else.
pub(super) fn check_buffers(description: &[u8], body: &[u8], schema: Option<&Schema>) -> Result<(), String> {
    let (_, Some((batch, is_dictionary))) = batch_of(description)? else {
        return Ok(());
    };
    let schema = schema.ok_or("rows before their schema")?;
    let mut lengths = Vec::new();
    for buffer in batch.buffers().into_iter().flatten() {
        let start = buffer.offset() as usize;
        let bytes = &body[start..start + buffer.length() as usize];
        let length = match (batch.compression(), bytes.first_chunk::<8>()) {
            (None, _) => bytes.len() as i64,
            (Some(_), None) if bytes.is_empty() => 0,
            (Some(_), None) => return Err("a packed buffer without its size".to_owned()),
            // A packed buffer begins with its unpacked size; -1 means that it is not packed.
            (Some(_), Some(size)) => match i64::from_le_bytes(*size) {
                -1 => bytes.len() as i64 - 8,
                size if (0..=1 << 30).contains(&size) => size,
                _ => return Err("a packed buffer of an impossible size".to_owned()),
            },
        };
        lengths.push(length);
    }
    let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
    let mut types: Vec<Vec<&DataType>> = vec![schema.fields().iter().map(|field| field.data_type()).collect()];
    if is_dictionary {
        types = Vec::new();
        schema.fields().iter().for_each(|field| dictionaries(field.data_type(), &mut types));
    }
    // The message does not say here which dictionary it is of: one of them must fit.
    let counts: Vec<i64> = variadic.by_ref().collect();
    let is_whole = |of: &Vec<&DataType>| {
        let (mut units, mut counts) = (Vec::new(), counts.iter().copied());
        of.iter().all(|of| units_of(of, &mut counts, &mut units).is_some())
            && units.len() == lengths.len()
            && units.iter().zip(&lengths).all(|(unit, length)| length % unit == 0)
    };
    match types.iter().any(is_whole) {
        true => Ok(()),
        false => Err("buffers that do not fit their columns' types".to_owned()),
    }
}

/// Collects the value types of all dictionaries in a type, at any depth.
fn dictionaries<'a>(of: &'a DataType, into: &mut Vec<Vec<&'a DataType>>) {
    match of {
        DataType::Dictionary(_, values) => into.push(vec![values]),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            dictionaries(item.data_type(), into);
        }
        DataType::ListView(item) | DataType::LargeListView(item) | DataType::Map(item, _) => {
            dictionaries(item.data_type(), into);
        }
        DataType::Struct(fields) => fields.iter().for_each(|field| dictionaries(field.data_type(), into)),
        _ => {}
    }
}

/// Collects the bytes of one value in each buffer of a column. `variadic` gives the numbers of a view column's data
/// buffers. `None` for types that are not read.
fn units_of(of: &DataType, variadic: &mut dyn Iterator<Item = i64>, into: &mut Vec<i64>) -> Option<()> {
    match of {
        DataType::Null => {}
        DataType::Boolean => into.extend([1, 1]),
        DataType::Utf8 | DataType::Binary => into.extend([1, 4, 1]),
        DataType::LargeUtf8 | DataType::LargeBinary => into.extend([1, 8, 1]),
        DataType::Utf8View | DataType::BinaryView => {
            let count = variadic.next().filter(|count| (0..=1 << 20).contains(count))?;
            into.extend([1, 16]);
            into.extend(std::iter::repeat_n(1, count as usize));
        }
        DataType::List(item) | DataType::Map(item, _) => {
            into.extend([1, 4]);
            units_of(item.data_type(), variadic, into)?;
        }
        DataType::LargeList(item) => {
            into.extend([1, 8]);
            units_of(item.data_type(), variadic, into)?;
        }
        DataType::FixedSizeList(item, size) => {
            (*size > 0).then_some(())?;
            into.push(1);
            units_of(item.data_type(), variadic, into)?;
        }
        DataType::Struct(fields) => {
            into.push(1);
            fields.iter().try_for_each(|field| units_of(field.data_type(), variadic, into))?;
        }
        DataType::Dictionary(keys, _) => into.extend([1, i64::try_from(keys.primitive_width()?).ok()?]),
        DataType::FixedSizeBinary(width) => into.extend([1, i64::from(*width).max(1)]),
        other => into.extend([1, i64::try_from(other.primitive_width()?).ok()?]),
    }
    Some(())
}
