//! `DataPlane.ListOffsets`: where readers of partitions would begin, without reading.

use weir_protocol::{
    WireError,
    pb::data::{
        ListOffset, ListOffsetsRequest, Started, data_plane_client::DataPlaneClient,
        listed_offset::Result as Found,
    },
};
use weir_runtime::clock::Clock;

use super::{CallError, Spu};

/// Questions of one request.
const QUESTIONS_MAX: usize = 1_000;

/// One answer per question, in their order.
///
/// # Errors
/// [`CallError`].
pub async fn list_offsets(
    clock: Clock,
    spu: Spu<'_>,
    questions: &[ListOffset],
) -> Result<Vec<Result<Started, WireError>>, CallError> {
    let mut client = DataPlaneClient::new(spu.channel());
    let mut answers = Vec::with_capacity(questions.len());
    for part in questions.chunks(QUESTIONS_MAX) {
        let request = spu.request(ListOffsetsRequest { partitions: part.to_vec() })?;
        let answer = spu.answer(clock, client.list_offsets(request)).await?;
        if answer.partitions.len() != part.len() {
            return Err(CallError::Unexpected(
                "another number of partitions than it was asked for",
            ));
        }
        for (asked, found) in part.iter().zip(answer.partitions) {
            if found.partition != asked.partition {
                return Err(CallError::Unexpected("for another partition than it was asked for"));
            }
            answers.push(match found.result {
                Some(Found::Found(started)) => Ok(started),
                Some(Found::Error(error)) => Err(error.into()),
                None => return Err(CallError::Unexpected("nothing for a partition")),
            });
        }
    }
    Ok(answers)
}
