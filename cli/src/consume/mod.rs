//! Reading a topic: [`render`] makes bytes of records, [`sink`] writes them, [`commits`]
//! commits what was written.

pub mod commits;
pub mod render;
pub mod sink;
pub mod template;
