//! One command, followed through control plane and SPU by its trace, with the real binary,
//! real servers and a small collector.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
#![allow(missing_docs)]

#[path = "support/collector.rs"]
mod collector;
mod support;

use std::{io::Write as _, net::TcpListener, process::Stdio, time::Duration};

use collector::{Collector, Span};
use support::{Home, Ran, finish};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn weir(home: &Home, endpoint: &str, args: &[&str], input: &[u8]) -> Ran {
    let mut command = home.command(args);
    command
        .env(ENDPOINT, endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("WEIR_LOG", "debug")
        .env("WEIR_LOG_FORMAT", "json")
        .stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finish(child)
}

#[test]
fn a_command_is_one_trace_through_control_plane_and_spu() {
    let home = Home::for_servers();
    let mut collector = Collector::start();
    let url = collector.url();
    weir(&home, &url, &["cluster", "create"], b"").ok();
    weir(&home, &url, &["topic", "create", "orders"], b"").ok();
    let root = |collector: &mut Collector, name: &str| {
        collector.span(name, |span| span.service == "weir" && span.name == name)
    };
    let caused = |collector: &mut Collector, cause: &Span, service: &str, name: &str| {
        let what = format!("{name} of {service} below {cause:?}");
        collector.span(&what, |span| {
            (&*span.service, &*span.name) == (service, name)
                && span.trace == cause.trace
                && span.parent == cause.id
        })
    };
    let create = root(&mut collector, "weir topic create");
    assert!(create.parent.is_empty());
    let route = "POST /v1/clusters/{cluster}/topics";
    caused(&mut collector, &create, "weir-control-plane", route);

    weir(&home, &url, &["produce", "orders"], b"one\ntwo\n").ok();
    let produce = root(&mut collector, "weir produce");
    assert_ne!(produce.trace, create.trace, "a trace per command");
    let token = "POST /v1/clusters/{cluster}";
    caused(&mut collector, &produce, "weir-control-plane", token);
    let rpc = "weir.data.v1.DataPlane/Produce";
    caused(&mut collector, &produce, "weir-spu", rpc);

    // The control plane's log names request and trace, in a line that a program can read.
    let log = std::fs::read_to_string(home.path().join("control-plane/log")).unwrap();
    let mut lines = log.lines().map(|line| -> serde_json::Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let line = lines
        .find(|line| line["message"] == "request" && line["span"]["trace_id"] == *create.trace);
    let line = line.expect("a line of the request");
    assert!(line["span"]["request_id"].as_str().unwrap().starts_with("req_"), "{line}");
    assert_eq!(line["status"], 201);
}

#[test]
fn a_collector_that_is_away_or_never_answers_stops_nothing() {
    let home = Home::for_servers();
    // Its backlog takes connections, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let began = std::time::Instant::now();
    weir(&home, &silent, &["profile", "list", "-o", "json"], b"").ok();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    weir(&home, "http://127.0.0.1:1", &["profile", "list", "-o", "json"], b"").ok();
    weir(&home, "no address at all", &["profile", "list", "-o", "json"], b"").ok();
}
