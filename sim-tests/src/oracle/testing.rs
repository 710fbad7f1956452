//! Short ways to write histories in the invariants' own tests.

use crate::history::{Event, Place, ProduceOutcome, RecordId};

pub(super) fn place(offset: u64) -> Place {
    Place { generation: "g".into(), partition: 0, offset }
}

pub(super) fn acknowledged(producer: u32, sequence: u32, offset: u64) -> Event {
    let outcome = ProduceOutcome::Acknowledged(place(offset));
    Event::Produced { id: RecordId { producer, sequence }, outcome }
}

pub(super) fn not_done(producer: u32, sequence: u32) -> Event {
    let outcome = ProduceOutcome::NotDone("refused".into());
    Event::Produced { id: RecordId { producer, sequence }, outcome }
}

pub(super) fn cut(offset: u64) -> Event {
    Event::Cut { place: place(offset) }
}

pub(super) fn consumed(consumer: u32, offset: u64, value: &str) -> Event {
    Event::Consumed { consumer, place: place(offset), value: value.as_bytes().to_vec() }
}

pub(super) fn final_read(consumer: u32) -> Event {
    Event::FinalRead { consumer, generation: "g".into(), partitions: 1 }
}

pub(super) fn in_generation(name: &str, event: Event) -> Event {
    match event {
        Event::Consumed { consumer, place, value } => {
            Event::Consumed { consumer, place: Place { generation: name.into(), ..place }, value }
        }
        other => other,
    }
}

pub(super) fn started(instance: u32, offset: u64) -> Event {
    Event::ConsumerStarted { name: "c".into(), instance, place: place(offset) }
}

pub(super) fn processed(instance: u32, offset: u64) -> Event {
    Event::Processed { name: "c".into(), instance, place: place(offset) }
}

pub(super) fn committing(instance: u32, offset: u64) -> Event {
    Event::Committing { name: "c".into(), instance, place: place(offset) }
}

pub(super) fn committed(instance: u32, offset: u64) -> Event {
    Event::Committed { name: "c".into(), instance, place: place(offset) }
}

pub(super) fn drained() -> Event {
    Event::Drained { name: "c".into(), generation: "g".into() }
}
