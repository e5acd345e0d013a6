//! The part of the OCI distribution API that pushes an image.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, SendBody};

use crate::layout::{Descriptor, Layout};

/// How long a registry that was just started may take to answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a registry may neither take nor say anything: what it keeps lies on a file server, which may be away.
const SILENCE: Duration = Duration::from_secs(120);

/// A registry on a port of this machine.
#[derive(Debug)]
pub(crate) struct Registry {
    agent: Agent,
    base: String,
}

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Bytes that had to be sent.
    pub(crate) sent: u64,
}

impl Registry {
    /// The registry on that port of 127.0.0.1, as soon as it answers.
    pub(crate) fn at(port: u16) -> anyhow::Result<Self> {
        let registry = Self {
            agent: agent(SILENCE),
            base: format!("http://127.0.0.1:{port}"),
        };
        let start = Instant::now();
        loop {
            let answer = registry.agent.get(format!("{}/v2/", registry.base)).call();
            match answer {
                Ok(answer) if answer.status() == StatusCode::OK => return Ok(registry),
                answer if start.elapsed() > PATIENCE => {
                    let said = match answer {
                        Ok(answer) => format!("it answers {}", answer.status()),
                        Err(error) => error.to_string(),
                    };
                    bail!(
                        "no registry answers ({said}); `bramble stack deploy registry` starts it"
                    );
                }
                _ => thread::sleep(Duration::from_millis(500)),
            }
        }
    }

    /// Sends what the registry does not have of an image, and tags it.
    pub(crate) fn push(&self, image: &Layout, tag: &str) -> anyhow::Result<Pushed> {
        let name = &image.name;
        let mut sent = 0;
        for blob in image.blobs() {
            if !self.has(&format!("{name}/blobs/{}", blob.digest), &blob.media_type)? {
                self.upload(image, blob)
                    .with_context(|| format!("cannot push {} of {name}", blob.digest))?;
                sent += blob.size;
            }
        }
        let path = format!("{name}/manifests/{tag}");
        let mut manifest = Vec::new();
        image.open(&image.manifest)?.read_to_end(&mut manifest)?;
        let answer = self
            .agent
            .put(self.url(&path))
            .header(header::CONTENT_TYPE, &image.manifest.media_type)
            .send(&manifest[..])?;
        expect(answer, StatusCode::CREATED)
            .with_context(|| format!("cannot tag {name} as {tag}"))?;
        // By its digest, which is what services will ask for.
        if !self.has(
            &format!("{name}/manifests/{}", image.manifest.digest),
            &image.manifest.media_type,
        )? {
            bail!(
                "the registry took {name}, but does not know it as {}",
                image.manifest.digest
            );
        }
        Ok(Pushed { sent })
    }

    /// Whether it is there. A manifest of a type that is not accepted is as good as none to a registry.
    fn has(&self, path: &str, media_type: &str) -> anyhow::Result<bool> {
        let answer = self
            .agent
            .head(self.url(path))
            .header(header::ACCEPT, media_type)
            .call()?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => bail!("the registry answers {status} for {path}"),
        }
    }

    fn upload(&self, image: &Layout, blob: &Descriptor) -> anyhow::Result<()> {
        let answer = self
            .agent
            .post(self.url(&format!("{}/blobs/uploads/", image.name)))
            .send_empty()?;
        let answer = expect(answer, StatusCode::ACCEPTED)?;
        let location = answer
            .headers()
            .get(header::LOCATION)
            .and_then(|location| location.to_str().ok());
        let location = location.context("the registry does not say where to send it")?;
        let url = self.upload_url(location, &blob.digest);
        let bar = progress(blob.size, &image.name);
        let mut content = bar.wrap_read(image.open(blob)?);
        let answer = self
            .agent
            .put(url)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, blob.size)
            .send(SendBody::from_reader(&mut content))?;
        bar.finish_and_clear();
        expect(answer, StatusCode::CREATED).map(drop)
    }

    /// Where to send a blob: a path, or an address that the registry believes to be its own.
    fn upload_url(&self, location: &str, digest: &str) -> String {
        let path = match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => location,
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{}{path}{separator}digest={digest}", self.base)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{path}", self.base)
    }
}

/// Asks a registry that may be silent for so long. All in all, an image takes as long as it takes.
fn agent(silence: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(silence))
        .timeout_per_read(Some(silence))
        .timeout_per_write(Some(silence))
        .build()
        .new_agent()
}

fn expect(mut answer: Response<Body>, wanted: StatusCode) -> anyhow::Result<Response<Body>> {
    if answer.status() != wanted {
        let said = answer.body_mut().read_to_string().unwrap_or_default();
        bail!("the registry answers {}: {}", answer.status(), said.trim());
    }
    Ok(answer)
}

fn progress(size: u64, name: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix}  {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
    let bar = ProgressBar::new(size).with_prefix(name.to_owned());
    bar.with_style(style.unwrap_or(ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    #[test]
    fn uploads_stay_on_our_side_of_the_tunnel() {
        let registry = Registry {
            agent: Agent::new_with_defaults(),
            base: "http://127.0.0.1:4000".into(),
        };
        let cases = [
            (
                "/v2/redis/blobs/uploads/1?_state=x",
                "http://127.0.0.1:4000/v2/redis/blobs/uploads/1?_state=x&digest=d",
            ),
            (
                "http://cluster.gov:5000/v2/redis/blobs/uploads/1",
                "http://127.0.0.1:4000/v2/redis/blobs/uploads/1?digest=d",
            ),
        ];
        for (location, url) in cases {
            assert_eq!(registry.upload_url(location, "d"), url);
        }
    }

    #[test]
    fn a_registry_that_never_answers_is_not_waited_for() {
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/v2/", silent.local_addr().unwrap());
        let answer = agent(Duration::from_millis(50)).get(url).call();
        assert!(matches!(answer, Err(ureq::Error::Timeout(_))), "{answer:?}");
    }

    const SERVER: &str = "/usr/bin/docker-registry";

    #[test]
    fn a_real_registry_takes_an_image_once() {
        if !std::path::Path::new(SERVER).exists() {
            eprintln!("SKIPPED: there is no {SERVER}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = layout::tests::example(&dir.path().join("example"));
        let port = crate::remote::free_port().unwrap();
        let config = dir.path().join("config.yml");
        let storage = dir.path().join("storage");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
                storage.display()
            ),
        )
        .unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut server = std::process::Command::new(SERVER)
            .arg("serve")
            .arg(config)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let push = || Registry::at(port)?.push(&layout, "0.1.0");
        let pushes = [push(), push()];
        server.kill().unwrap();
        server.wait().unwrap();
        let sent = pushes.map(|pushed| pushed.unwrap().sent);
        assert_eq!(sent, [layout.size(), 0]);
        let tag = storage
            .join("docker/registry/v2/repositories/example/_manifests/tags/0.1.0/current/link");
        assert_eq!(
            std::fs::read_to_string(tag).unwrap(),
            layout.manifest.digest
        );
    }
}
