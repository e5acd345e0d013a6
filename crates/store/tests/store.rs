//! What the store promises: built once, whole or not at all, whoever asks and whoever dies.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use bramble_store::{Garbage, Key, Store};

fn key(value: &str) -> Key {
    Key::builder("thing", 1)
        .text("value", value)
        .finish()
        .unwrap()
}

fn fill(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir(dir.join("sub"))?;
    fs::write(dir.join("sub/file"), "content")?;
    Ok(())
}

#[test]
fn builds_once_and_keeps_the_inputs_beside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();

    let first = store.get_or_build(&key("a"), fill).unwrap();
    assert!(!first.was_cached);
    assert_eq!(
        fs::read_to_string(first.path.join("sub/file")).unwrap(),
        "content"
    );

    let second = store
        .get_or_build(&key("a"), |_| bail!("must not build"))
        .unwrap();
    assert!(second.was_cached);
    assert_eq!(first.path, second.path);

    let inputs = fs::read_to_string(first.path.with_extension("json")).unwrap();
    assert_eq!(inputs, key("a").manifest());

    let other = store.get_or_build(&key("b"), fill).unwrap();
    assert_ne!(first.path, other.path);
}

#[test]
fn a_failed_build_leaves_nothing_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();

    let error = store
        .get_or_build(&key("a"), |dir| {
            fs::write(dir.join("half"), "half")?;
            bail!("the tool failed")
        })
        .unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        format!("building thing {}: the tool failed", key("a"))
    );
    assert_eq!(store.list().unwrap(), []);
    let left_over: Vec<_> = fs::read_dir(dir.path().join("thing")).unwrap().collect();
    assert!(left_over.is_empty(), "{left_over:?}");

    let artifact = store.get_or_build(&key("a"), fill).unwrap();
    assert!(!artifact.was_cached);
    assert!(!artifact.path.join("half").exists());
}

#[test]
fn two_processes_build_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut children: Vec<Child> = (0..2).map(|_| child("build", dir.path())).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(lines(&dir.path().join("builds")), ["built"]);
    let mut answers = lines(&dir.path().join("answers"));
    answers.sort();
    assert_eq!(answers, ["was_cached=false", "was_cached=true"]);
}

#[test]
fn a_killed_builder_leaves_nothing_visible() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!child("die", dir.path()).wait().unwrap().success());

    let store = Store::at(dir.path().join("store")).unwrap();
    assert_eq!(store.list().unwrap(), []);
    let artifact = store.get_or_build(&key("shared"), fill).unwrap();
    assert!(!artifact.was_cached);
    assert!(!artifact.path.join("half").exists());
}

#[test]
fn gc_spares_what_is_in_use_or_fresh() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let in_use = store.get_or_build(&key("in use"), fill).unwrap();
    drop(store.get_or_build(&key("idle"), fill).unwrap());
    let at_a_distance = store.get_or_build(&key("leased"), fill).unwrap();
    let lease = Store::lease(&at_a_distance.path.join("sub/file")).unwrap();
    drop(at_a_distance);

    let an_hour = Duration::from_secs(3600);
    assert_eq!(store.gc(an_hour, false).unwrap(), Garbage::default());
    let would_be_removed = store.gc(Duration::ZERO, true).unwrap();
    assert_eq!(store.list().unwrap().len(), 3);
    let removed = store.gc(Duration::ZERO, false).unwrap();
    assert_eq!(removed, would_be_removed);
    let keys: Vec<_> = removed.artefacts.iter().map(|it| it.hex.as_str()).collect();
    assert_eq!(keys, [key("idle").hex()]);
    assert_eq!(removed.left_over, []);

    drop(lease);
    let removed = store.gc(Duration::ZERO, false).unwrap();
    assert_eq!(removed.artefacts.len(), 1);
    let left = store.list().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].path, in_use.path);
    drop(in_use);
    store.gc(Duration::ZERO, false).unwrap();
    for place in ["thing", "locks"] {
        let left_over: Vec<_> = fs::read_dir(dir.path().join(place)).unwrap().collect();
        assert!(left_over.is_empty(), "{left_over:?}");
    }
}

#[test]
fn only_what_is_in_a_store_can_be_leased() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let artifact = store.get_or_build(&key("a"), fill).unwrap();
    let partial = artifact.path.with_extension("partial").join("file");
    for (path, expected) in [
        (artifact.path.join("sub/file"), true),
        (artifact.path.clone(), true),
        (partial, false),
        (dir.path().join("elsewhere"), false),
        ("relative".into(), false),
    ] {
        let lease = Store::lease(&path).unwrap();
        assert_eq!(lease.is_some(), expected, "{}", path.display());
    }
}

#[test]
fn gc_removes_what_dead_builds_have_left_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    drop(store.get_or_build(&key("whole"), fill).unwrap());
    let things = dir.path().join("thing");
    let (whole, dead) = (things.join(key("whole").hex()), things.join("d".repeat(64)));
    let left_over = [
        dead.with_extension("json"),
        dead.with_extension("partial"),
        dead.with_extension("sums"),
        whole.with_extension("sums.1-ThreadId(2)"),
    ];
    for path in &left_over {
        fs::write(path, "").unwrap();
    }
    fs::remove_file(&left_over[1]).unwrap();
    fs::create_dir_all(left_over[1].join("half")).unwrap();
    let not_ours = [things.join("notes.txt"), dir.path().join("notes.txt")];
    for path in &not_ours {
        fs::write(path, "").unwrap();
    }
    let before = names(&things);

    let an_hour = Duration::from_secs(3600);
    for is_dry_run in [true, false] {
        assert_eq!(names(&things), before);
        let mut found = store.gc(an_hour, is_dry_run).unwrap().left_over;
        found.sort_by(|one, other| one.path.cmp(&other.path));
        let mut expected = left_over.to_vec();
        expected.sort();
        let found: Vec<_> = found.into_iter().map(|it| it.path).collect();
        assert_eq!(found, expected);
    }
    assert!(left_over.iter().all(|path| !path.exists()));
    assert!(not_ours.iter().all(|path| path.exists()));
    let again = store.get_or_build(&key("whole"), |_| bail!("must not build"));
    assert!(again.unwrap().was_cached);
}

#[test]
fn several_may_clear_and_list_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    for number in 0..50 {
        let key = key(&number.to_string());
        drop(store.get_or_build(&key, fill).unwrap());
    }
    let clear = || store.gc(Duration::ZERO, false).unwrap().artefacts.len();
    let list = || while !store.list().unwrap().is_empty() {};
    thread::scope(|scope| {
        let listing = scope.spawn(list);
        let clearing = [scope.spawn(clear), scope.spawn(clear)];
        let removed = clearing.map(|one| one.join().unwrap());
        // One may find locked what the other is about to remove, and neither what is gone.
        assert_eq!(removed.iter().sum::<usize>(), 50);
        listing.join().unwrap();
    });
}

#[test]
fn gc_leaves_what_is_being_built_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let built = store.get_or_build(&key("a"), |partial| {
        assert_eq!(store.gc(Duration::ZERO, false)?, Garbage::default());
        assert!(partial.is_dir());
        fill(partial)
    });
    assert!(!built.unwrap().was_cached);
}

fn names(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Runs [`in_a_child`] in a process of its own.
fn child(task: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_child", "--ignored"])
        .env("STORE_TEST_TASK", task)
        .env("STORE_TEST_DIR", dir)
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the other process of the tests above"]
fn in_a_child() {
    let Some(dir) = std::env::var_os("STORE_TEST_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let store = Store::at(dir.join("store")).unwrap();
    if std::env::var("STORE_TEST_TASK").unwrap() == "die" {
        let _ = store.get_or_build(&key("shared"), |dir| {
            fs::write(dir.join("half"), "half")?;
            std::process::abort()
        });
        return;
    }
    append(&dir.join("started"), "started");
    let artifact = store
        .get_or_build(&key("shared"), |out| {
            append(&dir.join("builds"), "built");
            // Not before the other one has started, so that they really meet.
            while lines(&dir.join("started")).len() < 2 {
                std::thread::sleep(Duration::from_millis(5));
            }
            fill(out)
        })
        .unwrap();
    let answer = format!("was_cached={}", artifact.was_cached);
    append(&dir.join("answers"), &answer);
}

fn append(path: &Path, line: &str) {
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
