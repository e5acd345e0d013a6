//! Charts: the rate over time, and how many spheres how many seeds take.
//!
//! Sizes are attributes of SVG, since the page's policy forbids styles in attributes.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::super::snapshot::{LevelView, RatePoint, Snapshot};
use super::super::wire::State;
use super::words::{about, duration, percent};
use crate::report::thousands;

/// Units of the rate's drawing, which is stretched to the room there is.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// The rate over time.
pub(super) fn rate(job: &Snapshot) -> Markup {
    let samples = job.rate.history.as_slice();
    let [first, .., last] = samples else {
        return html! { p class="quiet" { (no_curve(job)) } };
    };
    let most = samples.iter().map(|sample| sample.seeds_per_second);
    let top = ceiling(most.fold(0.0, f64::max));
    let line = path(samples, top);
    let area = format!("{line} L{WIDTH} {HEIGHT} L0 {HEIGHT} Z");
    html! {
        figure class="rate" {
            div class="plot" {
                p class="axis" aria-hidden="true" { span { (about(top)) } span { (about(top / 2.0)) } span { "0" } }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                    aria-label=(told(samples))
                {
                    path class="grid" d=(format!("M0 0.5 H{WIDTH} M0 {} H{WIDTH} M0 {} H{WIDTH}", HEIGHT / 2.0, HEIGHT - 0.5)) {}
                    path class="area" d=(area) {}
                    path class="line" d=(line) {}
                }
            }
            @let (before, end) = match job.job.state {
                State::Done => ("before", "the end"),
                State::Running | State::Disputed => ("ago", "now"),
            };
            figcaption {
                span { (duration(last.at - first.at)) " " (before) }
                span { "seeds per second" }
                span { (end) }
            }
        }
    }
}

/// What is said where there is nothing to draw.
fn no_curve(job: &Snapshot) -> String {
    match (job.job.state, job.rate.history.first()) {
        (State::Done, _) => "The search was too short for a curve.".to_owned(),
        (_, Some(only)) => format!("{} seeds per second so far.", about(only.seeds_per_second)),
        (_, None) => "Nothing has been measured yet.".to_owned(),
    }
}

/// The least of 1, 2, 3, 5, 8 times a power of ten that is as much.
fn ceiling(number: f64) -> f64 {
    let power = 10f64.powf(number.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 3.0, 5.0, 8.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= number)
        .unwrap_or(number)
}

fn path(samples: &[RatePoint], top: f64) -> String {
    let first = samples.first().map_or(0.0, |sample| sample.at);
    let span = samples.last().map_or(1.0, |sample| sample.at) - first;
    let mut path = String::new();
    for (index, sample) in samples.iter().enumerate() {
        let x = (sample.at - first) / span.max(f64::MIN_POSITIVE) * WIDTH;
        let y = HEIGHT - sample.seeds_per_second / top * HEIGHT;
        let pen = if index == 0 { 'M' } else { 'L' };
        write!(path, "{pen}{x:.1} {y:.1} ").unwrap_or_default();
    }
    path.trim_end().to_owned()
}

/// The curve in a sentence.
fn told(samples: &[RatePoint]) -> String {
    let mut rates = samples.iter().map(|sample| sample.seeds_per_second);
    let least = rates.clone().fold(f64::INFINITY, f64::min);
    let most = rates.clone().fold(0.0, f64::max);
    let last = rates.next_back().unwrap_or(0.0);
    format!(
        "Seeds per second over time: between {} and {}, lately {}",
        about(least),
        about(most),
        about(last)
    )
}

/// How many seeds of a level take how many spheres.
pub(super) fn spheres(level: &LevelView) -> Markup {
    let most = level
        .tally
        .spheres
        .values()
        .copied()
        .max()
        .unwrap_or(0)
        .max(1);
    let done: u64 = level.tally.spheres.values().sum();
    html! {
        table class="bars" {
            caption { (level.level) }
            thead { tr {
                th scope="col" { "Spheres" }
                th scope="col" class="n" { "Seeds" }
                th scope="col" class="bar" { "Share" }
            } }
            tbody {
                @if level.tally.spheres.is_empty() {
                    tr { td class="quiet" colspan="3" { "No results yet." } }
                }
                @for (spheres, &count) in &level.tally.spheres {
                    tr {
                        th scope="row" { (spheres) }
                        td class="n" { (thousands(count)) }
                        td class="bar" { (bar(count, most)) span { (percent(count, done)) } }
                    }
                }
            }
        }
    }
}

/// A bar for the eye alone; the figure stands beside it.
pub(super) fn bar(part: u64, whole: u64) -> Markup {
    let width = 100.0 * part as f64 / whole.max(1) as f64;
    html! {
        svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
            // What is not nothing is seen.
            rect width=(format!("{:.2}", width.max(if part > 0 { 0.5 } else { 0.0 }))) height="1" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        let cases = [
            (0.0, 1.0),
            (7.5, 8.0),
            (11.0, 20.0),
            (950_000.0, 1e6),
            (2_100_000.0, 3e6),
        ];
        for (number, expected) in cases {
            assert_eq!(ceiling(number), expected);
        }
    }

    #[test]
    fn the_curve_spans_the_drawing() {
        let sample = |at, seeds_per_second| RatePoint {
            at,
            seeds_per_second,
        };
        let samples = [sample(10.0, 0.0), sample(20.0, 50.0), sample(30.0, 100.0)];
        assert_eq!(path(&samples, 100.0), "M0.0 120.0 L300.0 60.0 L600.0 0.0");
        assert_eq!(
            told(&samples),
            "Seeds per second over time: between 0 and 100, lately 100"
        );
    }
}
