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

/// An engine that answered, and the version of its API.
pub(crate) struct Engine {
    socket: PathBuf,
    /// `/v1.45`, which stands before every path.
    prefix: String,
}

impl Engine {
    /// Finds the engine and asks which version it speaks.
    pub(crate) fn connect(system: &System) -> Result<Self, Error> {
        let mut engine = Self {
            socket: system.path(SOCKET),
            prefix: String::new(),
        };
        let version = engine.get("/version")?;
        let version = version["ApiVersion"]
            .as_str()
            .ok_or_else(|| Error::state("the Docker engine names no version"))?;
        engine.prefix = format!("/v{version}");
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
        let answer = self.exchange(method, &path, &body).map_err(|error| {
            let socket = self.socket.display();
            Error::state(format!(
                "no Docker engine answers on {socket} ({error}); `systemctl status docker` says why"
            ))
        })?;
        let request = format!("{method} {path}");
        let (status, content) = parse(&answer).ok_or_else(|| {
            Error::state(format!(
                "the Docker engine's answer to {request} is not HTTP"
            ))
        })?;
        let content: Value = serde_json::from_slice(content).unwrap_or(Value::Null);
        match status {
            200..300 => Ok(content),
            _ => Err(Error::Engine {
                request,
                status,
                message: content["message"].as_str().unwrap_or("no reason").into(),
            }),
        }
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

/// Status and body of an answer.
fn parse(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = str::from_utf8(&answer[..end]).ok()?;
    let status = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        assert_eq!(
            parse(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}"),
            Some((200, &b"{}"[..]))
        );
        assert_eq!(
            parse(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            Some((503, &b""[..]))
        );
        assert_eq!(parse(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse(b""), None);
    }
}
