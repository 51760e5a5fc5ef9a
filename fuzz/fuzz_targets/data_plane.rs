#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::data_plane`.
mcr_fuzz::fuzz_target!(data_plane);
