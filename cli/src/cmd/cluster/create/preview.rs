//! What `weir cluster create` would do. Nothing is done for it, not even a lock is taken.

use serde::Serialize;

use super::{CreateArgs, exists_already, look, wish::Wish};
use crate::{
    cmd::cluster::{
        check::{Finding, before},
        check_free, is_selected,
    },
    context::Context,
    error::{CliError, Result},
    home::profiles::Profiles,
    local::{
        endpoint::{self, State},
        ports,
    },
    out,
};

/// What would be done.
#[derive(Debug, Serialize)]
struct Preview<'a> {
    name: &'a str,
    spus: u32,
    /// None: free ones are chosen then.
    ports: Option<Vec<u16>>,
    /// Where the data would lie, below it by cluster and SPU.
    data_dir: String,
    /// The profile that would be made.
    profile: &'a str,
    /// Whether commands would mean another cluster from then on than they do now.
    becomes_current: bool,
    control_plane: ControlPlane,
    findings: &'a [Finding],
    /// Why it would not be done; none: it would.
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct ControlPlane {
    /// Whether it would be started.
    start: bool,
    /// Where it is, or was.
    url: Option<String>,
}

/// Says it.
///
/// # Errors
/// When it would be refused.
pub async fn run(args: &CreateArgs, context: &Context, wish: &Wish) -> Result<()> {
    let Wish { name, spec } = wish;
    let (refusal, findings) = judge(context, wish).await?;
    let control_plane = match endpoint::look(&context.home)? {
        State::Running(at) => ControlPlane { start: false, url: Some(at.url()) },
        State::Stopped(at) | State::Died(at) => ControlPlane { start: true, url: Some(at.url()) },
        State::Never => {
            let first = ports::free_pair(ports::FIRST);
            let url = first.map(|(http, _)| format!("http://{}", ports::loopback(http)));
            ControlPlane { start: true, url }
        }
    };
    let ports = spec.port_base.map(|first| (first..=u16::MAX).take(spec.spus as usize).collect());
    let data_dir = spec.data_dir.clone();
    let preview = Preview {
        name,
        spus: spec.spus,
        ports,
        data_dir: data_dir.unwrap_or_else(|| context.home.clusters().display().to_string()),
        profile: name,
        becomes_current: !is_selected(context, name),
        control_plane,
        findings: &findings,
        refused: refusal.as_ref().map(ToString::to_string),
    };
    out::print(args.output.format, &preview, || preview.told())?;
    refusal.map_or(Ok(()), Err)
}

/// Why it would be refused, if so, and what was seen of this machine.
async fn judge(context: &Context, wish: &Wish) -> Result<(Option<CliError>, Vec<Finding>)> {
    let Wish { name, spec } = wish;
    Profiles::load(&context.home)?;
    if let Err(error) = check_free(context, name) {
        return Ok((Some(error), Vec::new()));
    }
    if exists_already(context, name).await? {
        let there = CliError::new(
            format!("cluster {name} exists already"),
            format!("look at it with: weir cluster status {name}; or choose another name"),
        );
        return Ok((Some(there), Vec::new()));
    }
    let findings = look(context, spec).await?;
    Ok((before::refusal(name, &findings), findings))
}

impl Preview<'_> {
    /// For people.
    fn told(&self) -> String {
        let ports = match self.ports.as_deref() {
            None => "free ones, chosen by the control plane".to_owned(),
            Some([]) => "none yet".to_owned(),
            Some([only]) => only.to_string(),
            Some([first, .., last]) => format!("{first} to {last}"),
        };
        let data = match self.spus {
            0 => format!("{}/<cluster id>", self.data_dir),
            1 => format!("{}/<cluster id>/spu-1", self.data_dir),
            spus => format!("{}/<cluster id>/spu-1 to spu-{spus}", self.data_dir),
        };
        let current = if self.becomes_current { ", which commands mean from then on" } else { "" };
        let url = self.control_plane.url.as_ref().map(|url| format!(" at {url}"));
        let url = url.unwrap_or_default();
        let control_plane = match self.control_plane.start {
            true => format!("would be started{url}"),
            false => format!("runs{url}"),
        };
        let would = if self.refused.is_some() { "would be refused" } else { "would be created" };
        let mut lines = vec![
            format!("cluster {} {would}; nothing was done", self.name),
            format!("SPUs           {}", self.spus),
            format!("ports          {ports}"),
            format!("data           {data}"),
            format!("profile        {}{current}", self.profile),
            format!("control plane  {control_plane}"),
        ];
        lines.extend(self.findings.iter().map(Finding::told));
        lines.join("\n")
    }
}
