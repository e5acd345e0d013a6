//! What happened when: stages and machines on a time axis.

use maud::{Markup, html};

use super::super::Run;
use super::super::material::Material;
use super::super::times::{Axis, Life};
use super::words::clock;
use crate::switch::GATEWAY;

/// Stages above, machines below, on one axis.
pub(super) fn timeline(
    runs: &[Run],
    material: &Material,
    lives: &[(String, Life)],
    axis: Axis,
) -> Markup {
    html! {
        section aria-labelledby="time-title" {
            h2 id="time-title" { "What happened when" }
            p class="legend quiet" {
                span class="key starting" {} "starting " span class="key online" {} "online "
                span class="key off" {} "off or gone " span class="key fault" {} "fault in force "
                span class="key trouble" {} "trouble"
            }
            div class="timeline" {
                div class="lane axis" {
                    span class="label quiet" { "since the lab's start" }
                    div class="track" {
                        // The last would end beyond the page.
                        @for tick in axis.ticks().into_iter().filter(|tick| axis.place(*tick) < 92.0) {
                            span class="tick" style={ "left:" (axis.place(tick)) "%" } { (clock(tick)) }
                        }
                    }
                }
                @for run in runs {
                    @if runs.len() > 1 { h3 { (run.title) } }
                    @for stage in &run.stages {
                        @let start = material.began(run) + stage.start;
                        @let class = match (&stage.failure, stage.is_running) {
                            (Some(_), _) => "bar failed",
                            (None, true) => "bar running",
                            (None, false) => "bar",
                        };
                        div class="lane" {
                            span class="label" { (stage.name) }
                            div class="track" {
                                span class=(class)
                                    style=(bar(axis, start, start + stage.seconds))
                                    title={ (stage.name) ": " (clock(stage.seconds)) ", " (stage.note) } {}
                                span class="took"
                                    style=(beside(axis, start, start + stage.seconds)) {
                                    (clock(stage.seconds)) @if stage.failure.is_some() { " failed" }
                                }
                            }
                        }
                    }
                }
                h3 { "Machines" }
                @for (name, life) in lives { (lane(name, life, axis)) }
            }
        }
    }
}

fn lane(name: &str, life: &Life, axis: Axis) -> Markup {
    html! {
        div class="lane machine" {
            span class="label" { a href={ "#logs-" (name) } { (name) } }
            div class="track" {
                @if name != GATEWAY {
                    @for span in &life.states {
                        span class={ "bar " (span.what) } style=(bar(axis, span.from, span.to))
                            title={ (span.what) ", " (clock(span.from)) " to " (clock(span.to)) } {}
                    }
                }
                @for span in &life.faults {
                    span class="bar fault" style=(bar(axis, span.from, span.to))
                        title={ (span.what) ", " (clock(span.from)) " to " (clock(span.to)) } {}
                }
                @for told in &life.troubles {
                    span class=(if told.is_expected { "mark expected" } else { "mark" })
                        style={ "left:" (axis.place(told.at)) "%" }
                        title={ (clock(told.at)) " " (told.trouble) ": " (told.text) } {}
                }
            }
        }
    }
}

fn bar(axis: Axis, from: f64, to: f64) -> String {
    let (left, right) = (axis.place(from), axis.place(to));
    format!("left:{left:.2}%;width:{:.2}%", right - left)
}

/// Where there is room for how long a bar took: right of it, left of it, or in it.
fn beside(axis: Axis, from: f64, to: f64) -> String {
    let (left, right) = (axis.place(from), axis.place(to));
    match (left, right) {
        (_, ..=85.0) => format!("left:{right:.2}%"),
        (15.0.., _) => format!("right:{:.2}%", 100.0 - left),
        _ => "right:0;color:#fff".to_owned(),
    }
}
