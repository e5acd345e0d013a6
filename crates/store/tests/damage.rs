//! What happens to an artefact after it was built, or to the disk while it is: never a wrong artefact.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use bramble_store::{Artifact, Entry, Key, Store};

fn key() -> Key {
    Key::builder("thing", 1).finish().unwrap()
}

fn fill(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir(dir.join("sub"))?;
    fs::write(dir.join("sub/file"), "content")?;
    Ok(fs::write(dir.join("other"), vec![7; 10_000])?)
}

fn is_whole(artifact: &Artifact) -> bool {
    fs::read(artifact.path.join("sub/file")).unwrap() == b"content"
        && fs::read(artifact.path.join("other")).unwrap() == vec![7; 10_000]
        && fs::read_dir(&artifact.path).unwrap().count() == 2
}

fn flip_a_bit(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[7 ^ 0x10], 9_000).unwrap();
}

/// Asks for an artefact that is whole until the store remembers that it has been read, which it does when nothing of it
/// was changed a moment ago.
fn until_remembered(store: &Store, path: &Path) {
    let stamps = path.with_extension("stamps");
    while !stamps.exists() {
        thread::sleep(Duration::from_millis(100));
        let whole = store.get_or_build(&key(), |_| bail!("must not build"));
        assert!(is_whole(&whole.unwrap()));
    }
}

#[test]
fn what_is_damaged_is_built_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("a flipped bit", |dir| flip_a_bit(&dir.join("other"))),
        ("cut off", |dir| {
            fs::write(dir.join("sub/file"), "cont").unwrap()
        }),
        ("emptied", |dir| fs::write(dir.join("other"), "").unwrap()),
        ("gone", |dir| fs::remove_file(dir.join("sub/file")).unwrap()),
        ("one more", |dir| {
            fs::write(dir.join("sub/more"), "").unwrap()
        }),
    ];
    let check = |name: &str, damage: Damage, is_remembered: bool| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path()).unwrap();
        let path = store.get_or_build(&key(), fill).unwrap().path;
        if is_remembered {
            until_remembered(&store, &path);
        }
        damage(&path);
        let again = store.get_or_build(&key(), fill).unwrap();
        assert!(!again.was_cached && is_whole(&again), "{name}");
        drop(again);

        damage(&path);
        let offline = |_: &Path| bail!("there is no network");
        let error = store.get_or_build(&key(), offline).unwrap_err();
        assert!(
            format!("{error:#}").ends_with("there is no network"),
            "{name}"
        );
        assert_eq!(store.list().unwrap(), [], "{name}: nothing is left of it");
    };
    thread::scope(|scope| {
        for (name, damage) in damages {
            for is_remembered in [false, true] {
                scope.spawn(move || check(name, damage, is_remembered));
            }
        }
    });
}

#[test]
fn what_nobody_has_touched_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let path = store.get_or_build(&key(), fill).unwrap().path;
    until_remembered(&store, &path);

    // Whoever reads finds that nothing is what these say.
    fs::write(path.with_extension("sums"), "torn").unwrap();
    let ask = || store.get_or_build(&key(), fill).unwrap().was_cached;
    assert!(ask(), "it was read");
    let mut found = Vec::new();
    let each = |entry: &Entry, damage: Option<&str>| {
        found.push((entry.path.clone(), damage.is_some()));
    };
    store.verify(each).unwrap();
    assert_eq!(found, [(path, true)]);
    assert!(!ask(), "it was not built again");
}

#[test]
fn what_is_whole_is_not_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let path = store.get_or_build(&key(), fill).unwrap().path;
    // Nor what is from before there were sums, which gets some.
    let sums = path.with_extension("sums");
    let text = fs::read_to_string(&sums).unwrap();
    for _ in 0..2 {
        fs::remove_file(&sums).ok();
        let again = store
            .get_or_build(&key(), |_| bail!("must not build"))
            .unwrap();
        assert!(is_whole(&again));
        assert_eq!(fs::read_to_string(&sums).unwrap(), text);
    }
    assert_eq!(store.list().unwrap().len(), 1, "sums are no artefacts");
}

#[test]
fn a_full_disk_is_said_and_leaves_room() {
    let dir = tempfile::tempdir().unwrap();
    // A disk of one MiB, which only the test in the other process sees.
    let mounted = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg(r#"mount -t tmpfs -o size=1m tmpfs "$DISK" || exit 77; exec "$0" "$@""#)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "on_a_small_disk", "--ignored", "--nocapture"])
        .env("DISK", dir.path())
        .status();
    match mounted.map(|status| status.code()) {
        Ok(Some(0)) => {}
        Ok(Some(77 | 1))
            if Command::new("unshare")
                .args(["--user", "true"])
                .status()
                .is_ok_and(|status| !status.success()) =>
        {
            eprintln!("SKIPPED: this machine has no user namespaces to mount a small disk in");
        }
        other => panic!("on the small disk: {other:?}"),
    }
}

#[test]
#[ignore = "the other process of the test above"]
fn on_a_small_disk() {
    let Some(disk) = std::env::var_os("DISK") else {
        return;
    };
    let store = Store::at(&disk).unwrap();
    let too_much = |path: &Path| Ok(fs::write(path, vec![1; 2 << 20])?);
    let attempts = Cell::new(0);
    for _ in 0..2 {
        let artefact = store.get_or_build(&key(), |dir| {
            attempts.set(attempts.get() + 1);
            too_much(&dir.join("large"))
        });
        let blob = store.blob(&"0".repeat(64), |path| too_much(path));
        for error in [artefact.unwrap_err(), blob.unwrap_err()] {
            let error = format!("{error:#}");
            assert!(
                error.ends_with("No space left on device (os error 28)"),
                "{error}"
            );
        }
        assert_eq!(store.list().unwrap(), []);
    }
    assert_eq!(attempts.get(), 2);

    // What fits, but leaves no room for what is to stand beside it.
    let to_the_brim = store.get_or_build(&key(), |dir| {
        fill(dir)?;
        let mut rest = fs::File::create(dir.join("rest"))?;
        while rest.write_all(&[1; 4096]).is_ok() {}
        Ok(())
    });
    let error = format!("{:#}", to_the_brim.unwrap_err());
    assert!(error.contains("cannot publish"), "{error}");
    assert!(error.ends_with("(os error 28)"), "{error}");
    let left_over: Vec<_> = fs::read_dir(store.root().join("thing")).unwrap().collect();
    assert!(left_over.is_empty(), "{left_over:?}");
    assert!(is_whole(&store.get_or_build(&key(), fill).unwrap()));
}
