//! Reading a topic: [`render`] makes bytes of records, [`sink`] writes them.

pub mod render;
pub mod sink;
pub mod template;
