//! An SPU that is believed has seen more than the database holds, or its cluster is frozen for that.

use weir_protocol::{
    ErrorCode,
    ids::{LeaderEpoch, Revision, SpuId},
};

use super::register::{self, Request, Shown};
use crate::{
    plan::registration::Asked,
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        history::Heard,
        recovery::{self, ReportRow},
    },
};

/// The database went back: the cluster is frozen, if it is not yet, and what the SPU has seen is
/// kept. `adopt`: its launch, unknown here, is the one that runs.
pub(super) async fn store(
    scoped: &mut Scoped<'_>,
    request: &Request,
    shown: &Shown<'_>,
    (reason, adopt): (&str, bool),
    now_unix_ms: i64,
) -> DbResult<Option<Revision>> {
    let Request { cluster, spu, ref asked, .. } = *request;
    let froze = recovery::freeze(scoped, cluster, reason, now_unix_ms).await?;
    if froze {
        tracing::error!(%cluster, %spu, reason, "the database went back: the cluster is frozen; see weir control-plane recover");
    }
    let row = ReportRow {
        heard: heard(spu, asked),
        launch: asked.launch_id,
        secret_hash: shown.hash.clone(),
        folder: asked.folder_id,
        heard_at_unix_ms: now_unix_ms,
    };
    let before = recovery::reports(scoped, cluster).await?;
    let before = before.iter().find(|before| before.heard.spu == spu);
    // Of two launches the one that has seen more is the later one.
    let outdone = before.is_some_and(|before| {
        before.launch != row.launch && before.heard.revision > row.heard.revision
    });
    if !outdone {
        recovery::report(scoped, cluster, &row).await?;
        if adopt {
            tracing::warn!(%cluster, %spu, launch = %row.launch, "a launch of after the backup is taken over");
            recovery::adopt(scoped, cluster, &row, now_unix_ms).await?;
        }
    }
    let code = ErrorCode::DatabaseWentBack;
    let mut revision = register::note_refusal(scoped, request, code, reason, now_unix_ms).await?;
    if froze {
        revision = Some(changes::record(scoped, cluster, &Change::Cluster, now_unix_ms).await?);
    }
    Ok(revision)
}

fn heard(spu: SpuId, asked: &Asked) -> Heard {
    let epochs = asked.leader_epochs.iter().map(|(_, epoch)| *epoch);
    Heard {
        spu,
        database: asked.database,
        revision: asked.highest_revision,
        producer_id: asked.highest_producer_id,
        leader_epoch: epochs.fold(asked.highest_leader_epoch, LeaderEpoch::max),
        partition_epoch: asked.highest_partition_epoch,
        incarnation: asked.highest_incarnation,
        held: asked.held.clone(),
    }
}
