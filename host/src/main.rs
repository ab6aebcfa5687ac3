//! The command line program; everything of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hermes_host::cli::main()
}
