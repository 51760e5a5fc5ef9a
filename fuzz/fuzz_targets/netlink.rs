#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::netlink`.
mcr_fuzz::fuzz_target!(netlink);
