//! What runs where, from the manager's Docker engine.
//!
//! The engine's socket gives all power over a node to whoever can write to it, so web does not get it: `engine` does,
//! a program of its own that answers three questions and nothing else ([`proxy`]), and of the answers lets through only what is
//! named in [`docker`]: no environment of a service, no secret, no mount.

mod docker;
mod http;
pub(crate) mod proxy;

use anyhow::Result;

use super::page::view::EngineView;
use docker::{Node, Service, Task};
use http::Place;

/// Asks a proxy at `host` and `port` for everything that the page shows.
pub(crate) async fn ask(host: &str, port: u16) -> Result<EngineView> {
    let place = Place::Tcp(host.to_owned(), port);
    let (nodes, services, tasks) = tokio::try_join!(
        http::get::<Vec<Node>>(&place, docker::NODES),
        http::get::<Vec<Service>>(&place, docker::SERVICES),
        http::get::<Vec<Task>>(&place, docker::TASKS),
    )?;
    Ok(docker::view(&nodes, &services, &tasks))
}
