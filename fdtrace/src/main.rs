//! The `fdtrace` command.

fn main() -> std::process::ExitCode {
    fdtrace::cli::main()
}
