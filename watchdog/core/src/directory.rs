//! Ten thousand services, found by name in a few cache lines.
//!
//! Names of one fleet begin alike (`shop/checkout-…`), so a tree of names compares almost whole
//! texts at every step, each behind a pointer of its own. Here a digest of the name goes first: it
//! stands in the tree itself and differs early, and the text is compared once, at the end.
//!
//! Invariant: two names are the same entry only if their texts are. Names that share a digest,
//! by chance or on purpose, cost one comparison more.

use std::collections::BTreeMap;

use crate::names::Service;

/// What is kept of each service, without an order that means anything.
#[derive(Debug, Clone)]
pub(crate) struct Directory<V> {
    entries: BTreeMap<(u64, Service), V>,
}

impl<V> Directory<V> {
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, service: &Service) -> Option<&V> {
        self.entries.get(&key(service))
    }

    pub fn get_mut(&mut self, service: &Service) -> Option<&mut V> {
        self.entries.get_mut(&key(service))
    }

    /// What is kept of `service`; `value` if nothing was.
    pub fn entry(&mut self, service: &Service, value: impl FnOnce() -> V) -> &mut V {
        self.entries.entry(key(service)).or_insert_with(value)
    }
}

fn key(service: &Service) -> (u64, Service) {
    (digest(service.as_str()), service.clone())
}

/// FNV-1a: short names need no better one.
fn digest(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::proptest;
    use proptest::prop_assert_eq;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_tree_of_names_finds(names in vec("[ab]{1,3}", 0..60)) {
            let (mut directory, mut tree) = (Directory::new(), BTreeMap::new());
            for (place, name) in names.iter().enumerate() {
                let service = Service::new(name).expect("a valid name");
                let kept = *directory.entry(&service, || place);
                prop_assert_eq!(kept, *tree.entry(service.clone()).or_insert(place));
                prop_assert_eq!(directory.get(&service), tree.get(&service));
            }
            prop_assert_eq!(directory.len(), tree.len());
            let stranger = Service::new("c").expect("a valid name");
            prop_assert_eq!(directory.get_mut(&stranger), None);
        }
    }
}
