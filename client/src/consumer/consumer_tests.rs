use futures::FutureExt;
use uuid::Uuid;

use super::*;

const P0: PartitionIndex = PartitionIndex(0);

/// The application's side alone; the test plays the task.
struct Alone {
    consumer: Consumer,
    say: mpsc::UnboundedSender<Item>,
    skips: mpsc::UnboundedReceiver<SkipTo>,
}

fn alone() -> Alone {
    let (say, items) = mpsc::unbounded_channel();
    let (skips_to, skips) = mpsc::unbounded_channel();
    let generation = TopicGenerationId(Uuid::from_u128(1));
    let consumer = Consumer {
        items,
        skips: skips_to,
        decode: DecodeLimits::default(),
        generation,
        reading: None,
        live: BTreeSet::new(),
        halted: BTreeSet::new(),
        sessions: BTreeMap::new(),
        starts: BTreeMap::new(),
        committer: None,
        waiting: true,
        over: false,
    };
    assert!(say.send(Item::Generation(generation, vec![P0])).is_ok());
    Alone { consumer, say, skips }
}

fn gap() -> ConsumeError {
    ConsumeError::Gap { partition: P0, expected: Offset(1), found: Offset(2) }
}

#[test]
fn an_end_from_before_a_skip_is_not_the_end_of_what_comes_after() {
    let Alone { mut consumer, say, mut skips } = alone();
    assert!(say.send(Item::Error { error: gap(), session: 0 }).is_ok());
    assert!(say.send(Item::Done(P0, 0)).is_ok());
    assert!(matches!(consumer.next().now_or_never(), Some(Some(Err(error))) if error == gap()));
    assert!(consumer.skip_to(P0, Offset(2)));
    let skip = skips.try_recv().unwrap();
    assert_eq!((skip.generation, skip.session), (consumer.generation(), 1));
    assert!(consumer.next().now_or_never().is_none(), "more may come");
    assert!(say.send(Item::Done(P0, 1)).is_ok());
    assert!(matches!(consumer.next().now_or_never(), Some(None)));
}

#[test]
fn a_task_that_is_gone_is_an_error_while_something_may_come_and_no_error_at_the_end() {
    let Alone { mut consumer, say, .. } = alone();
    drop(say);
    let Some(Some(Err(error))) = consumer.next().now_or_never() else { panic!("a clean end") };
    assert_eq!((error.code(), error.is_terminal()), ("INTERNAL", true));
    assert!(matches!(consumer.next().now_or_never(), Some(None)));

    let Alone { mut consumer, say, .. } = alone();
    assert!(say.send(Item::Done(P0, 0)).is_ok());
    drop(say);
    assert!(matches!(consumer.next().now_or_never(), Some(None)));
}
