//! The counters: read from the workers' ledgers, kept beyond a worker's death, made into rates.

#[cfg(test)]
mod hostile;
pub(crate) mod rates;
pub(crate) mod reading;
pub(crate) mod report;
pub(crate) mod retained;
pub(crate) mod sampler;
