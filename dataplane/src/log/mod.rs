//! One replica's log: segments of Kafka v2 record batches on one disk. No network, no
//! tasks of its own, no record is ever decoded.
//!
//! A replica's folder holds:
//!
//! | File | Holds |
//! |---|---|
//! | `format` | the version of this layout ([`format`](mod@format)) |
//! | `checkpoint` | recovery point, log start, leader epochs, segments ([`checkpoint`]) |
//! | `producers` | what producers wrote last, rebuilt when missing or wrong ([`producers_file`]) |
//! | `<20-digit base offset>.log` | concatenated batches, as on the wire ([`segment`]) |
//! | `<20-digit base offset>.index` | sparse index of offsets and times, rebuilt when missing or wrong ([`index`]) |
//! | `*.set-aside-<n>` | what recovery cut off, kept for people ([`recovery`]) |
//!
//! **One writer, many readers.** [`Log::append`] writes and returns without waiting for the
//! disk; [`Log::sync`] makes durable what was appended when it began, while appends go on;
//! [`Log::read`] serves whole batches from anywhere. Concurrent syncs share one fsync.
//!
//! **What is promised.** Below [`Log::durable_end`] every byte, every file name and the
//! epoch of every batch survives a crash. A failed write (other than a full disk), a failed
//! fsync, or a writing future that was dropped half-way makes the log *failed*: it takes no
//! more writes and serves only what was durable, until it is opened again. Dropping the
//! future of `append`, `sync`, `truncate_to` and the like is therefore safe, but costs
//! the log its life: the write may still happen, later, under other writes.
//!
//! | Module | Does |
//! |---|---|
//! | [`log`](Log), `state` | the handle, and what is behind it |
//! | [`append`], `begin_epoch`, `sync`, `read`, `find_time`, `cut` | what one does with a log |
//! | [`recovery`] with `folder`, `listed`, `tail`, `walk`, `set_aside` | opening after a crash |
//! | `upgrade` | opening what the version before wrote |
//! | [`producers_file`], `replay`, [`recent`] | what producers wrote last |
//! | [`segment`], [`index`], `index_file`, `hints` | where an offset lies, and a time |
//! | [`open_files`] | the bound on open segments |
//! | [`retention`] | what is old enough to go |
//! | [`verify`] | whether a folder is sound, for people |
//! | [`epochs`] | which leader wrote what |
//! | [`checkpoint`], [`format`](mod@format), [`error`] | the small files, and what goes wrong |

pub mod append;
mod begin_epoch;
pub mod checkpoint;
mod cut;
pub mod epochs;
pub mod error;
mod find_time;
mod folder;
pub mod format;
mod hints;
pub mod index;
mod index_file;
mod listed;
#[expect(clippy::module_inception, reason = "the handle of the module's own noun")]
mod log;
pub mod open_files;
pub mod producers_file;
mod read;
pub mod recent;
pub mod recovery;
mod replay;
pub mod retention;
pub mod segment;
mod set_aside;
mod state;
mod sync;
mod tail;
mod upgrade;
pub mod verify;
mod walk;

pub use append::Assigned;
pub use epochs::{EpochEnd, EpochStart, Epochs};
pub use error::LogError;
pub use folder::discard;
pub use log::{BATCH_BYTES_MAX, Log, LogConfig};
pub use open_files::OpenFiles;
pub use producers_file::Producers;
pub use recent::BatchSummary;
pub use recovery::{Recovered, SetAside};
pub use retention::Retention;
