//! Where the entries of a zip file lie, for files as `torch.save` writes them: every entry stored, none
//! compressed or encrypted, no two of one name, sizes beyond 32 bits in zip64 fields.
//!
//! Only the directory at the end of the file is read; its numbers are checked against the file before they
//! size an allocation. Checksums are not verified: torch does not verify them either, and can be told not to
//! write them.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use super::error::TorchError;

/// Largest directory, enough for some three hundred thousand storages.
const MAX_DIRECTORY: u64 = 32 << 20;

/// The directory of a zip file.
pub(super) struct Zip {
    /// Where each entry begins and the length of its data.
    entries: HashMap<String, (u64, u64)>,
    /// Where the directory begins, and so the data of all entries ends.
    data_end: u64,
}

impl Zip {
    pub(super) fn read(reader: &mut (impl Read + Seek)) -> Result<Self, TorchError> {
        let file_len = reader.seek(SeekFrom::End(0))?;
        let start = read_at(reader, 0, file_len.min(300))?;
        // The magic number of the pickles up to torch 1.5, and that of the tar files before them.
        let magic = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
        if start.get(4..14) == Some(magic) || start.get(257..262) == Some(b"ustar") {
            return Err(TorchError::OldFormat);
        }
        if !start.starts_with(b"PK\x03\x04") {
            return Err(TorchError::zip("expected the first bytes PK\\x03\\x04"));
        }
        let [data_end, len, count] = find_directory(reader, file_len)?
            .ok_or_else(|| TorchError::zip("its directory is missing, cut off or misplaced"))?;
        if len > MAX_DIRECTORY {
            let reason = format!("a directory of {len} bytes, expected at most {MAX_DIRECTORY}");
            return Err(TorchError::zip(reason));
        }
        let directory = read_at(reader, data_end, len)?;
        let (mut rest, mut entries) = (&directory[..], HashMap::new());
        for index in 0..count {
            let reason = format!("entry {index} of its directory is cut off, compressed or encrypted");
            let (name, place) = next_entry(&mut rest).ok_or(TorchError::Zip(reason))?;
            if entries.insert(name.to_owned(), place).is_some() {
                return Err(TorchError::Zip(format!("two entries {name:?}, expected one")));
            }
        }
        Ok(Self { entries, data_end })
    }

    /// What stands before `data.pkl` in the names of all entries: a directory with its slash, or nothing.
    pub(super) fn prefix(&self) -> Result<&str, TorchError> {
        let prefixes = self
            .entries
            .keys()
            .filter_map(|name| name.strip_suffix("data.pkl"));
        let mut prefixes = prefixes.filter(|prefix| prefix.find('/').map_or(0, |at| at + 1) == prefix.len());
        match (prefixes.next(), prefixes.next()) {
            (Some(prefix), None) => Ok(prefix),
            _ => Err(TorchError::zip("expected one entry data.pkl")),
        }
    }

    /// Where an entry's data lies, which is within the file: its offset and length. Nothing if there is no
    /// such entry.
    pub(super) fn span(
        &self,
        reader: &mut (impl Read + Seek),
        name: &str,
    ) -> Result<Option<(u64, u64)>, TorchError> {
        let Some((at, len)) = self.entries.get(name).copied() else {
            return Ok(None);
        };
        let within = |offset: u64, len| offset.checked_add(len).is_some_and(|end| end <= self.data_end);
        if within(at, 30) {
            let header = read_at(reader, at, 30)?;
            let lens = int(&header, 26, 2).zip(int(&header, 28, 2));
            let offset = at + 30 + lens.map_or(0, |(name, extra)| name + extra);
            if header.starts_with(b"PK\x03\x04") && within(offset, len) {
                return Ok(Some((offset, len)));
            }
        }
        Err(TorchError::Zip(format!("entry {name:?} is misplaced or cut off")))
    }

    /// The data of an entry of at most `limit` bytes. Nothing if there is no such entry.
    pub(super) fn bytes(
        &self,
        reader: &mut (impl Read + Seek),
        name: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, TorchError> {
        match self.span(reader, name)? {
            Some((offset, len)) if len <= limit => Ok(Some(read_at(reader, offset, len)?)),
            Some((_, len)) => Err(TorchError::Zip(format!(
                "entry {name:?} is {len} bytes, expected at most {limit}"
            ))),
            None => Ok(None),
        }
    }
}

/// Offset and length of the directory, which lies within the file, and the number of its entries.
fn find_directory(reader: &mut (impl Read + Seek), file_len: u64) -> Result<Option<[u64; 3]>, TorchError> {
    // The last record is 22 bytes and a comment. Its zip64 form and what points to that, 56 and 20 bytes, are
    // right before it.
    let tail_start = file_len.saturating_sub(76 + 22 + 0xffff);
    let tail = read_at(reader, tail_start, file_len - tail_start)?;
    let is_end = |at: &usize| {
        let comment = int(&tail, at + 20, 2);
        tail[*at..].starts_with(b"PK\x05\x06")
            && comment.is_some_and(|len| len as usize == tail.len() - at - 22)
    };
    let Some(end) = (0..tail.len()).rev().find(is_end) else {
        return Ok(None);
    };
    let is_wide =
        |at: &usize| tail[*at..].starts_with(b"PK\x06\x06") && tail[end - 20..].starts_with(b"PK\x06\x07");
    let (end, fields) = match end.checked_sub(76).filter(is_wide) {
        Some(wide) => (wide, [(48, 8), (40, 8), (32, 8)]),
        None => (end, [(16, 4), (12, 4), (10, 2)]),
    };
    let [offset, len, count] = fields.map(|(at, len)| int(&tail, end + at, len).unwrap_or(u64::MAX));
    let is_before_end = |directory_end| directory_end <= tail_start + end as u64;
    let fits = offset.checked_add(len).is_some_and(is_before_end);
    Ok(fits.then_some([offset, len, count]))
}

/// Takes one entry off the directory: its name, where it begins and the length of its data. Nothing if it is
/// not whole or not stored as it is.
pub(super) fn next_entry<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, (u64, u64))> {
    let head = rest.split_off(..46)?;
    let name = str::from_utf8(rest.split_off(..int(head, 28, 2)? as usize)?).ok()?;
    let mut extra = rest.split_off(..int(head, 30, 2)? as usize)?;
    rest.split_off(..int(head, 32, 2)? as usize)?;

    // Those that do not fit are in the zip64 field of the extra ones, in this order.
    let mut numbers = [int(head, 24, 4)?, int(head, 20, 4)?, int(head, 42, 4)?];
    if numbers.contains(&0xffff_ffff) {
        let mut wide: &[u8] = &[];
        while let Some(id) = int(extra, 0, 2).filter(|_| wide.is_empty()) {
            let field = extra.split_off(..4 + int(extra, 2, 2)? as usize)?;
            wide = if id == 1 { &field[4..] } else { &[] };
        }
        for number in numbers.iter_mut().filter(|number| **number == 0xffff_ffff) {
            *number = int(wide.split_off(..8)?, 0, 8)?;
        }
    }
    let [len, stored_len, at] = numbers;
    let (encrypted, method) = (int(head, 8, 2)? & 1, int(head, 10, 2)?);
    let stored = head.starts_with(b"PK\x01\x02") && encrypted == 0 && method == 0 && len == stored_len;
    stored.then_some((name, (at, len)))
}

/// The little-endian number of at most 8 bytes at `at`, if there are so many.
pub(super) fn int(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..len].copy_from_slice(bytes.get(at..at + len)?);
    Some(u64::from_le_bytes(number))
}

/// Reads bytes that the caller knows to lie within the file.
pub(super) fn read_at(reader: &mut (impl Read + Seek), offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX))?;
    reader.seek(SeekFrom::Start(offset))?;
    match reader.take(len).read_to_end(&mut bytes)? as u64 == len {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
