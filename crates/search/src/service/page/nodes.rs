//! Who computes, and what runs where.

use maud::{Markup, html};

use super::super::snapshot::{Health, NodeView, Snapshot};
use super::chart::bar;
use super::view::{EngineView, Machine, Service};
use super::words::{about, ago, percent};
use crate::report::thousands;

/// The nodes that have taken part in a search.
pub(super) fn table(job: &Snapshot, now: f64) -> Markup {
    let seeds: u64 = job.nodes.values().map(|node| node.seeds).sum();
    let most = job.nodes.values().map(|node| node.seeds).max().unwrap_or(0);
    html! {
        @if job.nodes.is_empty() {
            p class="quiet" { "No node has taken work yet." }
        } @else {
            table class="nodes bars" {
                caption class="hidden" { "Nodes and what each has done" }
                thead { tr {
                    th scope="col" { "Node" }
                    th scope="col" { "Health" }
                    th scope="col" class="bar" { "Share" }
                    th scope="col" class="n" { "Seeds/s" }
                    th scope="col" class="n wide" { "Ranges" }
                    th scope="col" class="n wide" { "Heard of" }
                } }
                tbody { @for (name, node) in &job.nodes {
                    tr {
                        th scope="row" { (name) @if node.outside { small { " outside" } } }
                        td { (health(node)) }
                        td class="bar" { (bar(node.seeds, most)) span { (percent(node.seeds, seeds)) } }
                        td class="n" { (about(node.seeds_per_second)) }
                        td class="n wide" { (thousands(node.ranges)) }
                        td class="n wide" { @match node.heard { Some(heard) => (ago(now - heard)), None => "–" } }
                    }
                } }
            }
        }
    }
}

/// Whether a node is relied on; and whether it does something.
fn health(node: &NodeView) -> Markup {
    let (class, word) = match node.health {
        Health::New => ("good", "new"),
        Health::Good if node.lent > 0 => ("good", "computing"),
        Health::Good => ("rest", "idle"),
        Health::Suspect => ("warn", "suspect"),
        Health::Faulty => ("bad", "faulty"),
        Health::Away => ("rest", "away"),
    };
    html! {
        span class=(format!("state {class}")) { (word) }
        @if node.rejected > 0 { br; small { (thousands(node.rejected)) " refused" } }
    }
}

/// The cluster's machines and services.
pub(super) fn engine(engine: Option<&EngineView>) -> Markup {
    let Some(engine) = engine else {
        return html! {
            p class="quiet" {
                "Not known here: no Docker engine is asked. In a cluster the service " code { "engine" }
                " of the stack answers this."
            }
        };
    };
    html! {
        div class="pair" {
            table {
                caption { "Machines" }
                thead { tr {
                    th scope="col" { "Machine" } th scope="col" { "State" } th scope="col" { "Runs" }
                } }
                tbody { @for machine in &engine.nodes { (machine_row(machine)) } }
            }
            table {
                caption { "Services" }
                thead { tr {
                    th scope="col" { "Service" } th scope="col" class="n" { "Running" } th scope="col" { "State" }
                } }
                tbody { @for service in &engine.services { (service_row(service)) } }
            }
        }
    }
}

fn machine_row(machine: &Machine) -> Markup {
    let (class, word) = match (machine.state.as_str(), machine.availability.as_str()) {
        ("ready", "active") => ("good", "ready"),
        ("ready", other) => ("rest", other),
        (other, _) => ("bad", other),
    };
    html! {
        tr {
            th scope="row" {
                (machine.name)
                @if machine.leader { small { " leads" } } @else if machine.manager { small { " manager" } }
            }
            td { span class=(format!("state {class}")) { (word) } }
            td {
                @for (index, (name, number)) in machine.runs.iter().enumerate() {
                    @if index > 0 { ", " }
                    (name) @if *number > 1 { " ×" (number) }
                }
                @if machine.runs.is_empty() { span class="quiet" { "nothing" } }
            }
        }
    }
}

fn service_row(service: &Service) -> Markup {
    let (class, word) = match service.running {
        running if running >= service.wanted => ("good", "all there"),
        0 => ("bad", "down"),
        _ => ("warn", "some missing"),
    };
    html! {
        tr {
            th scope="row" { (service.name) }
            td class="n" { (service.running) " of " (service.wanted) }
            td {
                span class=(format!("state {class}")) { (word) }
            }
        }
    }
}
