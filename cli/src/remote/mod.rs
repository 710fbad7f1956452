//! Control planes that are not this home's: where they are, the key for them, and how a
//! cluster of one becomes a profile.

pub mod connect;
pub mod key;
pub mod url;
