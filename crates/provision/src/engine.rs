//! The Docker engine's API on its socket: no token ever stands in a command line.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    Error, System,
    http::{self, parse},
};

const SOCKET: &str = "/run/docker.sock";

/// An engine that answered, the version of its API, and its place in a swarm where it tells without being asked.
pub(crate) struct Engine {
    socket: PathBuf,
    /// `/v1.45`, which stands before every path.
    prefix: String,
    /// `inactive`, `active/manager`, `pending`, ...: said since version 1.42.
    pub(crate) swarm: Option<String>,
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

    pub(crate) fn delete(&self, path: &str) -> Result<(), Error> {
        self.request("DELETE", path, None).map(drop)
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
        http::exchange(&self.socket, "docker", method, path, body).map_err(|error| {
            let socket = self.socket.display();
            Error::state(format!(
                "no Docker engine answers on {socket} ({error}); `systemctl status docker` says why"
            ))
        })
    }
}
