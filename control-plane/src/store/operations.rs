//! What was ordered of clusters, how far it has come, how it ended. An operation outlives its
//! cluster.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_protocol::ids::{ClusterId, LaunchId, OperationId, SpuId};

use super::{
    DbError, DbResult, Row, Scoped, Tx, Value,
    types::{OperationKind, OperationState, StepState},
};
use crate::params;

/// What an order is to come to, in numbers. Set once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = OperationTarget)]
pub struct Target {
    /// How many SPUs there were.
    pub from: u32,
    /// How many there are to be.
    pub to: u32,
    /// The SPUs that are added.
    #[schema(value_type = Vec<u32>)]
    pub add: Vec<SpuId>,
    /// The SPUs that are removed.
    #[schema(value_type = Vec<u32>)]
    pub remove: Vec<SpuId>,
    /// The SPUs that were about to be removed, and stay.
    #[schema(value_type = Vec<u32>)]
    pub keep: Vec<SpuId>,
    /// How many partitions come to be held by others for it.
    pub moves: u32,
    /// The SPUs that are started anew, with the start that each had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<Started>,
}

/// A start of an SPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StartedSpu)]
pub struct Started {
    /// Which.
    #[schema(value_type = u32)]
    pub spu_id: SpuId,
    /// Which start, if there was one.
    #[schema(value_type = Option<String>)]
    pub launch_id: Option<LaunchId>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OperationStep)]
pub struct Step {
    /// What is done in it.
    #[schema(example = "start SPUs")]
    pub name: String,
    /// What is so of it.
    pub state: StepState,
    /// How far it is, or what it waits for.
    #[schema(example = "2 of 3")]
    pub detail: Option<String>,
}

/// Why an operation ended without having done what it was to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OperationError)]
pub struct Failure {
    /// What programs look at; stable.
    #[schema(example = "SCALE_REFUSED")]
    pub code: String,
    /// What was wrong.
    pub detail: String,
    /// What a person can do about it.
    pub hint: String,
}

/// What changes while an operation is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What became of it so far.
    pub state: OperationState,
    /// In their order.
    pub steps: Vec<Step>,
    /// Units of work done, of all steps together.
    pub done: u32,
    /// Units of work in all.
    pub total: u32,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
}

/// An operation to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOperation<'a> {
    /// Its id, a UUIDv7.
    pub id: OperationId,
    /// Whose it is.
    pub cluster: ClusterId,
    /// What the cluster is called, for when it is gone.
    pub cluster_name: &'a str,
    /// What was ordered.
    pub kind: OperationKind,
    /// In numbers.
    pub target: Target,
    /// Where it begins.
    pub account: Account,
    /// Who ordered it.
    pub actor: &'a str,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRow {
    /// Its id.
    pub id: OperationId,
    /// Whose it is, or was.
    pub cluster: ClusterId,
    /// What the cluster is, or was, called.
    pub cluster_name: String,
    /// What was ordered.
    pub kind: OperationKind,
    /// In numbers.
    pub target: Target,
    /// How far it has come.
    pub account: Account,
    /// Who ordered it.
    pub actor: String,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: i64,
    /// Milliseconds since 1970.
    pub updated_at_unix_ms: i64,
    /// Milliseconds since 1970, once it ended.
    pub ended_at_unix_ms: Option<i64>,
}

fn operation(row: &Row) -> DbResult<OperationRow> {
    let error: Option<String> = row.get("error")?;
    Ok(OperationRow {
        id: row.get("operation_id")?,
        cluster: row.get("cluster_id")?,
        cluster_name: row.get("cluster_name")?,
        kind: row.get("kind")?,
        target: decoded("target", &row.get::<String>("target")?)?,
        account: Account {
            state: row.get("state")?,
            steps: decoded("steps", &row.get::<String>("steps")?)?,
            done: row.get("progress_done")?,
            total: row.get("progress_total")?,
            error: error.map(|text| decoded("error", &text)).transpose()?,
        },
        actor: row.get("actor")?,
        created_at_unix_ms: row.get("created_at_unix_ms")?,
        updated_at_unix_ms: row.get("updated_at_unix_ms")?,
        ended_at_unix_ms: row.get("ended_at_unix_ms")?,
    })
}

fn decoded<T: for<'de> Deserialize<'de>>(column: &str, text: &str) -> DbResult<T> {
    serde_json::from_str(text)
        .map_err(|_| DbError::Decode { column: column.to_owned(), expected: "JSON" })
}

fn encoded<T: Serialize>(value: &T) -> Value {
    Value::from(serde_json::json!(value).to_string())
}

/// Adds an operation. The one of this cluster that still runs, if any, is superseded.
///
/// # Errors
/// As the database.
pub async fn begin(
    scoped: &mut Scoped<'_>,
    new: &NewOperation<'_>,
    now_unix_ms: i64,
) -> DbResult<()> {
    scoped
        .execute(
            "UPDATE operations SET state = $3, updated_at_unix_ms = $5, ended_at_unix_ms = $5
             WHERE org_id = $1 AND cluster_id = $2 AND state = $4",
            params![new.cluster, OperationState::Superseded, OperationState::Running, now_unix_ms],
        )
        .await?;
    scoped
        .execute(
            "INSERT INTO operations (org_id, operation_id, cluster_id, cluster_name, kind, state,
                target, steps, progress_done, progress_total, actor, created_at_unix_ms,
                updated_at_unix_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
            params![
                new.id,
                new.cluster,
                new.cluster_name,
                new.kind,
                new.account.state,
                encoded(&new.target),
                encoded(&new.account.steps),
                new.account.done,
                new.account.total,
                new.actor,
                now_unix_ms
            ],
        )
        .await?;
    Ok(())
}

/// Writes how far a running operation has come. `false`, and nothing changed, when it does
/// not run any more.
///
/// # Errors
/// As the database.
pub async fn account(
    scoped: &mut Scoped<'_>,
    id: OperationId,
    account: &Account,
    now_unix_ms: i64,
) -> DbResult<bool> {
    let ended = (account.state != OperationState::Running).then_some(now_unix_ms);
    let rows = scoped
        .execute(
            "UPDATE operations
             SET state = $3, steps = $4, progress_done = $5, progress_total = $6, error = $7,
                updated_at_unix_ms = $8, ended_at_unix_ms = $9
             WHERE org_id = $1 AND operation_id = $2 AND state = $10",
            params![
                id,
                account.state,
                encoded(&account.steps),
                account.done,
                account.total,
                account.error.as_ref().map(encoded).unwrap_or(Value::Null),
                now_unix_ms,
                ended,
                OperationState::Running
            ],
        )
        .await?;
    Ok(rows == 1)
}

/// One operation.
///
/// # Errors
/// As the database.
pub async fn get(scoped: &mut Scoped<'_>, id: OperationId) -> DbResult<Option<OperationRow>> {
    let row = scoped
        .query_optional(
            "SELECT * FROM operations WHERE org_id = $1 AND operation_id = $2",
            params![id],
        )
        .await?;
    row.as_ref().map(operation).transpose()
}

/// A cluster's newest operation, running or not.
///
/// # Errors
/// As the database.
pub async fn newest(scoped: &mut Scoped<'_>, cluster: ClusterId) -> DbResult<Option<OperationRow>> {
    Ok(page(scoped, Some(cluster), None, 1).await?.into_iter().next())
}

/// Operations of a cluster (`None`: of all), the newest first, from before `before` on.
///
/// # Errors
/// As the database.
pub async fn page(
    scoped: &mut Scoped<'_>,
    cluster: Option<ClusterId>,
    before: Option<OperationId>,
    limit: u32,
) -> DbResult<Vec<OperationRow>> {
    // Ids are hexadecimal and begin with their time: the largest is the newest.
    let before = before.map_or_else(|| "op_g".to_owned(), |id| id.to_string());
    let rows = match cluster {
        Some(cluster) => {
            scoped
                .query(
                    "SELECT * FROM operations
                     WHERE org_id = $1 AND cluster_id = $2 AND operation_id < $3
                     ORDER BY operation_id DESC LIMIT $4",
                    params![cluster, before, limit],
                )
                .await?
        }
        None => {
            scoped
                .query(
                    "SELECT * FROM operations WHERE org_id = $1 AND operation_id < $2
                     ORDER BY operation_id DESC LIMIT $3",
                    params![before, limit],
                )
                .await?
        }
    };
    rows.iter().map(operation).collect()
}

/// Forgets operations that ended before `before_unix_ms`, and of each tenant those that ended
/// but the newest `keep`; says how many.
///
/// # Errors
/// As the database.
pub async fn system_prune(tx: &mut Tx, before_unix_ms: i64, keep: u32) -> DbResult<u64> {
    tx.execute(
        "DELETE FROM operations
         WHERE ended_at_unix_ms < $1
            OR (org_id, operation_id) IN
                (SELECT org_id, operation_id FROM
                    (SELECT org_id, operation_id, row_number() OVER
                        (PARTITION BY org_id ORDER BY operation_id DESC) AS place
                     FROM operations WHERE ended_at_unix_ms IS NOT NULL) AS ranked
                 WHERE place > $2)",
        params![before_unix_ms, keep],
    )
    .await
}
