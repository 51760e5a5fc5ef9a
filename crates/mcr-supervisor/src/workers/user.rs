//! The user of the workers.

use mcr_sys::sandbox::User;
use nix::unistd;

use crate::settings::StartError;

/// Theirs alone, where the package or the operator has made it.
const OWN: &str = "mcr-worker";
/// Everybody's who has no other.
const NOBODY: &str = "nobody";
/// The kernel's own overflow user (`DEFAULT_OVERFLOWUID`, `linux/highuid.h`).
const OVERFLOW: User = User { uid: 65_534, gid: 65_534 };

/// The user of that name; without one [`OWN`], or else [`NOBODY`].
///
/// # Errors
/// [`StartError::WorkerUser`]: there is none of that name.
pub(crate) fn of_workers(name: Option<&str>) -> Result<User, StartError> {
    match name {
        Some(name) => find(name).ok_or_else(|| StartError::WorkerUser(name.to_owned())),
        None => Ok(find(OWN).or_else(|| find(NOBODY)).unwrap_or(OVERFLOW)),
    }
}

/// What cannot be read, as in a container without such files, has no users either.
fn find(name: &str) -> Option<User> {
    let user = unistd::User::from_name(name).ok()??;
    Some(User { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_there_is_always_one() {
        assert_eq!(of_workers(Some("root")).unwrap(), User { uid: 0, gid: 0 });
        assert!(of_workers(None).unwrap().uid > 0);
        let error = of_workers(Some("no-such-user")).unwrap_err().to_string();
        assert!(error.contains("no-such-user") && error.contains("--worker-user"), "{error}");
    }
}
