//! The parts of `weir quickstart`: [`text`] is what is written, [`compare`] sees whether it
//! comes back.

pub mod compare;
pub mod text;
