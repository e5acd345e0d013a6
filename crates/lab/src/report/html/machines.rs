//! Who is there, and how each is.

use maud::{Markup, html};

use super::super::material::Material;
use super::super::times::Life;
use crate::client::last_line;
use crate::definition::{Machine, Start};
use crate::watch::State;

/// A star: every machine has a cable to the one switch.
pub(super) fn topology(material: &Material, lives: &[(String, Life)]) -> Markup {
    let gateway = material.definition.gateway.as_ref();
    let subnet = gateway.map_or(String::new(), |gateway| format!(", {}", gateway.subnet));
    html! {
        section aria-labelledby="topology-title" {
            h2 id="topology-title" { "Machines" }
            p class="switch" { "switch" (subnet) }
            ul class="machines" {
                @for (name, life) in lives {
                    @let machine = material.definition.machines.iter().find(|machine| machine.name == *name);
                    li class=(state_class(life, machine.is_none())) {
                        a href={ "#logs-" (name) } { (name) }
                        @match machine {
                            Some(machine) => {
                                span class="state" { (life.condition.state) }
                                span class="quiet" { (describe(machine)) }
                            }
                            None => span class="quiet" { "the host's way in" },
                        }
                        @if let Some(said) = last_line(&material.directory, name) {
                            span class="said" title=(said) { (said) }
                        }
                        @for fault in &life.condition.faults { span class="fault" { (fault) } }
                        @let expected = life.troubles.iter().filter(|told| told.is_expected).count();
                        @match life.troubles.len() - expected {
                            0 => {}
                            unexpected => span class="trouble" { (unexpected) " × trouble" }
                        }
                        @if expected > 0 { span class="quiet" { (expected) " × trouble as expected" } }
                    }
                }
            }
        }
    }
}

fn describe(machine: &Machine) -> String {
    let how = match &machine.start {
        Start::Boot { .. } => "template".to_owned(),
        Start::Clone { mac, .. } | Start::Cold { mac } | Start::Restored { mac, .. } => mac.clone(),
    };
    let plural = if machine.cpus == 1 { "" } else { "s" };
    format!(
        "{} MiB, {} CPU{plural}, {how}",
        machine.memory, machine.cpus
    )
}

fn state_class(life: &Life, is_gateway: bool) -> &'static str {
    match life.condition.state {
        _ if is_gateway => "gateway",
        State::Starting => "starting",
        State::Online => "online",
        State::Off => "off",
        State::Gone => "gone",
    }
}
