//! The command line program; everything of it is in the library, but for the allocator, which is a program's to choose.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    hermes_host::cli::main()
}
