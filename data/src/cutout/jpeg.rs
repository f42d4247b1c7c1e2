//! Whether a JPEG is whole. Decoders fill what is missing with grey, which nobody wants to advertise or learn from.

const MARKER: u8 = 0xFF;
const END_OF_IMAGE: u8 = 0xD9;

/// Whether the segments of a JPEG go on to its end marker. What follows it does not matter, and neither do the pictures
/// that some segments carry inside.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    reaches_end(bytes).is_some()
}

fn reaches_end(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes;
    loop {
        // Scan data escapes its own 0xFF as 0xFF 0x00; restart markers and fill bytes have no content.
        let at = rest
            .windows(2)
            .position(|pair| pair[0] == MARKER && !matches!(pair[1], 0 | MARKER))?;
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        match marker {
            END_OF_IMAGE => return Some(()),
            0x01 | 0xD0..=0xD8 => {}
            _ => {
                let length = rest.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))?;
                rest = rest.get(usize::from(length)..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_marker_of_the_picture_itself_counts() {
        let start = [MARKER, 0xD8];
        // A segment with a thumbnail, which has an end marker of its own.
        let thumbnail = [MARKER, 0xE1, 0, 6, MARKER, END_OF_IMAGE, 1, 2];
        let scan = [MARKER, 0xDA, 0, 3, 9, 1, 2, MARKER, 0, 3, MARKER, 0xD0, 4];
        let end = [MARKER, END_OF_IMAGE];
        let cut_off = [&start[..], &thumbnail, &scan].concat();
        assert!(!is_whole(&cut_off));
        assert!(is_whole(&[&cut_off[..], &end].concat()));
        assert!(is_whole(&[&cut_off[..], &end, b"padding"].concat()));
        assert!(!is_whole(&cut_off[..5]) && !is_whole(&[]));
    }
}
