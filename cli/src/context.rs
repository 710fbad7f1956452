//! What every command has at hand.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use secrecy::SecretString;
use weir_client::{Admin, AdminConfig, Notice};
use weir_runtime::{clock::Clock, http};

use crate::{
    args::Global,
    error::{self, CliError, Result},
    home::{
        Home, keys,
        profiles::Profiles,
        target::{self, Place, Target},
    },
    local::endpoint::{self, State},
    ui::Ui,
};

/// Largest answer that the control plane may give, in bytes: bounds what a wrong server can
/// make us hold. A partition takes about 250 bytes and a page has a hundred topics, so a page
/// of topics with a thousand partitions each is a tenth of this; ten thousand each may be more.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long an order to the control plane may take.
const ORDER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a cluster may take to start or stop.
const LIFECYCLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What every command has at hand.
#[derive(Clone)]
pub struct Context {
    /// Where everything local lies.
    pub home: Home,
    /// Where notes and errors go.
    pub ui: Ui,
    /// The machine's clock.
    pub clock: Clock,
    /// `--profile` or `WEIR_PROFILE`.
    pub profile: Option<String>,
    /// `--cluster` or `WEIR_CLUSTER`.
    pub cluster: Option<String>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
}

impl Context {
    /// From the options that every command takes.
    ///
    /// # Errors
    /// When there is no home.
    pub fn new(global: &Global, ui: Ui) -> Result<Self> {
        Ok(Self {
            home: Home::find(global.home.clone())?,
            ui,
            clock: Clock,
            profile: global.profile.clone(),
            cluster: global.cluster.clone(),
            timeout: global.timeout.map(Into::into),
        })
    }

    /// What a command means.
    ///
    /// # Errors
    /// When no cluster is selected, or the profiles cannot be read.
    pub fn target(&self) -> Result<Target> {
        let known = Profiles::load(&self.home)?;
        target::resolve(self.profile.as_deref(), self.cluster.as_deref(), &known)
    }

    /// Whose control plane a command means, of whatever cluster.
    ///
    /// # Errors
    /// When the profiles cannot be read, or the one told is not there.
    pub fn place(&self) -> Result<Place> {
        let known = Profiles::load(&self.home)?;
        match self.cluster.as_deref() {
            None => target::place(self.profile.as_deref(), &known),
            told => Ok(target::resolve(self.profile.as_deref(), told, &known)?.place),
        }
    }

    /// The cluster that a command means, by the name that its control plane knows.
    ///
    /// # Errors
    /// When none is selected, or the profiles cannot be read.
    pub fn selected(&self) -> Result<String> {
        Ok(self.target()?.cluster)
    }

    /// The same, of another cluster if one is told.
    pub fn at(&self, cluster: Option<&String>) -> Self {
        let mut here = self.clone();
        if let Some(cluster) = cluster {
            here.cluster = Some(cluster.clone());
        }
        here
    }

    /// The options that make another command mean this one's cluster `name`: that may be the
    /// name of one elsewhere too.
    pub fn meaning(&self, name: &str) -> String {
        if let Some(profile) = &self.profile {
            return format!("--profile {profile} --name {name}");
        }
        let target = self.target().ok().filter(|target| target.cluster == name);
        let known = target.and_then(|target| target.profile).map(|(known, _)| known);
        format!("--name {}", known.as_deref().unwrap_or(name))
    }

    /// How long a cluster may take to start or stop.
    pub fn lifecycle_timeout(&self) -> Duration {
        self.timeout.unwrap_or(LIFECYCLE_TIMEOUT)
    }

    /// A handle to the control plane at `url`.
    pub fn admin_at(&self, url: &str, key: SecretString) -> Admin {
        self.admin_within(url, key, self.timeout.unwrap_or(ORDER_TIMEOUT))
    }

    /// The same, with another patience.
    pub fn admin_within(&self, url: &str, key: SecretString, deadline: Duration) -> Admin {
        let mut config = AdminConfig::new(url, key);
        config.deadline = deadline;
        config.attempt_timeout = config.attempt_timeout.min(config.deadline);
        config.notice = Some(self.trying_again(deadline));
        Admin::new(config, http::transport(ANSWER_BYTES_MAX), self.clock)
    }

    /// The same, and nothing is said while it is asked again: whoever asks says what came of it.
    pub fn admin_quietly(&self, url: &str, key: SecretString, deadline: Duration) -> Admin {
        let mut config = AdminConfig::new(url, key);
        config.deadline = deadline;
        config.attempt_timeout = config.attempt_timeout.min(deadline);
        Admin::new(config, http::transport(ANSWER_BYTES_MAX), self.clock)
    }

    /// Says, once, why the control plane cannot do it now, while it is asked again.
    fn trying_again(&self, deadline: Duration) -> Notice {
        let (ui, once) = (self.ui, Arc::new(Once::new()));
        Notice(Arc::new(move |error| {
            // Where nobody answered, it may be just about to start.
            if error.status().is_some() {
                let why = error::reason(error);
                let limit = error::duration(deadline);
                once.call_once(|| ui.warn(&format!("{why}; trying again for up to {limit}")));
            }
        }))
    }

    /// A handle to the control plane that is meant. The home's own must run.
    ///
    /// # Errors
    /// When it does not, with what to do.
    pub fn admin(&self) -> Result<Admin> {
        if let Place::Remote(remote) = self.place()? {
            let key = keys::load(&remote.key_path(&self.home))?;
            return Ok(self.admin_at(&remote.url, key));
        }
        self.admin_of_home()
    }

    /// A handle to the home's own control plane, whatever profile is meant.
    ///
    /// # Errors
    /// When it does not run, with what to do.
    pub fn admin_of_home(&self) -> Result<Admin> {
        match endpoint::look(&self.home)? {
            State::Running(endpoint) => {
                Ok(self.admin_at(&endpoint.url(), endpoint::key(&self.home)?))
            }
            state => Err(self.not_running(&state)),
        }
    }

    /// Why there is nobody to talk to.
    pub fn not_running(&self, state: &State) -> CliError {
        match state {
            State::Never => CliError::new(
                format!("there is no cluster in {} yet", self.home.root().display()),
                "make one: weir cluster create, or weir quickstart to see everything at work; or \
                 connect to one: weir cloud connect --url URL",
            ),
            State::Stopped(_) => CliError::new(
                "no cluster is running, all of them are shut down",
                format!("start it again with: weir cluster resume{}", self.name_option()),
            ),
            State::Died(endpoint) | State::Running(endpoint) => CliError::new(
                format!("the control plane is not running (it was at {})", endpoint.http),
                format!("start it again with: weir cluster resume{}", self.name_option()),
            ),
        }
    }

    fn name_option(&self) -> String {
        self.selected().map_or_else(|_| String::new(), |name| format!(" --name {name}"))
    }
}
