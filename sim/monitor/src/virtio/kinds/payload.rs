//! The bytes of a chain.

use bringup_core::Sight;

use crate::virtio::ring::Element;

/// How many bytes the device may write, or read.
pub(super) fn len(elements: &[Element], writable: bool) -> u64 {
    elements.iter().filter(|element| element.writable == writable).map(|element| u64::from(element.len)).sum()
}

/// Whether there is any element that the device may write, or read.
pub(super) fn has(elements: &[Element], writable: bool) -> bool {
    elements.iter().any(|element| element.writable == writable)
}

/// Reads from the writable or readable part of a chain, `offset` bytes into it; `false` if not all of it is there and mapped.
pub(super) fn read(sight: &Sight<'_>, elements: &[Element], writable: bool, mut offset: u64, into: &mut [u8]) -> bool {
    let mut rest = into;
    for element in elements.iter().filter(|element| element.writable == writable) {
        if rest.is_empty() {
            return true;
        }
        let len = u64::from(element.len);
        if offset >= len {
            offset -= len;
            continue;
        }
        let piece = usize::try_from(len - offset).unwrap_or(usize::MAX).min(rest.len());
        let Some(at) = element.address.checked_add(offset) else { return false };
        let Some((now, later)) = rest.split_at_mut_checked(piece) else { return false };
        if !sight.peek(at, now) {
            return false;
        }
        rest = later;
        offset = 0;
    }
    rest.is_empty()
}

/// As [`read`], a fixed number of bytes.
pub(super) fn bytes<const N: usize>(
    sight: &Sight<'_>,
    elements: &[Element],
    writable: bool,
    offset: u64,
) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    read(sight, elements, writable, offset, &mut bytes).then_some(bytes)
}
