//! Writing lines to a topic: [`lines`] cuts the input, [`shape`] makes records of the lines,
//! [`feed`] hands them to the producer (by hand, with a prompt: `talk`) at the [`pace`] that is
//! asked for, [`tally`] counts what becomes of them.

pub mod feed;
pub mod lines;
pub mod pace;
pub mod shape;
pub mod source;
mod talk;
pub mod tally;
