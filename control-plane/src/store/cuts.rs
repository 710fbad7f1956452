//! What elections may have cost that chose a replica which may lack what was committed. Written
//! in the election's transaction and never changed; gone with the partition.

use serde_json::{Value as Json, json};
use weir_protocol::ids::{
    ClusterId, LeaderEpoch, Offset, PartitionIndex, PartitionKey, SpuId, TopicGenerationId,
};

use super::{DbError, DbResult, Row, Scoped};
use crate::params;

/// A replica as its SPU reported it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The epoch of its last record; none: it holds no record.
    pub last_epoch: Option<LeaderEpoch>,
    /// Next offset that it lacks.
    pub log_end: Offset,
    /// First offset that it does not know to be committed.
    pub high_watermark: Offset,
}

/// A replica that was counted on, and is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Who holds it.
    pub spu: SpuId,
    /// Whether it was in sync; else it was eligible.
    pub in_sync: bool,
    /// What it reported last, where that is known.
    pub report: Option<Report>,
}

/// What an election may have cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Who leads now.
    pub leader: SpuId,
    /// In which epoch: the first of the new history.
    pub leader_epoch: LeaderEpoch,
    /// The last epoch of the old one.
    pub old_leader_epoch: LeaderEpoch,
    /// What the new leader had reported. What was committed at or above its high watermark may be
    /// lost, and what was at or above its log end is.
    pub report: Report,
    /// Who was in sync or eligible.
    pub given_up: Vec<GivenUp>,
}

/// A cut, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutRow {
    /// Of which partition.
    pub partition: PartitionIndex,
    /// Milliseconds since 1970.
    pub at_unix_ms: i64,
    /// The election.
    pub cut: Cut,
}

/// Writes one down, and its epoch onto its partition, which has its new leader by now.
///
/// # Errors
/// As the database.
pub async fn insert(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    key: PartitionKey,
    cut: &Cut,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "INSERT INTO partition_cuts (org_id, cluster_id, generation_id, idx, leader_epoch,
                at_unix_ms, leader_spu_id, high_watermark, log_end, last_epoch, old_leader_epoch,
                given_up)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            params![
                cluster,
                key.generation,
                key.partition,
                cut.leader_epoch,
                now_unix_ms,
                cut.leader,
                cut.report.high_watermark.0,
                cut.report.log_end.0,
                cut.report.last_epoch,
                cut.old_leader_epoch,
                given_up_text(&cut.given_up)
            ],
        )
        .await?;
    scoped
        .execute(
            "UPDATE partitions SET unclean_leader_epoch = $5
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3 AND idx = $4",
            params![cluster, key.generation, key.partition, cut.leader_epoch],
        )
        .await?;
    Ok(())
}

/// Those of a generation, by partition, the newest first.
///
/// # Errors
/// As the database.
pub async fn of_generation(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    generation: TopicGenerationId,
) -> DbResult<Vec<CutRow>> {
    let rows = scoped
        .query(
            "SELECT * FROM partition_cuts
             WHERE org_id = $1 AND cluster_id = $2 AND generation_id = $3
             ORDER BY idx, leader_epoch DESC",
            params![cluster, generation],
        )
        .await?;
    rows.iter().map(cut).collect()
}

fn cut(row: &Row) -> DbResult<CutRow> {
    Ok(CutRow {
        partition: row.get("idx")?,
        at_unix_ms: row.get("at_unix_ms")?,
        cut: Cut {
            leader: row.get("leader_spu_id")?,
            leader_epoch: row.get("leader_epoch")?,
            old_leader_epoch: row.get("old_leader_epoch")?,
            report: Report {
                last_epoch: row.get("last_epoch")?,
                log_end: Offset(row.get("log_end")?),
                high_watermark: Offset(row.get("high_watermark")?),
            },
            given_up: given_up(&row.get::<String>("given_up")?)?,
        },
    })
}

fn given_up_text(all: &[GivenUp]) -> String {
    let one = |of: &GivenUp| {
        let report = of.report.map(|report| {
            json!({ "last_epoch": report.last_epoch, "log_end": report.log_end,
                "high_watermark": report.high_watermark })
        });
        json!({ "spu": of.spu, "in_sync": of.in_sync, "report": report })
    };
    Json::Array(all.iter().map(one).collect()).to_string()
}

fn given_up(text: &str) -> DbResult<Vec<GivenUp>> {
    let malformed =
        || DbError::Decode { column: "given_up".to_owned(), expected: "replicas as JSON" };
    let all: Vec<Json> = serde_json::from_str(text).map_err(|_| malformed())?;
    let number = |of: &Json| of.as_u64();
    let epoch = |of: &Json| of.as_u64().and_then(|epoch| u32::try_from(epoch).ok());
    let one = |of: &Json| {
        let report = &of["report"];
        let report = number(&report["log_end"]).map(|log_end| Report {
            last_epoch: epoch(&report["last_epoch"]).map(LeaderEpoch),
            log_end: Offset(log_end),
            high_watermark: Offset(number(&report["high_watermark"]).unwrap_or(0)),
        });
        Some(GivenUp { spu: SpuId(epoch(&of["spu"])?), in_sync: of["in_sync"].as_bool()?, report })
    };
    all.iter().map(|of| one(of).ok_or_else(malformed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_given_up_is_read_as_it_was_written() {
        let report = Report {
            last_epoch: Some(LeaderEpoch(4)),
            log_end: Offset(10),
            high_watermark: Offset(9),
        };
        let empty =
            Report { last_epoch: None, log_end: Offset::ZERO, high_watermark: Offset::ZERO };
        let of = |spu, in_sync, report| GivenUp { spu: SpuId(spu), in_sync, report };
        let all = [of(1, true, Some(report)), of(2, false, None), of(3, true, Some(empty))];
        assert_eq!(given_up(&given_up_text(&all)), Ok(all.to_vec()));
        for wrong in ["", "{}", "[1]", r#"[{"spu":1}]"#] {
            assert!(given_up(wrong).is_err(), "{wrong}");
        }
    }
}
