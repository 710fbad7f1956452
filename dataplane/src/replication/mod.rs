//! The follower's side of replication: one stream to each SPU that leads what this one follows.
//!
//! | Module | Does |
//! |---|---|
//! | [`board`] | which partition follows whom and with what it asks; what of that is news |
//! | [`links`] | one link for each leader, as map and board say |
//! | `link` | one stream: fetches out, batches in |
//! | [`wire`] | between the wire and the words of `replica` |
//!
//! A follower asks again with every change of what it is: once a batch is written, to get the
//! next, and once it is on the disk, so that the leader may count it. So the next batches are
//! on their way while an fsync runs. A partition has at most one answer with batches under way,
//! so a stream holds little, and one that is far behind does not hold up others.

pub mod board;
mod link;
pub mod links;
pub mod wire;

pub use board::Board;
pub use links::{Ending, Links};
