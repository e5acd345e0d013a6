//! The nodes, reached by the system's own `ssh`: one shared connection to each, however many commands run over it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bramble_cluster::spec::Cluster;
use bramble_provision::Secret;
use ssh_key::{HashAlg, PublicKey};

use crate::context::Context;
use crate::state::HOST_KEYS_GUIDE;

/// How long a tunnel may take to be there; a loaded machine needs seconds for a handshake.
const TUNNEL_PATIENCE: Duration = Duration::from_secs(60);

/// What `ssh` itself exits with when it cannot connect.
const SSH_FAILED: i32 = 255;

/// What the shell on a node exits with when sudo does not take the password.
const REFUSED: i32 = 91;

/// Reaches nodes by name.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    config: PathBuf,
    /// What each node proves itself with, as fingerprints.
    host_keys: BTreeMap<String, String>,
    /// The password that `sudo` asks for on the nodes, if it asks for one.
    sudo: Option<Secret>,
}

/// A command that ran on a node to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it wrote to standard error, trimmed.
    pub(crate) errors: String,
}

/// An `ssh` that ends when this is dropped.
#[derive(Debug)]
struct Running(Child);

/// What a command on a node prints, line by line, for as long as somebody wants to know.
#[derive(Debug)]
pub(crate) struct Lines {
    _ssh: Running,
    lines: io::Lines<BufReader<ChildStdout>>,
}

/// A port of this machine that leads to a port of a node, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Tunnel {
    ssh: Command,
    running: Running,
    /// The port on 127.0.0.1.
    pub(crate) port: u16,
}

impl Remote {
    /// Gets ready to reach the nodes of `cluster` with the keys in its state directory. Connects to nothing yet.
    pub(crate) fn open(context: &Context, cluster: &Cluster) -> anyhow::Result<Self> {
        let state = context.state(cluster)?;
        state.write_ssh_files(cluster, context.ssh_config.as_deref())?;
        let hosts = state.public_keys(cluster)?.hosts;
        let fingerprint = |key: PublicKey| key.fingerprint(HashAlg::Sha256).to_string();
        Ok(Self {
            config: state.ssh_config(),
            host_keys: hosts
                .into_iter()
                .map(|(node, key)| (node, fingerprint(key)))
                .collect(),
            sudo: context.sudo_password()?,
        })
    }

    /// `ssh` with this cluster's configuration, and nothing yet to reach.
    pub(crate) fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(&self.config);
        command
    }

    /// Runs a shell command on a node with `input` on its standard input; `line` gets its standard output.
    ///
    /// # Errors
    /// The node cannot be reached, or `line` failed. That the command itself failed is not an error.
    pub(crate) fn run(
        &self,
        node: &str,
        command: &str,
        input: impl Read + Send,
        mut line: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Ended> {
        let (command, password) = self.with_password(command);
        let input = Cursor::new(password).chain(input);
        let mut child = self
            .ssh()
            .args(["-T", node, "--", &command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `ssh`; is the OpenSSH client installed?")?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(mut stderr)) = (stdin, stdout, stderr) else {
            unreachable!("all three were asked to be pipes");
        };
        let mut was_there = false;
        let heard = thread::scope(|scope| {
            scope.spawn(move || feed(input, stdin));
            let errors = scope.spawn(move || {
                let mut text = Vec::new();
                // What was read before a failure is all there is to tell.
                stderr.read_to_end(&mut text).ok();
                String::from_utf8_lossy(&text).trim().to_owned()
            });
            let lines = BufReader::new(stdout).lines().try_for_each(|text| {
                was_there = true;
                line(&text?)
            });
            if lines.is_err() {
                child.kill().ok();
            }
            lines.map(|()| errors.join().unwrap_or_default())
        });
        let status = child.wait().context("cannot wait for `ssh`")?;
        let errors = heard?;
        match status.code() {
            Some(SSH_FAILED) | None if was_there => {
                bail!("the connection to {node} was lost: {errors}")
            }
            Some(SSH_FAILED) | None => {
                bail!("cannot reach {node}: {}", self.explained(node, &errors))
            }
            Some(REFUSED) => bail!(
                "{node}: sudo refuses the password in the file that --sudo-password-file names; \
                 try it there with `sudo -k true`"
            ),
            Some(code) => Ok(Ended { code, errors }),
        }
    }

    /// The command after a `sudo` that asks for the password, and what it reads before anything else.
    ///
    /// Without a terminal, sudo remembers a password for those whom the same shell starts, so none of them may take
    /// its place: neither by `exec`, nor by being last, which shells take for the same.
    fn with_password(&self, command: &str) -> (String, String) {
        let Some(password) = self.sudo.as_ref().filter(|_| command.contains("sudo -n")) else {
            return (command.to_owned(), String::new());
        };
        let command = command.replace("exec sudo -n", "sudo -n");
        // Whom sudo lets do anything without one may have no password, or another, and `-v` would still ask for it.
        let ask = format!(
            "IFS= read -r word; sudo -n true 2>/dev/null || printf '%s\\n' \"$word\" | sudo -S -p '' -v 2>/dev/null || \
             exit {REFUSED}; unset word"
        );
        (
            format!("{ask}; {command}; exit $?"),
            format!("{}\n", password.reveal()),
        )
    }

    /// What `ssh` said about a node, and what to do where that is known.
    fn explained(&self, node: &str, errors: &str) -> String {
        let shown = errors
            .split_whitespace()
            .find(|word| word.starts_with("SHA256:"));
        match (shown, self.host_keys.get(node)) {
            (Some(shown), Some(known)) if errors.contains("HAS CHANGED") => {
                let shown = shown.trim_end_matches('.');
                // What `ssh` says takes a screenful, and advises to forget the right key.
                format!(
                    "its host key is {shown}, and {known} was flashed\n{}",
                    changed()
                )
            }
            _ => explained(errors),
        }
    }

    /// Ends the shared connection to a node, if there is one.
    pub(crate) fn disconnect(&self, node: &str) {
        let mut exit = self.ssh();
        exit.args(["-O", "exit", node]);
        exit.stdin(Stdio::null()).stdout(Stdio::null());
        // There may be none.
        exit.stderr(Stdio::null()).status().ok();
    }

    /// Runs a command that must succeed, and returns what it prints.
    pub(crate) fn output(&self, node: &str, command: &str, input: &[u8]) -> anyhow::Result<String> {
        let mut output = String::new();
        let ended = self.run(node, command, input, |line| {
            output.push_str(line);
            output.push('\n');
            Ok(())
        })?;
        if ended.code != 0 {
            let said = if ended.errors.is_empty() {
                output.trim()
            } else {
                &ended.errors
            };
            bail!(
                "{node}: `{command}` failed with exit code {}: {said}",
                ended.code
            );
        }
        Ok(output)
    }

    /// Starts a command that goes on printing until the returned lines are dropped.
    pub(crate) fn lines(&self, node: &str, command: &str) -> anyhow::Result<Lines> {
        let (command, password) = self.with_password(command);
        let mut child = self
            .ssh()
            .args(["-T", node, "--", &command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start `ssh`; is the OpenSSH client installed?")?;
        if let Some(stdin) = child.stdin.take() {
            feed(password.as_bytes(), stdin);
        }
        let Some(stdout) = child.stdout.take() else {
            unreachable!("it was asked to be a pipe");
        };
        Ok(Lines {
            _ssh: Running(child),
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Opens a way to `port` of a node, through the node's own network stack.
    ///
    /// It has a connection of its own, so that it ends when it is dropped.
    pub(crate) fn tunnel(
        &self,
        node: &str,
        address: Ipv4Addr,
        port: u16,
    ) -> anyhow::Result<Tunnel> {
        let local = free_port()?;
        let mut ssh = self.ssh();
        ssh.args(["-N", "-T", "-o", "ControlPath=none"])
            .args(["-o", "ExitOnForwardFailure=yes"])
            .args(["-L", &format!("127.0.0.1:{local}:{address}:{port}"), node])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut tunnel = Tunnel {
            running: start(&mut ssh)?,
            ssh,
            port: local,
        };
        tunnel
            .wait()
            .with_context(|| format!("cannot open a tunnel to port {port} of {node}"))?;
        Ok(tunnel)
    }
}

impl Tunnel {
    /// Connects again if the connection was lost since. Whether it now stands is seen by whoever uses it.
    pub(crate) fn mend(&mut self) {
        let lost = matches!(self.running.0.try_wait(), Ok(Some(_)));
        if let (true, Ok(running)) = (lost, start(&mut self.ssh)) {
            self.running = running;
        }
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if self.running.0.try_wait()?.is_some() {
                let mut errors = String::new();
                if let Some(mut stderr) = self.running.0.stderr.take() {
                    stderr.read_to_string(&mut errors).ok();
                }
                bail!("{}", explained(errors.trim()));
            }
            if start.elapsed() > TUNNEL_PATIENCE {
                bail!(
                    "it is not there after {} seconds",
                    TUNNEL_PATIENCE.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn start(ssh: &mut Command) -> anyhow::Result<Running> {
    let child = ssh.spawn();
    Ok(Running(child.context(
        "cannot start `ssh`; is the OpenSSH client installed?",
    )?))
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lines.next()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing left to do then.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Writes all of `input`, as far as the other side wants it: its exit code says why it stopped.
fn feed(mut input: impl Read, mut stdin: impl Write) {
    io::copy(&mut input, &mut stdin).ok();
}

/// A port of 127.0.0.1 that nobody has just now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// What `ssh` said, and what to do where that is known.
fn explained(errors: &str) -> String {
    let changed = changed();
    let hints = [
        ("HOST IDENTIFICATION HAS CHANGED", &*changed),
        (
            "Host key verification failed",
            "its host key is not the one in known_hosts",
        ),
        (
            "Permission denied",
            "it does not accept the operator's key; was it flashed with these keys?",
        ),
        (
            "timed out",
            "is it switched on, and does it have the address in the cluster file?",
        ),
        (
            "No route to host",
            "is it switched on, and does it have the address in the cluster file?",
        ),
        (
            "Connection refused",
            "it is there but its SSH server is not; is it still booting?",
        ),
    ];
    let said = if errors.is_empty() {
        "the connection was lost"
    } else {
        errors
    };
    match hints.iter().find(|(words, _)| said.contains(words)) {
        Some((_, hint)) => format!("{said}\n{hint}"),
        None => said.to_owned(),
    }
}

/// What to do about a host key that is not the one in known_hosts.
fn changed() -> String {
    format!(
        "this is not the machine that was flashed, or somebody is in between; if it was set up anew, flash it with its \
         key, or bring it its key as {HOST_KEYS_GUIDE} says, once you know that it is the right machine"
    )
}

/// What a node's shell is to read: several words are a program and its arguments, and a single one is a line of its own.
pub(crate) fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// A word as a shell takes it literally.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_line_for_the_shell_and_more_are_a_program_and_its_arguments() {
        let cases = [
            (&["uptime; free"][..], "uptime; free"),
            (&["echo", "a  b", "$HOME"], "echo 'a  b' '$HOME'"),
        ];
        for (words, line) in cases {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(command_line(&words), line);
        }
    }

    /// A `sudo` that knows whoever gave the password by the parent, as the real one does without a terminal.
    const SUDO: &str = r#"#!/bin/sh
case $1 in
-S) read -r word; [ "$word" = right ] && echo $PPID >"$MEMORY" ;;
-n) [ "$(cat "$MEMORY")" = $PPID ] || { echo 'sudo: a password is required' >&2; exit 1; }
    shift; exec "$@" ;;
esac
"#;

    #[test]
    fn sudo_remembers_the_password() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let sudo = dir.path().join("sudo");
        std::fs::write(&sudo, SUDO).unwrap();
        std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let ask = |shell: &str, password: &str, command: &str| {
            let remote = Remote {
                config: PathBuf::new(),
                host_keys: BTreeMap::new(),
                sudo: Some(Secret::new(password)),
            };
            let (command, input) = remote.with_password(command);
            let mut child = Command::new(shell)
                .args(["-c", &command])
                .env("PATH", &path)
                .env("MEMORY", dir.path().join("memory"))
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            feed(input.as_bytes(), child.stdin.take().unwrap());
            child.wait().unwrap().code()
        };
        for shell in ["sh", "bash"] {
            for command in [
                "exec sudo -n sh -c 'exit 7'",
                "[ -x /bin/sh ] || exit 90; exec sudo -n sh -c 'exit 7'",
                "sudo -n true && sudo -n sh -c 'exit 7'",
            ] {
                assert_eq!(ask(shell, "right", command), Some(7), "{shell}: {command}");
            }
            assert_eq!(ask(shell, "wrong", "sudo -n true"), Some(REFUSED));
        }
    }

    #[test]
    fn words_are_quoted_where_they_must_be() {
        let cases = [
            ("uptime", "uptime"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("/etc/hosts", "/etc/hosts"),
        ];
        for (word, wanted) in cases {
            assert_eq!(quoted(word), wanted);
        }
    }
}
