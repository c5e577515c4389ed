//! Profiles: counted, and checked as far as their schema is settled.
//!
//! The schema of a profile still changes between versions, so only its wire form is checked; the
//! resource and the scope above it are those of every signal.

use super::{Counts, resources};
use crate::wire::{Malformed, Reader};

/// The profiles in `ExportProfilesServiceRequest { resource_profiles = 1, dictionary = 2 }`.
pub(crate) fn profiles(request: &[u8]) -> Result<u64, Malformed> {
    let mut records = 0;
    resources(request, &mut profile, &mut |found| records += found.counts.records)?;
    Ok(records)
}

fn profile(bytes: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while reader.next()?.is_some() {}
    counts.records += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::field;

    /// One resource with one scope that holds `profiles`.
    fn request(profiles: &[&[u8]]) -> Vec<u8> {
        let scope: Vec<u8> = profiles.iter().flat_map(|profile| field(2, profile)).collect();
        field(1, &field(2, &scope))
    }

    #[test]
    fn profiles_are_counted_over_all_resources() {
        assert_eq!(profiles(b""), Ok(0));
        let dictionary = field(2, b"anything");
        let both = [request(&[b"\x08\x01", b""]), dictionary, request(&[b""])].concat();
        assert_eq!(profiles(&both), Ok(3));
    }

    #[test]
    fn malformed_profiles_are_refused() {
        assert_eq!(profiles(&request(&[b"\x0a\x05abcd"])), Err(Malformed::Truncated));
        assert_eq!(profiles(&request(&[&[0x0b; 100]])), Err(Malformed::Depth));
        assert_eq!(profiles(b"\x08\x01"), Err(Malformed::WireType));
        let whole = request(&[b"\x08\x01\x12\x02hi"]);
        for end in 1..whole.len() {
            assert!(profiles(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
