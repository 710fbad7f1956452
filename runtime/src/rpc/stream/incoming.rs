//! A body's frames to messages.

use bytes::{Buf, Bytes};
use bytes_utils::SegmentedBuf;
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::{Status, body::Body};

use super::{PREFIX_BYTES, ended};

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// Its messages end with the body.
    Client,
    /// Its messages end with trailers.
    Server,
}

/// The messages of one direction of a streaming call.
///
/// Holds at most one message and the HTTP/2 frame in which it ends.
pub struct Incoming {
    body: Body,
    sender: Sender,
    message_bytes_max: usize,
    received: SegmentedBuf<Bytes>,
    /// Length of the message whose prefix was read.
    expected: Option<usize>,
    over: bool,
}

impl Incoming {
    pub(super) fn request(body: Body, message_bytes_max: usize) -> Self {
        Self::new(body, Sender::Client, message_bytes_max)
    }

    pub(super) fn response(body: Body, message_bytes_max: usize) -> Self {
        Self::new(body, Sender::Server, message_bytes_max)
    }

    fn new(body: Body, sender: Sender, message_bytes_max: usize) -> Self {
        Self {
            body,
            sender,
            message_bytes_max,
            received: SegmentedBuf::new(),
            expected: None,
            over: false,
        }
    }

    /// The next message; `None` once the peer has ended the stream well. Cancel-safe.
    ///
    /// # Errors
    /// The stream broke, the peer ended it with an error, or what came is no message. Nothing
    /// follows.
    pub async fn message<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        loop {
            if self.over {
                return Ok(None);
            }
            match self.decode() {
                Ok(None) => {}
                Ok(message) => return Ok(message),
                Err(status) => return self.fail(status),
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => self.received.push(data),
                    Err(frame) => {
                        let ended = frame.into_trailers().map_or(Ok(None), |t| ended(&t));
                        match ended {
                            Ok(None) => {}
                            Ok(Some(())) => return self.end(),
                            Err(status) => return self.fail(status),
                        }
                    }
                },
                Some(Err(status)) => return self.fail(status),
                None if self.sender == Sender::Client => return self.end(),
                None => {
                    return self.fail(Status::unavailable("the stream ended without a status"));
                }
            }
        }
    }

    fn end<M>(&mut self) -> Result<Option<M>, Status> {
        self.over = true;
        if self.expected.is_some() || self.received.has_remaining() {
            return Err(Status::invalid_argument("the stream ended within a message"));
        }
        Ok(None)
    }

    fn fail<M>(&mut self, status: Status) -> Result<Option<M>, Status> {
        self.over = true;
        self.received = SegmentedBuf::new();
        Err(status)
    }

    fn decode<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let expected = match self.expected {
            Some(expected) => expected,
            None => {
                if self.received.remaining() < PREFIX_BYTES {
                    return Ok(None);
                }
                if self.received.get_u8() != 0 {
                    return Err(Status::unimplemented("compressed messages are not taken"));
                }
                let expected = self.received.get_u32() as usize;
                if expected > self.message_bytes_max {
                    return Err(Status::out_of_range(format!(
                        "a message of {expected} bytes; at most {} are taken",
                        self.message_bytes_max
                    )));
                }
                *self.expected.insert(expected)
            }
        };
        if self.received.remaining() < expected {
            return Ok(None);
        }
        self.expected = None;
        M::decode((&mut self.received).take(expected))
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("no such message: {error}")))
    }
}
