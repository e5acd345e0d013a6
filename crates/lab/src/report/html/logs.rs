//! What machines and programs said, and what lies beside it.

use maud::{Markup, html};

use super::super::material::{Log, Material};
use super::super::times::seconds;
use super::words::{link, size};
use crate::definition::Happened;

/// How a page comes by the text of logs.
pub(super) trait Texts {
    /// What is shown when somebody opens a log.
    fn text(&self, file: &str, bytes: u64, text: impl FnOnce() -> String) -> Markup;
    /// Where the whole of a file is.
    fn whole(&self, file: &str) -> String;
}

/// It has it in itself.
pub(super) struct Whole;

impl Texts for Whole {
    fn text(&self, _: &str, _: u64, text: impl FnOnce() -> String) -> Markup {
        html! { pre data-log tabindex="0" { (text()) } }
    }

    fn whole(&self, file: &str) -> String {
        format!("./{}", link(file))
    }
}

/// It fetches what somebody wants to read, and again when that has become longer.
pub(super) struct Fetched;

impl Texts for Fetched {
    fn text(&self, file: &str, bytes: u64, _: impl FnOnce() -> String) -> Markup {
        let source = format!("ends/{}", link(file));
        html! { pre data-log data-source=(source) data-bytes=(bytes) tabindex="0" {} }
    }

    fn whole(&self, file: &str) -> String {
        format!("files/{}", link(file))
    }
}

pub(super) fn logs(material: &Material, texts: &impl Texts) -> Markup {
    html! {
        section aria-labelledby="logs-title" {
            h2 id="logs-title" { "Logs" }
            p class="search" {
                label for="search" { "Lines with " }
                input id="search" type="search" placeholder="failed, oom, 192.168.1.203 …" autocomplete="off";
                output id="found" {}
            }
            (groups(material, texts))
        }
    }
}

/// Those of each machine, and the others.
pub(super) fn groups(material: &Material, texts: &impl Texts) -> Markup {
    let machines = material.machines();
    html! {
        @for name in &machines {
            div class="logs" id={ "logs-" (name) } {
                h3 { (name) }
                @for log in material.logs_of(name) { (shown(log, texts)) }
            }
        }
        div class="logs" id="logs-others" {
            h3 { "the operator and the lab" }
            @for log in material.logs_of_others(&machines) { (shown(log, texts)) }
            (events(material, texts))
        }
    }
}

fn shown(log: &Log, texts: &impl Texts) -> Markup {
    // What has gone meanwhile is no reason to show nothing at all.
    let text = || log.text().unwrap_or_else(|error| format!("{error:#}"));
    let file = &log.file;
    html! {
        details data-file=(file) {
            summary { (file) " " span class="quiet size" { (size(log.bytes)) @if log.is_cut() { ", the end of it" } } " " span class="hits" {} }
            @if log.is_cut() { p class="quiet" { "The whole of it is in " a href=(texts.whole(file)) { (file) } "." } }
            (texts.text(file, log.bytes, text))
        }
    }
}

fn events(material: &Material, texts: &impl Texts) -> Markup {
    let count = material.events.len();
    html! {
        details data-file="events.jsonl" {
            summary { "events.jsonl " span class="quiet size" { (count) " events" } " " span class="hits" {} }
            (texts.text("events.jsonl", count as u64, || happened(material)))
        }
    }
}

/// The lab's own timeline, a line each.
pub(in super::super) fn happened(material: &Material) -> String {
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
    lines.collect::<Vec<_>>().join("\n")
}

pub(super) fn files(material: &Material) -> Markup {
    let logs = material.logs.iter().map(|log| (&log.file, log.bytes));
    let others = material.others.iter().map(|(name, bytes)| (name, *bytes));
    let mut all: Vec<_> = logs.chain(others).collect();
    all.sort();
    html! {
        section aria-labelledby="files-title" {
            h2 id="files-title" { "Files beside this one" }
            ul class="files" {
                @for (name, bytes) in all { li { a href=(Whole.whole(name)) { (name) } " " span class="quiet" { (size(bytes)) } } }
            }
        }
    }
}
