#![cfg_attr(fuzzing, no_main)]
//! See `mcr_fuzz::rule_set`.
mcr_fuzz::fuzz_target!(rule_set);
