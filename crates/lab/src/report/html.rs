//! The page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Run;
use super::material::{Log, Material};
use super::times::{Axis, Life, life, seconds};
use crate::definition::{Happened, Machine, Start};
use crate::switch::GATEWAY;
use crate::watch::State;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

pub(super) fn page(runs: &[Run], material: &Material) -> Markup {
    let names: Vec<&str> = runs.iter().map(|run| run.title.as_str()).collect();
    let failed = runs.iter().find(|run| run.failure.is_some());
    let title = names.join(", ");
    let (mark, class, verdict) = match failed {
        Some(_) => ("✗", "bad", "failed"),
        None if runs.iter().all(|run| run.skipped.is_some()) => ("–", "none", "skipped"),
        None => ("✓", "good", "holds"),
    };
    let axis = Axis::of(runs, material);
    let mut machines: Vec<String> = material
        .definition
        .machines
        .iter()
        .map(|it| it.name.clone())
        .collect();
    if material.definition.gateway.is_some() {
        machines.push(GATEWAY.to_owned());
    }
    let lives: Vec<(String, Life)> = machines
        .iter()
        .map(|name| (name.clone(), life(name, &material.events, axis.to)))
        .collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (mark) " " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p class={ "verdict " (class) } { (verdict) }
                }
                main {
                    @for run in runs.iter().filter(|run| !run.shows.is_empty()) {
                        p class="quiet" { @if runs.len() > 1 { b { (run.title) } ": " } (run.shows) }
                    }
                    @for run in runs {
                        @if let Some(why) = &run.skipped {
                            p { b { (run.title) } " SKIPPED: " (why) }
                        }
                    }
                    (first_error(failed, material, &lives))
                    (topology(material, &lives))
                    (timeline(runs, material, &lives, axis))
                    (logs(material, &machines))
                    (files(material))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Why it failed, and what the machines said first, expected or not.
fn first_error(failed: Option<&Run>, material: &Material, lives: &[(String, Life)]) -> Markup {
    let troubles = lives.iter().flat_map(|(name, life)| {
        life.troubles
            .iter()
            .map(move |(at, trouble, text)| (name, *at, trouble, text))
    });
    let first = troubles.min_by(|a, b| a.1.total_cmp(&b.1));
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
        @if let Some((name, at, trouble, text)) = first {
            section aria-labelledby="trouble-title" {
                h2 id="trouble-title" { "The first trouble on a console" }
                p { a href={ "#logs-" (name) } { (name) } ", " (clock(at)) " after the lab's start: " b { (trouble) } }
                pre class="error" tabindex="0" { (text) }
            }
        }
    }
}

/// A star: every machine has a cable to the one switch.
fn topology(material: &Material, lives: &[(String, Life)]) -> Markup {
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
                        @for fault in &life.condition.faults { span class="fault" { (fault) } }
                        @if !life.troubles.is_empty() {
                            span class="trouble" { (life.troubles.len()) " × trouble" }
                        }
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

/// Stages above, machines below, on one axis.
fn timeline(runs: &[Run], material: &Material, lives: &[(String, Life)], axis: Axis) -> Markup {
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
                        div class="lane" {
                            span class="label" { (stage.name) }
                            div class="track" {
                                span class=(if stage.failure.is_some() { "bar failed" } else { "bar" })
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
                @for (at, trouble, text) in &life.troubles {
                    span class="mark" style={ "left:" (axis.place(*at)) "%" } title={ (clock(*at)) " " (trouble) ": " (text) } {}
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

fn logs(material: &Material, machines: &[String]) -> Markup {
    html! {
        section aria-labelledby="logs-title" {
            h2 id="logs-title" { "Logs" }
            p class="search" {
                label for="search" { "Lines with " }
                input id="search" type="search" placeholder="failed, oom, 192.168.1.203 …" autocomplete="off";
                output id="found" {}
            }
            @for name in machines {
                div id={ "logs-" (name) } {
                    h3 { (name) }
                    @for log in material.logs_of(name) { (shown(log)) }
                }
            }
            div id="logs-others" {
                h3 { "the operator and the lab" }
                @for log in material.logs_of_others(machines) { (shown(log)) }
                (events(material))
            }
        }
    }
}

fn shown(log: &Log) -> Markup {
    html! {
        details {
            summary { (log.file) " " span class="quiet" { (size(log.bytes)) @if log.is_cut { ", the end of it" } } " " span class="hits" {} }
            @if log.is_cut { p class="quiet" { "The whole of it is in " a href=(link(&log.file)) { (log.file) } "." } }
            pre data-log tabindex="0" { (log.text) }
        }
    }
}

/// The lab's own timeline, a line each.
fn events(material: &Material) -> Markup {
    let lines = material.events.iter().map(|event| {
        let what = match &event.what {
            Happened::Listening => "the lab listens".to_owned(),
            Happened::Started => "started".to_owned(),
            Happened::Resumed => "resumed".to_owned(),
            Happened::Restored => "restored".to_owned(),
            Happened::Says { text } => format!("says: {text}"),
            Happened::Trouble { trouble, text } => format!("{trouble}: {text}"),
            Happened::Befell { fault } => format!("befell: {fault}"),
            Happened::Cleared { fault } => format!("cleared: {fault}"),
            Happened::Gone { reason } => format!("gone: {reason}"),
        };
        let machine = event.machine.as_deref().unwrap_or("lab");
        format!("{:>9.3} {machine:<12} {what}", seconds(event))
    });
    html! {
        details {
            summary { "events.jsonl " span class="quiet" { (material.events.len()) " events" } " " span class="hits" {} }
            pre data-log tabindex="0" { (lines.collect::<Vec<_>>().join("\n")) }
        }
    }
}

fn files(material: &Material) -> Markup {
    let logs = material.logs.iter().map(|log| (&log.file, log.bytes));
    let others = material.others.iter().map(|(name, bytes)| (name, *bytes));
    let mut all: Vec<_> = logs.chain(others).collect();
    all.sort();
    html! {
        section aria-labelledby="files-title" {
            h2 id="files-title" { "Files beside this one" }
            ul class="files" {
                @for (name, bytes) in all { li { a href=(link(name)) { (name) } " " span class="quiet" { (size(bytes)) } } }
            }
        }
    }
}

/// A file's name as a relative reference (RFC 3986).
fn link(name: &str) -> String {
    let mut link = "./".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                link.push(char::from(byte))
            }
            byte => link += &format!("%{byte:02X}"),
        }
    }
    link
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A length of time, or a moment: `12.3 s`, `4:05`, `-0:30`.
fn clock(seconds: f64) -> String {
    if seconds.abs() < 60.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, reason = "a lab lives for hours")]
    let whole = seconds.abs().round() as i64;
    let sign = if seconds < 0.0 { "-" } else { "" };
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{sign}{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{sign}{hours}:{minutes:02}:{seconds:02}"),
    }
}
