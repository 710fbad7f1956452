//! Figures by name, their medians, and what the medians should reach.

use std::collections::BTreeMap;

/// Every figure that was measured, by name, in the order in which the names came.
#[derive(Default)]
pub struct Results {
    values: BTreeMap<String, Vec<f64>>,
    order: Vec<String>,
}

impl Results {
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        eprintln!("  {name}: {value:.3}");
        if !self.values.contains_key(&name) {
            self.order.push(name.clone());
        }
        self.values.entry(name).or_default().push(value);
    }

    fn median(&self, name: &str) -> Option<f64> {
        let mut values = self.values.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    pub fn print(&self) {
        println!("| Figure | Median | Least | Most | Runs |");
        println!("|---|---|---|---|---|");
        for name in &self.order {
            let values = &self.values[name];
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            let median = self.median(name).unwrap_or(f64::NAN);
            println!("| {name} | {median:.2} | {least:.2} | {most:.2} | {} |", values.len());
        }
        println!("\n| What | Reach | Measured | |");
        println!("|---|---|---|---|");
        for goal in goals() {
            let Some(measured) = (goal.measure)(&|name| self.median(name)) else { continue };
            let reached =
                if goal.at_least { measured >= goal.bound } else { measured <= goal.bound };
            println!(
                "| {} | {} {} | {measured:.2} | {} |",
                goal.what,
                if goal.at_least { "≥" } else { "≤" },
                goal.bound,
                if reached { "reached" } else { "missed" },
            );
        }
    }
}

type Medians<'a> = &'a dyn Fn(&str) -> Option<f64>;

struct Goal {
    what: &'static str,
    at_least: bool,
    bound: f64,
    measure: fn(Medians<'_>) -> Option<f64>,
}

/// What the engine means to reach.
fn goals() -> Vec<Goal> {
    let least = |what, bound, measure| Goal { what, at_least: true, bound, measure };
    let most = |what, bound, measure| Goal { what, at_least: false, bound, measure };
    fn ratio(of: Medians<'_>, a: &str, b: &str) -> Option<f64> {
        Some(of(a)? / of(b)?)
    }
    vec![
        least(
            "fsync before ack, 1 KiB: × the lesser of plain + fdatasync per MiB and our own without",
            0.6,
            |of| {
                let other =
                    of("plain write, fdatasync per MiB, MB/s")?.min(of("produce 1024 B, MB/s")?);
                Some(of("produce 1024 B, fsync, MB/s")? / other)
            },
        ),
        most(
            "fsync before ack, one in flight: p50 beyond plain write + fdatasync of 128 KiB, ms",
            0.2,
            |of| {
                Some(of("one in flight, fsync, p50 ms")? - of("plain 128 KiB + fdatasync, p50 ms")?)
            },
        ),
        least("no fsync, 1 KiB: × plain writer", 0.7, |of| {
            ratio(of, "produce 1024 B, MB/s", "plain write, MB/s")
        }),
        least("no fsync, 100 B: × plain writer", 0.4, |of| {
            ratio(of, "produce 100 B, MB/s", "plain write, MB/s")
        }),
        least("no fsync, sustained: × plain writer", 0.8, |of| {
            ratio(of, "sustained produce 1024 B, MB/s", "sustained plain write, MB/s")
        }),
        least("consume, 1 KiB: × raw loopback TCP", 0.4, |of| {
            ratio(of, "consume 1024 B, MB/s", "loopback TCP, MB/s")
        }),
        least("consume, 100 B: × raw loopback TCP", 0.2, |of| {
            ratio(of, "consume 100 B, MB/s", "loopback TCP, MB/s")
        }),
        most("acks=all of 3 replicas, fsync, p50: × one replica", 4.0, |of| {
            let three = "3 of 3 SPUs, fsync, one in flight, p50 ms";
            ratio(of, three, "1 of 3 SPUs, fsync, one in flight, p50 ms")
        }),
        most("acks=all of 3 replicas, no fsync, p50 ms", 1.0, |of| {
            of("3 of 3 SPUs, one in flight, p50 ms")
        }),
        least("acks=all of 3 replicas, fsync, 1 KiB: × one replica", 0.25, |of| {
            let three = "3 of 3 SPUs, fsync, produce 1024 B, MB/s";
            ratio(of, three, "1 of 3 SPUs, fsync, produce 1024 B, MB/s")
        }),
        least("acks=all of 3 replicas, no fsync, 1 KiB: × one replica", 0.25, |of| {
            let three = "3 of 3 SPUs, produce 1024 B, MB/s";
            ratio(of, three, "1 of 3 SPUs, produce 1024 B, MB/s")
        }),
        most("SPU CPU s per GB produced, 1 KiB", 0.8, |of| of("produce 1024 B, SPU CPU s/GB")),
        most("SPU CPU s per GB consumed, 1 KiB", 0.5, |of| of("consume 1024 B, SPU CPU s/GB")),
        most("RSS of the SPU, one hot partition, MiB", 64.0, |of| of("SPU RSS, hot, MiB")),
        most("RSS of the SPU, 2,000 partitions idle, MiB", 128.0, |of| {
            of("SPU RSS, 2,000 partitions, MiB")
        }),
        most("2,000 partitions: create, s", 10.0, |of| of("2,000 partitions, create s")),
        most("2,000 partitions: start after a crash, s", 3.0, |of| of("2,000 partitions, start s")),
        most("produce to consume, p50: × unary call", 2.5, |of| {
            ratio(of, "produce to consume, p50 ms", "unary call, p50 ms")
        }),
        most("produce to consume, p99: × unary call", 4.0, |of| {
            ratio(of, "produce to consume, p99 ms", "unary call, p99 ms")
        }),
    ]
}

/// A percentile of what was measured, which it sorts.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * percent / 100).copied().unwrap_or(f64::NAN)
}
