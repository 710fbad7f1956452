//! That the metrics move with what happens.

use weir_protocol::pb::data;

use crate::{
    client::{at, batch, request},
    control_plane::key,
    node::Node,
};

/// The value of a line of the metrics.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn produce_and_fetch_move_counters_and_the_partitions_show() {
    let node = Node::start().await;
    let first = batch(3, 100, None);
    let mut producer = node.client.produce().await;
    producer.send(request(key(1, 0), first.clone())).await.unwrap();
    producer.send(request(key(1, 0), batch(2, 100, None))).await.unwrap();
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), at(0), 1 << 20).await;
    assert_eq!(fetcher.started(1).await, 0);
    assert_eq!(fetcher.records(1).await, [0, 3]);

    let text = node.metrics.set().text();
    let is = |series: &str, expected: f64| assert_eq!(value(&text, series), expected, "{series}");
    is("weir_spu_produce_requests_total", 2.0);
    is("weir_spu_produce_records_total", 5.0);
    is("weir_spu_produce_duration_seconds_count", 2.0);
    is("weir_spu_fetch_records_total", 5.0);
    is("weir_spu_fetch_responses_total", 1.0);
    is("weir_spu_fetch_duration_seconds_count", 1.0);
    is("weir_spu_append_duration_seconds_count", 2.0);
    is("weir_spu_fsync_duration_seconds_count", 2.0);
    is("weir_spu_session_up", 1.0);
    is("weir_spu_partitions{state=\"leader\"}", 2.0);
    is("weir_spu_partitions{state=\"offline\"}", 0.0);
    is("weir_spu_partitions_left_out", 0.0);
    is("weir_spu_streams{call=\"produce\"}", 1.0);
    is("weir_spu_streams{call=\"fetch\"}", 1.0);
    let bytes = value(&text, "weir_spu_produce_bytes_total");
    assert!(bytes > first.len() as f64);
    is("weir_spu_fetch_bytes_total", bytes);
    let generation = key(1, 0).generation;
    for (of, expected) in [("log_start", 0.0), ("high_watermark", 5.0), ("log_end", 5.0)] {
        let labels = format!("{{generation=\"{generation}\",partition=\"0\"}}");
        is(&format!("weir_spu_partition_{of}{labels}"), expected);
    }
}

#[tokio::test]
async fn refusals_are_counted_by_their_code_and_streams_until_they_end() {
    let node = Node::start().await;
    let mut producer = node.client.produce().await;
    let good = request(key(1, 0), batch(1, 10, None));
    for _ in 0..3 {
        producer.refused(data::ProduceRequest { leader_epoch: 0, ..good.clone() }).await;
    }
    producer.refused(request(key(99, 0), good.batch.clone())).await;
    let mut fetcher = node.client.fetch().await;
    fetcher.credit(1 << 20).await;
    fetcher.subscribe(1, key(1, 0), at(77), 1 << 20).await;
    fetcher.error(1).await;

    let text = node.metrics.set().text();
    let errors = |call, code| {
        value(&text, &format!("weir_spu_errors_total{{call=\"{call}\",code=\"{code}\"}}"))
    };
    assert_eq!(errors("produce", "FENCED_LEADER_EPOCH"), 3.0);
    assert_eq!(errors("produce", "UNKNOWN_GENERATION"), 1.0);
    assert_eq!(errors("fetch", "OFFSET_OUT_OF_RANGE"), 1.0);
    assert_eq!(value(&text, "weir_spu_produce_requests_total"), 4.0);
    assert_eq!(value(&text, "weir_spu_produce_records_total"), 0.0);

    // The stream's end is its last word: then it is not counted any more.
    let metrics = node.metrics.clone();
    let (ended, ..) = node.stop().await;
    ended.unwrap();
    assert_eq!(value(&metrics.set().text(), "weir_spu_streams{call=\"produce\"}"), 0.0);
}
