//! Memory and open files of this process, under the names that Prometheus' dashboards know.

use crate::{
    metrics::{Collector, DescriptorEncoder, gauge},
    process,
};

/// Looked up at each scrape. What the system does not tell is left out.
#[derive(Debug)]
pub(super) struct Usage;

impl Collector for Usage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let process::Usage { open_files, resident_bytes } = process::usage();
        let mut one = |name, help, value: Option<u64>| match value {
            Some(value) => {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                let none: [(&str, &str); 0] = [];
                gauge(&mut encoder, name, help, [(none, value)])
            }
            None => Ok(()),
        };
        one("process_open_fds", "Open files and sockets", open_files)?;
        one("process_resident_memory_bytes", "Memory in use", resident_bytes)
    }
}
