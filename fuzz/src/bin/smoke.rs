//! Runs every target for a while on mutations of its corpus: with a Rust toolchain alone, without
//! libFuzzer, and so without its sense of what is new.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, process, thread};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastrand::Rng;
use mcr_fuzz::mutator::mutated;
use mcr_fuzz::{TARGETS, Target, inputs};

/// Runs the fuzz targets on mutations of their corpora.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds for each target.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// What the mutations are made from; the same makes the same ones. By default the time.
    #[arg(long)]
    seed: Option<u64>,
    /// Targets at the same time.
    #[arg(long, default_value = "2")]
    side_by_side: NonZeroUsize,
    /// These targets only.
    targets: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    for name in &arguments.targets {
        ensure!(TARGETS.iter().any(|(target, _)| target == name), "there is no target {name}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let seed = arguments.seed.unwrap_or(now.as_secs());
    println!("seed {seed}");
    let chosen =
        |name: &str| arguments.targets.is_empty() || arguments.targets.iter().any(|t| t == name);
    let waiting: VecDeque<_> = TARGETS.into_iter().filter(|(name, _)| chosen(name)).collect();
    let waiting = Mutex::new(waiting);
    let run_all = || -> Result<()> {
        loop {
            let next = waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
            let Some((name, target)) = next else { return Ok(()) };
            run(name, target, seed, Duration::from_secs(arguments.seconds))?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..arguments.side_by_side.get()).map(|_| scope.spawn(run_all)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("targets are caught"))
    })
}

/// Ends the whole program at the first input that breaks a promise.
fn run(name: &str, target: Target, seed: u64, time: Duration) -> Result<()> {
    let corpus: Vec<_> = inputs(name)?.into_iter().map(|(_, input)| input).collect();
    let mut chance = Rng::with_seed(seed);
    let began = Instant::now();
    let mut runs = 0_u64;
    while began.elapsed() < time {
        let input = mutated(&corpus, &mut chance);
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            let file = keep(name, &input)?;
            println!("{name}: broken by {}, run {runs} of seed {seed}", file.display());
            process::exit(1);
        }
        runs += 1;
    }
    println!("{name}: {runs} runs in {} s from {} inputs", time.as_secs(), corpus.len());
    Ok(())
}

/// Where cargo-fuzz puts such inputs, too.
fn keep(name: &str, input: &[u8]) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(name);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = folder.join("smoke");
    fs::write(&file, input).with_context(|| file.display().to_string())?;
    Ok(file)
}
