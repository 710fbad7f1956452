//! Medians, as a table.

use crate::Run;

pub struct Row {
    pub what: &'static str,
    pub record_bytes: usize,
    pub fsync: bool,
    pub run: Run,
}

#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    pub fn add(&mut self, row: Row) {
        let (what, bytes, fsync) = (row.what, row.record_bytes, row.fsync);
        eprintln!("  {what} {bytes} B, fsync {fsync}: {:.0} MB/s", row.run.mb_per_s);
        self.0.push(row);
    }

    pub fn print(&self, mib: usize, rounds: usize) {
        println!("{mib} MiB a side, medians of {rounds}, one connection, 128 KiB requests\n");
        println!(
            "| What | Record | fsync | MB/s | × plain | client CPU s/GB | SPU CPU s/GB | SPU RSS MiB |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let mut seen: Vec<(&str, usize, bool)> = Vec::new();
        for row in &self.0 {
            let key = (row.what, row.record_bytes, row.fsync);
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let plain = self.median("plain write", crate::BLOCK_BYTES, row.fsync, |r| r.mb_per_s);
            let of = |get: fn(&Run) -> f64| self.median(key.0, key.1, key.2, get);
            println!(
                "| {} | {} B | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} |",
                row.what,
                row.record_bytes,
                if row.fsync { "on" } else { "off" },
                of(|r| r.mb_per_s),
                of(|r| r.mb_per_s) / plain,
                of(|r| r.client_cpu_s_per_gb),
                of(|r| r.spu_cpu_s_per_gb),
                of(|r| r.spu_rss_mib),
            );
        }
    }

    fn median(&self, what: &str, bytes: usize, fsync: bool, get: fn(&Run) -> f64) -> f64 {
        let same = |row: &&Row| (row.what, row.record_bytes, row.fsync) == (what, bytes, fsync);
        let mut values: Vec<f64> = self.0.iter().filter(same).map(|row| get(&row.run)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}
