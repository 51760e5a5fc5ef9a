//! The interfaces that hold something for the rules: whether each is still the one it was.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use mcr_core::ids::IfIndex;
use mcr_core::interfaces::Interfaces;
use mcr_sys::device::{DeviceWatch, Passage};
use nix::errno::Errno;
use tracing::warn;

use super::Refusal;
use crate::privileged;

/// A watch on each of them.
#[derive(Debug, Default)]
pub(crate) struct Devices(BTreeMap<IfIndex, DeviceWatch>);

/// Their incidents.
#[derive(Debug, Default)]
pub(crate) struct Passages {
    /// Gone; those of `absent` without another of the number.
    pub(crate) gone: BTreeSet<IfIndex>,
    pub(crate) absent: BTreeSet<IfIndex>,
    pub(crate) were_down: BTreeSet<IfIndex>,
    /// Watches on those gone, to be closed elsewhere: that waits in the kernel.
    pub(crate) ended: Vec<DeviceWatch>,
}

impl Devices {
    /// Watches the interface, before anything is asked of the kernel there.
    pub(crate) fn watch(&mut self, ifindex: IfIndex) -> Result<(), Refusal> {
        if let Entry::Vacant(vacant) = self.0.entry(ifindex) {
            vacant.insert(privileged::device_watch(ifindex.0)?);
        }
        Ok(())
    }

    /// Their incidents since they were last asked.
    pub(crate) fn passages(&mut self) -> Passages {
        let mut passages = Passages::default();
        let mut unwatched = BTreeSet::new();
        for (&ifindex, watch) in &mut self.0 {
            match watch.look() {
                Ok(Passage::Steady) => {}
                Ok(Passage::WasDown) => {
                    passages.were_down.insert(ifindex);
                }
                Ok(Passage::Gone) => {
                    passages.gone.insert(ifindex);
                    // At once, or what befalls the next one would pass unnoticed.
                    match privileged::device_watch(ifindex.0) {
                        Ok(another) => {
                            passages.ended.push(std::mem::replace(watch, another));
                        }
                        Err(error) => {
                            // For another reason, whoever asks for something there is told.
                            if error.cause.raw_os_error() == Some(Errno::ENODEV as i32) {
                                passages.absent.insert(ifindex);
                            }
                            unwatched.insert(ifindex);
                        }
                    }
                }
                Err(error) => warn!(
                    "interface {ifindex} cannot be watched: {error}; should another one take its \
                     number and its rules receive nothing, restart mcrd"
                ),
            }
        }
        let unwatched = self.0.extract_if(.., |ifindex, _| unwatched.contains(ifindex));
        passages.ended.extend(unwatched.map(|(_, watch)| watch));
        passages
    }

    /// Ends every watch.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = DeviceWatch> + use<> {
        std::mem::take(&mut self.0).into_values()
    }

    /// Ends the watches on all interfaces but these. Returns them, to be closed elsewhere.
    pub(crate) fn keep(&mut self, interfaces: &Interfaces) -> Vec<DeviceWatch> {
        let there: BTreeSet<IfIndex> = interfaces.iter().map(|i| i.index).collect();
        self.0
            .extract_if(.., |ifindex, _| !there.contains(ifindex))
            .map(|(_, watch)| watch)
            .collect()
    }
}
