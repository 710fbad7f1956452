//! A body's frames to messages.

use bytes::{Buf, Bytes, BytesMut};
use bytes_utils::SegmentedBuf;
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::{Status, body::Body};

use super::{PREFIX_BYTES, ended};

/// Frames that are smaller are gathered: each costs as much as it holds, however little it is.
const APART_BYTES_MIN: usize = 4 << 10;

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
/// Holds about one message and the HTTP/2 frame in which it ends.
pub struct Incoming {
    body: Body,
    sender: Sender,
    message_bytes_max: usize,
    received: SegmentedBuf<Bytes>,
    /// Small frames, which follow what was received.
    gathered: BytesMut,
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

    /// A stream that ended well before its first message.
    pub(super) fn none() -> Self {
        Self { over: true, ..Self::new(Body::empty(), Sender::Server, 0) }
    }

    fn new(body: Body, sender: Sender, message_bytes_max: usize) -> Self {
        Self {
            body,
            sender,
            message_bytes_max,
            received: SegmentedBuf::new(),
            gathered: BytesMut::new(),
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
                    Ok(data) => self.take(data),
                    // A client has nothing to say in trailers.
                    Err(_) if self.sender == Sender::Client => {}
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

    fn take(&mut self, data: Bytes) {
        if data.len() < APART_BYTES_MIN {
            self.gathered.extend_from_slice(&data);
        } else {
            self.arrange();
            self.received.push(data);
        }
    }

    /// What was gathered becomes part of what was received.
    fn arrange(&mut self) {
        if !self.gathered.is_empty() {
            self.received.push(self.gathered.split().freeze());
        }
    }

    /// Whether so many bytes are there, and then in order.
    fn has(&mut self, bytes: usize) -> bool {
        let there = self.received.remaining() + self.gathered.len() >= bytes;
        if there && self.received.remaining() < bytes {
            self.arrange();
        }
        there
    }

    /// Something that cannot be a message came.
    fn malformed(&self, text: impl Into<String>) -> Status {
        match self.sender {
            Sender::Client => Status::invalid_argument(text),
            Sender::Server => Status::internal(text),
        }
    }

    fn end<M>(&mut self) -> Result<Option<M>, Status> {
        self.over = true;
        if self.expected.is_some() || self.has(1) {
            return Err(self.malformed("the stream ended within a message"));
        }
        Ok(None)
    }

    fn fail<M>(&mut self, status: Status) -> Result<Option<M>, Status> {
        self.over = true;
        self.received = SegmentedBuf::new();
        self.gathered = BytesMut::new();
        Err(status)
    }

    fn decode<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let expected = match self.expected {
            Some(expected) => expected,
            None => {
                if !self.has(PREFIX_BYTES) {
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
        if !self.has(expected) {
            return Ok(None);
        }
        self.expected = None;
        M::decode((&mut self.received).take(expected))
            .map(Some)
            .map_err(|error| self.malformed(format!("no such message: {error}")))
    }
}
