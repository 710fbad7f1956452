//! What is gathered: each part by itself, so that one that is away does not keep the others.

use std::{cell::RefCell, future::Future, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use secrecy::SecretString;
use serde::Serialize;
use weir_client::{Admin, admin::AdminError};
use weir_runtime::{http, process as process_table};

use super::bundle::Bundle;
use crate::{
    cmd::cluster::logs::{self, SPU_FOLDER, SPU_LOG},
    context::Context,
    error,
    home::{Home, files, keys},
    local::{
        endpoint::{self, State},
        logfile::LogFile,
    },
};

/// How long the answer of a page of metrics may take, and how large it may be.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);
const METRICS_BYTES_MAX: usize = 16 << 20;

/// All secrets that lie in the home: what is gathered must hold none of them.
pub fn secrets(home: &Home) -> Vec<SecretString> {
    let mut found: Vec<SecretString> = endpoint::key(home).into_iter().collect();
    let entries = std::fs::read_dir(home.root().join(keys::FOLDER)).into_iter().flatten();
    found.extend(entries.flatten().filter_map(|entry| keys::load(&entry.path()).ok()));
    // Tokens lie in files with more than the token.
    let entries = std::fs::read_dir(home.tokens()).into_iter().flatten();
    let texts = entries.flatten().filter_map(|entry| files::read(&entry.path()).ok().flatten());
    let token = |text: String| {
        let stored: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(stored.get("token")?.as_str()?.to_owned().into())
    };
    found.extend(texts.filter_map(token));
    found
}

/// What the control plane says of the cluster.
pub async fn api(bundle: &mut Bundle, admin: &Admin, cluster: Option<&str>) {
    let mut api = Api { bundle, away: None };
    api.ask("clusters", admin.cluster_list()).await;
    let Some(cluster) = cluster else { return };
    api.ask("cluster", admin.cluster(cluster)).await;
    api.ask("spus", admin.spu_list(cluster)).await;
    api.ask("operations", admin.operation_list(cluster)).await;
    api.ask("topics", admin.topic_list(cluster)).await;
    api.ask("topics-internal", admin.topic_list_internal(cluster)).await;
    api.ask("topics-deleted", admin.topic_list_deleted(cluster)).await;
    api.ask("consumers", admin.consumer_list(cluster)).await;
    api.ask("reassignments", admin.reassignment_list(cluster)).await;
}

struct Api<'a> {
    bundle: &'a mut Bundle,
    /// Why nobody answers: then the rest is not asked for.
    away: Option<String>,
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a str,
}

impl Api<'_> {
    async fn ask<T: Serialize>(
        &mut self,
        what: &str,
        answer: impl Future<Output = Result<T, AdminError>>,
    ) {
        let failed = match &self.away {
            Some(why) => why.clone(),
            None => match answer.await {
                Ok(value) => return self.bundle.json(format!("api/{what}.json"), &value),
                Err(error) => {
                    let why = error.to_string();
                    if error.status().is_none() {
                        self.away = Some(why.clone());
                    }
                    why
                }
            },
        };
        self.bundle.json(format!("api/{what}.json"), &Failed { error: &failed });
        self.bundle.without(&format!("api/{what}.json"), &failed);
    }
}

/// The ends of the logs that lie on this machine.
pub fn logs(bundle: &mut Bundle, home: &Home, folder: Option<&Path>, lines: usize) {
    log(bundle, "control-plane", &home.control_plane_log(), lines);
    let Some(folder) = folder else { return };
    let spus = logs::spus(folder);
    if spus.is_empty() {
        bundle.without("logs of SPUs", &format!("there are none in {}", folder.display()));
    }
    for spu in spus {
        let path = folder.join(format!("{SPU_FOLDER}{spu}")).join(SPU_LOG);
        log(bundle, &format!("{SPU_FOLDER}{spu}"), &path, lines);
    }
}

fn log(bundle: &mut Bundle, whose: &str, path: &Path, lines: usize) {
    if !path.exists() {
        return bundle.without(&format!("logs/{whose}.log"), "there is none");
    }
    match LogFile::new(path.to_owned()).tail(lines, None) {
        Ok(entries) => {
            let text = entries.into_iter().map(|entry| entry.text + "\n").collect::<String>();
            bundle.text(format!("logs/{whose}.log"), &text);
        }
        Err(error) => bundle.without(&format!("logs/{whose}.log"), &error::system(&error)),
    }
}

/// Which clusters the home knows, and which one commands mean. It names the files with keys, not
/// the keys.
pub fn profiles(bundle: &mut Bundle, home: &Home) {
    match files::read(&home.profiles()) {
        Ok(Some(text)) => bundle.text("profiles.toml", &text),
        Ok(None) => bundle.without("profiles.toml", "there is none"),
        Err(error) => bundle.without("profiles.toml", &error::system(&error)),
    }
}

/// The pages of metrics that servers of this machine serve, by what they were started with.
pub async fn metrics(bundle: &mut Bundle, context: &Context, folder: Option<&Path>) {
    let mut pages = Vec::new();
    if let Ok(State::Running(endpoint)) = endpoint::look(&context.home)
        && let Some(process) = endpoint.process
        && let Some(address) = in_environment(process.pid, "WEIR_METRICS_LISTEN")
    {
        pages.push(("control-plane".to_owned(), address));
    }
    pages.extend(folder.map(of_spus).unwrap_or_default());
    if pages.is_empty() {
        return bundle
            .without("metrics", "no server of this machine serves any (WEIR_METRICS_LISTEN)");
    }
    let transport = http::transport(METRICS_BYTES_MAX);
    for (whose, address) in pages {
        let url = format!("http://{address}/metrics");
        let page = match ::http::Request::get(&url).body(Bytes::new()) {
            Ok(request) => {
                transport.send(request, METRICS_TIMEOUT).await.map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match page {
            Ok(page) if page.status().is_success() => {
                bundle.text(format!("metrics/{whose}.txt"), &String::from_utf8_lossy(page.body()));
            }
            Ok(page) => {
                bundle.without(
                    &format!("metrics/{whose}.txt"),
                    &format!("{url} said {}", page.status()),
                );
            }
            Err(why) => bundle.without(&format!("metrics/{whose}.txt"), &why),
        }
    }
}

/// Where the SPUs with their data in this folder serve metrics, by their command lines.
fn of_spus(folder: &Path) -> Vec<(String, String)> {
    let found = RefCell::new(Vec::new());
    let value = |line: &[&str], option: &str| {
        line.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].to_owned())
    };
    let _ = process_table::find_by_arguments(|line| {
        if let (true, Some(data), Some(address)) = (
            line.contains(&"--launch-id"),
            value(line, "--data-dir"),
            value(line, "--metrics-listen"),
        ) && let Ok(spu) = Path::new(&data).strip_prefix(folder)
            && let Some(spu) = spu.to_str().filter(|spu| is_spu(spu))
            && address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        {
            // Anybody may call a process so: nothing but this machine is asked, and the name is
            // one that goes into a file's.
            found.borrow_mut().push((spu.to_owned(), address));
        }
        false
    });
    let mut found = found.into_inner();
    found.sort();
    found
}

fn is_spu(name: &str) -> bool {
    name.strip_prefix("spu-").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// What a process of this user was told by its environment, where the system shows it.
fn in_environment(pid: u32, name: &str) -> Option<String> {
    let all = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let entries = all.split(|byte| *byte == 0);
    let mut values = entries.filter_map(|entry| {
        entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    });
    let value = values.next().filter(|value| !value.is_empty())?;
    Some(String::from_utf8_lossy(value).into_owned())
}
