//! The client of Weir: produce, consume, administer.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use secrecy::SecretString;
//! use weir_client::{
//!     Client, ClientConfig, ConsumerConfig, ProducerConfig, ProducerRecord,
//!     admin::TopicCreate,
//! };
//! use weir_runtime::{clock::Clock, http};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SecretString::from("weir_local_…".to_owned());
//! let config = ClientConfig::with_control_plane("http://127.0.0.1:7700", key, "demo");
//! let client = Client::connect(config, http::transport(16 << 20), Clock).await?;
//!
//! // Administer.
//! if let Some(admin) = client.admin() {
//!     let topic = TopicCreate::new("orders", 3);
//!     admin.topic_create("demo", &topic).await?;
//! }
//!
//! // Produce. The first await waits for room, the second for the acknowledgement.
//! let producer = client.producer("orders", ProducerConfig::default()).await?;
//! let delivery = producer.send(ProducerRecord::key_value("k", "v")).await?;
//! let written = delivery.await?;
//! println!("partition {} offset {}", written.partition, written.offset);
//! producer.close().await?;
//!
//! // Consume what is there now.
//! let mut consumer = client.consumer(ConsumerConfig::new("orders").until_end()).await?;
//! while let Some(record) = consumer.next().await {
//!     println!("{:?}", record?.value);
//! }
//!
//! // Consume on from where a consumer of this name had come to.
//! let mut mailer = client.consumer(ConsumerConfig::new("orders").named("mailer")).await?;
//! while let Some(record) = mailer.next().await {
//!     println!("{:?}", record?.value); // Processed when the next one is asked for.
//! }
//! mailer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Map of the crate
//!
//! | Module | Holds | Pure |
//! |---|---|---|
//! | [`Client`] (`client`, `core`) | the handle; what its producers and consumers share | |
//! | [`admin`] | the control plane's HTTP API, retried where that is safe | |
//! | `token` | the data-plane token, renewed in the background | |
//! | [`metadata`] | [`metadata::ClusterMap`], and the watch that keeps it current | map, suggestions |
//! | `pool` | a channel, a produce stream and a fetch stream per SPU; credits | credits |
//! | [`producer`] | batches, order, retries, outcomes | accumulator, partitioner, sequencer |
//! | [`consumer`] | subscriptions, contiguity, decoding; sessions and commits | position, progress |
//! | [`retry`] | back-off | all |
//!
//! # What holds
//!
//! - **Every record that was taken gets exactly one outcome**, within the delivery timeout:
//!   acknowledged with its offset, or an error that says whether it may be in the log
//!   ([`ProduceError::outcome`]). `NotDone` is said only if no attempt can have been appended.
//! - **Order per partition** is the order of `send`, across retries and changes of leader; an
//!   idempotent producer (the default) never duplicates.
//! - **Offsets follow on.** A consumer yields no record twice and passes none by: a gap, a
//!   damaged batch, an offset out of range is a typed error that names the place.
//! - **A named consumer commits what was processed**, never what was merely yielded; a commit
//!   that was said to be done is durable, and belongs to a generation.
//! - **A topic is a generation.** Deleted and created again, it ends producers and consumers
//!   with `TOPIC_RECREATED` unless they asked to follow the name.
//! - **Everything is bounded**: queues by bytes, buffers by credits, waits by deadlines. Tasks
//!   end with the last handle.
//! - **The control plane may be away**: the last token stays in use, metadata comes from SPUs.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod admin;
mod client;
mod config;
pub mod consumer;
mod core;
mod error;
pub mod metadata;
mod pool;
pub mod producer;
pub mod retry;
mod token;

pub use weir_protocol::batch::{Compression, Header, HeaderKey};

pub use crate::{
    admin::{Admin, AdminConfig, AdminError, Notice},
    client::Client,
    config::{ClientConfig, Credentials},
    consumer::{
        Begun, Commit, CommitError, ConsumeError, Consumer, ConsumerConfig, ConsumerRecord,
        Isolation, Partitions, Place, Processed, ResetPolicy, Resolution, Start,
    },
    error::ClientError,
    producer::{
        Acks, Delivery, Partitioning, ProduceError, Producer, ProducerConfig, ProducerRecord,
        RecordMetadata, SendError,
    },
};
