//! `weir debug log verify`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use weir_dataplane::log::verify::{Finding, Report, verify};

use super::replicas::{self, Replica};
use crate::{
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg, thousands},
};

/// Options of `weir debug log verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// An SPU's data folder, or any folder in it
    path: PathBuf,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct Row {
    path: String,
    sound: bool,
    log_start: u64,
    log_end: u64,
    recovery_point: u64,
    segments: usize,
    batches: u64,
    records: u64,
    bytes: u64,
    damage: Vec<Found>,
    notes: Vec<Found>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

#[derive(Debug, Serialize)]
struct Found {
    file: String,
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    what: String,
}

/// Does it.
///
/// # Errors
/// That something is damaged, or why that is not known.
pub async fn run(args: &VerifyArgs, context: &Context) -> Result<()> {
    let replicas = replicas::find(&args.path).await?;
    if replicas::is_in_use(&replicas[0].path) {
        context.ui.note(
            "an SPU is using this folder: what it is writing meanwhile may look torn. Stop it first \
             to be sure",
        );
    }
    let mut rows = Vec::with_capacity(replicas.len());
    for replica in &replicas {
        rows.push(row(replica).await);
    }
    out::print(args.output.format, &rows, || text(&rows))?;
    let bad = rows.iter().filter(|row| !row.sound).count();
    if bad == 0 {
        return Ok(());
    }
    let of = out::count(rows.len() as u64, "log");
    Err(CliError::new(
        format!("{bad} of {of} {} not sound", if bad == 1 { "is" } else { "are" }),
        "an SPU takes such a replica offline and serves nothing of what is damaged: restore the \
         folder from a backup, or delete the topic. Look at the disk first",
    ))
}

async fn row(replica: &Replica) -> Row {
    let path = replica.path.display().to_string();
    match verify(&*replica.disk, &replica.folder, |_, _, _, _| {}).await {
        Ok(report) => Row::of(path, report),
        Err(error) => {
            let nothing = Report {
                log_start: weir_protocol::ids::Offset::ZERO,
                recovery_point: weir_protocol::ids::Offset::ZERO,
                log_end: weir_protocol::ids::Offset::ZERO,
                segments: Vec::new(),
                damage: Vec::new(),
                notes: Vec::new(),
            };
            let unreadable = Some(error.to_string());
            Row { sound: false, unreadable, ..Row::of(path, nothing) }
        }
    }
}

impl Row {
    fn of(path: String, report: Report) -> Self {
        let sum = |of: fn(&weir_dataplane::log::verify::SegmentReport) -> u64| {
            report.segments.iter().map(of).sum()
        };
        Self {
            path,
            sound: report.is_sound(),
            log_start: report.log_start.get(),
            log_end: report.log_end.get(),
            recovery_point: report.recovery_point.get(),
            segments: report.segments.len(),
            batches: sum(|segment| segment.batches),
            records: sum(|segment| segment.records),
            bytes: sum(|segment| segment.bytes),
            damage: report.damage.into_iter().map(Found::from).collect(),
            notes: report.notes.into_iter().map(Found::from).collect(),
            unreadable: None,
        }
    }
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let Finding { file, position, offset, what } = finding;
        Self { file, position, offset: offset.map(|offset| offset.get()), what }
    }
}

fn text(rows: &[Row]) -> String {
    let table = out::table(
        ["LOG", "START", "END", "SEGMENTS", "BATCHES", "RECORDS", "SIZE", "STATE"],
        rows.iter().map(|row| {
            [
                row.path.clone(),
                row.log_start.to_string(),
                row.log_end.to_string(),
                row.segments.to_string(),
                thousands(row.batches),
                thousands(row.records),
                out::bytes(row.bytes),
                state(row).to_owned(),
            ]
        }),
    );
    let mut lines = vec![table];
    for row in rows {
        lines.extend(row.unreadable.iter().map(|why| format!("\n{}\n  {why}", row.path)));
        for (kind, found) in [("damaged", &row.damage), ("note", &row.notes)] {
            for one in found {
                let offset = one.offset.map_or_else(String::new, |o| format!(", offset {o}"));
                let Found { file, position, what, .. } = one;
                lines.push(format!(
                    "\n{}\n  {kind}: {file}, byte {position}{offset}: {what}",
                    row.path
                ));
            }
        }
    }
    lines.join("\n")
}

fn state(row: &Row) -> &'static str {
    match row {
        Row { unreadable: Some(_), .. } => "unreadable",
        Row { sound: false, .. } => "damaged",
        Row { notes, .. } if notes.is_empty() => "sound",
        Row { .. } => "sound, with notes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sound: bool, damage: Vec<Found>) -> Row {
        Row {
            path: "/d/topics/tg/0".into(),
            sound,
            log_start: 0,
            log_end: 1_200,
            recovery_point: 1_200,
            segments: 1,
            batches: 12,
            records: 1_200,
            bytes: 4_000,
            damage,
            notes: vec![],
            unreadable: None,
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let found = Found {
            file: "00000000000000000000.log".into(),
            position: 77,
            offset: Some(5),
            what: "checksum mismatch".into(),
        };
        let text = text(&[row(true, vec![]), row(false, vec![found])]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("LOG") && lines[0].ends_with("STATE"), "{text}");
        assert!(lines[1].contains("1,200") && lines[1].ends_with("sound"), "{text}");
        assert!(lines[2].ends_with("damaged"), "{text}");
        let place = "  damaged: 00000000000000000000.log, byte 77, offset 5: checksum mismatch";
        assert_eq!(lines[5], place, "{text}");
    }
}
