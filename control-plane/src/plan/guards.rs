//! Which orders a cluster takes in which state, and what to do instead.

use crate::store::types::{ClusterState, Desired};

/// An order for a cluster that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop its SPUs, keep everything.
    Shutdown,
    /// Start them again.
    Resume,
    /// Remove everything.
    Delete,
}

/// What an order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is so already, or on its way: nothing to change, and no error.
    AlreadySo,
    /// Want this, and begin in this state.
    Want(Desired, ClusterState),
    /// Not possible any more: the cluster is being deleted.
    Deleting,
}

/// Whether a cluster takes an order. Orders are safe to repeat. One that should run and failed
/// is begun anew by a resume: what it said before is no answer to that.
#[must_use]
pub const fn order(desired: Desired, state: ClusterState, order: Order) -> Verdict {
    let fails = matches!(state, ClusterState::Failed | ClusterState::Degraded);
    match (desired, order) {
        (Desired::Running, Order::Resume) if fails => {
            Verdict::Want(Desired::Running, ClusterState::Provisioning)
        }
        (Desired::Deleted, Order::Delete)
        | (Desired::Shutdown, Order::Shutdown)
        | (Desired::Running, Order::Resume) => Verdict::AlreadySo,
        (Desired::Deleted, _) => Verdict::Deleting,
        (_, Order::Shutdown) => Verdict::Want(Desired::Shutdown, ClusterState::Stopping),
        (_, Order::Resume) => Verdict::Want(Desired::Running, ClusterState::Provisioning),
        (_, Order::Delete) => Verdict::Want(Desired::Deleted, ClusterState::Deleting),
    }
}

/// What leads on when a cluster of this name exists already and was to be created.
#[must_use]
pub fn instead_of_create(name: &str, desired: Desired) -> String {
    match desired {
        Desired::Running => format!(
            "Use it as it is (weir cluster scale gives it more or fewer SPUs), take another name, or \
             remove it first: weir cluster delete {name}"
        ),
        Desired::Shutdown => format!(
            "Start it again with its data: weir cluster resume {name}; or remove it first: \
             weir cluster delete {name}"
        ),
        Desired::Deleted => "It is being deleted; its name is free once that is done. Try again \
             in a moment, or take another name."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_safe_to_repeat_and_nothing_leaves_deletion() {
        for (wanted, given) in [
            (Desired::Shutdown, Order::Shutdown),
            (Desired::Running, Order::Resume),
            (Desired::Deleted, Order::Delete),
        ] {
            let state = ClusterState::Running;
            assert_eq!(order(wanted, state, given), Verdict::AlreadySo);
            for &from in Desired::ALL {
                match order(from, state, given) {
                    Verdict::AlreadySo => assert_eq!(from, wanted),
                    Verdict::Want(to, _) => {
                        assert_eq!(to, wanted);
                        assert_ne!(from, Desired::Deleted);
                    }
                    Verdict::Deleting => assert_eq!(from, Desired::Deleted),
                }
            }
        }
    }

    #[test]
    fn a_resume_begins_a_failed_cluster_anew_and_leaves_a_sound_one_alone() {
        let anew = Verdict::Want(Desired::Running, ClusterState::Provisioning);
        for state in [ClusterState::Failed, ClusterState::Degraded] {
            assert_eq!(order(Desired::Running, state, Order::Resume), anew);
        }
        for state in [ClusterState::Provisioning, ClusterState::Running] {
            assert_eq!(order(Desired::Running, state, Order::Resume), Verdict::AlreadySo);
        }
        assert_eq!(order(Desired::Deleted, ClusterState::Failed, Order::Resume), Verdict::Deleting);
    }

    #[test]
    fn every_state_says_what_leads_on() {
        for &desired in Desired::ALL {
            let hint = instead_of_create("demo", desired);
            assert!(hint.contains("demo") || desired == Desired::Deleted, "{hint}");
        }
        assert!(instead_of_create("demo", Desired::Shutdown).contains("weir cluster resume demo"));
    }
}
