//! What of a replica a reader may have. Pure.
//!
//! The leader serves what is committed, and to who asked for it what is not. A follower that is in
//! sync serves what it knows to be committed (KIP-392), later than the leader and never more: whoever
//! reads from it was told by the leader where to begin, and so begins at an offset that every replica
//! in sync holds.

use weir_protocol::{
    ErrorCode, WireError,
    ids::{LeaderEpoch, Offset},
    pb::data::Subscribe,
};
use weir_runtime::plant;

use crate::{
    partition::{Standing, View},
    replica::{
        Refusal,
        start_offset::{Readable, Request, StartAt},
    },
};

/// Where a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What is committed, at the leader.
    Committed,
    /// All that there is, at the leader.
    Uncommitted,
    /// What is committed, at the leader or a follower.
    Nearby,
}

impl Reading {
    /// What a subscription asks for that begins at `start`.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for what cannot be together.
    pub fn asked(subscribe: &Subscribe, start: Request) -> Result<Self, WireError> {
        let invalid = |text| Err(WireError::new(ErrorCode::InvalidRequest, text));
        let offset = matches!((start.committed, start.at), (None, StartAt::Absolute(_)));
        match (subscribe.uncommitted, subscribe.from_follower) {
            (true, true) => invalid("what is not committed is read from the leader"),
            (false, true) if !offset => {
                invalid("a follower serves from an offset on; the leader says which")
            }
            (false, true) if subscribe.settled => {
                invalid("a follower does not know the end; the leader says where it is")
            }
            (false, true) => Ok(Self::Nearby),
            (true, false) => Ok(Self::Uncommitted),
            (false, false) => Ok(Self::Committed),
        }
    }
}

/// What a replica serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// What a start is resolved against.
    pub starts: Readable,
    /// Batches below it are sent.
    pub end: Offset,
}

/// What a reader may have of a replica that looks like `view`; `in_sync`: as the map has it.
///
/// # Errors
/// As [`View::serves`].
pub(super) fn served(
    view: &View,
    reading: Reading,
    epoch: LeaderEpoch,
    in_sync: bool,
) -> Result<Served, WireError> {
    let follows = view.standing == Standing::Follower && view.leader_epoch == epoch;
    match reading {
        Reading::Nearby if follows && in_sync => {
            // Where the leader lets it begin, all in sync hold what is before.
            let starts = Readable { high_watermark: view.log_end, ..view.readable };
            // The planted bug: what a follower has is taken for what is committed.
            let all = plant::active("follower_serves_its_log");
            Ok(Served {
                starts,
                end: if all { view.log_end } else { view.readable.high_watermark },
            })
        }
        Reading::Nearby if follows => {
            let (leader, epoch) = (view.leader, view.leader_epoch);
            Err(Refusal::NotLeader { leader, epoch }.into())
        }
        Reading::Nearby | Reading::Committed => {
            let starts = view.serves(epoch)?;
            Ok(Served { starts, end: starts.high_watermark })
        }
        Reading::Uncommitted => {
            let readable = view.serves(epoch)?;
            let starts = Readable { high_watermark: view.log_end, settled: true, ..readable };
            Ok(Served { starts, end: view.log_end })
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::ids::SpuId;

    use super::*;

    fn view(standing: Standing) -> View {
        let readable = Readable { log_start: Offset(2), high_watermark: Offset(5), settled: false };
        View {
            standing,
            readable,
            log_end: Offset(9),
            leader: Some(SpuId(1)),
            leader_epoch: LeaderEpoch(3),
            ..View::opening()
        }
    }

    #[test]
    fn a_leader_serves_what_is_committed_and_more_to_who_asks() {
        let leader = view(Standing::Leader(LeaderEpoch(3)));
        for reading in [Reading::Committed, Reading::Nearby] {
            let served = served(&leader, reading, LeaderEpoch(3), true).unwrap();
            assert_eq!((served.starts, served.end), (leader.readable, Offset(5)));
        }
        let all = served(&leader, Reading::Uncommitted, LeaderEpoch(3), true).unwrap();
        assert_eq!((all.starts.high_watermark, all.end), (Offset(9), Offset(9)));
        assert!(all.starts.settled, "there is nothing that it could not know of");
    }

    #[test]
    fn a_follower_in_sync_serves_what_is_committed_to_who_wants_it_from_a_follower() {
        let follower = view(Standing::Follower);
        let nearby = served(&follower, Reading::Nearby, LeaderEpoch(3), true).unwrap();
        assert_eq!((nearby.starts.high_watermark, nearby.end), (Offset(9), Offset(5)));
        assert!(!nearby.starts.settled, "beyond its end there may be more");
        for (reading, epoch, in_sync) in [
            (Reading::Nearby, 3, false),
            (Reading::Nearby, 2, true),
            (Reading::Nearby, 4, true),
            (Reading::Committed, 3, true),
            (Reading::Uncommitted, 3, true),
        ] {
            let refused = served(&follower, reading, LeaderEpoch(epoch), in_sync).unwrap_err();
            assert_eq!(refused.code, ErrorCode::NotLeader, "{reading:?} {epoch} {in_sync}");
        }
    }

    #[test]
    fn a_follower_is_asked_for_an_offset_and_for_what_is_committed() {
        let ask = |uncommitted, from_follower, start| {
            let subscribe = Subscribe { uncommitted, from_follower, ..Subscribe::default() };
            Reading::asked(&subscribe, start)
        };
        let at = Request::at(StartAt::Absolute(Offset(7)));
        assert_eq!(ask(false, true, at), Ok(Reading::Nearby));
        assert_eq!(ask(false, false, at), Ok(Reading::Committed));
        assert_eq!(ask(true, false, Request::at(StartAt::End)), Ok(Reading::Uncommitted));
        let committed = Request { committed: Some(Offset(1)), ..at };
        for (uncommitted, start) in
            [(true, at), (false, committed), (false, Request::at(StartAt::End))]
        {
            let refused = ask(uncommitted, true, start).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidRequest);
        }
        let to_its_end = Subscribe { from_follower: true, settled: true, ..Subscribe::default() };
        let refused = Reading::asked(&to_its_end, at).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
}
