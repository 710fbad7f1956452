//! A registration: from the wire to the plan's words, the decision, and one transaction that
//! makes it so.

use std::collections::BTreeMap;

use weir_protocol::{
    ErrorCode, WireError,
    ids::{
        ClusterId, DatabaseId, FolderId, Incarnation, LaunchId, LeaderEpoch, OrgId, PartitionKey,
        ProcessId, ProducerId, RestoreNumber, Revision, SpuId, TopicGenerationId,
    },
    pb::session::{Register, ReplicaStatus},
};

use crate::{
    plan::{
        election::{self, Leadership},
        registration::{self, Asked, Decision, Known, KnownCluster, KnownLaunch, KnownSpu},
    },
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters, launch_handles, launches,
        partitions::{self, PartitionRow},
        spus::{self, Registration},
        types::{Desired, LaunchState, SpuState},
    },
};

/// Longest endpoint taken, in bytes: a DNS name and a port.
const ENDPOINT_BYTES_MAX: usize = 262;

/// A registration whose ids have the right form.
#[derive(Clone, Debug)]
pub struct Request {
    /// The tenant that it claims.
    pub org: OrgId,
    /// The cluster that it claims.
    pub cluster: ClusterId,
    /// The SPU that it claims to be.
    pub spu: SpuId,
    /// Where clients reach it.
    pub endpoint: String,
    /// The rest.
    pub asked: Asked,
    /// Its replicas, for the status board.
    pub replicas: Vec<ReplicaStatus>,
}

/// What became of a registration.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is stored.
    Accepted {
        /// Its life's number.
        incarnation: Incarnation,
        /// Whether that number is new.
        new_incarnation: bool,
        /// The cluster's revision after the transaction, where it took one.
        revision: Option<Revision>,
    },
    /// It is not.
    Refused {
        /// For the SPU.
        error: WireError,
        /// Whether there is such an SPU at all. What strangers claim is kept nowhere.
        known: bool,
        /// Whether it proved to be a launch of this SPU, be it an earlier or an ended one.
        /// Who knows ids alone may change nothing of what is shown.
        proven: bool,
        /// The cluster's revision after the transaction, where it took one.
        revision: Option<Revision>,
    },
}

fn invalid(what: impl std::fmt::Display) -> WireError {
    WireError::new(ErrorCode::InvalidRequest, format!("not a valid registration: {what}"))
}

/// Checks the form. The secret is left to the caller.
///
/// # Errors
/// `INVALID_REQUEST`, which names what is wrong.
pub fn parse(message: Register) -> Result<Request, WireError> {
    let endpoint_ok = message.endpoint.len() <= ENDPOINT_BYTES_MAX
        && message.endpoint.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains('\0')
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
    if !endpoint_ok {
        return Err(invalid("the endpoint is not host:port"));
    }
    let database = message
        .database
        .filter(|database| !database.database_id.is_empty())
        .map(|database| {
            let id: DatabaseId = database.database_id.parse().map_err(invalid)?;
            Ok::<_, WireError>((id, RestoreNumber(database.restore_number)))
        })
        .transpose()?;
    let leader_epochs = message
        .replicas
        .iter()
        .map(|replica| {
            let key = replica.partition.as_ref().and_then(PartitionKey::from_wire);
            Ok((key.ok_or_else(|| invalid("a replica without partition"))?, replica.leader_epoch))
        })
        .map(|pair| pair.map(|(key, epoch)| (key, LeaderEpoch(epoch))))
        .collect::<Result<Vec<_>, WireError>>()?;
    Ok(Request {
        org: message.org_id.parse().map_err(invalid)?,
        cluster: message.cluster_id.parse().map_err(invalid)?,
        spu: SpuId(message.spu_id),
        endpoint: message.endpoint,
        asked: Asked {
            protocol_version: message.protocol_version,
            launch_id: message.launch_id.parse::<LaunchId>().map_err(invalid)?,
            folder_id: message.folder_id.parse::<FolderId>().map_err(invalid)?,
            process_id: message.process_id.parse::<ProcessId>().map_err(invalid)?,
            database,
            highest_revision: Revision(message.highest_revision),
            highest_producer_id: ProducerId(message.highest_producer_id),
            leader_epochs,
        },
        replicas: message.replicas,
    })
}

/// Which history this control plane's database is.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Another id is another history.
    pub database_id: DatabaseId,
    /// How often it was restored.
    pub restore_number: RestoreNumber,
}

/// Decides on the registration and writes what follows, all in the caller's write
/// transaction: the SPU's row, new epochs for what it leads, and what watchers must hear.
/// Repeating it after a commit of unknown outcome is safe: the process id is recognised.
///
/// # Errors
/// As the database.
pub async fn apply(
    scoped: &mut Scoped<'_>,
    history: History,
    request: &Request,
    secret_matches: impl Fn(&str) -> bool,
    now_unix_ms: i64,
) -> DbResult<Outcome> {
    let (cluster, spu) = (request.cluster, request.spu);
    let (known, led) = load(scoped, history, request, &secret_matches).await?;
    let (incarnation, new_incarnation) = match registration::decide(&known, &request.asked) {
        Decision::Accept { incarnation, new_incarnation } => (incarnation, new_incarnation),
        Decision::Refuse { code, reason } => {
            let proven = launches::get(scoped, cluster, request.asked.launch_id)
                .await?
                .is_some_and(|row| row.spu == spu && secret_matches(&row.secret_hash));
            let revision = note_refusal(scoped, request, code, &reason, now_unix_ms).await?;
            return Ok(Outcome::Refused {
                error: WireError::new(code, reason),
                known: known.spu.is_some(),
                proven,
                revision,
            });
        }
    };
    let changed = if new_incarnation {
        let row = Registration {
            incarnation,
            folder_id: request.asked.folder_id,
            process_id: request.asked.process_id,
            endpoint: request.endpoint.clone(),
        };
        spus::register(scoped, cluster, spu, &row, now_unix_ms).await?
    } else {
        spus::set_state(scoped, cluster, spu, SpuState::Online, None, now_unix_ms).await?
    };
    let mut revision = None;
    if new_incarnation {
        revision = lead(scoped, cluster, &led, spu, incarnation, now_unix_ms).await?;
    }
    if changed {
        revision = Some(changes::record(scoped, cluster, &Change::Spu(spu), now_unix_ms).await?);
    }
    Ok(Outcome::Accepted { incarnation, new_incarnation, revision })
}

async fn load(
    scoped: &mut Scoped<'_>,
    history: History,
    request: &Request,
    secret_matches: &impl Fn(&str) -> bool,
) -> DbResult<(Known, Vec<Leadership>)> {
    let (cluster, spu) = (request.cluster, request.spu);
    let cluster_row = clusters::by_id(scoped, cluster).await?;
    let next_producer_id = launch_handles::next_producer_id(scoped, cluster).await?;
    let spu_row = spus::get(scoped, cluster, spu).await?;
    let launch = match spu_row.as_ref().and_then(|row| row.launch_id) {
        Some(id) => launches::get(scoped, cluster, id).await?,
        None => None,
    };
    // What ended is not to come back, also not before the next launch is planned.
    let launch = launch.filter(|row| row.state != LaunchState::Ended);
    let held = partitions::of_spu(scoped, cluster, spu).await?;
    let known = Known {
        cluster: cluster_row.map(|row| KnownCluster {
            desired: row.desired,
            revision: row.revision,
            database_id: history.database_id,
            restore_number: history.restore_number,
            next_producer_id: next_producer_id.unwrap_or_default(),
        }),
        spu: spu_row.map(|row| KnownSpu {
            removed: row.removed,
            folder_id: row.folder_id,
            process_id: row.process_id,
            incarnation: row.incarnation,
        }),
        launch: launch.map(|row| KnownLaunch {
            launch_id: row.id,
            secret_matches: secret_matches(&row.secret_hash),
        }),
        leader_epochs: held.iter().map(|p| (p.key, p.leader_epoch)).collect::<BTreeMap<_, _>>(),
    };
    Ok((known, held.into_iter().map(leadership).collect()))
}

fn leadership(row: PartitionRow) -> Leadership {
    Leadership {
        key: row.key,
        leader: row.leader,
        candidates: row.replicas.iter().filter(|r| r.in_isr).map(|r| r.spu).collect(),
        leader_incarnation: row.leader_incarnation,
        leader_epoch: row.leader_epoch,
        partition_epoch: row.partition_epoch,
    }
}

/// Raises the epochs of what the SPU leads in its new life; one change per generation.
async fn lead(
    scoped: &mut Scoped<'_>,
    cluster: ClusterId,
    held: &[Leadership],
    spu: SpuId,
    incarnation: Incarnation,
    now_unix_ms: i64,
) -> DbResult<Option<Revision>> {
    let mut last: Option<TopicGenerationId> = None;
    let mut revision = None;
    for (old, new) in election::on_new_incarnation(held, spu, incarnation) {
        partitions::set_leader(
            scoped,
            cluster,
            new.key,
            old,
            new.leader.map(|leader| (leader, new.leader_incarnation)),
            new.leader_epoch,
        )
        .await?;
        // They come sorted by generation.
        if last != Some(new.key.generation) {
            last = Some(new.key.generation);
            let change = Change::Topic(new.key.generation);
            revision = Some(changes::record(scoped, cluster, &change, now_unix_ms).await?);
        }
    }
    Ok(revision)
}

/// Writes a refusal onto the SPU's row where the asker proved that it is the current launch
/// and the cluster is to run: then it is this SPU that cannot serve, and people must see
/// why. Nobody else may change what is shown.
async fn note_refusal(
    scoped: &mut Scoped<'_>,
    request: &Request,
    code: ErrorCode,
    reason: &str,
    now_unix_ms: i64,
) -> DbResult<Option<Revision>> {
    if !matches!(code, ErrorCode::FolderMismatch | ErrorCode::DatabaseWentBack) {
        return Ok(None);
    }
    let wanted = clusters::by_id(scoped, request.cluster)
        .await?
        .is_some_and(|row| row.desired == Desired::Running);
    if !wanted {
        return Ok(None);
    }
    let changed = spus::set_state(
        scoped,
        request.cluster,
        request.spu,
        SpuState::Refused,
        Some(reason),
        now_unix_ms,
    )
    .await?;
    if !changed {
        return Ok(None);
    }
    let change = Change::Spu(request.spu);
    Ok(Some(changes::record(scoped, request.cluster, &change, now_unix_ms).await?))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::pb::data::PartitionRef;

    use super::*;

    fn good() -> Register {
        Register {
            org_id: OrgId(Uuid::from_u128(1)).to_string(),
            cluster_id: ClusterId(Uuid::from_u128(2)).to_string(),
            spu_id: 1,
            launch_id: Uuid::from_u128(3).to_string(),
            folder_id: Uuid::from_u128(4).to_string(),
            process_id: Uuid::from_u128(5).to_string(),
            endpoint: "127.0.0.1:9600".to_owned(),
            protocol_version: 1,
            ..Register::default()
        }
    }

    #[test]
    fn whatever_has_no_form_is_refused() {
        assert!(parse(good()).is_ok());
        type Change = fn(&mut Register);
        let changes: [(&str, Change); 10] = [
            ("org", |r| r.org_id = "cl_1".to_owned()),
            ("cluster", |r| r.cluster_id.clear()),
            ("launch", |r| r.launch_id = "1".to_owned()),
            ("folder", |r| r.folder_id.clear()),
            ("process", |r| r.process_id.clear()),
            ("endpoint", |r| r.endpoint = "localhost".to_owned()),
            ("endpoint without host", |r| r.endpoint = ":1".to_owned()),
            ("endpoint that no text can be", |r| r.endpoint = "a\0b:1".to_owned()),
            ("endless endpoint", |r| r.endpoint = format!("{}:1", "x".repeat(300))),
            ("replica", |r| {
                r.replicas = vec![ReplicaStatus {
                    partition: Some(PartitionRef { generation_id: "short".into(), partition: 0 }),
                    ..ReplicaStatus::default()
                }];
            }),
        ];
        for (name, change) in changes {
            let mut message = good();
            change(&mut message);
            let error = parse(message).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{name}");
        }
    }

    #[test]
    fn a_fresh_folder_names_no_database() {
        let mut message = good();
        message.database = Some(weir_protocol::pb::metadata::DatabaseRef::default());
        assert_eq!(parse(message).unwrap().asked.database, None);
    }
}
