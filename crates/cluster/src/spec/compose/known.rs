//! What is known of images that people run at home.

/// Servers whose data is a database, by a part of the image's name.
const DATABASES: [&str; 22] = [
    "cassandra",
    "clickhouse",
    "couchdb",
    "elasticsearch",
    "etcd",
    "influxdb",
    "keydb",
    "mariadb",
    "mongo",
    "mysql",
    "neo4j",
    "opensearch",
    "percona",
    "postgis",
    "postgres",
    "prometheus",
    "rabbitmq",
    "redis",
    "rethinkdb",
    "timescaledb",
    "valkey",
    "victoria-metrics",
];

/// Programs with a database among their files, and the directory of the container that it is in.
const WITH_DATABASE: [(&str, &str); 20] = [
    ("adguardhome", "/opt/adguardhome/work"),
    ("bazarr", "/config"),
    ("emby", "/config"),
    ("forgejo", "/data"),
    ("gitea", "/data"),
    ("grafana", "/var/lib/grafana"),
    ("home-assistant", "/config"),
    ("jellyfin", "/config"),
    ("lidarr", "/config"),
    ("n8n", "/home/node/.n8n"),
    ("nginx-proxy-manager", "/data"),
    ("overseerr", "/config"),
    ("pihole", "/etc/pihole"),
    ("plex", "/config"),
    ("portainer-ce", "/data"),
    ("prowlarr", "/config"),
    ("radarr", "/config"),
    ("sonarr", "/config"),
    ("uptime-kuma", "/app/data"),
    ("vaultwarden", "/data"),
];

/// Files of databases.
const FILES: [&str; 4] = [".db", ".sqlite", ".sqlite3", ".mdb"];

/// Whether an image keeps a database at `target`, a path of its containers.
pub(super) fn is_database(image: &str, target: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    let exporter = name.contains("exporter");
    let below = |dir: &str| {
        target
            .strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let server = !exporter && DATABASES.iter().any(|known| name.contains(known)) && !below("/etc");
    let program = WITH_DATABASE
        .iter()
        .any(|(known, dir)| name.contains(known) && below(dir));
    server || program || FILES.iter().any(|ending| target.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_known_by_image_and_path() {
        let cases = [
            ("postgres:17", "/var/lib/postgresql/data", true),
            (
                "docker.io/library/mariadb@sha256:00",
                "/var/lib/mysql",
                true,
            ),
            ("prom/mysqld-exporter", "/config", false),
            ("redis", "/etc/redis.conf", false),
            ("lscr.io/linuxserver/plex:latest", "/config", true),
            ("lscr.io/linuxserver/plex:latest", "/config/Library", true),
            ("lscr.io/linuxserver/plex:latest", "/media", false),
            ("example/bot:1", "/data", false),
            ("example/bot:1", "/data/bot.sqlite", true),
        ];
        for (image, target, wanted) in cases {
            assert_eq!(is_database(image, target), wanted, "{image} {target}");
        }
    }
}
