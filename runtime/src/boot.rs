//! Which boot of the machine this is: another one means that what no fsync had covered may be gone.
//!
//! What the death of a process leaves behind is in the page cache, and survives; a loss of power
//! takes it. In simulation a node's disk knows which of the two happened.

/// The boot's id, a UUID as text; `None` where the system does not tell. Blocks for a moment.
#[must_use]
pub fn id() -> Option<String> {
    imp::id()
}

#[cfg(all(not(madsim), target_os = "linux"))]
mod imp {
    pub(super) fn id() -> Option<String> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }
}

#[cfg(all(not(madsim), not(target_os = "linux")))]
mod imp {
    use std::process::Command;

    pub(super) fn id() -> Option<String> {
        let out = Command::new("sysctl").args(["-n", "kern.bootsessionuuid"]).output().ok()?;
        let id = String::from_utf8(out.stdout).ok()?.trim().to_ascii_lowercase();
        Some(id).filter(|id| !id.is_empty())
    }
}

#[cfg(madsim)]
mod imp {
    use crate::disk::sim::DiskSim;

    pub(super) fn id() -> Option<String> {
        let crashes = DiskSim::current().crashes_of_this_node();
        Some(format!("00000000-0000-4000-8000-{crashes:012x}"))
    }
}

#[cfg(all(test, not(madsim), target_os = "linux"))]
mod tests {
    #[test]
    fn it_stays_the_same_within_a_boot() {
        let id = super::id().unwrap();
        assert_eq!((id.len(), super::id()), (36, Some(id)));
    }
}
