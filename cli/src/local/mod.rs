//! The home's own control plane: one process per home, started with its first cluster and
//! stopped with its last running one.

pub mod adopt;
pub mod data_dir;
pub mod endpoint;
pub mod identity;
pub mod launch;
pub mod logfile;
pub mod operation;
pub mod ports;
pub mod start;
pub mod stop;
pub mod wait;
