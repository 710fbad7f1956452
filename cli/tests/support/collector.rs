//! A small collector of traces: takes OTLP over HTTP, keeps every span.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value,
};
use prost::Message as _;

/// How long a test waits for a span.
const PATIENCE: Duration = Duration::from_secs(30);

/// A span as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
}

pub struct Collector {
    pub address: SocketAddr,
    arrivals: Receiver<Vec<Span>>,
    seen: Vec<Span>,
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, arrivals) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, &sender));
            }
        });
        Self { address, arrivals, seen: Vec::new() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for a span that `is` it.
    #[track_caller]
    pub fn span(&mut self, what: &str, is: impl Fn(&Span) -> bool) -> Span {
        let begin = Instant::now();
        loop {
            if let Some(found) = self.seen.iter().find(|span| is(span)) {
                return found.clone();
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            match self.arrivals.recv_timeout(left) {
                Ok(spans) => self.seen.extend(spans),
                Err(_) => panic!("no {what} among {:#?}", self.seen),
            }
        }
    }
}

/// Takes requests of one connection until it ends.
fn serve(stream: TcpStream, sender: &Sender<Vec<Span>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut length = 0;
        let mut first = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if first.is_empty() {
                first.clone_from(&line);
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        assert!(first.starts_with("POST /v1/traces "), "{first}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let spans = spans(ExportTraceServiceRequest::decode(&*body).unwrap());
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        // The test may be over, the process gone.
        if stream.write_all(answer.as_bytes()).is_err() || sender.send(spans).is_err() {
            return;
        }
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|of| of.attributes).unwrap_or_default();
        let name = attributes.into_iter().find(|pair| pair.key == "service.name");
        let service = match name.and_then(|pair| pair.value?.value) {
            Some(any_value::Value::StringValue(service)) => service,
            other => panic!("no service.name: {other:?}"),
        };
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            found.push(Span {
                service: service.clone(),
                name: span.name,
                trace: span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect(),
                id: span.span_id,
                parent: span.parent_span_id,
            });
        }
    }
    found
}
