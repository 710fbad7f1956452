//! The control plane's node. Its database is a real SQLite file; at a kill the file and its
//! write-ahead log are copied as they were, and the next life runs on the copy (dropping
//! the connection would be a clean close, which a crash is not).

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use madsim::{runtime::Handle, task::NodeId};
use secrecy::SecretString;
use weir_control_plane::{
    Config, Deps,
    auth::ApiKey,
    store::{SqlFaults, SqliteDatabase},
};
use weir_runtime::{
    clock::Clock,
    net::cuts,
    task::CancellationToken,
    trace::{self, Kind},
};

use super::{Machines, ProvisionFaults, SimProvisioner};

const IP: [u8; 4] = [10, 0, 0, 1];
const HTTP_PORT: u16 = 9400;
const RPC_PORT: u16 = 9401;

/// A copy of a control plane's database, as it was at one moment.
pub struct Backup(PathBuf);

struct Life {
    database: PathBuf,
    number: u32,
    up: bool,
}

/// The control plane of a world. Clones are the same one.
#[derive(Clone)]
pub struct ControlPlane {
    node: NodeId,
    life: Arc<Mutex<Life>>,
    /// Delays and faults of its SQL, and where it stands still.
    pub sql_faults: SqlFaults,
    /// What goes wrong when it starts and stops SPUs.
    pub provision_faults: ProvisionFaults,
}

/// An admin key as the control plane draws one.
pub(super) fn admin_key() -> SecretString {
    ApiKey::generate("sim").expect("the simulation has entropy").to_text()
}

impl ControlPlane {
    pub(super) fn start(folder: PathBuf, admin_key: SecretString, machines: Machines) -> Self {
        let database = folder.join("0").join("weir.db");
        fs::create_dir_all(folder.join("0")).expect("the run's folder can be made");
        let life = Arc::new(Mutex::new(Life { database, number: 0, up: true }));
        let sql_faults = SqlFaults::default();
        let provision_faults = ProvisionFaults::default();
        let provisioner =
            SimProvisioner::new(machines, provision_faults.clone(), sql_faults.clone());
        let provisioner = Arc::new(provisioner);
        let (shared, faults) = (life.clone(), sql_faults.clone());
        let node = Handle::current()
            .create_node()
            .name("control-plane")
            .ip(IpAddr::from(IP))
            .init(move || {
                let database = path(&shared);
                serve(database, admin_key.clone(), provisioner.clone(), faults.clone())
            })
            .build();
        cuts::register(IpAddr::from(IP), node.id());
        Self { node: node.id(), life, sql_faults, provision_faults }
    }

    /// Its node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Where its HTTP API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{HTTP_PORT}", IpAddr::from(IP))
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).up
    }

    /// Kills it. What its database had committed is there for the next life.
    pub fn crash(&self) {
        {
            let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
            life.number += 1;
            life.up = false;
            life.database = copied(&life.database, &life.number.to_string());
        }
        Handle::current().kill(self.node);
    }

    /// Copies its database as it is now.
    #[must_use]
    pub fn back_up(&self) -> Backup {
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        Backup(copied(&life.database, "backup"))
    }

    /// Kills it. Its next life runs on the backup.
    pub fn crash_back_to(&self, backup: &Backup) {
        self.crash();
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        life.number += 1;
        life.database = copied(&backup.0, &life.number.to_string());
    }

    /// Starts it again.
    pub fn restart(&self) {
        self.sql_faults.go_on();
        self.life.lock().unwrap_or_else(PoisonError::into_inner).up = true;
        Handle::current().restart(self.node);
    }
}

fn path(life: &Mutex<Life>) -> PathBuf {
    life.lock().unwrap_or_else(PoisonError::into_inner).database.clone()
}

/// Copies a database with its write-ahead log into another folder of the run. The `-shm` file is
/// shared memory, which a crash empties.
fn copied(database: &Path, to: &str) -> PathBuf {
    let folder = database.parent().and_then(Path::parent).expect("<run>/<life>/weir.db");
    let target = folder.join(to).join("weir.db");
    fs::create_dir_all(target.parent().expect("has a folder")).expect("the folder can be made");
    for suffix in ["", "-wal"] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        if with(database).exists() {
            fs::copy(with(database), with(&target)).expect("the database can be copied");
        }
    }
    target
}

async fn serve(
    database: PathBuf,
    admin_key: SecretString,
    provisioner: Arc<SimProvisioner>,
    faults: SqlFaults,
) {
    let address = IpAddr::from(IP);
    let config = Config {
        http_listen: format!("{address}:{HTTP_PORT}"),
        rpc_listen: format!("{address}:{RPC_PORT}"),
        admin_key: Some(admin_key),
        ..Config::default()
    };
    let deps = Deps {
        database: Arc::new(SqliteDatabase::with_faults(&database, Clock, faults)),
        provisioner,
        clock: Clock,
        started: None,
    };
    let result = weir_control_plane::run(config, deps, CancellationToken::new()).await;
    trace::line(Kind::Step, || format!("control plane ended: {result:?}"));
}
