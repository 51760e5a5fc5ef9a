#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::forward`.
mcr_fuzz::fuzz_target!(forward);
