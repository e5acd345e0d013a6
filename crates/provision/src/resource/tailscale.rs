use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{State, Verdict};
use crate::{
    CommandLine, Error, Secret, System,
    http::{exchange, parse},
    system::Access,
};

const SOCKET: &str = "/run/tailscale/tailscaled.sock";

/// Where the key lies while it is used: in memory, and root's alone.
const KEY: &str = "/run/bramble/tailscale-key";

/// The node is in a Tailscale network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tailscale {
    /// Lets it in. A node that is in needs none.
    pub auth_key: Secret,
}

impl State for Tailscale {
    fn title(&self) -> String {
        "tailscale".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let state = state(system)?;
        Ok(match &*state {
            "Running" | "Starting" => Verdict::Satisfied,
            "NeedsLogin" | "NoState" => Verdict::change("it is in no Tailscale network"),
            "Stopped" => Verdict::change("it is switched off"),
            "NeedsMachineAuth" => {
                return Err(Error::state(
                    "it waits for an administrator of the Tailscale network to let it in",
                ));
            }
            other => Verdict::change(format!("its state is {other}")),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let access = Access {
            mode: 0o600,
            owner: None,
        };
        system.write(KEY, self.auth_key.reveal().trim().as_bytes(), access)?;
        let arguments = [format!("--auth-key=file:{KEY}"), "--timeout=120s".into()];
        let up = ["up".to_owned()].into_iter().chain(arguments);
        let result = system.run(&CommandLine::new("tailscale", up));
        system.remove(KEY)?;
        result.map(drop)
    }
}

/// What the daemon calls its state.
fn state(system: &System) -> Result<String, Error> {
    let silent = |why: String| {
        Error::state(format!(
            "no tailscaled answers on {SOCKET} ({why}); `systemctl status tailscaled` says why"
        ))
    };
    let path = "/localapi/v0/status?peers=false";
    let answer = exchange(
        &system.path(SOCKET),
        "local-tailscaled.sock",
        "GET",
        path,
        "",
    )
    .map_err(|error| silent(error.to_string()))?;
    let answer = parse(&answer).filter(|answer| answer.status == 200);
    let status = answer.and_then(|answer| serde_json::from_slice::<Value>(answer.body).ok());
    let state = status.and_then(|status| Some(status["BackendState"].as_str()?.to_owned()));
    state.ok_or_else(|| silent("with something else than its state".into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn the_daemon_is_asked_for_its_state() {
        let root = tempfile::tempdir().unwrap();
        let system = System::rooted(root.path());
        let tailscale = Tailscale {
            auth_key: Secret::new("tskey"),
        };
        let error = tailscale.check(&system).unwrap_err().to_string();
        assert!(error.contains("systemctl status tailscaled"), "{error}");

        std::fs::create_dir_all(root.path().join("run/tailscale")).unwrap();
        let listener = UnixListener::bind(system.path(SOCKET)).unwrap();
        let states = ["Running", "NeedsLogin", "Stopped"];
        let daemon = thread::spawn(move || {
            for state in states {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                assert!(
                    request.contains("Host: local-tailscaled.sock\r\n"),
                    "{request}"
                );
                write!(
                    stream,
                    "HTTP/1.0 200 OK\r\n\r\n{{\"BackendState\":\"{state}\"}}"
                )
                .unwrap();
            }
        });
        assert_eq!(tailscale.check(&system).unwrap(), Verdict::Satisfied);
        assert_eq!(
            tailscale.check(&system).unwrap(),
            Verdict::change("it is in no Tailscale network")
        );
        assert_eq!(
            tailscale.check(&system).unwrap(),
            Verdict::change("it is switched off")
        );
        daemon.join().unwrap();
    }
}
