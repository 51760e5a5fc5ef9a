#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::configuration`.
mcr_fuzz::fuzz_target!(configuration);
