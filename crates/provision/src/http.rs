//! Requests to services of the node itself, on their sockets.
//!
//! They are spoken as HTTP/1.0: a service then answers without chunks and closes the connection, so a few lines
//! suffice.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Joining a swarm may take the engine a minute on a loaded machine; silence for longer than this is a fault.
const PATIENCE: Duration = Duration::from_secs(180);

/// An answer to a request.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    headers: &'a str,
    pub(crate) body: &'a [u8],
}

/// Sends a request and returns all of the answer, for [`parse`].
pub(crate) fn exchange(
    socket: &Path,
    host: &str,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

impl<'a> Answer<'a> {
    /// The value of a header, whose name may be in either case.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let mut fields = self.headers.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }
}

/// Takes an answer apart; `None` if it is not HTTP.
pub(crate) fn parse(answer: &[u8]) -> Option<Answer<'_>> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let headers = str::from_utf8(&answer[..end]).ok()?;
    let status = headers
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(Answer {
        status,
        headers,
        body: &answer[end + 4..],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_headers_and_a_body() {
        let answer = parse(b"HTTP/1.0 200 OK\r\nSwarm: active/worker\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body), (200, &b"{}"[..]));
        assert_eq!(answer.header("swarm"), Some("active/worker"));
        assert_eq!(answer.header("Api-Version"), None);
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.body), (503, &b""[..]));
        assert!(parse(b"SSH-2.0\r\n\r\n").is_none());
        assert!(parse(b"").is_none());
    }
}
