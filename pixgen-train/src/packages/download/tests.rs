//! Against a server in a thread of the test.

use super::*;
use crate::packages::catalogue::Registry;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does with one connection.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The file, or the part that was asked for.
    Serve,
    /// The same, but the connection ends after so many bytes.
    Break(usize),
    /// The whole file, whatever was asked for.
    Whole,
    /// Another part than was asked for.
    OtherPart,
    /// A status without a body.
    Status(u16),
    /// The whole file at another path.
    Redirect,
    /// The file and then more, without its length.
    Endless,
}

struct Server {
    url: String,
    /// The `Range` header of each request.
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

/// Answers one connection after the other as told, then no more.
fn serve(content: Vec<u8>, answers: &'static [Answer]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/p/package.tgz", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let log = ranges.clone();
    std::thread::spawn(move || {
        for &answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let range = read_request(&stream);
            log.lock().unwrap().push(range.clone());
            // A client that has seen enough closes the connection.
            let _ = respond(stream, &content, range, answer);
        }
    });
    Server { url, ranges }
}

fn read_request(stream: &TcpStream) -> Option<String> {
    let mut range = None;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("range")
        {
            range = Some(value.to_owned());
        }
    }
    range
}

fn respond(mut stream: TcpStream, content: &[u8], range: Option<String>, answer: Answer) -> io::Result<()> {
    let from: usize = range.map_or(0, |range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
    let (from, partial) = match answer {
        Answer::Whole | Answer::Endless => (0, false),
        Answer::OtherPart => (from + 1, true),
        _ => (from, from > 0),
    };
    match answer {
        Answer::Status(code) => return write!(stream, "HTTP/1.1 {code} Odd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        Answer::Redirect => {
            return write!(stream, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            stream.write_all(content)?;
            return stream.write_all(content);
        }
        _ => {}
    }
    let (length, total) = (content.len() - from, content.len());
    let status = if partial { "206 Partial Content" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n")?;
    if partial {
        write!(stream, "Content-Range: bytes {from}-{}/{total}\r\n", total - 1)?;
    }
    write!(stream, "\r\n")?;
    let end = match answer {
        Answer::Break(bytes) => from + bytes,
        _ => total,
    };
    stream.write_all(&content[from..end])
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

fn package(content: &[u8]) -> Package {
    Package {
        title: "package 1",
        registry: Registry::Npm,
        path: "p/package.tgz",
        bytes: content.len() as u64,
        sha256: String::leak(checksum::of_reader(&mut &content[..]).unwrap()),
        contents: "nothing",
        licence: "none",
        credit: "nobody",
    }
}

/// A client without the proxies of whoever runs the test.
fn client() -> Client {
    let mut client = Client::new(true);
    let config = Agent::config_builder().proxy(None).http_status_as_error(false).build();
    client.agent = config.into();
    client.pause = Duration::ZERO;
    client
}

/// What came of a download.
struct Attempt {
    done: Result<bool, PackageError>,
    file: Option<Vec<u8>>,
    ranges: Vec<Option<String>>,
}

/// Downloads `content` from a server that does `answers`, with `before` in the file.
fn attempt(before: &[u8], answers: &'static [Answer]) -> Attempt {
    let content = content();
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("package.part");
    if !before.is_empty() {
        std::fs::write(&part, before).unwrap();
    }
    let server = serve(content.clone(), answers);
    let done = client().download(&server.url, &package(&content), &part, &Interrupt::default());
    let ranges = server.ranges.lock().unwrap().clone();
    Attempt { done, file: std::fs::read(&part).ok(), ranges }
}

fn range(from: usize) -> Option<String> {
    Some(format!("bytes={from}-"))
}

#[test]
fn a_file_comes_whole() {
    for (before, answers, ranges) in [
        (&b""[..], &[Answer::Serve][..], vec![None]),
        (b"", &[Answer::Redirect, Answer::Serve], vec![None, None]),
        // Goes on where it was.
        (&content()[..1000], &[Answer::Serve], vec![range(1000)]),
        // The server knows no ranges.
        (&content()[..1000], &[Answer::Whole], vec![range(1000)]),
        // The server sends something else than was asked for, or says that there is no such part.
        (&content()[..1000], &[Answer::OtherPart, Answer::Serve], vec![range(1000), None]),
        (&content()[..1000], &[Answer::Status(416), Answer::Serve], vec![range(1000), None]),
        // Connections break.
        (b"", &[Answer::Break(7000), Answer::Break(50_000), Answer::Serve], vec![None, range(7000), range(57_000)]),
        (b"", &[Answer::Break(7000), Answer::Break(0), Answer::Serve], vec![None, range(7000), range(7000)]),
        // All of it is there already.
        (&content(), &[], vec![]),
        // What was there is of another file, also a longer one.
        (&[5; 1000], &[Answer::Serve, Answer::Serve], vec![range(1000), None]),
        (&[5; 400_000], &[Answer::Serve], vec![None]),
    ] {
        let Attempt { done, file, ranges: asked } = attempt(before, answers);
        assert!(matches!(done, Ok(true)), "{answers:?}: {done:?}");
        assert_eq!(file.unwrap(), content(), "{answers:?}");
        assert_eq!(asked, ranges, "{answers:?}");
    }
}

#[test]
fn what_goes_wrong_is_said() {
    for (before, answers, text, kept) in [
        (&b""[..], &[Answer::Status(404)][..], "does not exist (HTTP 404)", Some(0)),
        (b"", &[Answer::Status(503)], "answers HTTP 503", Some(0)),
        (&content()[..500], &[Answer::Status(404)], "does not exist (HTTP 404)", Some(500)),
        (b"", &[Answer::Endless], "instead of 293 KiB", Some(content().len())),
        (b"", &[Answer::Break(0)], "ended early", Some(0)),
        // Some bytes came, then nothing any more.
        (b"", &[Answer::Break(9000), Answer::Break(0), Answer::Break(0), Answer::Break(0)], "ended early", Some(9000)),
    ] {
        let Attempt { done, file, .. } = attempt(before, answers);
        let error = done.unwrap_err();
        assert!(error.to_string().contains(text), "{answers:?}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--mirror") && hint.contains("--file")), "{error}");
        let file = file.map(|file| file.len());
        // Of an endless file no more than the package's length is kept.
        assert!(file <= kept && (kept != Some(9000) || file == kept), "{answers:?}: {file:?}");
    }
}

#[test]
fn a_wrong_file_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("package.part");
    let mut other = content();
    other[77] ^= 1;
    let server = serve(other.clone(), &[Answer::Serve]);
    let error = client()
        .download(&server.url, &package(&content()), &part, &Interrupt::default())
        .unwrap_err();
    let text = error.to_string();
    for part in [server.url.as_str(), package(&content()).sha256, package(&other).sha256] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!part.exists());

    let server = serve(other[..1000].to_vec(), &[Answer::Serve]);
    let error = client()
        .download(&server.url, &package(&content()), &part, &Interrupt::default())
        .unwrap_err();
    assert!(error.to_string().contains("has 1000 B instead of 293 KiB"), "{error}");
}

#[test]
fn without_a_server_or_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("package.part");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fetch = |url: &str| client().download(url, &package(&content()), &part, &Interrupt::default()).unwrap_err();
    let error = fetch(&format!("http://{closed}/x"));
    assert!(matches!(error, PackageError::Connection { certificate: false, kept: 0, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("HTTPS_PROXY"));
    for url in ["nowhere", "/srv/mirror/x", "http://", "http://a b/c"] {
        let error = fetch(url);
        assert!(matches!(error, PackageError::Address { .. }), "{url}: {error:?}");
    }
}

#[test]
fn stopping_keeps_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("package.part");
    std::fs::write(&part, &content()[..1234]).unwrap();
    let interrupt = Interrupt::default();
    interrupt.request();
    let done = client().download("http://127.0.0.1:9/x", &package(&content()), &part, &interrupt);
    assert!(matches!(done, Ok(false)), "{done:?}");
    assert_eq!(std::fs::read(&part).unwrap(), content()[..1234]);
}
