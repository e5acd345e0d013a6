//! The file as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub(super) type Name = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: Spanned<u32>,
    pub(super) name: String,
    #[serde(default)]
    pub(super) powers: Vec<Name>,
    pub(super) levels: Spanned<Vec<Name>>,
    pub(super) locations: Vec<Location>,
    pub(super) items: Vec<Item>,
    pub(super) pools: Spanned<BTreeMap<Name, Spanned<Vec<Entry>>>>,
    #[serde(default)]
    pub(super) goals: Vec<Goal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Location {
    pub(super) id: Spanned<u32>,
    pub(super) name: Name,
    pub(super) area: Option<String>,
    /// What lies there in the game as it is shipped: for people.
    #[serde(rename = "vanilla")]
    pub(super) _vanilla: Option<String>,
    pub(super) requires: Spanned<BTreeMap<Name, Spanned<Vec<Vec<Name>>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    pub(super) name: Name,
    #[serde(rename = "display")]
    pub(super) _display: Option<String>,
    #[serde(rename = "kind")]
    pub(super) _kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) item: Name,
    #[serde(default)]
    pub(super) grants: Vec<Name>,
    pub(super) count: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Goal {
    pub(super) name: Name,
    #[serde(default)]
    pub(super) locations: Vec<Name>,
    #[serde(default)]
    pub(super) powers: Vec<Name>,
}
