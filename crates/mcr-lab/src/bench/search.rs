//! Finds the clean rate: the highest rate that a relay carries with next to no loss.
//!
//! Geometric steps until the rate is between a clean and a lossy one, then halving of the interval.
//! Holds no clock and sends nothing: the caller offers what [`Search::rate`] asks for.

use serde::Serialize;

/// Each step of the first part is so much faster or slower than the one before.
const STRIDE: f64 = 1.4;

/// Likewise where the rate is known from before.
const SHORT_STRIDE: f64 = 1.08;

/// How often a rate is offered before it counts as too high. One hiccup of the machine (a virtual
/// one may lose its core for milliseconds) is not the relay's limit; two in a row are taken for it.
const TRIES: u32 = 2;

/// What came of offering a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Hardly anything was lost.
    Clean,
    /// Too much was lost on the way through the relay.
    Lossy,
    /// The receiver itself lost datagrams, so the step says nothing of the relay.
    SinkLost,
    /// The generator fell short of the rate, but what it sent came through.
    GeneratorSlow,
}

/// What a clean rate is limited by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    /// The relay: it loses more at a higher rate.
    Relay,
    /// The generator: the relay may carry more.
    Generator,
    /// The sink: the relay may carry more.
    Sink,
}

/// A search under way.
#[derive(Debug, Clone)]
pub(super) struct Search {
    next: f64,
    clean: Option<f64>,
    lossy: Option<f64>,
    tries: u32,
    stride: f64,
    precision: f64,
    limit: Limit,
    ended: bool,
}

impl Search {
    /// Begins at `first` datagrams a second and ends when the rate is known to `precision`, such
    /// as 0.02.
    pub(super) fn new(first: f64, precision: f64) -> Self {
        Self {
            next: first,
            clean: None,
            lossy: None,
            tries: 0,
            stride: STRIDE,
            precision,
            limit: Limit::Relay,
            ended: false,
        }
    }

    /// Begins just below a clean rate found before: fewer steps, if it still holds.
    pub(super) fn near(known: f64, precision: f64) -> Self {
        Self { stride: SHORT_STRIDE, ..Self::new(known / SHORT_STRIDE, precision) }
    }

    /// The rate to offer next; `None` when the search has ended.
    pub(super) fn rate(&self) -> Option<f64> {
        (!self.ended).then_some(self.next)
    }

    /// Takes what came of it; `offered` is what the generator reached.
    pub(super) fn judge(&mut self, offered: f64, step: Step) {
        if !self.has_risen(offered, step) {
            self.tries += 1;
            if self.tries < TRIES {
                return;
            }
        }
        self.tries = 0;
        match step {
            Step::Clean => self.clean = Some(offered.max(self.clean.unwrap_or(0.0))),
            Step::GeneratorSlow => {
                self.ended = !self.has_risen(offered, step);
                self.clean = Some(offered.max(self.clean.unwrap_or(0.0)));
                self.limit = Limit::Generator;
            }
            Step::Lossy => {
                self.lossy = Some(offered);
                self.limit = Limit::Relay;
            }
            Step::SinkLost => {
                self.lossy = Some(offered);
                self.limit = Limit::Sink;
            }
        }
        self.advance();
    }

    /// Whether the step shows a higher clean rate. A generator that falls short may only have been
    /// kept from its core: its limit is where asking for more brings no more.
    fn has_risen(&self, offered: f64, step: Step) -> bool {
        match step {
            Step::Clean => true,
            Step::GeneratorSlow => {
                self.clean.is_none_or(|clean| offered > clean * (1.0 + self.precision))
            }
            Step::Lossy | Step::SinkLost => false,
        }
    }

    /// The clean rate, and what it is limited by; 0 where no rate was clean.
    pub(super) fn found(&self) -> (f64, Limit) {
        (self.clean.unwrap_or(0.0), self.limit)
    }

    fn advance(&mut self) {
        self.next = match (self.clean, self.lossy) {
            (Some(_), None) => self.next * self.stride,
            (None, Some(lossy)) => lossy / self.stride,
            (Some(clean), Some(lossy)) => (clean * lossy).sqrt(),
            (None, None) => self.next,
        };
        let known =
            |clean: f64| self.lossy.is_some_and(|lossy| lossy <= clean * (1.0 + self.precision));
        // Below 100 a second a step of a second says nothing any more.
        self.ended |= self.clean.is_some_and(known) || self.next < 100.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search against a relay that carries up to `capacity`; returns the steps it took.
    fn search(first: f64, mut relay: impl FnMut(f64) -> (f64, Step)) -> (Search, u32) {
        let mut search = Search::new(first, 0.02);
        let mut steps = 0;
        while let Some(rate) = search.rate() {
            let (offered, step) = relay(rate);
            search.judge(offered, step);
            steps += 1;
            assert!(steps < 100, "the search does not end");
        }
        (search, steps)
    }

    fn up_to(capacity: f64) -> impl FnMut(f64) -> (f64, Step) {
        move |rate| (rate, if rate <= capacity { Step::Clean } else { Step::Lossy })
    }

    #[test]
    fn the_clean_rate_is_found_from_below_and_above() {
        for (first, capacity) in [(100e3, 337e3), (100e3, 12e3), (100e3, 100e3), (1e6, 999e3)] {
            let (search, steps) = search(first, up_to(capacity));
            let (rate, limit) = search.found();
            assert!(rate <= capacity && rate * 1.02 >= capacity, "{rate} of {capacity}");
            assert_eq!(limit, Limit::Relay);
            assert!(steps < 25, "{steps} steps");
        }
    }

    #[test]
    fn a_known_rate_is_found_again_in_few_steps() {
        let mut relay = up_to(337e3);
        let mut search = Search::near(330e3, 0.02);
        let mut steps = 0;
        while let Some(rate) = search.rate() {
            let (offered, step) = relay(rate);
            search.judge(offered, step);
            steps += 1;
        }
        assert!(search.found().0 > 330e3 && steps <= 8, "{steps} steps");
    }

    #[test]
    fn one_hiccup_does_not_mislead() {
        let (mut relay, mut count) = (up_to(300e3), 0);
        let (search, _) = search(200e3, move |rate| {
            count += 1;
            if count == 1 { (rate, Step::Lossy) } else { relay(rate) }
        });
        assert!(search.found().0 > 290e3);
    }

    #[test]
    fn a_slow_generator_ends_the_search() {
        let (search, _) = search(500e3, |rate| {
            let offered = rate.min(800e3);
            (offered, if offered < rate * 0.95 { Step::GeneratorSlow } else { Step::Clean })
        });
        assert_eq!(search.found(), (800e3, Limit::Generator));
    }

    #[test]
    fn a_generator_kept_from_its_core_does_not_end_the_search() {
        let mut count = 0;
        let (search, _) = search(100e3, move |rate| {
            count += 1;
            match rate {
                _ if count < 3 => (rate * 0.8, Step::GeneratorSlow),
                _ if rate <= 337e3 => (rate, Step::Clean),
                _ => (rate, Step::Lossy),
            }
        });
        let (rate, limit) = search.found();
        assert!(rate > 330e3, "{rate}");
        assert_eq!(limit, Limit::Relay);
    }

    #[test]
    fn what_the_sink_cannot_take_is_named_so() {
        let (search, _) =
            search(500e3, |rate| (rate, if rate > 600e3 { Step::SinkLost } else { Step::Clean }));
        let (rate, limit) = search.found();
        assert!(rate <= 600e3 && rate > 580e3);
        assert_eq!(limit, Limit::Sink);
    }

    #[test]
    fn a_relay_that_carries_nothing_ends_the_search() {
        let (search, _) = search(100e3, |rate| (rate, Step::Lossy));
        assert!(search.found().0.abs() < f64::EPSILON);
    }
}
