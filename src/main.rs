//! Starts the command line, and turns its outcome into an exit code.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    houston::cli::main().code().into()
}
