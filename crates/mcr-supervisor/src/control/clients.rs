//! Connected clients: their limits, and refusals.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcr_api::control::Access;

use super::pace::Pace;
use super::peer::{Peer, is_master};
use crate::limits;

/// Makes the enum and its names, so that no list of them can miss one.
macro_rules! refusals {
    ($($refusal:ident = $name:literal, $about:literal;)+) => {
        /// Why a client, or what it asks, was not served at once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Refusal {
            $(#[doc = $about] $refusal,)+
        }

        /// All of them, by their names, in their order.
        const REFUSALS: &[&str] = &[$($name,)+];
    };
}

refusals! {
    NotAllowed = "not_allowed", "A client whose user and groups may not use the socket.";
    Clients = "clients", "A client beyond as many as there may be.";
    ClientsOfUser = "clients_of_user", "A client beyond as many as its user may have.";
    Readers = "readers", "A client beyond as many as may look at a time.";
    Forbidden = "forbidden", "A change asked for at the read-only socket.";
    Length = "length", "A request that was too long.";
    Rate = "rate", "A request that had to wait, since its client asked too much.";
    Idle = "idle", "A client that was silent for too long.";
    Unread = "unread", "A client that did not read what it was told.";
}

/// The clients of all control sockets.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    connected: Mutex<Connected>,
    refusals: [AtomicU64; REFUSALS.len()],
}

#[derive(Debug, Default)]
struct Connected {
    all: usize,
    readers: usize,
    /// Users other than those who can end the daemon anyway.
    users: BTreeMap<u32, User>,
}

/// The clients of one user, who share what may be asked: connecting anew earns nothing.
#[derive(Debug)]
struct User {
    clients: usize,
    pace: SharedPace,
}

type SharedPace = Arc<Mutex<Pace>>;

/// A client's place; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) peer: Arc<Peer>,
    clients: Arc<Clients>,
    pace: SharedPace,
}

impl Clients {
    /// Takes a client in, or says why not.
    pub(super) fn take_in(self: &Arc<Self>, peer: Peer) -> Result<Place, Refusal> {
        let now = Instant::now();
        let mut connected = self.connected();
        let pace = connected.take_in(&peer, now).inspect_err(|refusal| self.count(*refusal))?;
        drop(connected);
        Ok(Place { peer: Arc::new(peer), clients: Arc::clone(self), pace })
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many are connected.
    pub(crate) fn connected_count(&self) -> usize {
        self.connected().all
    }

    /// How often there was which refusal.
    pub(crate) fn refusals(&self) -> Vec<(&'static str, u64)> {
        let counts = self.refusals.iter().map(|count| count.load(Ordering::Relaxed));
        REFUSALS.iter().copied().zip(counts).collect()
    }

    /// What it holds is whole at every moment.
    fn connected(&self) -> MutexGuard<'_, Connected> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    fn take_in(&mut self, peer: &Peer, now: Instant) -> Result<SharedPace, Refusal> {
        // Nothing else has to be remembered of a user who has gone.
        self.users.retain(|_, user| user.clients > 0 || !lock(&user.pace).is_settled(now));
        let is_reader = peer.access == Access::Read;
        if self.all >= limits::CLIENTS {
            return Err(Refusal::Clients);
        }
        if is_reader && self.readers >= limits::READERS {
            return Err(Refusal::Readers);
        }
        let new_pace = || Arc::new(Mutex::new(Pace::new(now)));
        let pace = if is_master(peer.uid) {
            new_pace()
        } else {
            let user = self.users.entry(peer.uid);
            let user = user.or_insert_with(|| User { clients: 0, pace: new_pace() });
            if user.clients >= limits::CLIENTS_OF_A_USER {
                return Err(Refusal::ClientsOfUser);
            }
            user.clients += 1;
            Arc::clone(&user.pace)
        };
        self.all += 1;
        self.readers += usize::from(is_reader);
        Ok(pace)
    }

    fn let_go(&mut self, peer: &Peer) {
        self.all -= 1;
        self.readers -= usize::from(peer.access == Access::Read);
        if let Some(user) = self.users.get_mut(&peer.uid) {
            user.clients -= 1;
        }
    }
}

impl Refusal {
    /// The error for a client that is not taken in.
    pub(super) fn sentence(self) -> String {
        match self {
            Self::Clients => {
                format!(
                    "limit reached: {} clients are connected; close one and try again",
                    limits::CLIENTS
                )
            }
            Self::ClientsOfUser => {
                let most = limits::CLIENTS_OF_A_USER;
                format!("limit reached: {most} clients of this user are connected; close one")
            }
            Self::Readers => {
                let most = limits::READERS;
                format!("limit reached: {most} clients of the read-only socket; try again later")
            }
            _ => "this client is not served".into(),
        }
    }
}

impl Place {
    pub(super) fn count(&self, refusal: Refusal) {
        self.clients.count(refusal);
    }

    /// Takes what a request has cost.
    pub(super) fn charge(&self, cost: Duration) {
        lock(&self.pace).charge(cost, Instant::now());
    }

    /// How long the next request has to wait.
    pub(super) fn wait(&self) -> Duration {
        lock(&self.pace).wait(Instant::now())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.connected().let_go(&self.peer);
    }
}

fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn peer(uid: u32, access: Access) -> Peer {
        Peer { uid, user: None, pid: None, access }
    }

    /// A place of root's, for tests of what is done at one.
    pub(in super::super) fn place(access: Access) -> Place {
        Arc::<Clients>::default().take_in(peer(0, access)).unwrap()
    }

    fn count(clients: &Clients, name: &str) -> u64 {
        clients.refusals().into_iter().find(|(found, _)| *found == name).unwrap().1
    }

    #[test]
    fn a_user_has_so_many_and_root_as_many_as_there_are() {
        let clients: Arc<Clients> = Arc::default();
        let take = |uid| clients.take_in(peer(uid, Access::Change));
        let of_user: Vec<_> = (0..limits::CLIENTS_OF_A_USER).map(|_| take(7).unwrap()).collect();
        assert_eq!(take(7).unwrap_err(), Refusal::ClientsOfUser);
        let of_other = take(8).unwrap();
        let mut of_root: Vec<_> = std::iter::from_fn(|| take(0).ok()).collect();
        assert_eq!(of_root.len(), limits::CLIENTS - limits::CLIENTS_OF_A_USER - 1);
        assert_eq!((count(&clients, "clients_of_user"), count(&clients, "clients")), (1, 1));
        assert_eq!(clients.connected_count(), limits::CLIENTS);
        of_root.pop();
        drop(of_user);
        assert!(take(7).is_ok() && take(0).is_ok());
        drop((of_root, of_other));
        assert_eq!(clients.connected_count(), 0);
    }

    #[test]
    fn who_looks_leaves_room_for_who_changes() {
        let clients: Arc<Clients> = Arc::default();
        let look = || clients.take_in(peer(0, Access::Read));
        let looking: Vec<_> = std::iter::from_fn(|| look().ok()).collect();
        assert_eq!((looking.len(), count(&clients, "readers")), (limits::READERS, 1));
        assert!(clients.take_in(peer(7, Access::Change)).is_ok());
        drop(looking);
        assert!(look().is_ok());
    }

    #[test]
    fn connecting_anew_earns_nothing_and_others_do_not_pay() {
        let clients: Arc<Clients> = Arc::default();
        let take = |uid| clients.take_in(peer(uid, Access::Read)).unwrap();
        let place = take(7);
        place.charge(2 * limits::CREDIT);
        assert!(!take(7).wait().is_zero());
        drop(place);
        assert!(!take(7).wait().is_zero());
        assert!(take(8).wait().is_zero());
        let root = take(0);
        root.charge(2 * limits::CREDIT);
        assert!(!root.wait().is_zero() && take(0).wait().is_zero());
    }

    #[test]
    fn a_user_who_has_gone_is_forgotten() {
        let clients: Arc<Clients> = Arc::default();
        for uid in 1_000_000..1_000_100 {
            drop(clients.take_in(peer(uid, Access::Read)).unwrap());
        }
        assert_eq!(clients.connected().users.len(), 1);
    }
}
