#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::frame`.
mcr_fuzz::fuzz_target!(frame);
