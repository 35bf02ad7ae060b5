//! Which frames a driver wants to receive (virtio 1.4 §5.1.9.5.1 to §5.1.9.5.3).

use bringup_spec::virtio::net::ctrl;

/// A MAC address.
pub type Mac = [u8; 6];

/// The most addresses that a table holds; with more the device lets all through.
const MOST: usize = 64;

/// The receive filter. At first everything comes through, as nobody said what is wanted.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    promiscuous: bool,
    all_multicast: bool,
    all_unicast: bool,
    no_multicast: bool,
    no_unicast: bool,
    no_broadcast: bool,
    unicast: Table,
    multicast: Table,
    /// A bit for each VLAN; `None`: VLANs are not filtered.
    vlans: Option<Box<[u64; 64]>>,
}

/// Addresses that are let in.
#[derive(Clone, Debug, Default)]
struct Table {
    addresses: Vec<Mac>,
    /// There were more than fit.
    overflow: bool,
}

impl Table {
    fn has(&self, address: Mac) -> bool {
        self.overflow || self.addresses.contains(&address)
    }
}

impl Filter {
    /// What holds after a reset, or when the driver comes up; `vlans`: it negotiated CTRL_VLAN.
    pub(super) fn new(vlans: bool) -> Self {
        Self {
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            unicast: Table::default(),
            multicast: Table::default(),
            vlans: vlans.then(|| Box::new([0; 64])),
        }
    }

    /// Whether a frame is wanted by a device with this address.
    pub(super) fn admits(&self, frame: &[u8], own: Mac) -> bool {
        let Some(&[a, b, c, d, e, f]) = frame.get(..6) else { return false };
        if self.promiscuous {
            return true;
        }
        let to = [a, b, c, d, e, f];
        self.admits_vlan(frame)
            && if to == [0xff; 6] {
                !self.no_broadcast
            } else if a & 1 != 0 {
                !self.no_multicast && (self.all_multicast || self.multicast.has(to))
            } else {
                !self.no_unicast && (self.all_unicast || to == own || self.unicast.has(to))
            }
    }

    fn admits_vlan(&self, frame: &[u8]) -> bool {
        match (&self.vlans, frame.get(12..16)) {
            (Some(vlans), Some(&[0x81, 0x00, high, low])) => {
                let vlan = usize::from(u16::from_be_bytes([high, low]) & 0xfff);
                vlans.get(vlan / 64).is_some_and(|word| word >> (vlan % 64) & 1 != 0)
            }
            _ => true,
        }
    }

    /// A command of the class RX, with its only byte of data; `false` if there is no such one.
    pub(super) fn set_mode(&mut self, command: u8, on: bool) -> bool {
        let mode = match command {
            ctrl::RX_PROMISC => &mut self.promiscuous,
            ctrl::RX_ALLMULTI => &mut self.all_multicast,
            ctrl::RX_ALLUNI => &mut self.all_unicast,
            ctrl::RX_NOMULTI => &mut self.no_multicast,
            ctrl::RX_NOUNI => &mut self.no_unicast,
            ctrl::RX_NOBCAST => &mut self.no_broadcast,
            _ => return false,
        };
        *mode = on;
        true
    }

    /// Takes the two tables of a command; `false` if they are not what they say.
    pub(super) fn set_tables(&mut self, data: &[u8]) -> bool {
        let Some((unicast, rest)) = table(data) else { return false };
        let Some((multicast, rest)) = table(rest) else { return false };
        if !rest.is_empty() {
            return false;
        }
        (self.unicast, self.multicast) = (unicast, multicast);
        true
    }

    /// Lets a VLAN in or keeps it out; `false` if there is no such one.
    pub(super) fn set_vlan(&mut self, vlan: u16, on: bool) -> bool {
        let word = self.vlans.as_mut().and_then(|vlans| vlans.get_mut(usize::from(vlan / 64)));
        let Some(word) = word else { return false };
        let bit = 1 << (vlan % 64);
        *word = if on { *word | bit } else { *word & !bit };
        true
    }
}

/// A table and what follows it.
fn table(data: &[u8]) -> Option<(Table, &[u8])> {
    let (count, rest) = data.split_first_chunk::<4>()?;
    let bytes = (u32::from_le_bytes(*count) as usize).checked_mul(6)?;
    let (entries, rest) = rest.split_at_checked(bytes)?;
    let addresses = entries.chunks_exact(6).filter_map(|entry| entry.try_into().ok());
    let overflow = bytes / 6 > MOST;
    Some((Table { addresses: addresses.take(MOST).collect(), overflow }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 2];
    const GROUP: Mac = [3, 0, 0, 0, 0, 9];

    fn admits(filter: &Filter, to: Mac) -> bool {
        filter.admits(&[&to[..], &[0; 54]].concat(), OWN)
    }

    #[test]
    fn only_what_is_asked_for_comes_through() {
        let mut filter = Filter::new(false);
        assert!(admits(&filter, OTHER));
        assert!(filter.set_mode(ctrl::RX_PROMISC, false));
        assert_eq!([OWN, OTHER, GROUP, [0xff; 6]].map(|to| admits(&filter, to)), [true, false, false, true]);
        let tables = [&[1, 0, 0, 0][..], &OTHER, &[1, 0, 0, 0], &GROUP].concat();
        assert!(filter.set_tables(&tables));
        assert_eq!([OWN, OTHER, GROUP].map(|to| admits(&filter, to)), [true, true, true]);
        for (mode, to) in [(ctrl::RX_NOUNI, OWN), (ctrl::RX_NOMULTI, GROUP), (ctrl::RX_NOBCAST, [0xff; 6])] {
            assert!(filter.set_mode(mode, true));
            assert!(!admits(&filter, to));
        }
        assert!(!filter.set_mode(6, true));
    }

    #[test]
    fn tables_that_lie_about_their_length_are_refused_and_change_nothing() {
        let mut filter = Filter::new(false);
        filter.set_mode(ctrl::RX_PROMISC, false);
        let right = [&[1, 0, 0, 0][..], &OTHER, &[0; 4]].concat();
        assert!(filter.set_tables(&right));
        let huge = [&[0xff; 4][..], &OTHER, &[0; 4]].concat();
        for wrong in [&right[..13], &right[..9], &[], &[&right[..], &[0]].concat(), &huge] {
            assert!(!filter.set_tables(wrong));
        }
        assert!(admits(&filter, OTHER));
    }

    #[test]
    fn vlans_come_through_when_they_were_added() {
        let mut filter = Filter::new(true);
        filter.set_mode(ctrl::RX_PROMISC, false);
        let tagged = [&OWN[..], &OTHER, &[0x81, 0, 0xe0, 5], &[0; 46]].concat();
        assert!(!filter.admits(&tagged, OWN));
        assert!(filter.set_vlan(5, true) && filter.admits(&tagged, OWN));
        assert!(filter.set_vlan(5, false) && !filter.admits(&tagged, OWN));
        assert!(!filter.set_vlan(4096, true));
        assert!(admits(&filter, OWN));
    }
}
