//! The page as a whole, and its parts that change while one looks.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::snapshot::{Snapshot, Why};
use super::super::wire::State;
use super::assets::{SCRIPT, STYLE};
use super::view::{View, dead, found, verified};
use super::words::{about, count, duration, moment, percent};
use super::{chart, map, nodes};
use crate::report::thousands;

/// The parts of the page that change, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Of the whole page.
    pub(super) title: String,
    /// HTML inside elements.
    pub(super) html: BTreeMap<String, String>,
    /// Cells of maps, a letter each.
    pub(super) maps: BTreeMap<String, String>,
}

impl Frame {
    pub(super) fn of(view: &View, job: Option<&Snapshot>) -> Frame {
        let mut html = BTreeMap::from([("engine".to_owned(), nodes::engine(view.engine.as_ref()))]);
        if view.jobs.len() > 1 {
            html.insert("jobs".to_owned(), jobs(view, job));
        }
        let mut maps = BTreeMap::new();
        let Some(job) = job else {
            html.insert(
                "state".to_owned(),
                html! { span class="state rest" { "Waiting for work" } },
            );
            return Frame::new("bramble", html, maps);
        };
        let parts = [
            ("state", state(job)),
            ("progress", progress(job)),
            ("rate", chart::rate(job)),
            ("disputes", disputes(job)),
            (
                "spheres",
                html! { @for level in &job.levels { (chart::spheres(level)) } },
            ),
            ("special", special(job)),
            ("nodes", nodes::table(job, view.at)),
            ("map-table", map::table(job)),
        ];
        html.extend(parts.map(|(id, part)| (id.to_owned(), part)));
        for (index, level) in job.levels.iter().enumerate() {
            html.insert(format!("level-{index}"), map::summary(job, level));
            maps.insert(format!("map-{index}"), map::code(&map::squares(job, level)));
        }
        let title = match job.job.state {
            State::Running => {
                percent(job.progress.seeds_done, job.progress.seeds_total) + " · bramble"
            }
            _ => "bramble".to_owned(),
        };
        Frame::new(&title, html, maps)
    }

    fn new(title: &str, html: BTreeMap<String, Markup>, maps: BTreeMap<String, String>) -> Frame {
        let html = html.into_iter().map(|(id, part)| (id, part.into_string()));
        Frame {
            title: title.to_owned(),
            html: html.collect(),
            maps,
        }
    }

    /// An element whose content the events replace.
    fn live(&self, id: &str, class: &str) -> Markup {
        let inner = self.html.get(id).map_or("", String::as_str);
        html! { div id=(id) class=(class) data-live { (PreEscaped(inner)) } }
    }
}

/// The page for one job, or for none.
pub(super) fn page(view: &View, job: Option<&Snapshot>) -> Markup {
    let frame = Frame::of(view, job);
    let events = job.map_or("/events".to_owned(), |job| {
        format!("/events?job={}", job.job.id)
    });
    let body = html! {
        header class="top" {
            p class="brand" { a href="/" { (berry()) "bramble" } }
            div class="what" {
                h1 { @match job { Some(job) => (job.job.world_file), None => "Seed search" } }
                @if let Some(job) = job { p { (question(job)) } }
            }
            div class="now" {
                div id="state" role="status" data-live { (PreEscaped(frame.html.get("state").map_or("", String::as_str))) }
                p class="link" hidden id="link" { span id="link-state" { "Connecting" } button id="pause" type="button" { "Pause" } }
            }
        }
        main id="main" data-events=(events) {
            @match job {
                Some(job) => (search(job, &frame)),
                None => (nothing()),
            }
            (section("engine-title", "Machines and services", "", &frame.live("engine", "")))
            @if view.jobs.len() > 1 {
                (section("jobs-title", "Searches", "", &frame.live("jobs", "")))
            }
        }
        (foot(job))
    };
    document(&frame.title, &body)
}

/// Everything of one search.
fn search(job: &Snapshot, frame: &Frame) -> Markup {
    let map = html! {
        (map::legend(job))
        div class="levels" { @for (index, level) in job.levels.iter().enumerate() { (map::figure(job, level, index)) } }
        details { summary { "The map as a table" } (frame.live("map-table", "")) }
    };
    let special = html! {
        (frame.live("special", "specials"))
        (look_up(job))
    };
    html! {
        (frame.live("disputes", ""))
        section aria-labelledby="progress-title" class="first" {
            h2 id="progress-title" class="hidden" { "Progress" }
            (frame.live("progress", "progress"))
        }
        (section("map-title", "Map of the seeds", "", &map))
        (section("rate-title", "Rate", "small", &frame.live("rate", "")))
        (section("nodes-title", "Nodes", "large", &frame.live("nodes", "scroll-x")))
        (section("spheres-title", "Spheres", "", &html! {
            p class="quiet" { "A sphere is one round of collecting everything in reach. The more a seed takes, the longer its chain of needs." }
            (frame.live("spheres", "levels"))
        }))
        (section("special-title", "Seeds worth a look", "", &special))
    }
}

fn section(id: &str, title: &str, class: &str, content: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) class=(class) { h2 id=(id) { (title) } (content) }
    }
}

/// The frame of every page.
pub(super) fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="/assets/berry.svg" type="image/svg+xml";
                link rel="stylesheet" href=(STYLE.path());
                script src=(SCRIPT.path()) defer {}
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                (body)
            }
        }
    }
}

/// The sign of the house.
pub(super) fn berry() -> Markup {
    html! {
        svg class="berry" viewBox="0 0 24 24" aria-hidden="true" {
            path class="leaf" d="M12 8C9 8 7 6 6.5 3.5 9 3.5 11 4.5 12 7c1-2.500 3-3.500 5.500-3.500C17 6 15 8 12 8Z" {}
            @for (x, y) in [(8, 11), (12, 10), (16, 11), (10, 14), (14, 14), (12, 18)] {
                circle cx=(x) cy=(y) r="2.600" {}
            }
        }
    }
}

pub(super) fn question(job: &Snapshot) -> Markup {
    html! {
        span { "engine " b { (job.job.search.fill) } } span { "rng " b { (job.job.search.rng) } } span { "goal " b { (job.job.search.goal) } }
        @if let Some(filter) = &job.job.search.filter { span { "where " code { (filter) } } }
    }
}

fn state(job: &Snapshot) -> Markup {
    let (class, word) = match job.job.state {
        State::Running if job.nodes.is_empty() => ("rest", "Waiting for nodes"),
        State::Running => ("good", "Searching"),
        State::Done => ("done", "Finished"),
        State::Disputed => ("bad", "Disputed"),
    };
    html! { span class=(format!("state {class}")) { (word) } }
}

fn progress(job: &Snapshot) -> Markup {
    let (done, total, verified) = (
        job.progress.seeds_done,
        job.progress.seeds_total,
        verified(job),
    );
    html! {
        p class="big" { b { (percent(done, total)) } span { "of " (thousands(total)) " seeds" } }
        svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" role="img"
            aria-label=(format!("{} done, {} verified", percent(done, total), percent(verified, total)))
        {
            rect class="rail" width="100" height="1" {}
            rect class="done" width=(hundred(done, total)) height="1" {}
            rect class="verified" width=(hundred(verified, total)) height="1" {}
        }
        dl class="facts" {
            @match job.job.ended {
                Some(at) => {
                    (fact("Took", &duration(at - job.job.created), &format!("until {}", moment(at))))
                    (fact("On average", &lately(job.rate.average), "seeds per second"))
                }
                None => {
                    (fact("Now", &lately(job.rate.now), "seeds per second"))
                    (time_left(job))
                }
            }
            @match found(job) {
                Some(found) => (fact("Found", &thousands(found), &format!("of {} looked at", about(done as f64)))),
                None => (fact("Dead", &thousands(dead(job)), &format!("of {} looked at", about(done as f64)))),
            }
            (fact("Verified", &percent(verified, total), "by two nodes"))
        }
    }
}

fn fact(name: &str, figure: &str, note: &str) -> Markup {
    html! { div { dt { (name) } dd { b { (figure) } small { (note) } } } }
}

fn hundred(part: u64, whole: u64) -> String {
    format!("{:.3}", 100.0 * part as f64 / whole.max(1) as f64)
}

fn lately(rate: f64) -> String {
    match rate > 0.0 {
        true => about(rate),
        false => "–".to_owned(),
    }
}

/// What nodes do not agree about, no amount of time settles.
fn time_left(job: &Snapshot) -> Markup {
    let left = job.rate.seconds_left.map_or("–".to_owned(), duration);
    match job.job.state {
        State::Disputed => fact("Time left", "–", "another node must decide"),
        _ => fact("Time left", &left, "at this rate"),
    }
}

fn disputes(job: &Snapshot) -> Markup {
    html! {
        @if !job.disputes.is_empty() {
            div class="alarm" role="alert" {
                p { b { "Nodes do not agree about " (count(job.disputes.len() as u64, "range")) "." }
                    " One of them computes wrongly; what is disputed does not count until a majority agrees." }
                ul { @for dispute in job.disputes.iter().take(10) {
                    li { (dispute.level) ", seeds " (thousands(dispute.start.into())) " to "
                        (thousands(u64::from(dispute.start) + dispute.len.max(1) - 1)) ": " (dispute.digests.keys().map(String::as_str).collect::<Vec<_>>().join(" against ")) }
                } }
            }
        }
    }
}

/// Seeds worth a look, by level and reason, each with its explanation.
fn special(job: &Snapshot) -> Markup {
    const REASONS: [(Why, &str); 2] = [(Why::Dead, "Dead"), (Why::Found, "As asked for")];
    html! {
        @for level in &job.levels {
            @let wanted = level.tally.found.as_ref().map_or(level.tally.dead, |_| level.tally.completable + level.tally.dead);
            @let none = if job.job.state == State::Running { "None yet." } else { "None." };
            @let here: Vec<_> = job.specials.iter().filter(|special| special.level == level.level).collect();
            div {
                h3 { (level.level) }
                @if here.is_empty() { p class="quiet" { (none) } }
                @if (here.len() as u64) < wanted { p class="quiet" { "The lowest " (here.len()) " of " (thousands(wanted)) "." } }
                dl {
                    @for (why, name) in REASONS {
                        @let seeds: Vec<_> = here.iter().filter(|special| special.why == why).collect();
                        @if !seeds.is_empty() {
                            dt { (name) }
                            dd { @for special in seeds {
                                a href=(seed_path(&level.level, special.seed, &job.job.id)) { (special.seed) }
                                " "
                            } }
                        }
                    }
                }
            }
        }
    }
}

/// Where a seed is explained.
pub(super) fn seed_path(level: &str, seed: u32, job: &str) -> String {
    format!("/seed/{}/{seed}?job={}", url_part(level), url_part(job))
}

/// A form that leads to any seed's explanation.
fn look_up(job: &Snapshot) -> Markup {
    html! {
        form action="/seed" method="get" class="look-up" {
            input type="hidden" name="job" value=(job.job.id);
            label { "Level " select name="level" { @for level in &job.levels { option { (level.level) } } } }
            label { "Seed " input name="seed" inputmode="numeric" pattern="[0-9]{1,10}" required size="16" placeholder="0 to 4294967295"; }
            button type="submit" { "Explain" }
        }
    }
}

fn jobs(view: &View, shown: Option<&Snapshot>) -> Markup {
    html! {
        ul class="jobs" {
            @for job in view.jobs.iter().rev() {
                li {
                    a href=(format!("/?job={}", job.job.id)) aria-current=[shown.filter(|shown| shown.job.id == job.job.id).map(|_| "page")] {
                        (job.job.world_file) " · " (job.job.search.fill) " · " (job.job.search.rng)
                    }
                    " " (state(job)) " " (percent(job.progress.seeds_done, job.progress.seeds_total))
                }
            }
        }
    }
}

fn nothing() -> Markup {
    html! {
        section class="empty" {
            h2 { "No search yet" }
            p { "Miners are welcome, but there is nothing to compute. Give the cluster a search from any machine that reaches this one:" }
            pre tabindex="0" { code { "bramble-search submit --server http://THIS-HOST:3000 \\\n  --world axiom-verge.toml --fill guarded --rng dotnet \\\n  --level default,advanced,masochist --len 4294967296" } }
        }
    }
}

pub(super) fn foot(job: Option<&Snapshot>) -> Markup {
    html! {
        footer {
            @if let Some(job) = job {
                p { "What is shown is a property of the model in " (job.job.world_file) " under the engine " (job.job.search.fill)
                    " with " (job.job.search.rng) ", not of the game itself." }
            }
            noscript { p { "Reload the page to see what is new." } }
            nav aria-label="For programs" {
                a href="/metrics" { "Metrics" } a href="/healthz" { "Health" } a href="/readyz" { "Readiness" }
            }
        }
    }
}

/// A name as one part of a path.
pub(super) fn url_part(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte.into()),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// A page that says one thing.
pub(super) fn told(title: &str, reason: &str) -> Markup {
    let body = html! {
        header class="top" { p class="brand" { a href="/" { (berry()) "bramble" } } }
        main id="main" { section class="empty" { h1 { (title) } p { (reason) } p { a href="/" { "To the search" } } } }
    };
    document(&format!("{title} · bramble"), &body)
}
