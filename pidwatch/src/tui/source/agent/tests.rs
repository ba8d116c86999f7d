//! Against a small server that speaks as an agent does.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{detect, filter::Filter, stream::Event, tui::app::App};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

fn event(fields: &str) -> String {
    format!("data: {{\"time\":\"2026-11-22T22:09:00.000000000Z\",\"node\":\"n7\",{fields}}}\n\n")
}

/// The state as of now, as an agent tells it first: the state of an owner after its rate.
fn state() -> String {
    let owner = "\"cgroup\":{\"id\":7,\"path\":\"/a\"}";
    let nothing =
        "{\"created\":{\"processes\":0,\"threads\":0},\"exited\":{\"processes\":0,\"threads\":0}}";
    [
        event("\"type\":\"started\",\"version\":\"1\",\"kernel\":\"6.18\",\"cgroup_layout\":\"v2\",\"probes\":[]"),
        event(&format!(
            "\"type\":\"rate\",{owner},\"window_s\":1.0,\"tasks\":41,\
             \"created\":{{\"processes\":0,\"threads\":5}},\"exited\":{{\"processes\":0,\"threads\":0}},\
             \"total\":{nothing}"
        )),
        event(&format!(
            "\"type\":\"state\",{owner},\"from\":\"ok\",\"to\":\"leaking\",\"tasks\":41,\
             \"since\":\"2026-11-22T22:08:00Z\",\"why\":\"because\""
        )),
        event("\"type\":\"of_a_later_version\""),
        event("\"type\":\"node\",\"window_s\":1.0,\"tasks\":50,\"knows_frees\":true,\"knows_failures\":true,\"limits\":[]"),
    ]
    .concat()
}

/// Serves one connection after the other, each with a text, and then closes it.
async fn serve(listener: TcpListener, answers: Vec<String>) {
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let n = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..n]).into_owned();
        assert!(
            request.starts_with("GET /api/v1/events HTTP/1.1\r\n"),
            "{request}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    crate::runtime::single_threaded().unwrap()
}

async fn next(agent: &mut AgentSource) -> Vec<SourceEvent> {
    let mut news = Vec::new();
    let waited = timeout(Duration::from_secs(30), agent.next(&mut news)).await;
    assert!(waited.is_ok(), "nothing came");
    news
}

#[test]
fn what_an_agent_tells_is_shown_and_a_lost_connection_is_told_and_tried_again() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let refused = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
        let answers = vec![
            format!("{HEAD}{}", state()),
            refused,
            format!("{HEAD}{}", state()),
        ];
        let served = tokio::spawn(serve(listener, answers));
        let mut agent = AgentSource::start(Address::look_up(&url).unwrap());
        let (mut begun, mut troubles, mut windows) = (0, Vec::new(), 0);
        let mut app = App::new(Filter::default(), jiff::tz::TimeZone::UTC);
        while windows < 2 {
            for told in next(&mut agent).await {
                match told {
                    SourceEvent::Anew => {
                        begun += 1;
                        app.forget();
                    }
                    SourceEvent::Trouble(Some(why)) => troubles.push(why),
                    SourceEvent::Line(line) => {
                        windows += usize::from(matches!(line.event, Event::Node(_)));
                        app.take([*line]);
                    }
                    _ => {}
                }
            }
        }
        served.await.unwrap();
        assert_eq!(begun, 2, "everything is told anew");
        assert!(
            troubles.iter().any(|why| why.contains("404")),
            "{troubles:?}"
        );
        assert_eq!(app.world.node_name, "n7");
        let owner = &app.world.owners[&crate::cgroup::CgroupId(7)];
        assert_eq!((owner.tasks, owner.created), (Some(41), 5.0));
        let verdict = owner.verdict.as_ref().unwrap();
        assert_eq!(verdict.state, detect::State::Leaking);
        assert!(agent.reporter().clone().finish(None).is_ok());
    });
}

#[test]
fn nobody_there_is_told_as_that() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let mut agent = AgentSource::start(Address::look_up(&url).unwrap());
        let news = next(&mut agent).await;
        let [SourceEvent::Trouble(Some(why))] = &news[..] else {
            panic!("{news:?}");
        };
        assert!(why.contains("refused"), "{why}");
    });
}
