//! `weir-spu`: one SPU as a process of its own.

// The process itself: arguments, signals and the real runtime exist in the real world only.
#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    use clap::Parser;

    /// An SPU of a Weir cluster: stores and serves partition logs
    #[derive(Parser)]
    #[command(name = "weir-spu", version)]
    struct Cli {
        #[command(flatten)]
        spu: weir_dataplane::serve::SpuArgs,
    }

    weir_dataplane::serve::main(Cli::parse().spu)
}

/// A process has no place in a simulation, which runs the library.
#[cfg(madsim)]
fn main() {}
