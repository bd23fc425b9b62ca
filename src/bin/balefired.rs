//! The daemon.

fn main() -> std::process::ExitCode {
    balefire::daemon::main()
}
