#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::control`.
mcr_fuzz::fuzz_target!(control);
