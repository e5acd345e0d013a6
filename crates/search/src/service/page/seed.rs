//! One seed, as the page explains it.

use std::iter;

use anyhow::{Context as _, Result};
use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::super::explainer::Job;
use super::super::snapshot::Snapshot;
use super::html::{document, foot, seed_path};
use super::words::count;
use crate::explain::{Explanation, Place};
use crate::report::thousands;

/// The answer for browsers and for programs.
pub(super) fn answer(
    headers: &HeaderMap,
    shown: &Snapshot,
    job: &Job,
    level: &str,
    seed: u32,
) -> Result<Response> {
    let explanation = job.explain(level, seed).context("no such level")?;
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    Ok(match accepted.any(|value| value.contains("text/html")) {
        true => page(shown, level, seed, &explanation).into_response(),
        false => (StatusCode::OK, Json(explanation)).into_response(),
    })
}

fn page(shown: &Snapshot, level: &str, seed: u32, found: &Explanation<'_>) -> Markup {
    let id = &shown.job.id;
    let body = html! {
        header class="top" {
            p class="brand" { a href=(format!("/?job={}", super::html::url_part(id))) { (super::html::berry()) "bramble" } }
            div class="what" {
                h1 { "Seed " (thousands(seed.into())) }
                p { span { "level " b { (level) } } (super::html::question(shown)) }
            }
            (verdict(found))
        }
        main id="main" {
            section aria-labelledby="outcome" {
                h2 id="outcome" { "Outcome" }
                p { (outcome(found)) }
                nav class="steps" aria-label="Other seeds" {
                    @if let Some(before) = seed.checked_sub(1) { a href=(seed_path(level, before, id)) { "← " (before) } }
                    @if let Some(after) = seed.checked_add(1) { a href=(seed_path(level, after, id)) { (after) " →" } }
                }
            }
            @for sphere in (1..=found.spheres).map(Some).chain([None]) {
                (sphere_card(sphere, found))
            }
        }
        (foot(Some(shown)))
    };
    document(&format!("Seed {seed} · {level} · bramble"), &body)
}

fn verdict(found: &Explanation<'_>) -> Markup {
    let class = if found.reason.is_none() {
        "done"
    } else {
        "bad"
    };
    html! { div class="now" { span class=(format!("state {class}")) { (found.verdict) } } }
}

/// The verdict in a sentence or two.
fn outcome(found: &Explanation<'_>) -> String {
    let (placed, places) = (found.placed, found.placement.len());
    let spheres = count(found.spheres.into(), "sphere");
    match found.reason {
        None => format!("This seed can be completed, in {spheres}."),
        Some("stuck") => format!(
            "This seed is dead: the engine got stuck with {placed} of {places} locations filled. What is there is reached in {spheres}."
        ),
        Some(_) => format!(
            "This seed is dead: the goal is out of reach. What can be reached takes {spheres}; the rest is never collected."
        ),
    }
}

fn sphere_card(sphere: Option<u8>, found: &Explanation<'_>) -> Markup {
    let here = |place: &&Place<'_>| place.sphere == sphere;
    let places: Vec<&Place<'_>> = found.placement.iter().filter(here).collect();
    let title = sphere.map_or("Never collected".to_owned(), |sphere| {
        format!("Sphere {sphere}")
    });
    html! {
        @if !places.is_empty() {
            section {
                h2 { (title) small { " " (count(places.len() as u64, "location")) } }
                ul class="places" { @for place in places {
                    li {
                        span { (breakable(place.location)) }
                        b {
                            (breakable(place.item.unwrap_or("nothing")))
                            @if !place.grants.is_empty() { " " em { "+ " (place.grants.join(", ")) } }
                        }
                    }
                } }
            }
        }
    }
}

/// A name that goes to the next line between its words rather than within one: `HealthNode|Fragment16`.
fn breakable(name: &str) -> Markup {
    let before = iter::once('A').chain(name.chars());
    html! {
        @for (before, letter) in before.zip(name.chars()) {
            @if before.is_lowercase() && letter.is_uppercase() { wbr; }
            (letter)
        }
    }
}
