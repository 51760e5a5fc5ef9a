#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::trace_event`.
mcr_fuzz::fuzz_target!(trace_event);
