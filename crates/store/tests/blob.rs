//! What comes from elsewhere is what its hash says, or not there at all.

use std::fs;
use std::path::Path;

use anyhow::bail;
use bramble_store::Store;

/// `printf content | sha256sum`
const SHA256: &str = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";

fn good(path: &Path) -> anyhow::Result<()> {
    Ok(fs::write(path, "content")?)
}

#[test]
fn it_is_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let blob = store.blob(SHA256, good).unwrap();
    assert!(!blob.was_cached());
    assert_eq!(fs::read_to_string(blob.path()).unwrap(), "content");
    let again = store
        .blob(SHA256, |_| bail!("must not be fetched"))
        .unwrap();
    assert!(again.was_cached());
}

#[test]
fn something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let truncated = |path: &Path| Ok(fs::write(path, "conte")?);
    let error = format!("{:#}", store.blob(SHA256, truncated).unwrap_err());
    assert!(error.contains(&format!("not {SHA256}")), "{error}");
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_flipped_bit_is_noticed_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path()).unwrap();
    let path = store.blob(SHA256, good).unwrap().path();
    fs::write(&path, "cOntent").unwrap();

    let offline = |_: &Path| bail!("there is no network");
    let error = format!("{:#}", store.blob(SHA256, offline).unwrap_err());
    assert!(error.ends_with("there is no network"), "{error}");

    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "cOntent").unwrap();
    let blob = store.blob(SHA256, good).unwrap();
    assert_eq!(fs::read_to_string(blob.path()).unwrap(), "content");
}
