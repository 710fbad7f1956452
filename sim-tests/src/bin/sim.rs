//! `sim`: plays scenarios over seeds, one process per seed.
//!
//! A build without `--cfg madsim` has nothing to simulate with and says so.

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a tool of the real world around the simulations; what is wrong in it must stop it"
)]

#[cfg(madsim)]
#[path = "sim/main_sim.rs"]
mod main_sim;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    main_sim::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("this build cannot simulate");
    eprintln!(
        "hint: RUSTFLAGS=\"--cfg madsim\" cargo run --profile sim --target-dir target/sim -p weir-sim-tests --bin sim"
    );
    std::process::ExitCode::from(2)
}
