//! The page.

mod logs;
mod machines;
mod timeline;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Run;
use super::kept::Kept;
use super::material::Material;
use super::times::{Axis, Life, life, seconds};
pub(super) use logs::happened;
use words::clock;

pub(super) const STYLE: &str = include_str!("../style.css");
/// What every page does.
pub(super) const SCRIPT: &str = include_str!("../script.js");
/// ... and what one does that shows what happens now.
pub(super) const LIVE: &str = include_str!("../live.js");

/// How a lab's story ends, or that it goes on.
struct Verdict {
    mark: &'static str,
    class: &'static str,
    text: &'static str,
}

impl Verdict {
    const fn new(mark: &'static str, class: &'static str, text: &'static str) -> Verdict {
        Verdict { mark, class, text }
    }

    /// Of runs that are over.
    fn of(runs: &[Run]) -> Verdict {
        if runs.iter().any(|run| run.failure.is_some()) {
            return Verdict::new("✗", "bad", "failed");
        }
        match runs.iter().all(|run| run.skipped.is_some()) {
            true => Verdict::new("–", "none", "skipped"),
            false => Verdict::new("✓", "good", "holds"),
        }
    }
}

/// A page that needs nothing else, about runs that are over.
pub(super) fn page(runs: &[Run], material: &Material) -> Markup {
    let axis = Axis::of(runs, material);
    let story = Story {
        title: titles(runs),
        verdict: Verdict::of(runs),
        runs,
        material,
        lives: lives(runs, material, axis),
        axis,
    };
    let head = html! { style { (PreEscaped(STYLE)) } };
    let body = html! {
        header { (story.heading()) }
        main {
            (story.parts())
            (logs::logs(material, &logs::Whole))
            (logs::files(material))
        }
        script { (PreEscaped(SCRIPT)) }
    };
    document(&story, &head, &body)
}

/// What is known of a lab at a moment.
pub(super) struct Moment {
    /// What the lab is called.
    pub(super) lab: String,
    /// When it is, in seconds since the lab was started, if the lab still runs.
    pub(super) now: Option<f64>,
    pub(super) kept: Option<Kept>,
    pub(super) material: Material,
}

/// A page about a lab as it is now, which asks for [`now`] again and again.
pub(super) fn live(moment: Moment) -> Markup {
    with_story(moment, |story| {
        let head = html! {
            link rel="stylesheet" href="style.css";
            script src="script.js" defer {}
            script src="live.js" defer {}
        };
        let body = html! {
            p id="lost" hidden role="status" {}
            (happening(story))
            main { (logs::logs(story.material, &logs::Fetched)) }
        };
        document(story, &head, &body)
    })
}

/// What of a live page changes.
pub(super) fn now(moment: Moment) -> Markup {
    with_story(moment, |story| {
        html! { (happening(story)) (logs::groups(story.material, &logs::Fetched)) }
    })
}

fn happening(story: &Story) -> Markup {
    html! {
        div id="now" data-title=(story.full_title()) {
            header { (story.heading()) }
            (story.parts())
        }
    }
}

/// All that is told above the logs.
struct Story<'a> {
    title: String,
    verdict: Verdict,
    runs: &'a [Run],
    material: &'a Material,
    lives: Vec<(String, Life)>,
    axis: Axis,
}

/// The story of a lab until a moment.
fn with_story(moment: Moment, show: impl FnOnce(&Story) -> Markup) -> Markup {
    let Moment {
        lab,
        now,
        kept,
        material,
    } = moment;
    let last = material.events.last().map_or(0.0, seconds);
    let until = now.unwrap_or(last);
    let is_told = kept.is_some();
    let Kept { is_over, mut runs } = kept.unwrap_or_default();
    for run in &mut runs {
        let since = until - material.began(run);
        for stage in run.stages.iter_mut().filter(|stage| stage.is_running) {
            stage.seconds = (since - stage.start).max(0.0);
        }
    }
    let axis = Axis::of(&runs, &material).until(until);
    let verdict = match (now, is_over) {
        (_, true) => Verdict::of(&runs),
        (Some(_), false) => Verdict::new("▶", "runs", "runs"),
        (None, false) if is_told => Verdict::new("■", "none", "ended unfinished"),
        (None, false) => Verdict::new("■", "none", "ended"),
    };
    show(&Story {
        title: if is_told { titles(&runs) } else { lab },
        verdict,
        runs: &runs,
        material: &material,
        lives: lives(&runs, &material, axis),
        axis,
    })
}

fn titles(runs: &[Run]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.title.as_str()).collect();
    names.join(", ")
}

fn lives(runs: &[Run], material: &Material, axis: Axis) -> Vec<(String, Life)> {
    let names = material.machines().into_iter();
    names
        .map(|name| {
            let is_expected = |at, trouble, text: &str| {
                let mut latest_first = runs.iter().rev();
                let run = latest_first.find(|run| material.began(run) <= at);
                run.is_some_and(|run| {
                    run.expected
                        .iter()
                        .any(|it| it.covers(&name, trouble, text))
                })
            };
            let life = life(&name, &material.events, axis.to, is_expected);
            (name, life)
        })
        .collect()
}

fn document(story: &Story, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (story.full_title()) }
                (head)
            }
            body { (body) }
        }
    }
}

impl Story<'_> {
    fn full_title(&self) -> String {
        format!("{} {}", self.verdict.mark, self.title)
    }

    fn heading(&self) -> Markup {
        html! {
            h1 { (self.title) }
            p class={ "verdict " (self.verdict.class) } { (self.verdict.text) }
        }
    }

    fn parts(&self) -> Markup {
        let failed = self.runs.iter().find(|run| run.failure.is_some());
        html! {
            @for run in self.runs.iter().filter(|run| !run.shows.is_empty()) {
                p class="quiet" { @if self.runs.len() > 1 { b { (run.title) } ": " } (run.shows) }
            }
            @for run in self.runs {
                @if let Some(why) = &run.skipped {
                    p { b { (run.title) } " SKIPPED: " (why) }
                }
            }
            @for stage in self.runs.iter().flat_map(|run| &run.stages).filter(|stage| stage.is_running) {
                p { "now: " b { (stage.name) } " " (stage.note) }
            }
            (first_error(failed, self.material, &self.lives))
            (machines::topology(self.material, &self.lives))
            (timeline::timeline(self.runs, self.material, &self.lives, self.axis))
        }
    }
}

/// Why it failed, and what trouble a machine told of first that nobody expected.
fn first_error(failed: Option<&Run>, material: &Material, lives: &[(String, Life)]) -> Markup {
    let troubles = lives.iter().flat_map(|(name, life)| {
        let unexpected = life.troubles.iter().filter(|told| !told.is_expected);
        unexpected.map(move |told| (name, told))
    });
    let first = troubles.min_by(|a, b| a.1.at.total_cmp(&b.1.at));
    html! {
        @if let Some(run) = failed {
            section id="first-error" aria-labelledby="first-error-title" {
                h2 id="first-error-title" { "The first error" }
                @if let Some(stage) = run.stages.iter().find(|stage| stage.failure.is_some()) {
                    p { "in stage " b { (stage.name) } " of " b { (run.title) } ", " (clock(material.began(run) + stage.start + stage.seconds)) " after the lab's start" }
                }
                pre class="error" tabindex="0" { (run.failure.as_deref().unwrap_or_default()) }
            }
        }
        @if let Some((name, told)) = first {
            section aria-labelledby="trouble-title" {
                h2 id="trouble-title" { "The first trouble on a console" }
                p { a href={ "#logs-" (name) } { (name) } ", " (clock(told.at)) " after the lab's start: " b { (told.trouble) } }
                pre class="error" tabindex="0" { (told.text) }
            }
        }
    }
}
