//! `weir debug log dump`.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use weir_dataplane::log::verify::verify;
use weir_protocol::{
    batch::{self, BatchHeader, DecodeLimits},
    ids::Offset,
};

use super::replicas;
use crate::{
    consume::template::timestamp,
    context::Context,
    error::{CliError, Result},
    out::{self, OutputArg, or_dash, thousands},
};

/// Options of `weir debug log dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// A log's folder: topics/GENERATION/PARTITION in an SPU's data folder
    path: PathBuf,
    /// Leave out batches that end before this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// At most so many batches, or records with --records
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    /// List records, not batches
    #[arg(long)]
    records: bool,
    #[command(flatten)]
    output: OutputArg,
}

#[derive(Debug, Serialize)]
struct BatchRow {
    base_offset: u64,
    last_offset: u64,
    records: u32,
    segment: u64,
    position: u64,
    bytes: usize,
    compression: String,
    leader_epoch: u32,
    largest_timestamp_ms: i64,
    producer_id: Option<u64>,
    producer_epoch: Option<u16>,
    first_sequence: Option<u32>,
}

#[derive(Debug, Serialize)]
struct RecordRow {
    offset: u64,
    timestamp_ms: i64,
    key: Option<String>,
    value: Option<String>,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(args: &DumpArgs, context: &Context) -> Result<()> {
    let replicas = replicas::find(&args.path).await?;
    let [replica] = &replicas[..] else {
        return Err(CliError::usage(
            format!("{} logs are in {}", replicas.len(), args.path.display()),
            format!("name one of them, such as {}", replicas[0].path.display()),
        ));
    };
    let mut dump = Dump { args, batches: Vec::new(), records: Vec::new(), more: None };
    let report = verify(&*replica.disk, &replica.folder, |segment, position, header, bytes| {
        dump.take(segment, position, header, bytes);
    })
    .await
    .map_err(|error| CliError::new(error.to_string(), "weir debug log verify says more"))?;
    let Dump { batches, records, more, .. } = dump;
    match args.records {
        true => out::print(args.output.format, &records, || record_table(&records))?,
        false => out::print(args.output.format, &batches, || batch_table(&batches))?,
    }
    if let Some(next) = more {
        context.ui.note(&format!("there is more: --from {next}, or a larger --limit"));
    }
    if !report.is_sound() {
        context.ui.note("what is damaged is left out: weir debug log verify says where it is");
    }
    Ok(())
}

struct Dump<'a> {
    args: &'a DumpArgs,
    batches: Vec<BatchRow>,
    records: Vec<RecordRow>,
    /// The first offset that the limit left out.
    more: Option<u64>,
}

impl Dump<'_> {
    fn take(&mut self, segment: Offset, position: u64, header: &BatchHeader, bytes: &Bytes) {
        if self.more.is_some() || header.last_offset().get() < self.args.from {
            return;
        }
        if !self.args.records {
            if self.batches.len() >= self.args.limit {
                self.more = Some(header.base_offset.get());
                return;
            }
            self.batches.push(BatchRow {
                base_offset: header.base_offset.get(),
                last_offset: header.last_offset().get(),
                records: header.record_count,
                segment: segment.get(),
                position,
                bytes: header.batch_bytes,
                compression: header.compression().to_string(),
                leader_epoch: header.partition_leader_epoch.get(),
                largest_timestamp_ms: header.max_timestamp_ms,
                producer_id: header.producer.map(|stamp| stamp.id.get()),
                producer_epoch: header.producer.map(|stamp| stamp.epoch.get()),
                first_sequence: header.producer.map(|stamp| stamp.base_sequence),
            });
            return;
        }
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        // A body that cannot be read is shown as a record that says so.
        let unreadable = |error: batch::BatchError| RecordRow {
            offset: header.base_offset.get(),
            timestamp_ms: header.max_timestamp_ms,
            key: None,
            value: Some(format!("(the rest of this batch cannot be read: {error})")),
        };
        let records = match batch::records(bytes, &DecodeLimits::default()) {
            Ok(records) => records,
            Err(error) => return self.records.push(unreadable(error)),
        };
        for record in records {
            let row = match record {
                Ok(record) => RecordRow {
                    offset: record.offset.get(),
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.as_ref().map(text),
                    value: record.value.as_ref().map(text),
                },
                Err(error) => unreadable(error),
            };
            if row.offset < self.args.from {
                continue;
            }
            if self.records.len() >= self.args.limit {
                self.more = Some(row.offset);
                return;
            }
            self.records.push(row);
        }
    }
}

fn batch_table(rows: &[BatchRow]) -> String {
    out::table(
        [
            "OFFSETS", "RECORDS", "BYTES", "SEGMENT", "AT", "CODEC", "EPOCH", "PRODUCER",
            "SEQUENCE", "UP TO",
        ],
        rows.iter().map(|row| {
            let producer = row.producer_id.map(|id| match row.producer_epoch {
                None | Some(0) => id.to_string(),
                Some(epoch) => format!("{id}/{epoch}"),
            });
            [
                format!("{}..{}", row.base_offset, row.last_offset),
                thousands(row.records.into()),
                thousands(row.bytes as u64),
                row.segment.to_string(),
                row.position.to_string(),
                row.compression.clone(),
                row.leader_epoch.to_string(),
                or_dash(producer),
                or_dash(row.first_sequence),
                timestamp(row.largest_timestamp_ms),
            ]
        }),
    )
}

fn record_table(rows: &[RecordRow]) -> String {
    out::table(
        ["OFFSET", "TIMESTAMP", "KEY", "VALUE"],
        rows.iter().map(|row| {
            [
                row.offset.to_string(),
                timestamp(row.timestamp_ms),
                or_dash(row.key.as_ref()),
                or_dash(row.value.as_ref()),
            ]
        }),
    )
}
