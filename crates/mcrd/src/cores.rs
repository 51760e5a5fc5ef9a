//! The list of cores: `0-3,6`.

use std::str::FromStr;

/// Cores as they were asked for: ascending, each once, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores(Vec<usize>);

/// Why a list is none, or cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CoresError {
    Form(String),
    Twice(usize),
    NotAllowed(Vec<usize>),
    None,
}

impl std::error::Error for CoresError {}

impl std::fmt::Display for CoresError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form(part) => write!(f, "{part:?} is no core and no range such as 0-3"),
            Self::Twice(core) => write!(f, "core {core} is given twice"),
            Self::NotAllowed(cores) => {
                let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
                let cores = cores.join(", ");
                write!(f, "--cores: this process may not run on {cores} (no such core, or taskset)")
            }
            Self::None => f.write_str("this process may run on no core"),
        }
    }
}

/// More cores than any machine has: a list that names a higher one is a slip of the pen.
const MOST_CORES: usize = 8192;

impl FromStr for Cores {
    type Err = CoresError;

    fn from_str(text: &str) -> Result<Self, CoresError> {
        let mut cores = Vec::new();
        for part in text.split(',') {
            let form = || CoresError::Form(part.into());
            let number = |text: &str| {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let core = text.parse::<usize>().ok().filter(|core| digits && *core < MOST_CORES);
                core.ok_or_else(form)
            };
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(form());
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        match cores.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(CoresError::Twice(pair[0])),
            None => Ok(Self(cores)),
        }
    }
}

/// The cores to use: those asked for, if the process may run on each, or else all that it may.
pub(crate) fn resolve(
    wanted: Option<Cores>,
    allowed: Vec<usize>,
) -> Result<Vec<usize>, CoresError> {
    let Some(Cores(wanted)) = wanted else {
        return if allowed.is_empty() { Err(CoresError::None) } else { Ok(allowed) };
    };
    let refused: Vec<usize> =
        wanted.iter().copied().filter(|core| !allowed.contains(core)).collect();
    if refused.is_empty() { Ok(wanted) } else { Err(CoresError::NotAllowed(refused)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(text: &str) -> Result<Vec<usize>, CoresError> {
        text.parse().map(|Cores(cores)| cores)
    }

    #[test]
    fn numbers_and_ranges() {
        assert_eq!(cores("0-3,6"), Ok(vec![0, 1, 2, 3, 6]));
        assert_eq!(cores("6,0-1"), Ok(vec![0, 1, 6]));
        assert_eq!(cores("5"), Ok(vec![5]));
        assert_eq!(cores("2-2"), Ok(vec![2]));
    }

    #[test]
    fn what_is_no_list_is_named() {
        for text in ["", ",", "1,", "a", "3-1", "1-", "-1", "1-2-3", "+1", " 1", "99999999"] {
            assert!(matches!(cores(text), Err(CoresError::Form(_))), "{text:?}");
        }
        assert_eq!(cores("0-3,2"), Err(CoresError::Twice(2)));
    }

    #[test]
    fn only_allowed_cores_are_used() {
        let wanted = || Some("0-3,6".parse().unwrap());
        assert_eq!(resolve(wanted(), (0..8).collect()), Ok(vec![0, 1, 2, 3, 6]));
        let error = resolve(wanted(), vec![0, 1, 2]).unwrap_err();
        assert_eq!(error, CoresError::NotAllowed(vec![3, 6]));
        assert!(error.to_string().contains("3, 6"));
        assert_eq!(resolve(None, vec![1, 2]), Ok(vec![1, 2]));
        assert_eq!(resolve(None, Vec::new()), Err(CoresError::None));
    }
}
