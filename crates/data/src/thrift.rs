//! Checks the Thrift structures of a parquet file before the decoder reads them. The decoder believes a list that
//! promises two thousand million elements of no bytes, and would count them all.
//!
//! The format: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

/// Deepest nesting that is read; parquet's own structures are less deep.
const MAX_DEPTH: u32 = 64;

/// Field of a page header: how many bytes follow the header.
const COMPRESSED_PAGE_SIZE: i64 = 3;

/// Thrift's type code of a 32-bit integer.
const I32: u8 = 5;

/// Refuses a structure that promises more elements than it has bytes. A structure that ends early passes: the decoder
/// refuses it.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    match Walker::over(bytes).fields(0) {
        Err(Stop::Promises) => Err(promises()),
        Ok(_) | Err(Stop::Ends) => Ok(()),
    }
}

/// Checks the page headers of a column in the same way. `bytes` holds each header, then its page.
pub(crate) fn check_pages(mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let mut walker = Walker::over(bytes);
        let held = match walker.fields(0) {
            Err(Stop::Promises) => return Err(promises()),
            Err(Stop::Ends) => return Ok(()),
            Ok(held) => held,
        };
        let Some(rest) = held.and_then(|held| walker.bytes.get(usize::try_from(held).ok()?..)) else {
            return Ok(());
        };
        bytes = rest;
    }
    Ok(())
}

fn promises() -> String {
    "a header that promises more than it holds".to_owned()
}

/// Why a walk ended.
enum Stop {
    /// The bytes end, or they are not Thrift.
    Ends,
    /// More elements are promised than there are bytes.
    Promises,
}

struct Walker<'a> {
    bytes: &'a [u8],
    /// How many more elements may be promised.
    left: usize,
}

impl<'a> Walker<'a> {
    fn over(bytes: &'a [u8]) -> Self {
        Self { bytes, left: bytes.len() }
    }

    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        self.bytes = self.bytes.get(count..).ok_or(Stop::Ends)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = *self.bytes.first().ok_or(Stop::Ends)?;
        self.skip(1)?;
        Ok(byte)
    }

    fn unsigned(&mut self) -> Result<u64, Stop> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::Ends)
    }

    fn signed(&mut self) -> Result<i64, Stop> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Counts promised elements before they are walked over.
    fn count(&mut self, elements: u64) -> Result<(), Stop> {
        let elements = usize::try_from(elements).map_err(|_| Stop::Promises)?;
        self.left = self.left.checked_sub(elements).ok_or(Stop::Promises)?;
        Ok(())
    }

    /// Walks over the fields of a structure, up to its end. Gives the [`COMPRESSED_PAGE_SIZE`] of the outermost one.
    fn fields(&mut self, depth: u32) -> Result<Option<i64>, Stop> {
        let (mut field, mut page_size) = (0i64, None);
        loop {
            let head = self.byte()?;
            let kind = head & 0xf;
            if kind == 0 {
                return Ok(page_size);
            }
            field = match head >> 4 {
                0 => self.signed()?,
                step => field.wrapping_add(i64::from(step)),
            };
            if depth == 0 && field == COMPRESSED_PAGE_SIZE && kind == I32 {
                page_size = Some(self.signed()?);
            } else {
                self.value(kind, depth)?;
            }
        }
    }

    /// Walks over a value. A boolean takes no byte, in lists too, because the decoder reads it so.
    fn value(&mut self, kind: u8, depth: u32) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Ends);
        }
        match kind {
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => self.unsigned().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.unsigned()?;
                self.skip(usize::try_from(length).map_err(|_| Stop::Ends)?)
            }
            9 | 10 => {
                let head = self.byte()?;
                let size = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
                self.count(size)?;
                (0..size).try_for_each(|_| self.value(head & 0xf, depth + 1))
            }
            11 => {
                let size = self.unsigned()?;
                self.count(size)?;
                let kinds = if size > 0 { self.byte()? } else { 0 };
                (0..size).try_for_each(|_| {
                    self.value(kinds >> 4, depth + 1)?;
                    self.value(kinds & 0xf, depth + 1)
                })
            }
            12 => self.fields(depth + 1).map(|_| ()),
            13 => self.skip(16),
            _ => Err(Stop::Ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of `bytes` bytes behind its header, which has the type, both sizes and the fields `more`.
    fn page(bytes: u8, more: &[u8]) -> Vec<u8> {
        let mut page = vec![0x15, 0, 0x15, 2 * bytes, 0x15, 2 * bytes];
        page.extend_from_slice(more);
        page.push(0);
        page.extend(std::iter::repeat_n(0xff, bytes.into()));
        page
    }

    #[test]
    fn headers_are_walked_from_page_to_page() {
        let pages = [page(3, &[]), page(40, &[0x1c, 0x15, 4, 0]), page(0, &[0x19, 0x25, 2, 4])].concat();
        assert_eq!(check_pages(&pages), Ok(()));
        assert_eq!(check(&pages), Ok(()));
        // The decoder refuses what is cut off.
        assert_eq!(check_pages(&pages[..pages.len() - 3]), Ok(()));
    }

    #[test]
    fn lists_and_maps_without_end_are_refused() {
        let endless: [&[u8]; 4] = [
            // Lists of doubles, of booleans, of lists of booleans; a map of booleans.
            &[0x19, 0xf7, 0xff, 0xff, 0xff, 0x5a],
            &[0x19, 0xf1, 0xff, 0xff, 0xff, 0x07],
            &[0x19, 0x19, 0xf2, 0xff, 0xff, 0xff, 0x07],
            &[0x1b, 0xff, 0xff, 0xff, 0x07, 0x11],
        ];
        for more in endless {
            let first = page(3, &[]);
            let pages = [first, page(0, more)].concat();
            assert!(check_pages(&pages).is_err(), "{more:?}");
            assert!(check(&page(0, more)).is_err(), "{more:?}");
        }
    }
}
