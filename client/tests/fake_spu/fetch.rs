//! The fetch stream of the fake: one response per batch, paid for with credit.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};
use weir_protocol::{
    ErrorCode,
    batch::BatchHeader,
    ids::PartitionKey,
    pb::data::{fetch_message::Message, fetch_response::Event, start::Position, *},
};
use weir_runtime::{
    clock::Clock,
    task::{self, CancellationToken},
};

use super::{Answers, FakeSpu, Fetch, error};

type Out = mpsc::UnboundedSender<Result<FetchResponse, Status>>;

pub fn serve(spu: FakeSpu, mut inbound: Streaming<FetchMessage>) -> Answers<FetchResponse> {
    let (out, answers) = mpsc::unbounded_channel();
    let stream_over = CancellationToken::new();
    task::spawn(async move {
        spu.state().open_streams += 1;
        let credit = Arc::new(AtomicI64::new(0));
        let mut open: BTreeMap<u64, CancellationToken> = BTreeMap::new();
        loop {
            let message = tokio::select! { biased;
                () = stream_over.cancelled() => break,
                message = inbound.next() => message,
            };
            let Some(Ok(message)) = message else { break };
            match message.message {
                Some(Message::Credit(c)) => {
                    credit.fetch_add(i64::try_from(c.bytes).unwrap(), Ordering::SeqCst);
                    spu.changed.notify_waiters();
                }
                Some(Message::Subscribe(asked)) => {
                    let over = stream_over.child_token();
                    open.insert(asked.subscription_id, over.clone());
                    let (spu, out, credit) = (spu.clone(), out.clone(), credit.clone());
                    let stream_over = stream_over.clone();
                    task::spawn(async move {
                        tokio::select! { biased;
                            () = over.cancelled() => {}
                            () = subscription(spu, asked, out, credit, stream_over) => {}
                        }
                    });
                }
                Some(Message::Unsubscribe(gone)) => {
                    spu.state().unsubscribed += 1;
                    open.remove(&gone.subscription_id).inspect(CancellationToken::cancel);
                }
                _ => {}
            }
        }
        stream_over.cancel();
        spu.state().open_streams -= 1;
    });
    Box::pin(UnboundedReceiverStream::new(answers))
}

async fn subscription(
    spu: FakeSpu,
    asked: Subscribe,
    out: Out,
    credit: Arc<AtomicI64>,
    stream_over: CancellationToken,
) {
    let subscription_id = asked.subscription_id;
    let send = |event| {
        let _ = out.send(Ok(FetchResponse { subscription_id, event: Some(event) }));
    };
    let key = PartitionKey::from_wire(asked.partition.as_ref().unwrap()).unwrap();
    let (act, end, log_start) = {
        let mut state = spu.state();
        state.subscriptions += 1;
        let act = state.fetch_script.pop_front();
        (act, state.logs.entry(key).or_default().end, state.log_start)
    };
    match act {
        Some(Fetch::Refuse(code)) => {
            let mut error = error(code);
            (error.log_start, error.high_watermark) = (Some(log_start), Some(end));
            return send(Event::Error(error));
        }
        Some(Fetch::KnowsOnly(_)) if asked.settled => {
            return send(Event::Error(error(ErrorCode::NotYetAvailable)));
        }
        Some(Fetch::Silence) => return std::future::pending().await,
        _ => {}
    }
    let start = asked.start.unwrap();
    let (wanted, found) = match (start.committed, start.position.unwrap()) {
        (Some(committed), _) => (committed, Resolution::Committed),
        (None, Position::Beginning(_)) => (log_start, Resolution::AsAsked),
        (None, Position::End(_)) => (end, Resolution::AsAsked),
        (None, Position::Absolute(offset)) => (offset, Resolution::AsAsked),
        (None, Position::FromBeginning(count)) => {
            ((log_start + count).min(end), Resolution::AsAsked)
        }
        // Its records are as old as their offsets say.
        (None, Position::TimestampMs(ms)) => {
            (u64::try_from(ms).unwrap().clamp(log_start, end), Resolution::AsAsked)
        }
        (None, Position::FromEnd(count)) => {
            (end.saturating_sub(count).max(log_start), Resolution::AsAsked)
        }
    };
    let (offset, resolution) = match start.reset_policy() {
        _ if (log_start..=end).contains(&wanted) => (wanted, found),
        ResetPolicy::Unspecified | ResetPolicy::Error => {
            let mut error = error(ErrorCode::OffsetOutOfRange);
            (error.log_start, error.high_watermark) = (Some(log_start), Some(end));
            return send(Event::Error(error));
        }
        ResetPolicy::Earliest => (log_start, Resolution::Reset),
        ResetPolicy::Latest => (end, Resolution::Reset),
        ResetPolicy::Nearest => (wanted.clamp(log_start, end), Resolution::Reset),
    };
    send(Event::Started(Started {
        offset,
        log_start,
        high_watermark: match &act {
            Some(Fetch::KnowsOnly(known)) => *known,
            _ => end,
        },
        resolution: resolution.into(),
    }));
    let mut sent = 0;
    for index in 0.. {
        let (batch, high_watermark) = loop {
            let changed = spu.changed.notified();
            let next = {
                let state = spu.state();
                let log = &state.logs[&key];
                log.batches.get(index).cloned().map(|batch| (batch, log.end))
            };
            match next {
                Some(next) if credit.load(Ordering::SeqCst) > 0 => break next,
                // The notification may come between the look and the wait.
                _ => {
                    let _ = Clock.timeout(Duration::from_millis(20), changed).await;
                }
            }
        };
        if BatchHeader::parse(&batch).unwrap().next_offset().0 <= offset {
            continue;
        }
        let batches = match &act {
            Some(Fetch::BreakAfter(n)) if sent == *n => {
                let _ = out.send(Err(Status::unavailable("scripted")));
                return stream_over.cancel();
            }
            Some(Fetch::Without(left_out)) if index == *left_out => continue,
            Some(Fetch::Damage(damaged)) if index == *damaged => {
                let mut bytes = batch.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                Bytes::from(bytes)
            }
            Some(Fetch::Twice) => Bytes::from([&batch[..], &batch[..]].concat()),
            _ => batch,
        };
        sent += 1;
        credit.fetch_sub(i64::try_from(batches.len()).unwrap(), Ordering::SeqCst);
        send(Event::Records(Records { batches, high_watermark, log_start }));
    }
}
