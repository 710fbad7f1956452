//! Writing lines to a topic: [`lines`] cuts the input, [`feed`] hands the lines to the
//! producer, [`tally`] counts what becomes of them.

pub mod feed;
pub mod lines;
pub mod source;
pub mod tally;
