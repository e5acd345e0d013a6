use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;

fn sample() -> Image {
    Image {
        name: "sample",
        version: "1.2.3".to_owned(),
        description: "A sample",
        licences: Some("MIT OR Apache-2.0".to_owned()),
        architecture: Architecture::Arm64,
        files: base(7, "sample").file("sample", 0o755, "#!/bin/sh\n"),
        run: Run {
            entrypoint: &["/sample"],
            arguments: &["serve"],
            user: 7,
            environment: &["A=b"],
            ports: &[80, 443],
            volumes: &["/data"],
            directory: "/data",
            health: &["/sample", "healthcheck"],
        },
    }
}

/// Every file of a directory, by its path there.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_layout_is_these_documents() {
    let dir = tempfile::tempdir().unwrap();
    layout::write(&sample(), dir.path()).unwrap();
    let json = contents(dir.path())
        .into_iter()
        .filter_map(|(path, bytes)| {
            let value: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
            Some(format!("{}\n{value:#}\n", path.display()))
        })
        .collect::<Vec<_>>();
    insta::assert_snapshot!(json.join("\n"));
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    let [one, two] = [(); 2].map(|()| {
        let dir = tempfile::tempdir().unwrap();
        let digest = layout::write(&sample(), dir.path()).unwrap();
        (digest, contents(dir.path()))
    });
    assert!(one == two);
}

#[test]
fn other_tools_agree_with_the_layout() {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("sample");
    let digest = layout::write(&sample(), &layout).unwrap();
    let at = format!("{}:1.2.3", layout.display());

    if let Some(printed) = printed("skopeo", &["inspect", &format!("oci:{at}")]) {
        let seen: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(seen["Digest"], digest.to_string());
        assert_eq!(seen["Architecture"], "arm64");
        assert_eq!(seen["Labels"]["org.opencontainers.image.title"], "sample");
        assert_eq!(
            seen["Labels"]["org.opencontainers.image.licenses"],
            "MIT OR Apache-2.0"
        );
    }
    if let Some(printed) = printed(
        "skopeo",
        &["inspect", "--config", "--raw", &format!("oci:{at}")],
    ) {
        let seen: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(seen["config"]["User"], "7:7");
        assert_eq!(seen["config"]["Healthcheck"]["Test"][1], "/sample");
    }
    let bundle = dir.path().join("bundle").display().to_string();
    let unpack = ["unpack", "--rootless", "--image", &at, &bundle];
    if printed("umoci", &unpack).is_some() {
        let script = fs::read_to_string(Path::new(&bundle).join("rootfs/sample")).unwrap();
        assert_eq!(script, "#!/bin/sh\n");
    }
}

/// `None`, and a word about it, where the program is not installed.
fn printed(program: &str, args: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(args).output() {
        Ok(output) => output,
        Err(_) => {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn nobody_is_root_and_services_can_be_asked() {
    let seeds = [Seed::Web, Seed::Miner].map(|seed| seed.image());
    let debian =
        [&REDIS, &REGISTRY].map(|recipe| (recipe.name, recipe.description, recipe.run.clone()));
    for (name, _, run) in seeds.into_iter().chain(debian) {
        assert_ne!(run.user, 0, "{name}");
        // Who listens can be asked how it is.
        assert_eq!(run.ports.is_empty(), run.health.is_empty(), "{name}");
    }
}

/// What Redis has kept is in `appendonlydir`; its last file, the one that grows, ends as a power cut has left it.
#[test]
fn redis_starts_whatever_a_power_cut_has_left() {
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED: redis-server is not installed");
        return;
    }
    let set = |key: &str| format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n$1\r\n1\r\n");
    let whole = format!("{}{}", set("a"), set("b"));
    for (case, grown, manifest, keys) in [
        ("nothing was lost", whole.clone(), None, Some(2)),
        (
            "the end is missing",
            whole[..whole.len() - 5].to_owned(),
            None,
            Some(1),
        ),
        (
            "the end is zeros",
            format!("{}{}", set("a"), "\0".repeat(700)),
            None,
            Some(1),
        ),
        ("all of it is zeros", "\0".repeat(700), None, Some(0)),
        (
            "nobody knows what there is",
            whole.clone(),
            Some("\0\0\0"),
            Some(0),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("appendonlydir");
        fs::create_dir(&kept).unwrap();
        let known = "file appendonly.aof.1.incr.aof seq 1 type i\n";
        fs::write(
            kept.join("appendonly.aof.manifest"),
            manifest.unwrap_or(known),
        )
        .unwrap();
        fs::write(kept.join("appendonly.aof.1.incr.aof"), grown).unwrap();
        assert_eq!(keys_after_a_start(dir.path()), keys, "{case}");
    }
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(keys_after_a_start(fresh.path()), Some(0), "the first start");
}

/// How many keys Redis has when it has been started in `dir` by the image's script; nothing if it does not start.
fn keys_after_a_start(dir: &Path) -> Option<usize> {
    // The image has busybox for what the shell does not do by itself.
    let programs = dir.join("programs");
    fs::create_dir(&programs).unwrap();
    let busybox = programs.join("busybox");
    fs::write(&busybox, "#!/bin/sh\nexec \"$@\"\n").unwrap();
    fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755)).unwrap();
    let script = dir.join("redis-start");
    fs::write(&script, REDIS_START).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let socket = dir.join("socket").display().to_string();
    let mut redis = Command::new("sh")
        .arg(&script)
        .args([
            "--port",
            "0",
            "--unixsocket",
            &socket,
            "--appendonly",
            "yes",
        ])
        .current_dir(dir)
        .env("PATH", path)
        .stdout(fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap();
    let ask = || {
        let answer = Command::new("redis-cli")
            .args(["-s", &socket, "dbsize"])
            .output();
        let answer = answer.ok().filter(|answer| answer.status.success())?;
        String::from_utf8_lossy(&answer.stdout).trim().parse().ok()
    };
    let keys = loop {
        if redis.try_wait().unwrap().is_some() {
            let log = fs::read_to_string(dir.join("log")).unwrap();
            eprintln!("{log}");
            break None;
        }
        if let Some(keys) = ask() {
            break Some(keys);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    // It has ended already where it did not start.
    let _ = redis.kill();
    redis.wait().unwrap();
    keys
}

#[test]
fn the_parts_of_the_search_share_their_layer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("store")).unwrap();
    let program = dir.path().join("bramble-search");
    fs::write(&program, "a program").unwrap();
    let layer = |seed| {
        let layout = search(&store, seed, &program, "1", Architecture::Arm64).unwrap();
        let manifest = fs::read(layout.path.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest[0]["Layers"][0].clone()
    };
    assert_eq!(layer(Seed::Web), layer(Seed::Miner));
}

#[test]
fn a_missing_library_is_named() {
    let mut files = Unpacked::default();
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    files.insert("some", "usr/bin/some", Node::File(0o755, own));
    let message =
        |program: &str| format!("{:#}", closure::closure(&files, &[program]).unwrap_err());
    assert!(message("usr/bin/some").starts_with("usr/bin/some needs "));
    assert_eq!(message("usr/bin/other"), "no package has usr/bin/other");
}

/// The images of Debian's programs, from the packages that this repository's lock names, run by binfmt_misc.
#[test]
#[ignore = "fetches packages"]
fn programs_from_debian_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("store")).unwrap();
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bramble.lock");
    let inputs = Inputs::open(store, &lock, None).unwrap();
    for (recipe, program, expected) in [
        (&REDIS, "usr/bin/redis-server", "Redis server v="),
        (&REDIS, "usr/bin/redis-cli", "redis-cli "),
        (&REDIS, "usr/bin/busybox", "BusyBox v"),
        (&REGISTRY, "usr/bin/busybox", "BusyBox v"),
        (
            &REGISTRY,
            "usr/bin/docker-registry",
            "docker-registry github.com",
        ),
    ] {
        let layout = from_debian(&inputs, "1", recipe).unwrap();
        let bundle = dir.path().join(program).display().to_string();
        fs::create_dir_all(Path::new(&bundle).parent().unwrap()).unwrap();
        let at = format!("{}:1", layout.path.display());
        let Some(_) = printed("umoci", &["unpack", "--rootless", "--image", &at, &bundle]) else {
            return;
        };
        let root = format!("{bundle}/rootfs");
        let program = format!("/{program}");
        let ask = if program.ends_with("busybox") {
            "--help"
        } else {
            "--version"
        };
        let inside = ["--map-root-user", "chroot", &root, &program, ask];
        if let Some(said) = printed("unshare", &inside) {
            assert!(said.contains(expected), "{said}");
        }
    }
}
