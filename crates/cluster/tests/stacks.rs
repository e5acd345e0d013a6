//! What a stack of one's own may say, and what is said about one that may not.

use bramble_cluster::spec::{Cluster, Invalid, OwnStack, Problem};
use miette::{GraphicalReportHandler, GraphicalTheme};

fn cluster(name: &str) -> Cluster {
    let path = format!(
        "{}/../../fixtures/clusters/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    Cluster::parse(name, &std::fs::read_to_string(path).unwrap())
        .unwrap()
        .0
}

fn rendered(problems: &[Problem]) -> String {
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut text = String::new();
    for problem in problems {
        handler.render_report(&mut text, problem).unwrap();
    }
    text
}

/// A good stack, each text with the one that takes its place.
fn media(changes: &[(&str, &str)]) -> String {
    let mut text = "\
version: \"3.8\"
services:
  plex:
    image: lscr.io/linuxserver/plex:1.41.3
    environment:
      TZ: Europe/Berlin
    ports:
      - \"32400:32400\"
    volumes:
      - config:/config
      - /mnt/nfs/plex:/media:ro
    deploy:
      placement:
        constraints: [node.hostname==worker1]
volumes:
  config: {}
"
    .to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is not in the file");
        text = text.replacen(from, to, 1);
    }
    text
}

fn parse(text: &str) -> Result<(OwnStack, Vec<Problem>), Invalid> {
    OwnStack::parse("media", "stacks/media.yml", text, &cluster("eight-pi"), &[])
}

#[test]
fn a_good_stack_is_as_it_was() {
    let (stack, doubts) = parse(&media(&[])).unwrap();
    assert_eq!((&*stack.name, &*rendered(&doubts)), ("media", ""));
    assert_eq!(stack.text, media(&[]));
}

#[test]
fn each_protocol_has_ports_of_its_own() {
    for ports in [
        "[\"51413:51413\", \"51413:51413/udp\"]",
        "[53:53/tcp, 53:53/UDP, 53:53/sctp]",
        "[53:53/udp, { target: 53, published: 53 }]",
        "[{ target: 53, published: 53, protocol: tcp }, { target: 53, published: 53, protocol: udp }]",
        "[\"192.168.1.201:6881-6889:6881-6889\", \"6881-6889:6881-6889/udp\"]",
        // What is taken by TCP alone, or by UDP alone.
        "[22:22/udp, 2377:2377/udp, 3000:3000/udp, 4789:4789, 5000:5000/udp]",
    ] {
        let text = media(&[("\n      - \"32400:32400\"", &format!(" {ports}"))]);
        match parse(&text) {
            Ok((_, doubts)) => assert_eq!(rendered(&doubts), "", "{ports}"),
            Err(Invalid { problems, .. }) => panic!("{ports}: {}", rendered(&problems)),
        }
    }
}

type Mistake<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

/// One mistake each: its name, what is changed, the line the error must point at.
#[rustfmt::skip]
const MISTAKES: &[Mistake] = &[
    ("syntax", &[("ports:\n", "ports: [\n")], 8),
    ("no_services", &[("services:", "x-services:")], 1),
    ("no_image", &[("    image: lscr.io/linuxserver/plex:1.41.3\n", "")], 3),
    ("build", &[("image: lscr.io/linuxserver/plex:1.41.3", "build: .")], 4),
    ("database_on_an_export", &[("config:/config", "/mnt/nfs/pi-cluster/plex:/config")], 10),
    ("database_on_the_shared_export", &[("config:/config", "/shared/plex:/config")], 10),
    ("database_on_a_volume_of_an_export", &[("config: {}", "config:\n    driver_opts: { type: nfs4, o: addr=192.168.1.2, device: \":/plex\" }")], 10),
    ("database_in_long_form", &[("- config:/config", "- type: bind\n        source: /shared/plex\n        target: /config")], 10),
    ("database_server_on_nfs", &[("lscr.io/linuxserver/plex:1.41.3", "postgres:17"), ("config:/config", "/shared/db:/var/lib/postgresql/data"), ("/media:ro", "/etc/media:ro")], 10),
    ("no_such_export", &[("/mnt/nfs/plex", "/mnt/nfs/films")], 11),
    ("relative_path", &[("config:/config", "./config:/config")], 10),
    ("port_of_the_registry", &[("32400:32400", "5000:32400")], 8),
    ("port_of_ssh", &[("\"32400:32400\"", "{ target: 22, published: 22 }")], 8),
    ("port_in_a_range", &[("32400:32400", "2999-3001:1-3")], 8),
    ("port_of_the_swarm_by_udp", &[("32400:32400", "7946:7946/udp")], 8),
    ("port_twice_by_udp", &[("- \"32400:32400\"", "- 53:53/udp\n      - { target: 53, published: 53, protocol: udp }")], 9),
    ("port_of_no_protocol", &[("32400:32400", "443:443/quic")], 8),
    ("port_malformed", &[("32400:32400", "99999:32400")], 8),
    ("unknown_node", &[("worker1", "worker9")], 14),
    ("unknown_label", &[("node.hostname==worker1", "node.labels.disk == ssd")], 14),
    ("password", &[("TZ: Europe/Berlin", "PLEX_TOKEN: hunter2")], 6),
    ("password_in_a_list", &[("  TZ: Europe/Berlin", "- DB_PASSWORD=hunter2")], 6),
    ("private_key", &[("TZ: Europe/Berlin", "KEY: |\n        -----BEGIN RSA PRIVATE KEY-----\n        MIIEhunter2\n        -----END RSA PRIVATE KEY-----")], 7),
];

#[test]
fn each_mistake_is_one_error_at_its_line() {
    let mut wrong = Vec::new();
    for (name, changes, line) in MISTAKES {
        let Err(Invalid { problems, .. }) = parse(&media(changes)) else {
            wrong.push(format!("{name}: accepted"));
            continue;
        };
        let text = rendered(&problems);
        assert!(!text.contains("hunter2"), "{name} shows the secret");
        let lines: Vec<usize> = problems
            .iter()
            .map(|problem| problem.position().0)
            .collect();
        if lines != [*line] {
            wrong.push(format!("{name}: expected one error in line {line}\n{text}"));
        }
        insta::assert_snapshot!(*name, text);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn doubts_are_warnings() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("latest", &[(":1.41.3", ":latest")]),
        (
            "ignored_keys",
            &[(
                "    ports:",
                "    restart: always\n    container_name: plex\n    ports:",
            )],
        ),
        (
            "data_that_stays_behind",
            &[("[node.hostname==worker1]", "[node.role==worker]")],
        ),
        (
            "local_directory_that_stays_behind",
            &[
                ("config:/config", "/srv/plex:/config"),
                ("[node.hostname==worker1]", "[]"),
            ],
        ),
    ];
    for (name, changes) in cases {
        let (_, doubts) = parse(&media(changes)).unwrap();
        insta::assert_snapshot!(name, rendered(&doubts));
    }
}

#[test]
fn stacks_do_not_take_each_others_ports_or_names() {
    let cluster = cluster("eight-pi");
    let (first, _) = parse(&media(&[])).unwrap();
    let text = media(&[]);
    let second = OwnStack::parse(
        "tv",
        "stacks/tv.yml",
        &text,
        &cluster,
        std::slice::from_ref(&first),
    );
    insta::assert_snapshot!(
        "port_of_another_stack",
        rendered(&second.unwrap_err().problems)
    );
    let by_udp = media(&[("32400:32400", "32400:32400/udp")]);
    let beside = std::slice::from_ref(&first);
    assert!(OwnStack::parse("tv", "stacks/tv.yml", &by_udp, &cluster, beside).is_ok());
    for name in ["registry", "Media", "seeds"] {
        let taken = OwnStack::parse(name, "stacks/x.yml", &text, &cluster, &[]);
        assert_eq!(taken.unwrap_err().problems.len(), 1, "{name}");
    }
}

#[test]
fn a_cluster_without_nas_has_no_exports() {
    let stack = OwnStack::parse(
        "media",
        "stacks/media.yml",
        &media(&[("worker1", "bare")]),
        &cluster("three-managers"),
        &[],
    );
    insta::assert_snapshot!("export_without_nas", rendered(&stack.unwrap_err().problems));
}

#[test]
fn without_a_mesh_ports_are_open_on_the_nodes_that_serve_them() {
    let mut cluster = cluster("eight-pi");
    cluster.docker.routing_mesh = false;
    let parse = |ports: &str| {
        let text = media(&[("\n      - \"32400:32400\"", &format!(" [{ports}]"))]);
        OwnStack::parse("media", "stacks/media.yml", &text, &cluster, &[])
    };
    assert!(parse("{ target: 80, published: 8080, mode: host }").is_ok());
    for by_mesh in [
        "8080:80",
        "80",
        "{ target: 80, published: 8080 }",
        "{ target: 80, published: 8080, mode: ingress }",
    ] {
        let problems = parse(by_mesh).unwrap_err().problems;
        assert_eq!(problems.len(), 1, "{by_mesh}");
        assert_eq!(problems[0].position().0, 7, "{by_mesh}");
    }
    insta::assert_snapshot!(
        "port_without_mesh",
        rendered(&parse("\"32400:32400\"").unwrap_err().problems)
    );
}

#[test]
fn images_are_pinned_where_they_stand() {
    let image = |how: &str| media(&[("lscr.io/linuxserver/plex:1.41.3", how)]);
    let digests = |reference: &str| (reference == "plex").then_some("sha256:00ff");
    for (written, pinned) in [
        ("plex", "plex@sha256:00ff"),
        ("'plex'   # the newest", "'plex@sha256:00ff'   # the newest"),
        ("&image \"plex\"", "&image \"plex@sha256:00ff\""),
        ("jellyfin:10", "jellyfin:10"),
        ("plex@sha256:aa", "plex@sha256:aa"),
        ("${PLEX}", "${PLEX}"),
    ] {
        let (stack, _) = parse(&image(written)).unwrap();
        assert_eq!(stack.pinned(digests), image(pinned), "{written}");
    }
    let twice = media(&[
        ("plex:1.41.3", "plex:1.41.3 # ümläut"),
        (
            "volumes:\n  config",
            "  second:\n    image: plex\nvolumes:\n  config",
        ),
    ]);
    let (stack, _) = parse(&twice).unwrap();
    let names: Vec<_> = stack.images.iter().map(|image| &*image.service).collect();
    assert_eq!(names, ["plex", "second"]);
    assert_eq!(
        stack.pinned(digests),
        twice.replace("image: plex\n", "image: plex@sha256:00ff\n")
    );
}
