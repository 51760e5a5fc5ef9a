#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::capture`.
mcr_fuzz::fuzz_target!(capture);
