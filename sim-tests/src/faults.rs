//! Faults and topology changes as data: drawn from the seed, printed, replayed, shrunk.

use serde::{Deserialize, Serialize};

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The machine of an SPU loses power (unsynced bytes are gone); it comes back.
    CrashSpu {
        /// Which.
        spu: u32,
        /// How long until its disk is back and its process can be started again.
        down_ms: u64,
    },
    /// Several machines lose power in the same moment.
    CrashSpus {
        /// Which.
        spus: Vec<u32>,
        /// As for [`Fault::CrashSpu`], of all.
        down_ms: u64,
    },
    /// The machine of an SPU loses power and comes back with an empty disk. Only where every
    /// partition has another replica in sync: nothing may be lost by it.
    WipeSpu {
        /// Which.
        spu: u32,
        /// As for [`Fault::CrashSpu`].
        down_ms: u64,
        /// All others lose power too, and their disks nothing.
        with_others: bool,
    },
    /// The machine of an SPU loses power and comes back with a flipped bit in one of its replicas.
    /// As for [`Fault::WipeSpu`].
    DamageReplica {
        /// Which SPU.
        spu: u32,
        /// As for [`Fault::CrashSpu`].
        down_ms: u64,
        /// All others lose power too, and their disks nothing.
        with_others: bool,
    },
    /// The machine of an SPU loses power and comes back with a flipped bit in what it acknowledged
    /// long ago, which nobody notices before it is read. As for [`Fault::WipeSpu`]; and once in
    /// a run, for nobody is sure to find it and to fill the replica again.
    RotSegment {
        /// Which SPU.
        spu: u32,
        /// As for [`Fault::CrashSpu`].
        down_ms: u64,
    },
    /// Two machines lose power, and each comes back with the other's disk. Later each gets its
    /// own again.
    SwapFolders {
        /// One of them.
        one: u32,
        /// The other.
        other: u32,
        /// For how long.
        for_ms: u64,
    },
    /// An SPU's process is asked to end, and started again.
    RestartSpu {
        /// Which.
        spu: u32,
    },
    /// What one SPU sends to another does not arrive (one way).
    MuteSpuToSpu {
        /// Who is not heard.
        from: u32,
        /// Who does not hear.
        to: u32,
        /// For how long.
        for_ms: u64,
    },
    /// An SPU and the other SPUs hear nothing of each other; clients and the control plane
    /// hear all of them.
    PartSpuFromSpus {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// An SPU and the control plane hear nothing of each other; the rest is well.
    PartSpuFromControlPlane {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// What the control plane sends to an SPU does not arrive (one way): its orders, and its
    /// replies to what it has done.
    MuteControlPlaneToSpu {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// The control plane dies and comes back on its database as it was.
    CrashControlPlane {
        /// How long it is away.
        down_ms: u64,
    },
    /// An SPU and all others hear nothing of each other.
    IsolateSpu {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// A client and an SPU: what the SPU sends does not arrive (one way).
    MuteSpuToClients {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// An SPU's process stands still.
    PauseSpu {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// An SPU's disk is slow.
    SlowDisk {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// An SPU's disk has no more room.
    DiskFull {
        /// Which.
        spu: u32,
        /// For how long.
        for_ms: u64,
    },
    /// One fsync of an SPU fails, the next ones succeed; later its machine loses power.
    FailedFsync {
        /// Which.
        spu: u32,
        /// How long until the power failure.
        crash_after_ms: u64,
        /// As for [`Fault::CrashSpu`].
        down_ms: u64,
    },
    /// The control plane's database is slow, busy, and loses answers to commits.
    SqlTrouble {
        /// Of a million statements, how many find it busy.
        busy_per_million: u32,
        /// Of a million commits, how many lose their answer; half of those happened.
        unknown_per_million: u32,
        /// For how long.
        for_ms: u64,
    },
    /// An SPU's clocks run off.
    SkewClock {
        /// Which.
        spu: u32,
        /// Wall clock offset.
        offset_ms: i64,
        /// Rate of both clocks.
        rate_ppm: i32,
    },
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds after the workload began.
    pub at_ms: u64,
    /// What happens.
    pub fault: Fault,
}

/// The schedule of a run.
pub type Schedule = Vec<Step>;
