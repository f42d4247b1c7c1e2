//! Brightness of a pixel.

/// Luma of ITU-R BT.601 in thousandths of a level, so that it is exact: 0 to 255,000.
pub(crate) fn luma([red, green, blue]: [u8; 3]) -> u32 {
    299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue)
}
