//! gRPC over hyper's HTTP/2, the same code in both worlds: a lazily dialling [`Channel`]
//! that tonic's generated clients take, [`serve`] for tonic's routes, and [`stream`] for calls
//! whose messages are mostly payload.
//!
//! **Deadlines.** A call that carries `grpc-timeout` (see [`within`]) is bounded as a whole
//! on both sides, its body included; one without is bounded until its response headers.
//! Streams that live long therefore carry none, and rely on keep-alive.
//!
//! **Windows.** 1 MiB for a stream, 2 MiB for a connection: enough that one connection
//! fills a loopback, small enough to bound what a slow reader holds. A frame may carry as much
//! as a batch commonly has, so that its payload comes in one piece.

mod channel;
mod deadline;
mod hyper_io;
mod lingering;
mod server;
pub mod stream;
mod trailers;

use std::time::Duration;

pub use channel::{Channel, ChannelConfig};
pub use server::{ServerConfig, serve};

/// HTTP/2 flow-control window of one stream.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 flow-control window of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Largest HTTP/2 frame.
const FRAME_BYTES_MAX: u32 = 512 << 10;
/// What hyper buffers of one stream before it asks for no more.
const SEND_BUFFER_BYTES_MAX: usize = 1 << 20;

/// A request with a deadline for the whole call, enforced on both sides.
pub fn within<T>(limit: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

pub(crate) use hyper_io::{Executor, Timer};
