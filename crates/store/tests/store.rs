//! What the store promises: built once, whole or not at all, whoever asks and whoever dies.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::bail;
use bramble_store::{Key, Store};

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

    assert_eq!(store.gc(Duration::from_secs(3600)).unwrap(), []);
    let removed = store.gc(Duration::ZERO).unwrap();
    let keys: Vec<_> = removed.iter().map(|entry| entry.hex.as_str()).collect();
    assert_eq!(keys, [key("idle").hex()]);
    assert_eq!(removed[0].bytes, 7);

    let left = store.list().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].path, in_use.path);
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
