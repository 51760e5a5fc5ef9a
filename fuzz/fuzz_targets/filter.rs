#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::filter`.
mcr_fuzz::fuzz_target!(filter);
