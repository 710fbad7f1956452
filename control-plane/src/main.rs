//! `weir-control-plane`: a control plane as a process of its own.

// The process itself: arguments, signals and the real runtime exist in the real world only.
#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    use clap::Parser;

    /// The control plane of Weir: decides which clusters, SPUs and topics there are
    #[derive(Parser)]
    #[command(name = "weir-control-plane", version)]
    struct Cli {
        #[command(flatten)]
        control_plane: weir_control_plane::serve::ControlPlaneArgs,
    }

    weir_control_plane::serve::main(Cli::parse().control_plane)
}

/// A process has no place in a simulation, which runs the library.
#[cfg(madsim)]
fn main() {}
