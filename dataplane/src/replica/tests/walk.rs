//! A random walk against a model of the disk.

use proptest::prelude::*;

use super::*;

/// What a random walk does next.
#[derive(Clone, Debug)]
enum Step {
    /// A producer's next batch, or one of its earlier ones again.
    Send {
        producer: u64,
        back: usize,
        acks: u8,
    },
    Written,
    Full,
    Fsync,
    Fails,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u64, 0..4_usize, 0..3_u8)
            .prop_map(|(producer, back, acks)| Step::Send { producer, back, acks }),
        4 => Just(Step::Written),
        1 => Just(Step::Full),
        3 => Just(Step::Fsync),
        1 => Just(Step::Fails),
    ]
}

/// The walk's own record: what was written, fsynced, and promised.
#[derive(Default)]
struct Model {
    group: Vec<(u64, u32, u64)>,
    log: Vec<(u64, u32, u64)>,
    end: u64,
    durable: u64,
    sent: BTreeMap<u64, u32>,
    asked: BTreeMap<u64, (u64, u32, Acks)>,
    answered: BTreeSet<u64>,
}

impl Model {
    /// Checks an action against everything that must hold, and notes it.
    fn take(&mut self, action: &Action) {
        match action {
            Action::Append { request, base_offset, .. } => {
                let (producer, sequence, _) = self.asked[&request.0];
                let next = self.group.last().map_or(self.end, |(_, _, base)| base + 2);
                assert_eq!(base_offset.0, next, "offsets are dense");
                self.group.push((producer, sequence, base_offset.0));
            }
            Action::Take(_) | Action::Cut(_) | Action::Feed { .. } => panic!("{action:?}"),
            Action::Respond { request, answer } => {
                assert!(self.answered.insert(request.0), "answered twice");
                let (producer, sequence, acks) = self.asked[&request.0];
                let Ok(ack) = answer else { return };
                let batch = (producer, sequence, ack.base_offset.0);
                assert!(self.log.contains(&batch), "{batch:?} was promised and is not in the log");
                if acks != Acks::None || ack.duplicate {
                    assert!(ack.base_offset.0 + 2 <= self.durable, "promised before its fsync");
                }
            }
        }
    }
}

proptest! {
    /// Idempotence (no batch twice), durability before promises, dense offsets, one answer
    /// for each request: over any interleaving of sends, retries, writes, full disks, fsyncs
    /// and failures.
    #[test]
    fn any_walk_keeps_the_promises(steps in proptest::collection::vec(step(), 0..120)) {
        let mut replica = leader();
        let mut model = Model::default();
        for (n, step) in steps.into_iter().enumerate() {
            let request = n as u64;
            let event = match step {
                Step::Send { producer, back, acks } => {
                    let next = model.sent.entry(producer).or_default();
                    let sequence = next.saturating_sub(2 * back as u32);
                    let acks = [Acks::None, Acks::Leader, Acks::All][usize::from(acks)];
                    if back == 0 {
                        *next += 2;
                    }
                    model.asked.insert(request, (producer, sequence, acks));
                    let Event::Produce(mut produce) = produce(request, 1, acks, sequence) else {
                        unreachable!()
                    };
                    if let Some(stamp) = &mut produce.stamp {
                        stamp.id = ProducerId(producer);
                    }
                    Event::Produce(produce)
                }
                Step::Written => {
                    model.log.append(&mut model.group);
                    model.end = model.log.last().map_or(0, |(_, _, base)| base + 2);
                    Event::Appended
                }
                Step::Full => {
                    model.group.clear();
                    model.sent.clear();
                    for (producer, sequence, _) in &model.log {
                        model.sent.insert(*producer, sequence + 2);
                    }
                    Event::AppendRefused(Refusal::StorageFull)
                }
                Step::Fsync => {
                    model.durable = model.end;
                    synced(model.durable)
                }
                Step::Fails if n % 7 == 0 => Event::Broken(full()),
                Step::Fails => continue,
            };
            for action in handle(&mut replica, event) {
                model.take(&action);
            }
            let readable = replica.readable();
            prop_assert!(readable.high_watermark.0 <= model.durable);
            prop_assert!(replica.durable_end() <= replica.log_end());
            let distinct: BTreeSet<_> = model.log.iter().map(|(p, s, _)| (p, s)).collect();
            prop_assert_eq!(distinct.len(), model.log.len(), "a batch was written twice");
        }
        model.log.append(&mut model.group);
        model.end = model.log.last().map_or(0, |(_, _, base)| base + 2);
        model.durable = model.end;
        for event in [Event::Appended, synced(model.end)] {
            for action in handle(&mut replica, event) {
                model.take(&action);
            }
        }
        prop_assert_eq!(model.answered.len(), model.asked.len(), "somebody still waits");
    }
}
