//! How far a worker is confined, as its ledger says it and as operators are shown it.

use serde::{Deserialize, Serialize};

use super::launch::Sandbox;

/// In the ledger's word: it has been written.
const SAID: u64 = 1;
/// In the ledger's word: the sandbox is on.
const ON: u64 = 1 << 1;
/// In the ledger's word: the first of the lacks.
const LACKS: u32 = 2;

/// The confinement of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Whether it has given up anything.
    pub sandbox: Sandbox,
    /// Parts that the sandbox lacks.
    pub lacks: Vec<Lack>,
}

/// A layer of the sandbox that could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// It runs as the daemon's user.
    OwnUser,
    /// Its bounding set of capabilities is not empty.
    BoundingSet,
    /// Landlock denies it nothing.
    Landlock,
}

impl Lack {
    const ALL: [Self; 3] = [Self::OwnUser, Self::BoundingSet, Self::Landlock];

    /// A part of the sandbox that is lacking, and its remedy.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::OwnUser => "a user of its own (mcrd needs CAP_SETUID and CAP_SETGID)",
            Self::BoundingSet => "an empty capability bounding set (mcrd needs CAP_SETPCAP)",
            Self::Landlock => "Landlock (Linux 5.13 or later, lsm=landlock)",
        }
    }

    fn bit(self) -> u64 {
        1 << (LACKS + self as u32)
    }
}

impl Confinement {
    /// The ledger's word.
    pub fn code(&self) -> u64 {
        let on = if self.sandbox == Sandbox::On { ON } else { 0 };
        self.lacks.iter().fold(SAID | on, |code, lack| code | lack.bit())
    }

    /// Reads a ledger's word; `None` before the worker has written it.
    pub fn from_code(code: u64) -> Option<Self> {
        let sandbox = if code & ON == 0 { Sandbox::Off } else { Sandbox::On };
        let lacks = Lack::ALL.into_iter().filter(|lack| code & lack.bit() != 0).collect();
        (code & SAID != 0).then_some(Self { sandbox, lacks })
    }

    /// A note for the operator; `None` where all is as it should be.
    pub fn trouble(&self) -> Option<String> {
        match (self.sandbox, &self.lacks[..]) {
            (Sandbox::Off, _) => Some("its sandbox is off".into()),
            (Sandbox::On, []) => None,
            (Sandbox::On, lacks) => {
                let lacks: Vec<_> = lacks.iter().map(|lack| lack.remedy()).collect();
                Some(format!("its sandbox is without {}", lacks.join(", without ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        assert_eq!(Confinement::from_code(0), None);
        for bits in 0..1 << Lack::ALL.len() {
            let lacks = Lack::ALL.into_iter().filter(|lack| bits >> *lack as u32 & 1 == 1);
            let confinement = Confinement { sandbox: Sandbox::On, lacks: lacks.collect() };
            assert_eq!(Confinement::from_code(confinement.code()).as_ref(), Some(&confinement));
            assert_eq!(confinement.trouble().is_none(), bits == 0);
        }
        let off = Confinement { sandbox: Sandbox::Off, lacks: vec![] };
        assert_eq!(Confinement::from_code(off.code()).as_ref(), Some(&off));
        assert_eq!(off.trouble().as_deref(), Some("its sandbox is off"));
    }
}
