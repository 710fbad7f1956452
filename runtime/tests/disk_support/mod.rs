//! Shared by the tests of the simulated disk.

use madsim::runtime::Runtime;
use weir_runtime::{disk::sim::DiskSim, trace};

/// Runs a simulation in a thread of its own: madsim keeps the seed of the standard hash maps
/// per thread.
pub fn simulate<T, F>(seed: u64, scenario: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let run = move || {
        trace::start(false);
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.add_simulator::<DiskSim>();
        runtime.block_on(async { scenario().await })
    };
    std::thread::spawn(run).join().unwrap()
}
