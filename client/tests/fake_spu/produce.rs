//! The produce stream of the fake.

use futures::StreamExt;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use weir_protocol::{ErrorCode, ids::PartitionKey, pb::data::*};
use weir_runtime::task;

use super::{Answers, FakeSpu, Produce, error};

pub fn serve(spu: FakeSpu, mut inbound: Streaming<ProduceMessage>) -> Answers<ProduceResponse> {
    let (out, answers) = mpsc::channel(16);
    task::spawn(async move {
        spu.state().open_streams += 1;
        while let Some(Ok(message)) = inbound.next().await {
            let request = match message.message {
                Some(produce_message::Message::Produce(request)) => request,
                Some(produce_message::Message::Authenticate(fresh)) => {
                    spu.state().tokens.push(fresh.token);
                    continue;
                }
                None => continue,
            };
            match answer(&spu, &request) {
                Ok(Some(result)) => {
                    let correlation_id = request.correlation_id;
                    let response = ProduceResponse { correlation_id, result: Some(result) };
                    if out.send(Ok(response)).await.is_err() {
                        break;
                    }
                }
                Ok(None) => {}
                Err(status) => {
                    let _ = out.send(Err(status)).await;
                    break;
                }
            }
        }
        spu.state().open_streams -= 1;
    });
    Box::pin(ReceiverStream::new(answers))
}

fn answer(
    spu: &FakeSpu,
    request: &ProduceRequest,
) -> Result<Option<produce_response::Result>, Status> {
    let key = PartitionKey::from_wire(request.partition.as_ref().unwrap()).unwrap();
    let mut state = spu.state();
    state.produce_requests.push((key, request.correlation_id));
    let act = state.produce_script.pop_front().unwrap_or(Produce::Serve);
    let broken = || Err(Status::unavailable("scripted"));
    let appended = match act {
        Produce::Refuse(code) => Err(code),
        Produce::Break => return broken(),
        Produce::StopsBefore => {
            let details = error(ErrorCode::ShuttingDown).encode_to_vec();
            return Err(Status::with_details(Code::Unavailable, "scripted", details.into()));
        }
        Produce::Silence => return Ok(None),
        Produce::Serve | Produce::AppendAndBreak => {
            state.logs.entry(key).or_default().append(&request.batch)
        }
    };
    drop(state);
    spu.changed.notify_waiters();
    if matches!(act, Produce::AppendAndBreak) {
        return broken();
    }
    Ok(Some(match appended {
        Ok((base_offset, duplicate)) => {
            produce_response::Result::Ack(ProduceAck { base_offset, duplicate, log_start: 0 })
        }
        Err(code) => produce_response::Result::Error(error(code)),
    }))
}
