//! Tells what a file is by its first bytes.

use crate::DataError;

/// How a text is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
}

/// The kinds of files, each with a reader of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Parquet,
    /// Arrow IPC: a file, which begins with a mark of eight bytes, or a stream.
    Arrow {
        is_file: bool,
    },
    Text(Packing),
}

/// First bytes of kinds of files that hold no rows, each with what it is and what to do.
const OTHERS: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a zip archive (perhaps a spreadsheet); unpack it, or save it as CSV"),
    (b"PK\x05\x06", "an empty zip archive"),
    (
        b"version https://git-lfs.github.com/spec",
        "a Git LFS pointer instead of the file; fetch the file with `git lfs pull`",
    ),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it with `unxz`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"\x1f\x9d", "an archive of `compress`; unpack it with `uncompress`"),
    (b"\x04\x22\x4d\x18", "an lz4 archive; unpack it with `lz4 -d`"),
    (b"SQLite format 3", "an SQLite database; export its table as CSV"),
    (b"\x89HDF", "an HDF5 file; save its table as parquet"),
    (b"ORC", "an ORC file; save it as parquet"),
    (b"Obj\x01", "an Avro file; save it as parquet"),
    (b"\x89PNG", "a PNG picture"),
    (b"%PDF", "a PDF document"),
    (b"GGUF", "a GGUF model"),
    (b"\x93NUMPY", "a NumPy array; save the table as parquet or JSON Lines"),
    (b"FEA1", "a Feather file of the first version; save it as parquet"),
];

/// Tells what a file is by its first bytes; `file` is its name.
///
/// # Errors
/// When the file is of a kind that holds no rows, with a sentence that says what it is.
pub(crate) fn kind_of(file: &str, start: &[u8]) -> Result<Kind, DataError> {
    let refuse = |found: &str| Err(DataError::not_rows(file, found));
    if start.starts_with(b"PAR1") {
        return Ok(Kind::Parquet);
    }
    if start.starts_with(b"ARROW1\0\0") {
        return Ok(Kind::Arrow { is_file: true });
    }
    // A stream's first message: a continuation mark, then the length of a schema.
    if start.starts_with(b"\xff\xff\xff\xff") && start.len() >= 8 && start[7] == 0 {
        return Ok(Kind::Arrow { is_file: false });
    }
    let ending = file.rsplit(['/', '\\']).next().unwrap_or(file).rsplit('.').next().unwrap_or_default();
    let ending = ending.to_ascii_lowercase();
    if start.is_empty() {
        return match ending.as_str() {
            "parquet" => refuse("an empty file"),
            _ => Ok(Kind::Text(Packing::Plain)),
        };
    }
    if start.starts_with(b"PARE") {
        return refuse("encrypted parquet");
    }
    if let Some((_, what)) = OTHERS.iter().find(|(first, _)| start.starts_with(first)) {
        return refuse(what);
    }
    if start.starts_with(&[0x80]) && start.get(1).is_some_and(|version| *version <= 5) {
        return refuse("a Python pickle, which is not opened; save the rows as parquet or JSON Lines");
    }
    // JSON is JSON under any name.
    let is_json = start.trim_ascii_start().starts_with(b"{") || start.trim_ascii_start().starts_with(b"[");
    if (ending == "parquet" || ending == "arrow") && !is_json {
        let shown = String::from_utf8_lossy(&start[..start.len().min(4)]).into_owned();
        let first = if ending == "parquet" { "PAR1" } else { "ARROW1" };
        return Err(crate::format_error(
            file,
            format!("{ending}, which begins with {first:?}"),
            format!("a file that begins with {shown:?}"),
        ));
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Kind::Text(Packing::Gzip));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable(start) {
        return Ok(Kind::Text(Packing::Zstd));
    }
    if start.starts_with(b"BZh") && start.get(3).is_some_and(u8::is_ascii_digit) {
        return Ok(Kind::Text(Packing::Bzip2));
    }
    refuse_markup(file, start)?;
    Ok(Kind::Text(Packing::Plain))
}

/// Whether bytes begin with a zstd frame without data, as files of pzstd do.
fn is_skippable(start: &[u8]) -> bool {
    start.len() >= 4 && (0x50..=0x5f).contains(&start[0]) && start[1..4] == [0x2a, 0x4d, 0x18]
}

/// Refuses a text that is a web page or XML.
///
/// # Errors
/// When it is one; the error says which.
pub(crate) fn refuse_markup(file: &str, start: &[u8]) -> Result<(), DataError> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins = |tag: &[u8]| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag);
    if begins(b"<!doctype") || begins(b"<html") || begins(b"<head") {
        return Err(DataError::not_rows(
            file,
            "an HTML page, perhaps of a login or an error; download the file itself (on the Hub: /resolve/, not /blob/)",
        ));
    }
    if begins(b"<?xml") {
        return Err(DataError::not_rows(file, "an XML document"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        assert_eq!(kind_of("x", b"PAR1...."), Ok(Kind::Parquet));
        assert_eq!(kind_of("x.csv", &[0x1f, 0x8b, 8]), Ok(Kind::Text(Packing::Gzip)));
        assert_eq!(kind_of("x", b"BZh91AY"), Ok(Kind::Text(Packing::Bzip2)));
        assert_eq!(kind_of("x", &[0x28, 0xb5, 0x2f, 0xfd]), Ok(Kind::Text(Packing::Zstd)));
        assert_eq!(kind_of("x", b"{\"a\""), Ok(Kind::Text(Packing::Plain)));
        for (bytes, named) in [
            (&b"PK\x03\x04"[..], "zip"),
            (b"\n <!DOCTYPE html>", "HTML"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            (b"\x80\x04\x95", "pickle"),
        ] {
            let message = kind_of("rows.jsonl", bytes).expect_err("refused").to_string();
            assert!(message.contains("rows.jsonl") && message.contains(named), "{message}");
        }
    }
}
