//! Each kind of operation from its beginning to its end.

use super::*;

fn spu(id: u32, running: bool) -> SpuView {
    SpuView {
        spu_id: SpuId(id),
        launch_id: None,
        in_spec: true,
        removed: false,
        destroyed: false,
        running,
        start_due: true,
        failing: None,
        lacks: Some("it has not registered".to_owned()),
    }
}

fn ready(id: u32) -> SpuView {
    SpuView { lacks: None, ..spu(id, true) }
}

fn seen<'a>(
    state: ClusterState,
    spus: &'a [SpuView],
    conflicts: &'a BTreeMap<SpuId, String>,
) -> View<'a> {
    let wanted = u32::try_from(spus.iter().filter(|spu| spu.in_spec).count()).unwrap();
    View { state, reason: None, wanted, spus, conflicts, moving: &NOTHING_MOVES, waits_for: None }
}

static NOTHING_MOVES: Moving = Moving { left: 0, waits_for: None };

fn target(from: u32, to: u32, add: &[u32], remove: &[u32]) -> Target {
    let ids = |ids: &[u32]| ids.iter().copied().map(SpuId).collect();
    Target { from, to, add: ids(add), remove: ids(remove), ..Target::default() }
}

fn told(account: &Account) -> Vec<String> {
    let told = account.steps.iter().map(|step| match &step.detail {
        Some(detail) => format!("{} {} ({detail})", step.name, step.state),
        None => format!("{} {}", step.name, step.state),
    });
    told.chain([format!("{}/{} {}", account.done, account.total, account.state)]).collect()
}

fn at(kind: OperationKind, target: &Target, state: ClusterState, spus: &[SpuView]) -> Vec<String> {
    let none = BTreeMap::new();
    let view = seen(state, spus, &none);
    // Asked again, the answer is the same.
    assert_eq!(advance(kind, target, &view), advance(kind, target, &view));
    told(&advance(kind, target, &view))
}

#[test]
fn a_create_goes_from_rows_to_ready() {
    let (kind, target) = (OperationKind::Create, target(0, 2, &[], &[]));
    assert_eq!(
        told(&begun(kind, &target)),
        [
            "rows running (0 of 2)",
            "start SPUs pending (0 of 2)",
            "ready pending (0 of 2)",
            "0/6 running"
        ]
    );
    let at = |state, spus: &[SpuView]| at(kind, &target, state, spus);
    assert_eq!(
        at(ClusterState::Provisioning, &[spu(1, true), spu(2, false)]),
        [
            "rows done (2 of 2)",
            "start SPUs running (1 of 2)",
            "ready pending (0 of 2)",
            "3/6 running"
        ]
    );
    assert_eq!(
        at(ClusterState::Provisioning, &[ready(1), spu(2, true)]),
        ["rows done (2 of 2)", "start SPUs done (2 of 2)", "ready running (1 of 2)", "5/6 running"]
    );
    assert_eq!(
        at(ClusterState::Running, &[ready(1), ready(2)]),
        ["rows done (2 of 2)", "start SPUs done (2 of 2)", "ready done (2 of 2)", "6/6 done"]
    );
}

#[test]
fn a_step_says_what_it_waits_for() {
    let none = BTreeMap::new();
    let spus = [ready(1), spu(2, true)];
    let view = View { reason: Some("SPU 2: x"), ..seen(ClusterState::Degraded, &spus, &none) };
    let account = advance(OperationKind::Resume, &target(2, 2, &[], &[]), &view);
    assert_eq!(account.state, OperationState::Running);
    assert_eq!(account.steps[1].detail.as_deref(), Some("1 of 2: SPU 2: x"));
}

#[test]
fn what_is_blocked_fails_with_the_reason() {
    let none = BTreeMap::new();
    let spus = [spu(1, false)];
    let view = View { reason: Some("port 1 is taken"), ..seen(ClusterState::Failed, &spus, &none) };
    for kind in [OperationKind::Create, OperationKind::Resume] {
        let account = advance(kind, &target(0, 1, &[], &[]), &view);
        assert_eq!(account.state, OperationState::Failed);
        let error = account.error.unwrap();
        assert_eq!((error.code.as_str(), error.detail.as_str()), (BLOCKED, "port 1 is taken"));
        assert!(account.steps.iter().any(|step| step.state == StepState::Failed));
    }
    // Of a scale, only what was added counts: an older SPU's trouble is not its failure.
    let conflicts = BTreeMap::from([(SpuId(2), "h:2 is in use".to_owned())]);
    let spus = [ready(1), spu(2, false)];
    let view = seen(ClusterState::Degraded, &spus, &conflicts);
    let up = |add: &[u32]| advance(OperationKind::Scale, &target(1, 2, add, &[]), &view);
    assert_eq!(up(&[2]).state, OperationState::Failed);
    assert!(up(&[2]).error.unwrap().detail.contains("h:2"));
    assert_eq!(up(&[1]).state, OperationState::Running);
}

#[test]
fn shutdown_and_delete_count_what_stopped() {
    let stop = target(2, 2, &[], &[]);
    let shutdown = |state, spus: &[SpuView]| at(OperationKind::Shutdown, &stop, state, spus);
    let half = [spu(1, true), spu(2, false)];
    assert_eq!(
        shutdown(ClusterState::Stopping, &half),
        ["stop SPUs running (1 of 2)", "1/2 running"]
    );
    let none = [spu(1, false), spu(2, false)];
    assert_eq!(shutdown(ClusterState::Shutdown, &none), ["stop SPUs done (2 of 2)", "2/2 done"]);
    // A deletion is done when its rows are gone, and not before.
    let deleting = at(OperationKind::Delete, &stop, ClusterState::Deleting, &none);
    assert_eq!(
        deleting,
        ["stop SPUs done (2 of 2)", "destroy data running", "remove rows pending", "2/4 running"]
    );
    let done = finished(&begun(OperationKind::Delete, &stop));
    assert_eq!(told(&done).last().unwrap(), "4/4 done");
}

#[test]
fn a_scale_up_waits_for_every_spu_of_the_spec() {
    let (kind, target) = (OperationKind::Scale, target(1, 2, &[4], &[]));
    let at = |state, spus: &[SpuView]| at(kind, &target, state, spus);
    assert_eq!(
        at(ClusterState::Degraded, &[ready(1), spu(4, true)]),
        ["add SPUs done", "start SPUs done", "ready running (1 of 2)", "3/4 running"]
    );
    assert_eq!(at(ClusterState::Running, &[ready(1), ready(4)]).last().unwrap(), "4/4 done");
}

#[test]
fn a_scale_down_ends_when_nothing_of_the_removed_is_left() {
    let (kind, target) = (OperationKind::Scale, target(3, 1, &[], &[3, 2]));
    let at = |spus: &[SpuView]| at(kind, &target, ClusterState::Running, spus);
    let gone = |id, running, destroyed| SpuView {
        in_spec: false,
        removed: true,
        destroyed,
        ..spu(id, running)
    };
    let leaving = |id| SpuView { in_spec: false, ..ready(id) };
    assert_eq!(
        at(&[ready(1), leaving(2), leaving(3)]),
        [
            "check replicas running",
            "mark removed pending (0 of 2)",
            "stop pending (0 of 2)",
            "destroy pending (0 of 2)",
            "0/7 running"
        ]
    );
    assert_eq!(
        at(&[ready(1), gone(2, true, false), gone(3, false, false)]),
        [
            "check replicas done",
            "mark removed done (2 of 2)",
            "stop running (1 of 2)",
            "destroy pending (0 of 2)",
            "4/7 running"
        ]
    );
    let end = at(&[ready(1), gone(2, false, true), gone(3, false, true)]);
    assert_eq!(end.last().unwrap(), "7/7 done");
}

#[test]
fn what_is_moved_comes_first_on_the_way_down_and_last_on_the_way_up() {
    let none = BTreeMap::new();
    let spus = [ready(1), SpuView { in_spec: false, ..ready(2) }];
    let moving = |left| Moving { left, waits_for: Some("SPU 1 is not in sync yet".to_owned()) };
    let at = |target: &Target, moving: &Moving| {
        let view = View { moving, ..seen(ClusterState::Running, &spus, &none) };
        told(&advance(OperationKind::Scale, target, &view))
    };
    let down = Target { moves: 3, ..target(2, 1, &[], &[2]) };
    assert_eq!(
        at(&down, &moving(1))[..2],
        ["move replicas running (2 of 3: SPU 1 is not in sync yet)", "check replicas pending"]
    );
    assert_eq!(
        at(&down, &moving(0))[..2],
        ["move replicas done (3 of 3)", "check replicas running"]
    );
    let up = Target { moves: 1, ..target(1, 2, &[1], &[]) };
    assert_eq!(at(&up, &moving(1)).last().unwrap(), "3/4 running");
    assert_eq!(at(&up, &moving(0)).last().unwrap(), "4/4 done");
    let begun = told(&begun(OperationKind::Scale, &down));
    assert_eq!(begun[0], "move replicas running (0 of 3)");
}

#[test]
fn what_moves_for_an_operation_is_told_from_other_moves() {
    let moved = |target: &[u32], original: &[u32]| {
        let mut row = crate::plan::isr::tests::row(original, original, &[], 1);
        let ids = |ids: &[u32]| ids.iter().copied().map(SpuId).collect();
        row.reassignment = Some(crate::store::reassignments::Reassignment {
            target: ids(target),
            original: ids(original),
            moving: true,
        });
        row
    };
    let rows = [moved(&[1], &[3]), moved(&[4, 2], &[1, 2]), moved(&[2], &[1])];
    let left = |target: &Target| Moving::of(target, &rows, |_| None).left;
    assert_eq!(left(&target(3, 2, &[], &[3])), 1);
    assert_eq!(left(&target(3, 4, &[4], &[])), 1);
    assert_eq!(left(&target(3, 2, &[], &[2])), 0);
}

#[test]
fn a_refused_removal_names_the_replicas_and_a_way_on() {
    let topic = |deleted| scale::BlockingTopic {
        name: "orders".to_owned(),
        generation_id: weir_protocol::ids::TopicGenerationId(uuid::Uuid::nil()),
        deleted,
        partitions: vec![weir_protocol::ids::PartitionIndex(0)],
    };
    let blocking = |deleted| [Blocking { spu_id: SpuId(3), topics: vec![topic(deleted)] }];
    let account = refused(&begun(OperationKind::Scale, &target(3, 2, &[], &[3])), &blocking(false));
    assert_eq!(account.state, OperationState::Failed);
    assert_eq!(account.steps[0].state, StepState::Failed);
    let error = account.error.unwrap();
    assert_eq!(error.code, SCALE_REFUSED);
    assert!(error.detail.contains("SPU 3 holds orders (partition 0)"), "{}", error.detail);
    assert!(error.hint.contains("delete the topics"), "{}", error.hint);
    assert!(scale_hint(&blocking(true)).contains("purge the topics that are deleted"));
    // Nobody is told to delete what is Weir's own.
    let mut own = blocking(false);
    own[0].topics[0].name = "__offsets".to_owned();
    assert!(!scale_hint(&own).contains("delete"), "{}", scale_hint(&own));
}
