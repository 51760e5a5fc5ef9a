#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::icmp`.
mcr_fuzz::fuzz_target!(icmp);
