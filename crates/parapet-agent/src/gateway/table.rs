//! Addresses that stand for names inside one application.
//!
//! A program resolves a name and then calls an address; what it may call is decided by the name.
//! Every name therefore gets an address of its own, of a range that is used nowhere. Bounded: the
//! name that was asked for longest ago gives way, and its address is given to nobody else until
//! the whole range has been used.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::off_limits::SYNTHETIC;

/// Names at a time.
const MOST: usize = 4096;
/// Addresses in the range, without its first and its last one.
const ADDRESSES: u32 = (1 << (32 - SYNTHETIC.1 as u32)) - 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_name: BTreeMap<String, Entry>,
    by_address: BTreeMap<u32, String>,
    by_use: BTreeMap<u64, String>,
    next: u32,
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u32,
    used: u64,
}

impl Table {
    /// The name's address.
    pub(super) fn address(&mut self, name: &str) -> Ipv4Addr {
        self.uses += 1;
        let used = self.uses;
        if let Some(entry) = self.by_name.get_mut(name) {
            self.by_use.remove(&entry.used);
            entry.used = used;
            let offset = entry.offset;
            self.by_use.insert(used, name.to_owned());
            return address(offset);
        }
        if self.by_name.len() >= MOST
            && let Some((_, oldest)) = self.by_use.pop_first()
            && let Some(entry) = self.by_name.remove(&oldest)
        {
            self.by_address.remove(&entry.offset);
        }
        let offset = loop {
            self.next = self.next % ADDRESSES + 1;
            // There are far more addresses than names.
            if !self.by_address.contains_key(&self.next) {
                break self.next;
            }
        };
        self.by_name.insert(name.to_owned(), Entry { offset, used });
        self.by_address.insert(offset, name.to_owned());
        self.by_use.insert(used, name.to_owned());
        address(offset)
    }

    /// The name that an address of the range stands for.
    pub(super) fn name(&self, address: Ipv4Addr) -> Option<&str> {
        let offset = address.to_bits().checked_sub(SYNTHETIC.0.to_bits())?;
        self.by_address.get(&offset).map(String::as_str)
    }
}

fn address(offset: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(SYNTHETIC.0.to_bits() + offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::off_limits::is_synthetic;
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_the_oldest_gives_way() {
        let mut table = Table::default();
        let first = table.address("first");
        let second = table.address("second");
        assert_eq!(table.address("first"), first);
        for number in 0..MOST - 1 {
            table.address(&format!("name-{number}"));
        }
        assert_eq!(table.name(first), Some("first"), "it was used later");
        assert_eq!(table.name(second), None);
        assert_eq!(table.by_name.len(), MOST);
        assert_ne!(table.address("second"), second, "not given again so soon");
    }

    #[test]
    fn the_range_is_gone_through_and_never_left() {
        let mut table = Table::default();
        for number in 0..ADDRESSES + 10 {
            let name = format!("name-{number}");
            let address = table.address(&name);
            assert!(is_synthetic(address), "{address}");
            assert_eq!(table.name(address), Some(name.as_str()));
        }
        assert_eq!(table.name(Ipv4Addr::LOCALHOST), None);
        assert_eq!(table.name(Ipv4Addr::BROADCAST), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn names_and_addresses_belong_together(asked in prop::collection::vec(0_u16..6000, 0..9000)) {
            let mut table = Table::default();
            for number in asked {
                let name = number.to_string();
                let address = table.address(&name);
                prop_assert_eq!(table.name(address), Some(name.as_str()));
                prop_assert!(table.by_name.len() <= MOST);
            }
            prop_assert_eq!(table.by_name.len(), table.by_address.len());
            prop_assert_eq!(table.by_name.len(), table.by_use.len());
        }
    }
}
