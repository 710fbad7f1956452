//! Reading a topic: [`render`] makes bytes of records, [`sink`] gathers them, [`writer`] writes
//! them, [`commits`] commits what was written, [`copy`] drives all of it.

pub mod commits;
pub mod copy;
pub mod render;
pub mod sink;
pub mod template;
pub mod writer;
