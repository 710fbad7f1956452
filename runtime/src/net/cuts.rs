//! Which links are cut. All cuts go through this table, never straight to madsim's own
//! (which nobody can read), so that connects and deaths can be judged by it too.
//!
//! A cut is directed: `cut_one_way(a, b)` stops what `a` sends to `b`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use madsim::{
    net::NetSim,
    plugin::{node, simulator},
    task::NodeId,
};

#[derive(Default)]
struct Table {
    nodes: BTreeMap<IpAddr, NodeId>,
    cut: BTreeSet<(NodeId, NodeId)>,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// Forgets all nodes and cuts: call it before a simulation.
pub fn reset() {
    TABLE.with_borrow_mut(|t| *t = Table::default());
}

/// Makes a node known by its address.
pub fn register(ip: IpAddr, id: NodeId) {
    TABLE.with_borrow_mut(|t| t.nodes.insert(ip, id));
}

/// Stops what `from` sends to `to`.
pub fn cut_one_way(from: NodeId, to: NodeId) {
    simulator::<NetSim>().clog_link(from, to);
    TABLE.with_borrow_mut(|t| t.cut.insert((from, to)));
}

/// Cuts every pair across two groups, both ways.
pub fn cut_between(left: &[NodeId], right: &[NodeId]) {
    for &a in left {
        for &b in right {
            cut_one_way(a, b);
            cut_one_way(b, a);
        }
    }
}

/// Heals one direction of a link.
pub fn heal_one_way(from: NodeId, to: NodeId) {
    simulator::<NetSim>().unclog_link(from, to);
    TABLE.with_borrow_mut(|t| t.cut.remove(&(from, to)));
}

/// Heals every pair across two groups, both ways.
pub fn heal_between(left: &[NodeId], right: &[NodeId]) {
    for &a in left {
        for &b in right {
            heal_one_way(a, b);
            heal_one_way(b, a);
        }
    }
}

/// Heals everything.
pub fn heal_all() {
    let cut = TABLE.with_borrow_mut(|t| std::mem::take(&mut t.cut));
    for (from, to) in cut {
        simulator::<NetSim>().unclog_link(from, to);
    }
}

/// Whether what the calling node sends to `peer` is stopped.
pub(super) fn blocked_to(peer: IpAddr) -> bool {
    lookup(peer, |me, peer| (me, peer))
}

/// Whether what `peer` sends to the calling node is stopped.
pub(super) fn blocked_from(peer: IpAddr) -> bool {
    lookup(peer, |me, peer| (peer, me))
}

fn lookup(peer: IpAddr, pair: impl Fn(NodeId, NodeId) -> (NodeId, NodeId)) -> bool {
    TABLE.with_borrow(|t| t.nodes.get(&peer).is_some_and(|&p| t.cut.contains(&pair(node(), p))))
}
