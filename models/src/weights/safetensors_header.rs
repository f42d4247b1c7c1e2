//! The header of a safetensors file, wherever its bytes lie.
//!
//! It is the format's own crate's header type, whose reader compares shapes, sizes and offsets.

use std::borrow::Cow;
use std::ops::Range;

use safetensors::tensor::Metadata;

use crate::error::ModelError;

/// The bytes before the header that say how long it is.
const LENGTH: u64 = size_of::<u64>() as u64;

/// The longest header, in bytes: the format's own bound.
const MAX_HEADER: u64 = 100_000_000;

/// What the header of a file of so many `bytes` says, and where the data begins behind it. `read` answers with a range of the file that lies
/// within it.
///
/// # Errors
/// [`ModelError::SafetensorsHeader`] when the file is not whole, and what `read` fails with.
pub(super) fn header<'a>(
    bytes: u64,
    mut read: impl FnMut(Range<u64>) -> Result<Cow<'a, [u8]>, ModelError>,
) -> Result<(Metadata, u64), ModelError> {
    let not_whole = ModelError::SafetensorsHeader;
    if bytes < LENGTH {
        return Err(not_whole("its header is missing".into()));
    }
    let mut length = [0; size_of::<u64>()];
    length.copy_from_slice(&read(0..LENGTH)?);
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(not_whole(format!(
            "a header of {length} bytes, expected at most {MAX_HEADER}"
        )));
    }
    if length > bytes - LENGTH {
        return Err(not_whole(format!(
            "it breaks off after {bytes} bytes, within its header, which has {length}"
        )));
    }
    let data = LENGTH + length;
    let json = read(LENGTH..data)?;
    let header: Metadata = serde_json::from_slice(&json).map_err(|error| not_whole(error.to_string()))?;
    let needed = data.saturating_add(header.data_len() as u64);
    if needed != bytes {
        return Err(not_whole(format!(
            "its header describes {needed} bytes, the file has {bytes}"
        )));
    }
    Ok((header, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_breaks_off_in_its_header_is_told_from_a_header_that_is_too_long() {
        let said = |length: u64, bytes| {
            let read = |_| Ok(Cow::Owned(length.to_le_bytes().to_vec()));
            header(bytes, read).unwrap_err().to_string()
        };
        let broken = said(10_936, 1000);
        assert!(
            broken.contains("breaks off after 1000 bytes") && broken.contains("which has 10936"),
            "{broken}"
        );
        let long = said(MAX_HEADER + 1, 1 << 40);
        assert!(long.contains(&format!("expected at most {MAX_HEADER}")), "{long}");
    }
}
