//! The coordinator of named consumers: who may commit for which partition, and what was
//! committed. Its state is the fold of a partition of the internal offsets topic, up to the
//! high watermark.
//!
//! | Module | Does |
//! |---|---|
//! | [`handle`] | finds the coordinator of a consumer; keeps one per offsets partition held here |
//! | [`task`] | one partition: waits for leadership, reads the log, serves |
//! | [`serve`] | one leadership: requests in groups, a batch for each group |
//! | [`decide`] | what a request changes, if it may: pure |
//! | [`describe`] | what is known of a consumer: pure |
//! | [`fold`], [`staged`] | the state, and the state with a group on top: pure |
//! | [`journal`], [`record`] | the log and its bytes |
//! | [`flush`], [`pace`], [`unsent`], [`upload`] | tells the control plane what changed |
//! | [`shorten`] | when the log is too long: pure |
//! | [`request`], [`inbox`] | what is asked and answered, and where it waits |
//!
//! INVARIANT: nothing is answered, and nothing is uploaded, before the records that say so
//! are committed in the offsets topic: on the disk, below its high watermark. A claim is
//! written even where it changes nothing, so that a deposed leader cannot give out an offset
//! that is no longer true.
//!
//! INVARIANT: keys are of topic generations, never of names. A tombstoned generation keeps
//! its keys; they go when the control plane says that it is purged, and on nothing less.

pub mod decide;
pub mod describe;
pub mod flush;
pub mod fold;
pub mod handle;
pub mod inbox;
pub mod journal;
pub mod pace;
pub mod record;
pub mod request;
pub mod serve;
pub mod shorten;
pub mod staged;
pub mod task;
pub mod unsent;
pub mod upload;

#[cfg(test)]
mod tests;

pub use handle::Coordinator;
pub use task::Parts;
pub use upload::Uploader;

/// The internal topic that holds what consumers committed. The control plane makes it.
pub const OFFSETS_TOPIC: &str = "__offsets";
