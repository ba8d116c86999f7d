//! The agent's HTTP against clients of every kind, on a board that was filled by hand.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::LocalSet,
    time::Instant,
};

use super::{board::Board, *};
use crate::{
    cgroup::LayoutKind,
    clock::BootTime,
    detect,
    stream::{self, Event, Line, NodeWindow, OwnerRef, RateEvent, Started, StateEvent},
};

fn rate(id: u64) -> Event {
    let owner = OwnerRef::example(id, Some(&format!("/test/{id}")));
    let mut rate = RateEvent::example(owner, Some(id));
    rate.total.created.threads = id;
    Event::Rate(Box::new(rate))
}

fn node() -> Event {
    Event::Node(NodeWindow::example(100))
}

fn leaking(id: u64) -> Event {
    let owner = OwnerRef::example(id, Some(&format!("/test/{id}")));
    Event::State(Box::new(StateEvent::example(owner, detect::State::Leaking)))
}

fn take(shared: &Shared, events: impl IntoIterator<Item = Event>) {
    if let Some(board) = shared.board.borrow_mut().as_mut() {
        for event in events {
            board.take(Line::example(1, event), BootTime::now());
        }
    }
}

/// With owners 1 to `owners`, the first of which leaks.
fn shared(owners: u64) -> Rc<Shared> {
    let shared = Shared::new(Duration::from_secs(1));
    let started = Started {
        version: "1".into(),
        kernel: "6".into(),
        cgroup_layout: LayoutKind::V2.into(),
        cgroups: owners,
        probes: Vec::new(),
    };
    *shared.board.borrow_mut() = Some(Board::new(started, 1 << 20));
    take(&shared, (1..=owners).map(rate).chain([node(), leaking(1)]));
    Rc::new(shared)
}

/// Serves on a free port while a test runs against it.
fn served<F: Future>(shared: Rc<Shared>, test: impl FnOnce(SocketAddr) -> F) -> F::Output {
    let runtime = crate::runtime::single_threaded().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = http::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::task::spawn_local(http::serve(listener, shared));
        let time = Duration::from_mins(1);
        tokio::time::timeout(time, test(address)).await.unwrap()
    })
}

/// What is answered to these bytes, to the end of the connection.
async fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be refused before all of it is sent.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    answer(address, request.as_bytes()).await
}

#[test]
fn every_path_is_answered() {
    served(shared(3), async |address| {
        for (path, status, text) in [
            ("/", "200", "/metrics"),
            ("/healthz", "200", "ok"),
            ("/readyz", "200", "ok"),
            ("/metrics", "200", "pidwatch_container_tasks{id=\"/test/3\""),
            ("/metrics?name=x", "200", "pidwatch_node_tasks 100\n"),
            ("/api/v1/snapshot", "200", "\"path\":\"/test/2\""),
            ("/api/v1/incidents", "200", "\"open\":[]"),
            ("/api/v1/incidents/x/report", "404", "--flight-recorder"),
            ("/api/v1/report", "404", "--flight-recorder"),
            ("/api/v1/incidents/x", "404", "/api/v1/events"),
            ("/metrics/", "404", "nothing is here"),
            ("//", "404", "nothing is here"),
        ] {
            let answer = get(address, path).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{path}: {answer}");
            assert!(answer.contains(text), "{path}: {answer}");
        }
    });
}

#[test]
fn before_the_node_is_known_nothing_is_said_of_it() {
    let shared = shared(3);
    *shared.board.borrow_mut() = None;
    served(shared, async |address| {
        for path in [
            "/readyz",
            "/metrics",
            "/api/v1/snapshot",
            "/api/v1/incidents",
            "/api/v1/events",
        ] {
            let answer = get(address, path).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{path}: {answer}");
        }
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn a_watch_that_hangs_is_no_good_health() {
    let shared = shared(3);
    shared.looked.set(Instant::now() - Duration::from_secs(20));
    served(shared, async |address| {
        let answer = get(address, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("20 s ago"), "{answer}");
    });
}

#[test]
fn a_head_is_as_a_get_without_its_text() {
    served(shared(3), async |address| {
        for path in ["/metrics", "/api/v1/events"] {
            let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let answer = answer(address, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
    });
}

#[test]
fn what_is_no_http_is_refused_and_others_are_served() {
    served(shared(3), async |address| {
        let long = [&b"GET /"[..], &vec![b'a'; 10 << 20], b" HTTP/1.1\r\n\r\n"].concat();
        let headers = [
            &b"GET / HTTP/1.1\r\n"[..],
            &b"a: b\r\n".repeat(10_000),
            b"\r\n",
        ]
        .concat();
        for request in [
            &b"\x00\x01\x02\x03\r\n\r\n"[..],
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &long,
            &headers,
        ] {
            let answer = answer(address, request).await;
            let shown = &request[..request.len().min(40)];
            assert!(!answer.contains(" 200 OK"), "{shown:?}: {answer}");
            assert!(get(address, "/readyz").await.contains(" 200 OK"));
        }
    });
}

#[test]
fn who_takes_all_connections_keeps_them_for_seconds_only() {
    served(shared(3), async |address| {
        let mut idle = Vec::new();
        for _ in 0..200 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let refused = get(address, "/readyz").await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("too many connections"), "{refused}");
        while !get(address, "/readyz").await.contains(" 200 OK") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(idle);
    });
}

#[test]
fn who_never_reads_holds_up_nobody() {
    // More than the buffers of a socket hold.
    let shared = shared(1);
    let long = (2..4_000).map(|id| {
        let owner = OwnerRef::example(id, Some(&format!("/{id:0>400}")));
        Event::Rate(Box::new(RateEvent::example(owner, Some(id))))
    });
    take(&shared, long.chain([node()]));
    served(shared, async |address| {
        let mut stuck = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request).await.unwrap();
            stuck.push(stream);
        }
        // They are under way for eight of them, and no more.
        while !get(address, "/metrics").await.contains("too many answers") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(get(address, "/readyz").await.contains(" 200 OK"));
        drop(stuck);
        while !get(address, "/metrics").await.contains(" 200 OK") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// Reads lines of the events until there are as many windows.
async fn events(address: SocketAddr, windows: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    let mut chunk = vec![0; 64 * 1024];
    while text.matches("event: node\n").count() < windows || !text.ends_with("\r\n") {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "the events ended: {text}");
        text += std::str::from_utf8(&chunk[..read]).unwrap();
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(str::to_owned).collect()
}

#[test]
fn who_begins_to_listen_knows_what_the_agent_knows() {
    let shared = shared(50);
    let board = shared.clone();
    served(shared, async move |address| {
        let lines = events(address, 1).await;
        let lines = lines.iter().map(|line| stream::parse(line.as_bytes()));
        let events: Vec<_> = lines.map(|line| line.unwrap().event).collect();
        let kinds: Vec<_> = events.iter().map(Event::kind).collect();
        assert_eq!(
            (kinds[0], kinds[51], kinds[52]),
            ("started", "state", "node")
        );
        assert_eq!(kinds.len(), 53);
        let rates = events.iter().filter_map(|event| match event {
            Event::Rate(rate) => Some(&**rate),
            _ => None,
        });
        let board = board.board.borrow();
        let known = board.as_ref().unwrap().rates();
        let json = |rate: &RateEvent| serde_json::to_value(rate).unwrap();
        let told: Vec<_> = rates.map(json).collect();
        assert_eq!(told, known.iter().map(json).collect::<Vec<_>>());
        assert!(known[0].verdict.is_some() && known[1].verdict.is_none());
        let Some(Event::Node(node)) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!(node.tasks, Some(100));
    });
}

#[test]
fn so_many_may_listen_and_the_rest_is_told_so() {
    served(shared(3), async |address| {
        let mut readers = Vec::new();
        for _ in 0..16 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).await.unwrap();
            assert_eq!(&begin, b"HTTP/1.1 200");
            readers.push(stream);
        }
        let refused = get(address, "/api/v1/events").await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(get(address, "/metrics").await.contains(" 200 OK"));
        readers.pop();
        // It is known to have left when it is written to.
        let mut again = false;
        for _ in 0..100 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).await.unwrap();
            again = &begin == b"HTTP/1.1 200";
            if again {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(again);
    });
}

/// Connects from another address of the loopback network: for the agent it is another peer.
async fn from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

#[test]
fn a_probe_is_answered_while_another_peer_has_taken_all_places() {
    served(shared(3), async |address| {
        let mut greedy = Vec::new();
        for _ in 0..76 {
            greedy.push(from([127, 0, 0, 2], address).await);
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            let mut probe = from([127, 0, 0, 3], address).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n");
            probe.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            probe.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
    });
}

/// DNS rebinding: a page of another name that was made to mean 127.0.0.1.
#[test]
fn on_a_loopback_address_foreign_names_are_refused() {
    served(shared(3), async |address| {
        for (host, status) in [
            ("Host: localhost\r\n", "200"),
            ("Host: LocalHost:9757\r\n", "200"),
            ("Host: 127.0.0.1:9757\r\n", "200"),
            ("Host: [::1]:9757\r\n", "200"),
            ("Host: 10.1.2.3\r\n", "200"),
            ("Host: evil.example\r\n", "421"),
            ("Host: localhost.evil.example:9757\r\n", "421"),
            ("Host: 127.0.0.1.evil.example\r\n", "421"),
            ("Host: \r\n", "421"),
        ] {
            let request = format!("GET /metrics HTTP/1.1\r\n{host}\r\n");
            let answer = answer(address, request.as_bytes()).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{host}: {answer}");
        }
        let answer = answer(address, b"GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    });
}
