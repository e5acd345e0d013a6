//! The parts of the service as processes, with a Redis of their own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const ADMIN: &str = "the-administrators-0123456789";
pub(crate) const MEMBER: &str = "the-members-0123456789abcdef";

/// Far more than anything takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Cluster {
    dir: TempDir,
    redis_port: u16,
    web_port: u16,
    lease: &'static str,
    /// Whether tokens are asked for.
    tokens: bool,
    pub(crate) redis: Process,
    pub(crate) worker: Process,
    pub(crate) web: Process,
}

/// A process that does not outlive its test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Process(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Gives it no chance to do anything about it.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Asks it to end, and sees that it ends well.
    pub(crate) fn stop(&mut self) {
        self.ask_to_stop();
        self.ended();
    }

    pub(crate) fn ask_to_stop(&self) {
        let id = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for its good end.
    pub(crate) fn ended(&mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    /// Redis, worker and web; no miner yet.
    pub(crate) fn start(lease: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (redis_port, web_port) = (free_port(), free_port());
        let mut cluster = Cluster {
            redis: start_redis(dir.path(), redis_port),
            worker: Process::start(&mut Command::new("true")),
            web: Process::start(&mut Command::new("true")),
            dir,
            redis_port,
            web_port,
            lease,
            tokens: false,
        };
        cluster.start_worker();
        cluster.start_web();
        cluster
    }

    /// The same, where those who ask must show a token.
    pub(crate) fn start_with_tokens(lease: &'static str) -> Self {
        let mut cluster = Cluster::start(lease);
        std::fs::write(cluster.file("admin"), ADMIN).unwrap();
        std::fs::write(cluster.file("member"), MEMBER).unwrap();
        cluster.tokens = true;
        cluster.web.kill();
        cluster.start_web();
        cluster
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    pub(crate) fn start_worker(&mut self) {
        self.start_worker_with(&[]);
    }

    pub(crate) fn start_worker_with(&mut self, more: &[&str]) {
        let mut command = program();
        command
            .args([
                "worker",
                "--lease",
                self.lease,
                "--target",
                "1",
                "--redis",
                &self.redis_url(),
                "--ledger",
            ])
            .arg(self.dir.path().join("ledger.sqlite"))
            .args(more);
        self.worker = Process::start(&mut command);
    }

    pub(crate) fn start_web(&mut self) {
        let listen = format!("127.0.0.1:{}", self.web_port);
        let mut web = program();
        web.args(["web", "--listen", &listen, "--redis", &self.redis_url()]);
        if self.tokens {
            web.arg("--admin-token-file").arg(self.file("admin"));
            web.arg("--miner-token-file").arg(self.file("member"));
        }
        self.web = Process::start(&mut web);
    }

    /// Waits until the service can take a job.
    pub(crate) fn ready(&self) {
        wait_until("ready", || self.get("/readyz").is_ok());
    }

    pub(crate) fn miner(&self, node: &str) -> Process {
        let mut miner = program();
        miner.args([
            "miner",
            "--server",
            &self.url(),
            "--node",
            node,
            "--threads",
            "1",
        ]);
        if self.tokens {
            miner.arg("--token-file").arg(self.file("member"));
        }
        Process::start(&mut miner)
    }

    pub(crate) fn submit(&self, search: &[&str]) -> Output {
        program()
            .arg("submit")
            .args(["--server", &self.url()])
            .args(search)
            .args(
                self.tokens
                    .then(|| format!("--token-file={}", self.file("admin").display())),
            )
            .arg("--json")
            .output()
            .unwrap()
    }

    /// Submits without waiting; the job's id.
    pub(crate) fn begin(&self, search: &[&str]) -> String {
        let output = self.submit(&[search, &["--no-wait"]].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        status["id"].as_str().unwrap().to_owned()
    }

    /// The job's status, unless somebody is away.
    pub(crate) fn job(&self, id: &str) -> Option<Value> {
        self.get(&format!("/v1/jobs/{id}")).ok()
    }

    /// Waits until the job has so many more ranges than now.
    pub(crate) fn advance(&self, id: &str, ranges: u64) {
        let done = || {
            self.job(id)
                .and_then(|job| job["progress"]["ranges_done"].as_u64())
        };
        let mut goal = None;
        wait_until("progress", || {
            let Some(done) = done() else { return false };
            done >= *goal.get_or_insert(done + ranges)
        });
        assert_eq!(
            self.job(id).unwrap()["state"],
            "running",
            "the job is too small for this test"
        );
    }

    /// Waits for the job to end.
    pub(crate) fn end(&self, id: &str) -> Value {
        let ended = || self.job(id).filter(|job| job["state"] != "running");
        wait_until("end of the job", || ended().is_some());
        ended().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, ureq::Error> {
        let mut response = ureq::get(format!("{}{path}", self.url())).call()?;
        let text = response.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Status and body.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        self.try_post(path, None, body).unwrap()
    }

    /// The same, of somebody who shows a token.
    pub(crate) fn post_as(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self
            .try_post(path, Some(token), body.to_string().as_bytes())
            .unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Status and body, or what became of the connection when it was closed in the middle of the body.
    pub(crate) fn try_post(
        &self,
        path: &str,
        token: Option<&str>,
        body: &[u8],
    ) -> Result<(u16, String), ureq::Error> {
        let agent = ureq::Agent::new_with_config(
            ureq::config::Config::builder()
                .http_status_as_error(false)
                .build(),
        );
        let mut request = agent.post(format!("{}{path}", self.url()));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.send(body)?;
        let text = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), text))
    }

    /// The job, in all detail.
    pub(crate) fn snapshot(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}/snapshot")).unwrap()
    }

    /// Ranges of the job that miners have.
    pub(crate) fn on_loan(&self, id: &str) -> usize {
        let snapshot = self.snapshot(id);
        let nodes = snapshot["nodes"].as_object().unwrap();
        nodes
            .values()
            .map(|node| node["lent"].as_u64().unwrap() as usize)
            .sum()
    }

    /// Everything that Redis knows, on disk as well, while it is away.
    pub(crate) fn lose_redis(&mut self) {
        self.redis.kill();
        std::fs::remove_dir_all(self.dir.path().join("appendonlydir")).unwrap();
        self.redis = start_redis(self.dir.path(), self.redis_port);
    }

    pub(crate) fn wipe_redis(&self) {
        self.ask_redis::<()>(&redis::cmd("FLUSHALL"));
    }

    /// From now on it has no more memory than that.
    pub(crate) fn limit_redis(&self, memory: &str) {
        let mut limit = redis::cmd("CONFIG");
        self.ask_redis::<()>(limit.arg("SET").arg("maxmemory").arg(memory));
    }

    /// How often Redis had no room.
    pub(crate) fn redis_has_refused(&self) -> u64 {
        let mut errors = redis::cmd("INFO");
        let told: String = self.ask_redis(errors.arg("errorstats"));
        let count = told
            .lines()
            .find_map(|line| line.strip_prefix("errorstat_OOM:count="));
        count.map_or(0, |count| count.trim().parse().unwrap())
    }

    /// Puts a request before worker, past web.
    pub(crate) fn ask_worker(&self, letter: &Value) {
        let mut add = redis::cmd("XADD");
        let add = add.arg("bramble:requests").arg("*").arg("json");
        self.ask_redis::<String>(add.arg(letter.to_string()));
    }

    pub(crate) fn restart_redis(&mut self) {
        self.redis.kill();
        self.redis = start_redis(self.dir.path(), self.redis_port);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.web_port)
    }

    fn ask_redis<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let mut connection = redis::Client::open(self.redis_url())
            .unwrap()
            .get_connection()
            .unwrap();
        command.query(&mut connection).unwrap()
    }

    fn redis_url(&self) -> String {
        format!("redis://localhost:{}", self.redis_port)
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bramble-search"));
    command.current_dir(worlds());
    command
}

pub(crate) fn worlds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds")
}

/// Waits for a condition and no longer. `what` is what is waited for.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn start_redis(dir: &Path, port: u16) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--dir",
        ])
        .arg(dir)
        .args(["--appendonly", "yes", "--loglevel", "warning"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let redis = Process(child.unwrap_or_else(|error| {
        panic!("cannot start redis-server ({error}); install it: apt-get install redis-server")
    }));
    wait_until("redis", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    redis
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
