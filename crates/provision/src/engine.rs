//! The Docker engine's API on its socket.
//!
//! Requests are spoken as HTTP/1.0: the engine then answers without chunks and closes the connection, so a
//! few lines suffice, and no token ever stands in a command line.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;

use crate::{Error, System};

const SOCKET: &str = "/run/docker.sock";

/// A join may take the engine a minute on a loaded machine; silence for longer than this is a fault.
const PATIENCE: Duration = Duration::from_secs(180);

/// An engine that answered, the version of its API, and its place in a swarm where it tells without being asked.
pub(crate) struct Engine {
    socket: PathBuf,
    /// `/v1.45`, which stands before every path.
    prefix: String,
    /// `inactive`, `active/manager`, `pending`, ...: said since version 1.42.
    pub(crate) swarm: Option<String>,
}

/// An answer to a request.
struct Answer<'a> {
    status: u16,
    headers: &'a str,
    body: &'a [u8],
}

impl Engine {
    /// Finds the engine and asks which version it speaks.
    ///
    /// By a ping: asked for its version, or for information about itself, the engine starts other programs only to
    /// ask them for theirs, which takes a small machine most of a second.
    pub(crate) fn connect(system: &System) -> Result<Self, Error> {
        let mut engine = Self {
            socket: system.path(SOCKET),
            prefix: String::new(),
            swarm: None,
        };
        let answer = engine.raw("GET", "/_ping", "")?;
        let ping = parse(&answer).filter(|answer| answer.status == 200);
        let header = |name| ping.as_ref()?.header(name);
        let version = header("Api-Version")
            .ok_or_else(|| Error::state("the Docker engine names no version"))?;
        engine.prefix = format!("/v{version}");
        engine.swarm = header("Swarm").map(str::to_owned);
        Ok(engine)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Error> {
        self.request("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.request("POST", path, Some(body))
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let path = format!("{}{path}", self.prefix);
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.raw(method, &path, &body)?;
        let request = format!("{method} {path}");
        let answer = parse(&answer).ok_or_else(|| {
            Error::state(format!(
                "the Docker engine's answer to {request} is not HTTP"
            ))
        })?;
        let content: Value = serde_json::from_slice(answer.body).unwrap_or(Value::Null);
        match answer.status {
            200..300 => Ok(content),
            status => Err(Error::Engine {
                request,
                status,
                message: content["message"].as_str().unwrap_or("no reason").into(),
            }),
        }
    }

    fn raw(&self, method: &str, path: &str, body: &str) -> Result<Vec<u8>, Error> {
        self.exchange(method, path, body).map_err(|error| {
            let socket = self.socket.display();
            Error::state(format!(
                "no Docker engine answers on {socket} ({error}); `systemctl status docker` says why"
            ))
        })
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

impl<'a> Answer<'a> {
    /// The value of a header, whose name may be in either case.
    fn header(&self, name: &str) -> Option<&'a str> {
        let mut fields = self.headers.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }
}

fn parse(answer: &[u8]) -> Option<Answer<'_>> {
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
    fn an_answer_is_a_status_and_a_body() {
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
