//! Calls that wait in the kernel, on threads of their own, so that the one loop waits for none.
//!
//! Packet sockets wait for RCU grace periods when a ring is set up, given up or closed: 5 to 40 ms
//! each, several for each socket. Joins and ingress programs wait for RTNL, a lock that others may
//! hold for seconds. Threads that wait for a grace period share it, so many at once cost little
//! more time than one.

use std::io;
use std::sync::{Arc, mpsc as channel};
use std::thread;
use std::time::Instant;

use mcr_sys::{privileges, process};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::sleep;

use crate::event::Event;
use crate::limits;

/// Has other threads make calls. Clones share the bound on the number of threads.
#[derive(Clone, Debug)]
pub(crate) struct Hands(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    threads: Threads,
    events: mpsc::Sender<Event>,
    /// Every order holds a clone until it is done.
    orders: Order,
}

/// Marks an order that is not done, until it is dropped.
pub(crate) type Order = Arc<()>;

impl Hands {
    /// Answers come to `events`.
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        let threads = Threads(Arc::new(Semaphore::new(limits::THREADS)));
        Self(Arc::new(Shared { threads, events, orders: Order::default() }))
    }

    /// Begins an order; its answer comes as an event.
    pub(crate) fn begin<W, F>(&self, work: W)
    where
        W: FnOnce(Threads) -> F,
        F: Future<Output = Event> + Send + 'static,
    {
        let work = work(self.0.threads.clone());
        let (events, order) = (self.0.events.clone(), self.order());
        tokio::spawn(async move {
            let answer = work.await;
            drop(order);
            // Without a supervisor there is nobody to be told.
            _ = events.send(answer).await;
        });
    }

    /// Closes something that waits in the kernel while it does.
    pub(crate) fn dispose<T: Send + 'static>(&self, held: T) {
        let (threads, order) = (self.0.threads.clone(), self.order());
        tokio::spawn(async move {
            threads.dispose(held).await;
            drop(order);
        });
    }

    /// Closes each of these, all at once.
    pub(crate) fn dispose_all<T: Send + 'static>(&self, held: impl IntoIterator<Item = T>) {
        held.into_iter().for_each(|held| self.dispose(held));
    }

    /// A thread that owns `state` and changes it by one order after the other.
    pub(crate) fn serial<S: Send + 'static>(
        &self,
        name: &'static str,
        rights: Rights,
        state: S,
    ) -> Serial<S> {
        Serial { name, rights, hands: self.clone(), state: Some(state), orders: None }
    }

    /// Waits until every order is done, or until the deadline.
    pub(crate) async fn finish(&self, deadline: Instant) {
        while Arc::strong_count(&self.0.orders) > 1 && Instant::now() < deadline {
            sleep(limits::FINISH_CHECK).await;
        }
    }

    fn order(&self) -> Order {
        Arc::clone(&self.0.orders)
    }
}

/// Whether a thread that stays keeps the supervisor's capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// To raise them around its calls ([`crate::privileged`]).
    Kept,
    /// Its calls need none.
    None,
}

/// The threads on which an order makes its calls.
#[derive(Clone, Debug)]
pub(crate) struct Threads(Arc<Semaphore>);

impl Threads {
    /// Makes a call on a thread that begins when there are not too many.
    ///
    /// # Errors
    /// Where the kernel has no thread to give: the call was not made.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let permit = self.permit().await;
        let (answer, answered) = oneshot::channel();
        start("kernel", move || {
            // Clearing rings takes a core's time, which workers and clients need more.
            _ = process::be_nice(limits::THREAD_NICENESS);
            // It began with the loop's own niceness. Many new ones would take a slice each.
            thread::yield_now();
            let value = call();
            drop(permit);
            // Whoever asked may have gone.
            _ = answer.send(value);
        })?;
        answered.await.map_err(|_| io::Error::other("a thread ended without an answer"))
    }

    /// Closes something on a thread, or here where there is no thread to be had.
    pub(crate) async fn dispose<T: Send + 'static>(&self, held: T) {
        _ = self.call(move || drop(held)).await;
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.0).acquire_owned().await.expect("nobody closes it")
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into()).stack_size(limits::THREAD_STACK_BYTES);
    thread.spawn(run).map(drop).map_err(|cause| {
        let limit = "raise the limit of threads (TasksMax= of the service, or ulimit -u)";
        io::Error::new(cause.kind(), format!("starting a thread: {cause}: {limit}"))
    })
}

type Change<S> = Box<dyn FnOnce(&mut S, &mpsc::Sender<Event>) + Send>;

/// The way to a thread that owns a state. The thread begins with the first order.
#[derive(Debug)]
pub(crate) struct Serial<S> {
    name: &'static str,
    rights: Rights,
    hands: Hands,
    /// `None`: the thread has it.
    state: Option<S>,
    orders: Option<channel::Sender<Change<S>>>,
}

impl<S: Send + 'static> Serial<S> {
    /// Has the thread change the state, after all that was ordered before. Answers go to the sender
    /// that it is given.
    ///
    /// # Errors
    /// Where the kernel has no thread to give: the order is lost, and the state as it was.
    pub(crate) fn order(
        &mut self,
        change: impl FnOnce(&mut S, &mpsc::Sender<Event>) + Send + 'static,
    ) -> io::Result<()> {
        if self.orders.is_none() {
            self.orders = Some(self.begin()?);
        }
        let order = self.hands.order();
        let change: Change<S> = Box::new(move |state, events| {
            change(state, events);
            drop(order);
        });
        let orders = self.orders.as_ref().expect("they were just made");
        orders.send(change).map_err(|_| io::Error::other(format!("the thread {} died", self.name)))
    }

    fn begin(&mut self) -> io::Result<channel::Sender<Change<S>>> {
        let (orders, ordered) = channel::channel::<Change<S>>();
        let (give, given) = channel::channel::<S>();
        let (events, rights) = (self.hands.0.events.clone(), self.rights);
        start(self.name, move || {
            if rights == Rights::None {
                privileges::renounce();
            }
            let Ok(mut state) = given.recv() else { return };
            for change in ordered {
                change(&mut state, &events);
            }
        })?;
        if let Some(state) = self.state.take() {
            _ = give.send(state);
        }
        Ok(orders)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn run(test: impl AsyncFnOnce(Hands, mpsc::Receiver<Event>)) {
        let (events, inbox) = mpsc::channel(8);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(Hands::new(events), inbox));
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn an_order_runs_elsewhere_and_its_answer_is_an_event() {
        run(async |hands, mut inbox| {
            let here = thread::current().id();
            hands.begin(|threads| async move {
                let there = threads.call(|| thread::current().id()).await.unwrap();
                assert_ne!(there, here);
                Event::Terminate
            });
            assert!(matches!(inbox.recv().await, Some(Event::Terminate)));
        });
    }

    #[test]
    fn the_end_waits_for_every_order() {
        struct Slow(Arc<AtomicUsize>);
        impl Drop for Slow {
            fn drop(&mut self) {
                thread::sleep(Duration::from_millis(20));
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        run(async |hands, _inbox| {
            let closed = Arc::new(AtomicUsize::new(0));
            for _ in 0..3 * limits::THREADS {
                hands.dispose(Slow(Arc::clone(&closed)));
            }
            hands.finish(soon()).await;
            assert_eq!(closed.load(Ordering::Relaxed), 3 * limits::THREADS);
        });
    }

    #[test]
    fn a_serial_thread_keeps_the_order() {
        run(async |hands, _inbox| {
            let mut serial = hands.serial("numbers", Rights::None, Vec::new());
            for number in 0..100 {
                serial.order(move |numbers, _| numbers.push(number)).unwrap();
            }
            let (answer, answered) = oneshot::channel();
            serial.order(move |numbers, _| _ = answer.send(numbers.clone())).unwrap();
            assert_eq!(answered.await.unwrap(), (0..100).collect::<Vec<_>>());
            hands.finish(soon()).await;
        });
    }
}
