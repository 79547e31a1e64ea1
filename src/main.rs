//! The `zkmount` command.

fn main() -> std::process::ExitCode {
    zkmount::cli::main()
}
