//! Another port for an SPU that cannot have the one that follows from its id: ids are never
//! used again, so after a few changes of size they lead out of the cluster's ports, or onto
//! one that another SPU was given; and another program may sit on the port of one that is
//! added.

use weir_protocol::ids::SpuId;

use super::{Context, ports, prepare, snapshot::Snapshot};
use crate::store::{DbResult, launch_handles, spus};

/// Chooses for one SPU that needs it; `true` when the snapshot is out of date now. Where no
/// port is free the SPU keeps the one it has, and the cluster says that it is taken.
pub(super) async fn choose(context: &Context, snapshot: &Snapshot) -> DbResult<bool> {
    let Some(from) = snapshot.ports_from else { return Ok(false) };
    let (app, id) = (&context.app, snapshot.cluster.id);
    let spec = &snapshot.cluster.spec;
    // What a user named is a range of just as many ports; what was chosen has room.
    let chosen_here = spec.port_base.is_none();
    let count = if chosen_here { ports::block_size(spec.spus) } else { spec.spus };
    let last = (u32::from(from) + count - 1).min(u32::from(u16::MAX));
    let range = from..=u16::try_from(last).unwrap_or(u16::MAX);
    for spu in snapshot.in_spec_here() {
        if snapshot.launches.iter().any(|launch| launch.spu == spu.id) {
            continue;
        }
        let port = ports::port_of(from, spu);
        let shared = port.is_some_and(|port| used(snapshot, from, spu.id).any(|p| p == port));
        let outside = !port.is_some_and(|port| range.contains(&port));
        // One that served keeps its port, taken or not: clients know it.
        let new = spu.launch_id.is_none();
        let taken = match port {
            Some(port) if chosen_here && new => !free(context, port).await,
            _ => false,
        };
        if !(new && (shared || taken) || outside && (new || chosen_here)) {
            continue;
        }
        let others = {
            let mut tx = app.store.read().await?;
            let mut all = launch_handles::system_ports(&mut tx).await?;
            all.retain(|cluster| cluster.cluster != id);
            prepare::taken(&all)
        };
        for port in range.clone() {
            let is_used = used(snapshot, from, spu.id).any(|p| p == port)
                || others.iter().any(|ports| ports.contains(port));
            if is_used || !free(context, port).await {
                continue;
            }
            let mut tx = app.store.write().await?;
            let mut scoped = tx.scoped(snapshot.cluster.org);
            spus::set_port(&mut scoped, id, spu.id, port).await?;
            tx.commit().await?;
            tracing::info!(cluster = %id, spu = %spu.id, port, "another port chosen for an SPU");
            return Ok(true);
        }
    }
    Ok(false)
}

/// The ports of the cluster's other SPUs, of those on their way out too.
fn used(snapshot: &Snapshot, from: u16, except: SpuId) -> impl Iterator<Item = u16> + '_ {
    snapshot
        .spus
        .iter()
        .filter(move |other| other.id != except && !other.removed)
        .filter_map(move |other| ports::port_of(from, other))
}

async fn free(context: &Context, port: u16) -> bool {
    let address = format!("{}:{port}", context.config.spu_listen_host);
    context.provisioner.port_free(&address).await
}
