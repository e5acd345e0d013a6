use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Change, Notice, State, Verdict};
use crate::{Error, System, diff, system::Access};

const FILE: &str = "/etc/docker/daemon.json";

/// Keys that a running engine takes over on a reload; all others need a restart.
const RELOADABLE: [&str; 12] = [
    "authorization-plugins",
    "debug",
    "default-runtime",
    "features",
    "insecure-registries",
    "labels",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "registry-mirrors",
    "runtimes",
    "shutdown-timeout",
];

/// Settings in the Docker engine's `daemon.json`.
///
/// Objects are merged, any other value is replaced, and keys that are not mentioned stay. Only a change of
/// a value counts: the engine is not disturbed for another layout of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DockerConfig {
    /// Top-level keys and their values.
    pub settings: Map<String, Value>,
}

impl State for DockerConfig {
    fn title(&self) -> String {
        format!("settings in {FILE}")
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let text = system.read(FILE)?.unwrap_or_default();
        let now = parse(&text)?;
        let wanted = merged(&now, &self.settings);
        Ok(match &*changed_keys(&now, &wanted) {
            [] => Verdict::Satisfied,
            keys => Verdict::Change(Change {
                reason: format!(
                    "{} differ{}",
                    keys.join(", "),
                    if keys.len() == 1 { "s" } else { "" }
                ),
                diff: Some(diff::unified(FILE, &text, &pretty(&wanted))),
            }),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let now = parse(&system.read(FILE)?.unwrap_or_default())?;
        let wanted = merged(&now, &self.settings);
        match changed_keys(&now, &wanted)
            .iter()
            .all(|key| RELOADABLE.contains(key))
        {
            true => Notice::DockerReload.leave(system)?,
            false => Notice::DockerRestart.leave(system)?,
        }
        system.write(
            FILE,
            pretty(&wanted).as_bytes(),
            Access {
                mode: 0o644,
                owner: None,
            },
        )
    }
}

fn parse(text: &str) -> Result<Map<String, Value>, Error> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).map_err(|error| {
        Error::state(format!(
            "{FILE} is no JSON object ({error}); correct it or move it away"
        ))
    })
}

fn merged(now: &Map<String, Value>, settings: &Map<String, Value>) -> Map<String, Value> {
    let mut result = now.clone();
    for (key, wanted) in settings {
        let value = match (result.get(key), wanted) {
            (Some(Value::Object(now)), Value::Object(wanted)) => Value::Object(merged(now, wanted)),
            _ => wanted.clone(),
        };
        result.insert(key.clone(), value);
    }
    result
}

fn changed_keys<'a>(now: &Map<String, Value>, wanted: &'a Map<String, Value>) -> Vec<&'a str> {
    wanted
        .iter()
        .filter(|(key, value)| now.get(*key) != Some(value))
        .map(|(key, _)| &**key)
        .collect()
}

fn pretty(settings: &Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(settings.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> DockerConfig {
        let settings =
            json!({"insecure-registries": ["cluster.gov:5000"], "log-opts": {"max-size": "10m"}});
        DockerConfig {
            settings: settings.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn only_values_count() {
        let cases = [
            ("", Some("insecure-registries, log-opts differ")),
            (
                r#"{"log-opts":{"max-file":"3","max-size":"10m"},"insecure-registries":["cluster.gov:5000"]}"#,
                None,
            ),
            (
                r#"{"log-opts":{"max-size":"10m"}}"#,
                Some("insecure-registries differs"),
            ),
            (
                r#"{"insecure-registries":["a"],"log-opts":{"max-size":"1m"}}"#,
                Some("insecure-registries, log-opts differ"),
            ),
        ];
        for (text, reason) in cases {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join("etc/docker")).unwrap();
            std::fs::write(root.path().join("etc/docker/daemon.json"), text).unwrap();
            let found = match config().check(&System::rooted(root.path())).unwrap() {
                Verdict::Satisfied => None,
                Verdict::Change(change) => Some(change.reason),
            };
            assert_eq!(found.as_deref(), reason, "{text}");
        }
    }

    #[test]
    fn foreign_keys_stay() {
        let now = json!({"data-root": "/srv", "log-opts": {"max-file": "3", "max-size": "1m"}});
        insta::assert_snapshot!(pretty(&merged(now.as_object().unwrap(), &config().settings)), @r#"
        {
          "data-root": "/srv",
          "log-opts": {
            "max-file": "3",
            "max-size": "10m"
          },
          "insecure-registries": [
            "cluster.gov:5000"
          ]
        }
        "#);
    }

    #[test]
    fn a_reload_is_enough_where_it_is() {
        let cases = [
            (r#"{"log-opts":{"max-size":"10m"}}"#, "docker-reload"),
            (
                r#"{"insecure-registries":["cluster.gov:5000"]}"#,
                "docker-restart",
            ),
        ];
        for (text, notice) in cases {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join("etc/docker")).unwrap();
            std::fs::write(root.path().join("etc/docker/daemon.json"), text).unwrap();
            let system = System::rooted(root.path());
            config().apply(&system).unwrap();
            let left = ["docker-reload", "docker-restart"]
                .into_iter()
                .filter(|name| system.is_notified(name));
            assert_eq!(left.collect::<Vec<_>>(), [notice], "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        let error = parse("{oops").unwrap_err().to_string();
        assert!(
            error.contains("/etc/docker/daemon.json is no JSON object"),
            "{error}"
        );
    }
}
