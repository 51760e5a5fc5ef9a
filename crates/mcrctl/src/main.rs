//! `mcrctl`, the program.
#![forbid(unsafe_code)]

use sysexits::ExitCode;

fn main() -> ExitCode {
    mcrctl::main()
}
