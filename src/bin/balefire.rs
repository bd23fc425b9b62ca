//! The command line: see [`balefire::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    balefire::cli::run()
}
