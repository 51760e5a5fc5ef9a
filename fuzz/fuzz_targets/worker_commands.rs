#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::worker_commands`.
mcr_fuzz::fuzz_target!(worker_commands);
