//! What the client knows of its cluster: [`ClusterMap`], kept current by a watch.

mod map;
mod suggest;
mod watch;

pub use self::map::{ClusterMap, Database, Fate, Generation, MapError, Partition, Spu};
pub(crate) use self::{
    suggest::nearest,
    watch::{Config as WatchConfig, Metadata},
};
