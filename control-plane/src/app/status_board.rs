//! What is seen of SPUs right now. In memory only: after a restart of the control plane
//! sessions come back and fill it again. The database keeps transitions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use weir_protocol::{
    ErrorCode, WireError,
    ids::{ClusterId, Incarnation, LaunchId, LeaderEpoch, Offset, PartitionKey, Revision, SpuId},
    pb::session::{ReplicaState, ReplicaStatus},
};
use weir_runtime::clock::Monotonic;

use super::refusals::{Refusal, Refusals};
use crate::{
    plan::{damage::Damage, history::Fenced, unclean::Reported},
    store::cuts::Report,
};

/// One session, told apart from an earlier or later one of the same SPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(u64);

/// What is seen of one SPU.
#[derive(Clone, Debug, Default)]
pub struct SpuSeen {
    /// Its last session, standing or not.
    pub session: Option<SessionSeen>,
    /// Why a launch of it was refused last, unless one succeeded since.
    pub refused: Option<String>,
    /// Registrations seen, of whatever launch, accepted or not.
    pub registrations: u64,
}

/// What is seen of a session.
#[derive(Clone, Debug)]
pub struct SessionSeen {
    /// Which.
    pub id: SessionId,
    /// Whether it stands.
    pub up: bool,
    /// Whether the SPU said that it is about to stop.
    pub stopping: bool,
    /// The launch that registered.
    pub launch: LaunchId,
    /// The life that the registration was given.
    pub incarnation: Incarnation,
    /// The build that it runs, as it says.
    pub version: String,
    /// Whether a produce and a fetch of a probe succeeded since the registration.
    pub probe_passed: bool,
    /// When it was last heard of.
    pub heard: Monotonic,
    /// What the SPU has applied.
    pub applied: Revision,
    /// The replicas as last reported.
    pub replicas: BTreeMap<PartitionKey, ReplicaStatus>,
}

impl SpuSeen {
    /// Whether it serves: a standing session of this launch, and a probe since it registered.
    #[must_use]
    pub fn ready(&self, launch: Option<LaunchId>) -> bool {
        self.session.as_ref().is_some_and(|session| {
            session.up && session.probe_passed && Some(session.launch) == launch
        })
    }

    /// The session, while it stands.
    #[must_use]
    pub fn standing(&self) -> Option<&SessionSeen> {
        self.session.as_ref().filter(|session| session.up)
    }
}

#[derive(Default)]
struct Board {
    sessions: u64,
    calls: BTreeMap<ClusterId, Call>,
    spus: BTreeMap<(ClusterId, SpuId), SpuSeen>,
    refusals: Refusals,
}

/// Whom a control plane that has just begun has not heard yet. It gives no epoch meanwhile: its
/// database may have gone back, and then one of these knows.
struct Call {
    missing: BTreeSet<SpuId>,
    patience: Duration,
    /// Once one was heard: when it is called after no more.
    until: Option<Monotonic>,
}

/// Clones are the same board.
#[derive(Clone, Default)]
pub struct StatusBoard {
    inner: Arc<Mutex<Board>>,
}

impl StatusBoard {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for these SPUs of a cluster; for so long at most, from when the first was heard.
    pub fn call(&self, cluster: ClusterId, spus: BTreeSet<SpuId>, patience: Duration) {
        let call = Call { missing: spus, patience, until: None };
        self.board().calls.insert(cluster, call);
    }

    /// An SPU was heard that proved who it is. Whether others are still waited for.
    pub fn heard(&self, cluster: ClusterId, spu: SpuId, now: Monotonic) -> bool {
        if let Some(call) = self.board().calls.get_mut(&cluster) {
            call.missing.remove(&spu);
            call.until.get_or_insert(now.plus(call.patience));
        }
        self.calls(cluster, now)
    }

    /// Whether SPUs of the cluster are waited for that were not heard since the control plane began.
    #[must_use]
    pub fn calls(&self, cluster: ClusterId, now: Monotonic) -> bool {
        let board = self.board();
        let call = board.calls.get(&cluster);
        call.is_some_and(|call| {
            !call.missing.is_empty() && call.until.is_none_or(|until| now < until)
        })
    }

    /// How many sessions stand.
    #[must_use]
    pub fn standing(&self) -> usize {
        self.board().spus.values().filter(|seen| seen.standing().is_some()).count()
    }

    /// A registration was accepted. Replaces an earlier session of this SPU.
    #[must_use]
    pub fn session_up(
        &self,
        cluster: ClusterId,
        spu: SpuId,
        launch: LaunchId,
        incarnation: Incarnation,
        now: Monotonic,
    ) -> SessionId {
        let mut board = self.board();
        board.sessions += 1;
        let id = SessionId(board.sessions);
        let seen = board.spus.entry((cluster, spu)).or_default();
        seen.registrations += 1;
        seen.refused = None;
        board.refusals.taken(cluster, spu, launch);
        let seen = board.spus.entry((cluster, spu)).or_default();
        seen.session = Some(SessionSeen {
            id,
            up: true,
            stopping: false,
            launch,
            incarnation,
            version: String::new(),
            probe_passed: false,
            heard: now,
            applied: Revision(0),
            replicas: BTreeMap::new(),
        });
        id
    }

    /// A registration was refused. `reason` is shown: none where the asker did not prove to
    /// be a launch of this SPU.
    pub fn refused(&self, cluster: ClusterId, spu: SpuId, reason: Option<&str>) {
        let mut board = self.board();
        let seen = board.spus.entry((cluster, spu)).or_default();
        seen.registrations += 1;
        if let Some(reason) = reason {
            seen.refused = Some(reason.to_owned());
        }
    }

    /// The build that a session's SPU runs, as it says.
    pub fn runs(&self, cluster: ClusterId, spu: SpuId, id: SessionId, version: String) -> bool {
        self.with_session(cluster, spu, id, |session| session.version = version)
    }

    /// Somebody was not, or is no longer, taken for an SPU of the cluster.
    pub fn note_refusal(&self, cluster: ClusterId, refusal: Refusal) {
        self.board().refusals.note(cluster, refusal);
    }

    /// Who was refused, the newest first.
    #[must_use]
    pub fn refusals(&self, cluster: ClusterId) -> Vec<Refusal> {
        self.board().refusals.of(cluster)
    }

    /// A heartbeat came: `replicas` are those that changed. `false` when another session has
    /// taken over, and nothing is noted then.
    pub fn heartbeat(
        &self,
        cluster: ClusterId,
        spu: SpuId,
        id: SessionId,
        applied: Revision,
        replicas: Vec<ReplicaStatus>,
        now: Monotonic,
    ) -> bool {
        self.with_session(cluster, spu, id, |session| {
            session.heard = now;
            session.applied = applied;
            for status in replicas {
                if let Some(key) = status.partition.as_ref().and_then(PartitionKey::from_wire) {
                    session.replicas.insert(key, status);
                }
            }
        })
    }

    /// A replica is gone from this session's SPU, for good.
    pub fn replica_removed(
        &self,
        cluster: ClusterId,
        spu: SpuId,
        id: SessionId,
        key: PartitionKey,
    ) -> bool {
        self.with_session(cluster, spu, id, |session| {
            session.replicas.remove(&key);
        })
    }

    /// A probe passed that was begun after this session had registered.
    pub fn probe_passed(&self, cluster: ClusterId, spu: SpuId, id: SessionId) -> bool {
        self.with_session(cluster, spu, id, |session| session.probe_passed = true)
    }

    /// The SPU is about to stop: nothing more is given to it.
    pub fn stopping(&self, cluster: ClusterId, spu: SpuId, id: SessionId) -> bool {
        self.with_session(cluster, spu, id, |session| session.stopping = true)
    }

    /// The lives of the cluster's SPUs whose session stands and that are not about to stop.
    #[must_use]
    pub fn lives(&self, cluster: ClusterId) -> BTreeMap<SpuId, Incarnation> {
        self.board()
            .spus
            .range((cluster, SpuId(0))..=(cluster, SpuId(u32::MAX)))
            .filter_map(|((_, spu), seen)| Some((*spu, seen.standing()?)))
            .filter(|(_, session)| !session.stopping)
            .map(|(spu, session)| (spu, session.incarnation))
            .collect()
    }

    /// Replicas that are out of service although the session of their SPU stands.
    #[must_use]
    pub fn damage(&self, cluster: ClusterId) -> BTreeMap<PartitionKey, Damage> {
        let board = self.board();
        let spus = board.spus.range((cluster, SpuId(0))..=(cluster, SpuId(u32::MAX)));
        let mut damage: BTreeMap<PartitionKey, Damage> = BTreeMap::new();
        for ((_, spu), seen) in spus {
            let Some(session) = seen.standing() else { continue };
            let replicas = session.replicas.iter();
            for (key, status) in replicas.filter(|(_, s)| s.state() == ReplicaState::Offline) {
                let of = damage.entry(*key).or_default();
                let damaged = status.problem.as_ref().is_some_and(is_damage);
                let set = if damaged { &mut of.damaged } else { &mut of.offline };
                set.insert(*spu);
            }
        }
        damage
    }

    /// The logs of replicas in service whose SPU's session stands, as they were reported last, with
    /// the epoch at which that was.
    #[must_use]
    pub fn fenced(&self, cluster: ClusterId) -> BTreeMap<PartitionKey, BTreeMap<SpuId, Fenced>> {
        let board = self.board();
        let spus = board.spus.range((cluster, SpuId(0))..=(cluster, SpuId(u32::MAX)));
        let mut logs: BTreeMap<PartitionKey, BTreeMap<SpuId, Fenced>> = BTreeMap::new();
        for ((_, spu), seen) in spus {
            let Some(session) = seen.standing() else { continue };
            let replicas = session.replicas.iter();
            for (key, status) in replicas.filter(|(_, s)| s.state() == ReplicaState::Online) {
                let log = Fenced {
                    epoch: LeaderEpoch(status.leader_epoch),
                    last_epoch: LeaderEpoch(status.last_epoch.unwrap_or_default()),
                    log_end: Offset(status.log_end),
                    durable_end: Offset(status.durable_end),
                };
                logs.entry(*key).or_default().insert(*spu, log);
            }
        }
        logs
    }

    /// What each SPU reported last of the replicas that it serves, or served until its session ended.
    #[must_use]
    pub fn reports(&self, cluster: ClusterId) -> BTreeMap<PartitionKey, BTreeMap<SpuId, Reported>> {
        let board = self.board();
        let spus = board.spus.range((cluster, SpuId(0))..=(cluster, SpuId(u32::MAX)));
        let mut reports: BTreeMap<PartitionKey, BTreeMap<SpuId, Reported>> = BTreeMap::new();
        for ((_, spu), seen) in spus {
            let replicas = seen.session.iter().flat_map(|session| &session.replicas);
            for (key, status) in replicas.filter(|(_, s)| s.state() == ReplicaState::Online) {
                let report = Report {
                    last_epoch: status.last_epoch.map(LeaderEpoch),
                    log_end: Offset(status.log_end),
                    high_watermark: Offset(status.high_watermark),
                };
                let leader_epoch = LeaderEpoch(status.leader_epoch);
                let said = Reported { leader_epoch, report };
                reports.entry(*key).or_default().insert(*spu, said);
            }
        }
        reports
    }

    /// The session ended. `false` when another one has taken over: then the SPU is not down.
    pub fn session_down(&self, cluster: ClusterId, spu: SpuId, id: SessionId) -> bool {
        self.with_session(cluster, spu, id, |session| session.up = false)
    }

    fn with_session(
        &self,
        cluster: ClusterId,
        spu: SpuId,
        id: SessionId,
        change: impl FnOnce(&mut SessionSeen),
    ) -> bool {
        let mut board = self.board();
        let session = board
            .spus
            .get_mut(&(cluster, spu))
            .and_then(|seen| seen.session.as_mut())
            .filter(|session| session.id == id);
        let current = session.is_some();
        if let Some(session) = session {
            change(session);
        }
        current
    }

    /// What is seen of one SPU.
    #[must_use]
    pub fn spu(&self, cluster: ClusterId, spu: SpuId) -> SpuSeen {
        self.board().spus.get(&(cluster, spu)).cloned().unwrap_or_default()
    }

    /// What is seen of a cluster's SPUs.
    #[must_use]
    pub fn cluster(&self, cluster: ClusterId) -> BTreeMap<SpuId, SpuSeen> {
        self.board()
            .spus
            .range((cluster, SpuId(0))..=(cluster, SpuId(u32::MAX)))
            .map(|((_, spu), seen)| (*spu, seen.clone()))
            .collect()
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, cluster: ClusterId) {
        let mut board = self.board();
        board.spus.retain(|(of, _), _| *of != cluster);
        board.calls.remove(&cluster);
        board.refusals.forget(cluster);
    }
}

fn is_damage(problem: &weir_protocol::pb::data::Error) -> bool {
    WireError::from(problem.clone()).code == ErrorCode::ReplicaDamaged
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use weir_protocol::ids::{PartitionIndex, TopicGenerationId};
    use weir_runtime::clock::Clock;

    use super::*;

    #[tokio::test]
    async fn the_end_of_an_older_session_does_not_take_the_newer_down() {
        let (board, now) = (StatusBoard::default(), Clock.now());
        let (cluster, spu) = (ClusterId(Uuid::from_u128(1)), SpuId(1));
        let launch = LaunchId(Uuid::from_u128(2));
        let old = board.session_up(cluster, spu, launch, Incarnation(1), now);
        assert!(board.probe_passed(cluster, spu, old));
        assert!(board.spu(cluster, spu).ready(Some(launch)));
        let new = board.session_up(cluster, spu, launch, Incarnation(1), now);
        // It registered again: what passed before says nothing of now.
        assert!(!board.spu(cluster, spu).ready(Some(launch)));
        assert!(!board.session_down(cluster, spu, old));
        assert!(!board.probe_passed(cluster, spu, old));
        assert!(!board.heartbeat(cluster, spu, old, Revision(9), vec![], now));
        assert!(board.spu(cluster, spu).standing().is_some());
        assert!(board.probe_passed(cluster, spu, new));
        assert!(board.spu(cluster, spu).ready(Some(launch)));
        assert!(!board.spu(cluster, spu).ready(Some(LaunchId(Uuid::from_u128(3)))));
        assert!(board.session_down(cluster, spu, new));
        assert!(!board.spu(cluster, spu).ready(Some(launch)));
        board.forget(cluster);
        assert!(board.cluster(cluster).is_empty());
    }

    #[tokio::test]
    async fn whoever_was_called_is_waited_for_until_heard_or_late() {
        let (board, now) = (StatusBoard::default(), Clock.now());
        let cluster = ClusterId(Uuid::from_u128(1));
        let later = now.plus(Duration::from_secs(3));
        assert!(!board.calls(cluster, now), "nobody was called");
        board.call(cluster, BTreeSet::from([SpuId(1), SpuId(2)]), Duration::from_secs(3));
        assert!(board.calls(cluster, now) && board.calls(cluster, later));
        assert!(board.heard(cluster, SpuId(1), now));
        assert!(board.calls(cluster, now) && !board.calls(cluster, later));
        assert!(!board.heard(cluster, SpuId(2), now));
    }

    #[tokio::test]
    async fn a_removed_replica_is_shown_no_longer() {
        let (board, now) = (StatusBoard::default(), Clock.now());
        let (cluster, spu) = (ClusterId(Uuid::from_u128(1)), SpuId(1));
        let id = board.session_up(cluster, spu, LaunchId(Uuid::nil()), Incarnation(1), now);
        let generation = TopicGenerationId(Uuid::from_u128(3));
        let key = |index| PartitionKey { generation, partition: PartitionIndex(index) };
        let status = |index| ReplicaStatus {
            partition: Some(key(index).to_wire()),
            ..ReplicaStatus::default()
        };
        board.heartbeat(cluster, spu, id, Revision(1), vec![status(0), status(1)], now);
        assert!(board.replica_removed(cluster, spu, id, key(0)));
        let shown: Vec<_> = board.spu(cluster, spu).session.unwrap().replicas.into_keys().collect();
        assert_eq!(shown, [key(1)]);
    }
}
