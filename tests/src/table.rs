//! Tables as parquet files: written from JSON rows, and read back.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use parquet::arrow::ArrowWriter;
use pollster::block_on;
use rewardscope_data::{Opening, Reader};
use rewardscope_store::{ByteStream, Source};
use serde_arrow::schema::{SchemaLike, TracingOptions};
use serde_json::{Map, Value};

/// Writes rows as a parquet file; their columns are found from their values.
///
/// # Panics
/// When it cannot be written.
pub fn write_table(path: &Path, rows: &[Value]) {
    let write = || -> Result<(), Box<dyn Error>> {
        let options = TracingOptions::default().allow_null_fields(true);
        let fields = Vec::<arrow_schema::FieldRef>::from_samples(rows, options)?;
        let batch = serde_arrow::to_record_batch(&fields, &rows)?;
        let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        Ok(())
    };
    write().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The rows of a table.
///
/// # Panics
/// When it cannot be read.
pub fn read_table(path: &Path) -> Vec<Map<String, Value>> {
    let read = async {
        let mut rows = Vec::new();
        let mut reader = Reader::open(ByteStream::of(&Source::file(path)?), Opening::default()).await?;
        while let Some(few) = reader.next().await? {
            rows.extend(few.rows.into_iter().filter_map(|row| row.record.ok()));
        }
        Ok::<_, rewardscope_data::DataError>(rows)
    };
    block_on(read).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
