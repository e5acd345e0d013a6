//! Who was how, and when: what is drawn on the time axis. Times are seconds since the lab was started.

use crate::definition::{Event, Happened};
use crate::fault::Fault;
use crate::trouble::Trouble;
use crate::watch::{Condition, State};

use super::material::Material;
use super::{Run, Stage};

/// From when to when the axis goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Axis {
    /// With room for everything.
    pub(super) fn of(runs: &[Run], material: &Material) -> Axis {
        let stages = runs.iter().flat_map(|run| {
            let began = material.began(run);
            let ends = move |stage: &Stage| {
                let start = began + stage.start;
                [start, start + stage.seconds]
            };
            run.stages.iter().flat_map(ends)
        });
        let moments = stages.chain(material.events.iter().map(seconds));
        let (from, to) = moments.fold((0.0_f64, 1.0_f64), |(from, to), at| {
            (from.min(at), to.max(at))
        });
        Axis { from, to }
    }

    /// ... and until then at least.
    pub(super) fn until(self, moment: f64) -> Axis {
        Axis {
            to: self.to.max(moment),
            ..self
        }
    }

    /// Where a moment is, in percent of the axis.
    pub(super) fn place(self, at: f64) -> f64 {
        let share = (at - self.from) / (self.to - self.from);
        // Hundredths are finer than any screen.
        (share * 10_000.0).round().clamp(0.0, 10_000.0) / 100.0
    }

    /// Round moments, about eight.
    pub(super) fn ticks(self) -> Vec<f64> {
        const STEPS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
        let span = self.to - self.from;
        let step = STEPS.into_iter().find(|step| span / step <= 8.0);
        let step = step.unwrap_or_else(|| (span / 8.0 / 3600.0).ceil() * 3600.0);
        let first = (self.from / step).ceil();
        let ticks = (0..).map(|number| (first + f64::from(number)) * step);
        ticks.take_while(|at| *at <= self.to).collect()
    }
}

/// A time in which a machine was as it was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span<T> {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) what: T,
}

/// Trouble that a machine told of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) at: f64,
    pub(super) trouble: Trouble,
    pub(super) text: String,
    /// Whether the run of that time had it in its plan.
    pub(super) is_expected: bool,
}

/// What happened to one machine.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Life {
    pub(super) states: Vec<Span<State>>,
    pub(super) faults: Vec<Span<Fault>>,
    pub(super) troubles: Vec<Told>,
    /// At the end.
    pub(super) condition: Condition,
}

/// `is_expected` says whether trouble of that moment was part of the plan.
pub(super) fn life(
    machine: &str,
    events: &[Event],
    end: f64,
    is_expected: impl Fn(f64, Trouble, &str) -> bool,
) -> Life {
    let mut life = Life::default();
    let mut since = 0.0;
    for event in events
        .iter()
        .filter(|it| it.machine.as_deref() == Some(machine))
    {
        let (at, before) = (seconds(event), life.condition.clone());
        life.condition.note(&event.what);
        if life.condition.state != before.state {
            life.states.push(Span {
                from: since,
                to: at,
                what: before.state,
            });
            since = at;
        }
        for gone in before
            .faults
            .iter()
            .filter(|fault| !life.condition.faults.contains(fault))
        {
            close(&mut life.faults, gone, at);
        }
        let told = |trouble, text: &str| Told {
            at,
            trouble,
            text: text.to_owned(),
            is_expected: is_expected(at, trouble, text),
        };
        match &event.what {
            Happened::Befell { fault } => life.faults.push(Span {
                from: at,
                to: end,
                what: fault.clone(),
            }),
            Happened::Trouble { trouble, text } => life.troubles.push(told(*trouble, text)),
            Happened::Gone { reason } => life.troubles.push(told(Trouble::Gone, reason)),
            _ => {}
        }
    }
    life.states.push(Span {
        from: since,
        to: end,
        what: life.condition.state,
    });
    life
}

/// Ends the last span of a fault.
fn close(faults: &mut [Span<Fault>], fault: &Fault, at: f64) {
    if let Some(span) = faults.iter_mut().rev().find(|span| span.what == *fault) {
        span.to = at;
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a lab's life")]
pub(super) fn seconds(event: &Event) -> f64 {
    event.at as f64 / 1000.0
}
