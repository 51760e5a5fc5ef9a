//! The `[rings]` table of the configuration file.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use mcr_core::endpoint::InterfaceName;
use serde::Deserialize;
use toml::Spanned;

use super::log::Wrong;

/// Slots of a ring that the kernel takes: one block of the largest slots, and 32,768.
const SLOTS: RangeInclusive<u32> = 32..=32 * 1024;
/// Bytes of a ring: a block of 64 KiB, and 512 MiB.
const BYTES: RangeInclusive<u64> = 64 * 1024..=512 * 1024 * 1024;

/// How large receive rings are. Every interface has a ring for each worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingsConfig {
    /// Of all interfaces but those below.
    pub size: RingSize,
    /// Of single interfaces.
    pub interfaces: BTreeMap<InterfaceName, RingSize>,
    /// Whether interfaces have a spare ring, ready for a worker that replaces a dead one; none
    /// leaves it to the daemon.
    pub spare: Option<bool>,
}

/// The size of a ring; where both are given, the smaller one holds, and where none is, the daemon
/// chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingSize {
    /// Slots, each for one frame.
    pub slots: Option<u32>,
    /// Bytes of memory.
    pub bytes: Option<u64>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RingsTable {
    slots: Option<Spanned<u32>>,
    bytes: Option<Spanned<u64>>,
    spare: Option<bool>,
    #[serde(default)]
    interface: BTreeMap<String, Spanned<SizeTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeTable {
    slots: Option<Spanned<u32>>,
    bytes: Option<Spanned<u64>>,
}

impl RingsTable {
    pub(super) fn read(self) -> Result<RingsConfig, Wrong> {
        let interfaces = self.interface.into_iter().map(|(name, table)| {
            let name =
                name.parse().map_err(|error| (table.span(), format!("interface: {error}")))?;
            let table = table.into_inner();
            Ok((name, size(table.slots, table.bytes)?))
        });
        Ok(RingsConfig {
            size: size(self.slots, self.bytes)?,
            interfaces: interfaces.collect::<Result<_, Wrong>>()?,
            spare: self.spare,
        })
    }
}

fn size(slots: Option<Spanned<u32>>, bytes: Option<Spanned<u64>>) -> Result<RingSize, Wrong> {
    Ok(RingSize { slots: within("slots", slots, SLOTS)?, bytes: within("bytes", bytes, BYTES)? })
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    number: Option<Spanned<N>>,
    allowed: RangeInclusive<N>,
) -> Result<Option<N>, Wrong> {
    let Some(number) = number else {
        return Ok(None);
    };
    if allowed.contains(number.get_ref()) {
        return Ok(Some(*number.get_ref()));
    }
    let (least, most) = (allowed.start(), allowed.end());
    Err((number.span(), format!("{key}: {} is not within {least} to {most}", number.get_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn sizes_are_read_for_all_and_for_one() {
        let text = "[rings]\nslots = 1024\nspare = false\n\
                    [rings.interface.eth0]\nbytes = 16777216\n";
        let rings = Config::parse(text, "mcr.toml").unwrap().rings;
        assert_eq!(rings.size, RingSize { slots: Some(1024), bytes: None });
        assert_eq!(rings.spare, Some(false));
        let eth0 = rings.interfaces[&"eth0".parse().unwrap()];
        assert_eq!(eth0, RingSize { slots: None, bytes: Some(16_777_216) });
        assert_eq!(Config::parse("", "mcr.toml").unwrap().rings, RingsConfig::default());
    }

    #[test]
    fn an_error_names_its_line() {
        let error = |line: &str| {
            Config::parse(&format!("[rings]\n{line}"), "mcr.toml").unwrap_err().to_string()
        };
        assert_eq!(error("slots = 31"), "mcr.toml:2: slots: 31 is not within 32 to 32768");
        assert_eq!(error("bytes = 1"), "mcr.toml:2: bytes: 1 is not within 65536 to 536870912");
        assert!(error("slot = 1").contains("slot"));
        assert!(
            error("[rings.interface.\"a b\"]\nslots = 64").starts_with("mcr.toml:2: interface")
        );
    }
}
