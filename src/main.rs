//! The `kimera` program.

use clap::Parser;
use kimera_runtime::memory::KimeraAllocator;

#[global_allocator]
static ALLOCATOR: KimeraAllocator = KimeraAllocator;

fn main() -> std::process::ExitCode {
    let cli = kimera::cli::Cli::parse();
    kimera::log::install();
    match cli.run() {
        Ok(code) => code.into(),
        Err(failure) => {
            kimera::log::last(&failure);
            failure.code.into()
        }
    }
}
