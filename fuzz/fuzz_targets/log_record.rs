#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::log_record`.
mcr_fuzz::fuzz_target!(log_record);
