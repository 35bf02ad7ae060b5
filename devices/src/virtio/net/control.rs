//! The control queue (virtio 1.4 §5.1.9.5): class, command and data from the driver, one byte of answer.

use bringup_spec::virtio::net::{ctrl, feature};

use super::super::device::Host;
use super::header::has;
use super::{GUEST_OFFLOADS, Net};

/// The longest command that is looked at: two tables of more addresses than the device keeps.
const LONGEST: usize = 64 << 10;

impl Net {
    /// Carries out a command and answers it.
    pub(super) fn command(&mut self, host: &mut Host<'_, '_>, queue: u16) -> bool {
        let Some(chain) = host.pop(queue) else { return false };
        let mut bytes = vec![0; chain.readable_len().min(LONGEST as u64 + 1) as usize];
        let whole = bytes.len() <= LONGEST && host.read(&chain, 0, &mut bytes).is_ok_and(|got| got == bytes.len());
        let done = match (whole, bytes.split_first_chunk::<2>()) {
            (true, Some(([class, command], data))) => self.obey(host, *class, *command, data),
            _ => false,
        };
        let answer = if done { ctrl::OK } else { ctrl::ERR };
        let written = host.write(&chain, 0, &[answer]).unwrap_or(0);
        host.push(queue, chain, written as u32);
        true
    }

    fn obey(&mut self, host: &mut Host<'_, '_>, class: u8, command: u8, data: &[u8]) -> bool {
        let features = self.negotiated;
        match (class, command, data) {
            (ctrl::RX, _, [on]) => {
                let needed = if command >= ctrl::RX_ALLUNI { feature::CTRL_RX_EXTRA } else { feature::CTRL_RX };
                has(features, needed) && self.filter.set_mode(command, *on != 0)
            }
            (ctrl::MAC, ctrl::MAC_TABLE_SET, data) => has(features, feature::CTRL_RX) && self.filter.set_tables(data),
            (ctrl::MAC, ctrl::MAC_ADDR_SET, &[a, b, c, d, e, f]) if has(features, feature::CTRL_MAC_ADDR) => {
                self.mac = [a, b, c, d, e, f];
                true
            }
            (ctrl::VLAN, ctrl::VLAN_ADD | ctrl::VLAN_DEL, &[low, high]) => {
                self.filter.set_vlan(u16::from_le_bytes([low, high]), command == ctrl::VLAN_ADD)
            }
            (ctrl::ANNOUNCE, ctrl::ANNOUNCE_ACK, []) if has(features, feature::GUEST_ANNOUNCE) => {
                if std::mem::take(&mut self.announcing) {
                    host.config_changed();
                }
                true
            }
            (ctrl::MQ, ctrl::MQ_VQ_PAIRS_SET, &[low, high]) if has(features, feature::MQ) => {
                let pairs = u16::from_le_bytes([low, high]);
                let possible = (ctrl::MQ_VQ_PAIRS_MIN..=self.options.pairs).contains(&pairs);
                if possible {
                    self.pairs = pairs;
                }
                possible
            }
            (ctrl::GUEST_OFFLOADS, ctrl::GUEST_OFFLOADS_SET, data) if has(features, feature::CTRL_GUEST_OFFLOADS) => {
                let Some(wanted) = data.try_into().ok().map(u64::from_le_bytes) else { return false };
                let possible = u128::from(wanted) & !(features & GUEST_OFFLOADS) == 0;
                if possible {
                    self.offloads = u128::from(wanted);
                }
                possible
            }
            _ => false,
        }
    }
}
