//! A registration: from the wire to the plan's words, the decision, and one transaction that
//! makes it so.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{
    ErrorCode, WireError,
    ids::{
        ClusterId, DatabaseId, FolderId, Incarnation, LaunchId, LeaderEpoch, OrgId, PartitionEpoch,
        PartitionKey, ProcessId, ProducerId, RestoreNumber, Revision, SpuId,
    },
    pb::session::{Register, ReplicaStatus},
};

use weir_runtime::plant;

use super::{
    boot::{lives, tell},
    went_back,
};
use crate::{
    app::leadership,
    plan::{
        damage::{self, Damage},
        election::Electorate,
        names::PROBE_TOPIC,
        registration::{self, Asked, Decision, Known, KnownCluster, KnownLaunch, KnownSpu, Proof},
        scale::{self, Blocking, Holdings},
    },
    store::{
        DbResult, Scoped,
        changes::{self, Change},
        clusters, launch_handles, launches,
        partition_state::PartitionState,
        partitions::{self, Held, PartitionRow},
        recovery,
        spus::{self, Registration, SpuRow},
        types::{Desired, LaunchState, SpuState},
    },
};

/// Longest endpoint taken, in bytes: a DNS name and a port.
const ENDPOINT_BYTES_MAX: usize = 262;
/// Longest version taken, in bytes.
const VERSION_BYTES_MAX: usize = 128;
/// Longest name of a rack taken, in bytes.
const RACK_BYTES_MAX: usize = 255;

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
    /// What fails together with it, if it says.
    pub rack: Option<String>,
    /// The build that it runs, as it says.
    pub version: String,
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
        /// How often the history of its cluster was restored.
        restore_number: RestoreNumber,
    },
    /// It is not.
    Refused {
        /// For the SPU.
        error: WireError,
        /// Whether there is such an SPU at all. Of what strangers claim no state is kept.
        known: bool,
        /// Whether there is such a cluster: then people are told who was refused.
        clustered: bool,
        /// Whether it proved to be a launch of this SPU, be it an earlier or an ended one.
        /// Who knows ids alone may change nothing of what is shown.
        proven: bool,
        /// Whether the process is to end: it runs elsewhere, was there before, and its cluster was
        /// shut down meanwhile. One that has just been started waits instead.
        ends: bool,
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
    if message.rack.len() > RACK_BYTES_MAX || message.rack.contains('\0') {
        return Err(invalid(format!(
            "a rack's name has at most {RACK_BYTES_MAX} bytes, none of them 0"
        )));
    }
    if message.version.len() > VERSION_BYTES_MAX || message.version.contains(char::is_control) {
        return Err(invalid("the version is no version"));
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
        rack: Some(message.rack).filter(|rack| !rack.is_empty()),
        version: message.version,
        asked: Asked {
            protocol_version: message.protocol_version,
            launch_id: message.launch_id.parse::<LaunchId>().map_err(invalid)?,
            folder_id: message.folder_id.parse::<FolderId>().map_err(invalid)?,
            process_id: message.process_id.parse::<ProcessId>().map_err(invalid)?,
            boot_id: Some(message.boot_id)
                .filter(|id| !id.is_empty())
                .map(|id| id.parse().map_err(invalid))
                .transpose()?,
            database,
            highest_revision: Revision(message.highest_revision),
            revised_at_unix_ms: message.highest_revision_at_unix_ms,
            highest_producer_id: ProducerId(message.highest_producer_id),
            highest_leader_epoch: LeaderEpoch(message.highest_leader_epoch),
            highest_partition_epoch: PartitionEpoch(message.highest_partition_epoch),
            highest_incarnation: Incarnation(message.highest_incarnation),
            held: message.held.iter().filter_map(PartitionKey::from_wire).collect(),
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
    /// How often the whole of it was restored.
    pub restore_number: RestoreNumber,
}

impl History {
    /// That of a cluster which was recovered so often.
    fn restored(self, recovered: RestoreNumber) -> RestoreNumber {
        RestoreNumber(self.restore_number.0.saturating_add(recovered.0))
    }
}

/// What this control plane knows beside its database.
pub struct Around<'a> {
    /// Which history that is.
    pub history: History,
    /// Replicas that nobody may elect.
    pub damage: &'a BTreeMap<PartitionKey, Damage>,
    /// Of which SPUs there is a session, in which life.
    pub standing: &'a BTreeMap<SpuId, Incarnation>,
    /// The launch whose session stands of the SPU that asks, if one does.
    pub stands: Option<LaunchId>,
    /// Notes that the SPU was heard, and says whether others are still waited for: no epoch is
    /// given then.
    pub alone: &'a (dyn Fn() -> bool + Sync),
}

/// What an SPU's launch secret shows; the secret itself stays with the caller.
pub struct Shown<'a> {
    /// Whether it is the one of this hash.
    pub matches: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether it carries the proof of a control plane over this database.
    pub origin: bool,
    /// Its own hash.
    pub hash: String,
}

/// Decides on the registration and writes what follows, all in the caller's write
/// transaction: the SPU's row, who leads what it holds, and what watchers must hear.
/// Repeating it after a commit of unknown outcome is safe: the process id is recognised.
///
/// # Errors
/// As the database.
pub async fn apply(
    scoped: &mut Scoped<'_>,
    around: &Around<'_>,
    request: &Request,
    shown: &Shown<'_>,
    now_unix_ms: i64,
) -> DbResult<Outcome> {
    let (cluster, spu) = (request.cluster, request.spu);
    let (known, held, external) = load(scoped, around, request, shown).await?;
    let refused = |code, reason, revision| Outcome::Refused {
        error: WireError::new(code, reason),
        known: known.spu.is_some(),
        clustered: known.cluster.is_some(),
        proven: known.proof != Proof::None,
        ends: code == ErrorCode::ShuttingDown
            && external
            && known
                .spu
                .as_ref()
                .is_some_and(|spu| spu.process_id == Some(request.asked.process_id)),
        revision,
    };
    let (wiped, incarnation, new_incarnation, waits) =
        match registration::decide(&known, &request.asked) {
            Decision::Accept { wiped, incarnation, new_incarnation } => {
                (wiped, incarnation, new_incarnation, (around.alone)())
            }
            Decision::Refuse { code, reason } => {
                let revision = note_refusal(scoped, request, code, &reason, now_unix_ms).await?;
                return Ok(refused(code, reason, revision));
            }
            Decision::WentBack { reason, believed, adopt } => {
                let code = ErrorCode::DatabaseWentBack;
                let mut revision = None;
                if believed {
                    (around.alone)();
                    let why = (reason.as_str(), adopt);
                    let noting = went_back::store(scoped, request, shown, why, now_unix_ms);
                    revision = Box::pin(noting).await?;
                }
                return Ok(refused(code, reason, revision));
            }
        };
    if waits && new_incarnation {
        let reason = "the control plane has just begun and gives no new life before it has heard \
                      every SPU of the cluster, or a lease is over";
        let error = WireError::new(ErrorCode::NotYetAvailable, reason);
        return Ok(Outcome::Refused {
            error,
            known: false,
            clustered: false,
            proven: false,
            ends: false,
            revision: None,
        });
    }
    let changed = if new_incarnation {
        let row = Registration {
            incarnation,
            folder_id: request.asked.folder_id,
            process_id: request.asked.process_id,
            endpoint: request.endpoint.clone(),
            rack: request.rack.clone(),
            boot_id: request.asked.boot_id,
        };
        spus::register(scoped, cluster, spu, &row, now_unix_ms).await?
    } else {
        spus::set_state(scoped, cluster, spu, SpuState::Online, None, now_unix_ms).await?
    };
    let rows = spus::list(scoped, cluster).await?;
    let electorate = electorate(&rows, spu, incarnation);
    let refill = |row: &PartitionRow| {
        let gone = wiped && !plant::active("wiped_stays_in_sync");
        gone.then(|| without_what_is_gone(row, spu, &rows, &electorate)).flatten()
    };
    let anew = registration::booted_anew(&known, &request.asked);
    let there = leadership::online(&rows, around.standing);
    let refetch = |row: &PartitionRow| {
        anew.then(|| damage::booted_anew(row, spu, &lives(&rows), &there)).flatten()
    };
    let elected = |row: &PartitionRow| damage::elect(row, &electorate, around.damage.get(&row.key));
    let decided: Vec<_> = held
        .iter()
        .filter(|_| !waits)
        .filter_map(|row| {
            Some((row, refill(row).or_else(|| refetch(row)).or_else(|| elected(row))?))
        })
        .collect();
    if wiped {
        tracing::warn!(%cluster, %spu, folder = %request.asked.folder_id, partitions = held.len(), "its folder is new and empty: it is filled again from the others");
    }
    if anew {
        tell(cluster, spu, &held, |row| refetch(row).is_some());
    }
    let mut revision = leadership::store(scoped, cluster, &decided, now_unix_ms).await?;
    if changed {
        revision = Some(changes::record(scoped, cluster, &Change::Spu(spu), now_unix_ms).await?);
    }
    let restore_number = known.cluster.map_or(RestoreNumber(0), |row| row.restore_number);
    Ok(Outcome::Accepted { incarnation, new_incarnation, revision, restore_number })
}

async fn load(
    scoped: &mut Scoped<'_>,
    around: &Around<'_>,
    request: &Request,
    shown: &Shown<'_>,
) -> DbResult<(Known, Vec<PartitionRow>, bool)> {
    let (cluster, spu, history) = (request.cluster, request.spu, around.history);
    let cluster_row = clusters::by_id(scoped, cluster).await?;
    let next_producer_id = launch_handles::next_producer_id(scoped, cluster).await?;
    let spu_row = spus::get(scoped, cluster, spu).await?;
    let launch = match spu_row.as_ref().and_then(|row| row.launch_id) {
        Some(id) => launches::get(scoped, cluster, id).await?,
        None => None,
    };
    // What ended is not to come back, also not before the next launch is planned.
    let launch = launch.filter(|row| row.state != LaunchState::Ended);
    let launch = launch.map(|row| KnownLaunch {
        launch_id: row.id,
        secret_matches: (shown.matches)(&row.secret_hash),
    });
    let proven =
        launch.is_some_and(|it| it.launch_id == request.asked.launch_id && it.secret_matches);
    let named = launches::get(scoped, cluster, request.asked.launch_id).await?;
    let proof = match named {
        Some(row) if row.spu == spu && (shown.matches)(&row.secret_hash) => Proof::Known,
        Some(_) => Proof::None,
        None if shown.origin => Proof::Origin,
        None => Proof::None,
    };
    let seen = request.asked.highest_revision;
    let revised_at_unix_ms = changes::made_at(scoped, cluster, seen).await?;
    let histories = recovery::histories(scoped, cluster).await?;
    let held = partitions::of_spu(scoped, cluster, spu).await?;
    let external = spu_row.as_ref().is_some_and(|row| row.external);
    let another = spu_row.as_ref().and_then(|row| row.folder_id);
    let last_copies = match another.filter(|folder| *folder != request.asked.folder_id) {
        Some(_) if proven => last_copies(scoped, request, &held).await?,
        Some(_) | None => Vec::new(),
    };
    let known = Known {
        cluster: cluster_row.map(|row| KnownCluster {
            desired: row.desired,
            revision: row.revision,
            database_id: history.database_id,
            restore_number: history.restored(row.restore_number),
            next_producer_id: next_producer_id.unwrap_or_default(),
            revised_at_unix_ms,
            histories,
            frozen: row.frozen.map(|frozen| frozen.reason),
        }),
        spu: spu_row.map(|row| KnownSpu {
            removed: row.removed,
            folder_id: row.folder_id,
            process_id: row.process_id,
            boot_id: row.boot_id,
            incarnation: row.incarnation,
            standing: around.stands,
        }),
        launch,
        proof,
        leader_epochs: held.iter().map(|p| (p.key, p.leader_epoch)).collect::<BTreeMap<_, _>>(),
        last_copies,
    };
    Ok((known, held, external))
}

/// What nobody else could serve if all that the SPU held were gone, without the probe topic.
async fn last_copies(
    scoped: &mut Scoped<'_>,
    request: &Request,
    held: &[PartitionRow],
) -> DbResult<Vec<Blocking>> {
    let (cluster, spu) = (request.cluster, request.spu);
    let rows = spus::list(scoped, cluster).await?;
    let electorate = electorate(&rows, spu, Incarnation(0));
    let elsewhere = |row: &&PartitionRow| without_what_is_gone(row, spu, &rows, &electorate);
    let last: BTreeSet<_> =
        held.iter().filter(|row| elsewhere(row).is_none()).map(|row| row.key).collect();
    let mut all = partitions::held(scoped, cluster, PROBE_TOPIC).await?;
    let mut held = all.remove(&spu).unwrap_or_default();
    held.retain(|replica| {
        let Held { generation, partition, .. } = *replica;
        last.contains(&PartitionKey { generation, partition })
    });
    let holdings = Holdings { held: BTreeMap::from([(spu, held)]), offsets: Vec::new() };
    Ok(scale::in_the_way(&[spu], &holdings))
}

fn without_what_is_gone(
    row: &PartitionRow,
    spu: SpuId,
    spus: &[SpuRow],
    electorate: &Electorate,
) -> Option<PartitionState> {
    damage::wiped(row, spu, &lives(spus), &electorate.may_lead)
}

/// Who may lead now that `spu` is there. What it leads it leads on, in a new epoch if this is a
/// new life; what is led by one that is gone, or by nobody, is given to it or to another that
/// may. One that is being started keeps what it leads: when a whole cluster comes up, its SPUs
/// do so one after another. Should it not come, the reconciler sees to that.
fn electorate(spus: &[SpuRow], spu: SpuId, incarnation: Incarnation) -> Electorate {
    let others = || spus.iter().filter(|row| row.id != spu);
    let gone =
        |row: &SpuRow| row.removed || matches!(row.state, SpuState::Offline | SpuState::Refused);
    let online = others().filter(|row| row.state == SpuState::Online && !row.removed);
    let mut may_lead: BTreeMap<_, _> = online.map(|row| (row.id, row.incarnation)).collect();
    may_lead.insert(spu, incarnation);
    let lost = others().filter(|row| gone(row)).map(|row| row.id).collect();
    Electorate { may_lead, lost, eligible_too: true }
}

/// Writes a refusal onto the SPU's row where the asker proved that it is the current launch
/// and the cluster is to run: then it is this SPU that cannot serve, and people must see
/// why. Nobody else may change what is shown.
pub(super) async fn note_refusal(
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
#[path = "register_tests.rs"]
mod tests;
