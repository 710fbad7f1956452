//! `DataPlane.Fetch`: any number of subscriptions on one stream, served in turn, paid for
//! with the client's byte credits.
//!
//! A subscription is always in one of three places: *ready* to be served, *starved* of
//! credit, or *waiting* for its replica's view to change. Nothing polls.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, metadata::MetadataMap};
use weir_protocol::{
    ErrorCode, WireError,
    pb::data::{
        FetchMessage, FetchResponse, Subscribe, fetch_message::Message, fetch_response::Event,
    },
    token::{Claims, Scope},
};
use weir_runtime::{
    rpc::stream::Incoming,
    task,
    trace::{self, Kind},
};

use super::{
    Responses, Shared, auth, status,
    subscription::{Step, Subscription},
    turns::Turns,
};
use crate::{
    metrics::{Call, OpenStream},
    token,
};

pub(super) fn open(
    shared: Arc<Shared>,
    metadata: &MetadataMap,
    messages: Incoming,
) -> Result<Responses<FetchResponse>, WireError> {
    let claims = auth::bearer(&shared.tokens, metadata)?;
    token::require(&claims, Scope::Consume)?;
    let (out, responses) = mpsc::channel(shared.limits.fetch_responses_ahead.max(1));
    let counted = shared.metrics.stream(Call::Fetch);
    let stream = Fetch {
        shared,
        claims,
        subscriptions: BTreeMap::new(),
        turns: Turns::default(),
        credit: 0,
        _counted: counted,
    };
    task::spawn(stream.run(messages, out));
    Ok(ReceiverStream::new(responses))
}

/// One stream.
struct Fetch {
    shared: Arc<Shared>,
    claims: Claims,
    subscriptions: BTreeMap<u64, Subscription>,
    turns: Turns,
    /// Bytes that the client still takes; below zero after a batch larger than the balance.
    credit: i64,
    _counted: OpenStream,
}

impl Fetch {
    async fn run(
        mut self,
        mut inbound: Incoming,
        out: mpsc::Sender<Result<FetchResponse, Status>>,
    ) {
        let closing = self.shared.closing.clone();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        if let Err(error) = self.take(message) {
                            // The stream is over either way, here and below.
                            let _ = out.send(Err(status::of(error))).await;
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(broken) => {
                        tracing::debug!(%broken, "a fetch stream broke");
                        let _ = out.send(Err(broken)).await;
                        return;
                    }
                },
                () = self.turns.news() => {}
                permit = out.reserve(), if self.turns.any_ready() => {
                    let Ok(permit) = permit else { return };
                    if let Some(response) = self.serve_next().await {
                        permit.send(Ok(response));
                    }
                }
            }
        }
    }

    /// # Errors
    /// What the client may not do; it ends the stream.
    fn take(&mut self, message: FetchMessage) -> Result<(), WireError> {
        let invalid = |text: &str| Err(WireError::new(ErrorCode::InvalidRequest, text));
        match message.message {
            Some(Message::Subscribe(asked)) => return self.subscribe(&asked),
            Some(Message::Unsubscribe(gone)) => {
                self.forget(gone.subscription_id);
            }
            Some(Message::Credit(credit)) => {
                let bytes = i64::try_from(credit.bytes).unwrap_or(i64::MAX);
                self.credit = self.credit.saturating_add(bytes);
                if self.credit > 0 {
                    self.turns.fed();
                }
            }
            Some(Message::Authenticate(fresh)) => {
                auth::refresh(&self.shared.tokens, &mut self.claims, &fresh.token, Scope::Consume);
            }
            None => return invalid("an empty message"),
        }
        Ok(())
    }

    fn subscribe(&mut self, asked: &Subscribe) -> Result<(), WireError> {
        if self.subscriptions.len() >= self.shared.limits.subscriptions_max {
            let text = "the stream has as many subscriptions as it may have";
            return Err(WireError::new(ErrorCode::Overloaded, text));
        }
        let id = asked.subscription_id;
        let subscription = Subscription::new(asked, &self.shared.limits)?;
        if self.subscriptions.insert(id, subscription).is_some() {
            let text = format!("subscription {id} is in use on this stream");
            return Err(WireError::new(ErrorCode::InvalidRequest, text));
        }
        self.turns.enter(id);
        Ok(())
    }

    fn forget(&mut self, id: u64) {
        self.subscriptions.remove(&id);
        self.turns.leave(id);
    }

    /// Serves the subscription whose turn it is: at most one response, then it is the next
    /// one's turn.
    async fn serve_next(&mut self) -> Option<FetchResponse> {
        let id = self.turns.next()?;
        let subscription = self.subscriptions.get_mut(&id)?;
        let step = subscription.step(&self.shared, &self.claims, self.credit).await;
        let event = match step {
            Step::Send(event) => event,
            Step::Wait(changed) => {
                self.turns.wait(id, changed);
                return None;
            }
            Step::Starve => {
                self.turns.starve(id);
                return None;
            }
        };
        trace::line(Kind::Rpc, || format!("fetch {id} {}", subscription.describe(&event)));
        match &event {
            Event::Error(_) => self.forget(id),
            Event::Started(_) => self.turns.again(id),
            Event::Records(records) => {
                let bytes = i64::try_from(records.batches.len()).unwrap_or(i64::MAX);
                self.credit = self.credit.saturating_sub(bytes);
                self.turns.again(id);
            }
        }
        Some(FetchResponse { subscription_id: id, event: Some(event) })
    }
}
