//! How the machines of a lab are, by what has happened to them; and whether all is well.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::mpsc::{TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::definition::{Event, Happened};
use crate::fault::Fault;
use crate::guest;
use crate::trouble::{Expected, Trouble};

/// How a machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// How far it is.
    pub state: State,
    /// How often it has been started, and told to go on as a clone or from a checkpoint.
    pub starts: u32,
    /// How often it has said that it is online.
    pub online: u32,
    /// What has befallen it, in the order it did.
    pub faults: Vec<Fault>,
    /// The first trouble that it told of.
    pub trouble: Option<(Trouble, String)>,
}

/// How far a machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// It boots, or has yet to get its identity.
    #[default]
    Starting,
    /// It has an address, and answers SSH if its identity has a host key.
    Online,
    /// Its power is cut.
    Off,
    /// Its QEMU has ended without having been asked to.
    Gone,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            State::Starting => "starting",
            State::Online => "online",
            State::Off => "off",
            State::Gone => "gone",
        })
    }
}

impl Condition {
    /// Takes note of what has happened to the machine.
    pub fn note(&mut self, what: &Happened) {
        match what {
            Happened::Started | Happened::Resumed => {
                self.state = State::Starting;
                self.starts += 1;
            }
            Happened::Restored => {
                self.state = State::Online;
                self.starts += 1;
            }
            Happened::Says { text } if text == guest::ONLINE => {
                self.state = State::Online;
                self.online += 1;
            }
            Happened::Gone { .. } => self.state = State::Gone,
            Happened::Befell { fault } => {
                if *fault == Fault::PowerCut {
                    self.state = State::Off;
                }
                self.faults.retain(|other| !fault.replaces(other));
                self.faults.push(fault.clone());
            }
            Happened::Cleared { fault } => self.faults.retain(|other| other != fault),
            Happened::Trouble { trouble, text } => {
                self.trouble.get_or_insert((*trouble, text.clone()));
            }
            Happened::Says { .. } | Happened::Listening => {}
        }
    }
}

/// Why there is an alarm where no machine is in trouble.
const ENDED: &str = "the lab has ended, by no doing of whoever started it: somebody took it down, or killed its supervisor";

/// Looks after a lab: knows how its machines are, and raises the alarm when one is in trouble that nobody expected.
/// Clones look after the same lab. A machine that is in the same trouble again, in the same words, tells of it once.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Debug, Default)]
struct Seen {
    machines: BTreeMap<String, Condition>,
    expected: Vec<Expected>,
    alarm: Option<String>,
    /// Whether nothing more is worth an alarm.
    silenced: bool,
    /// Whether its end, when it comes, is the doing of whoever started it.
    ending: bool,
    /// Whether nothing more will happen.
    over: bool,
}

impl Watch {
    /// From now on, such trouble is part of the plan, in place of what was before. An alarm that was raised stays.
    pub fn expect(&self, expected: Vec<Expected>) {
        self.lock().expected = expected;
    }

    /// Whether no machine has been in trouble that nobody expected.
    ///
    /// # Errors
    /// When one has: which, and in what words. Or when somebody else has ended the lab.
    pub fn check(&self) -> Result<()> {
        match &self.lock().alarm {
            Some(alarm) => bail!("{alarm}"),
            None => Ok(()),
        }
    }

    /// Ends the alarm for good: whoever had to know knows, and looks into the machines, or ends them.
    pub fn silence(&self) {
        let mut seen = self.lock();
        seen.alarm = None;
        seen.silenced = true;
    }

    /// Returns when the alarm is raised, with what [`Watch::check`] would say; `None` when whoever started the lab ends it
    /// before. It waits as long as the lab lasts: where time is short, ask [`Watch::check`] now and then.
    pub fn wait_for_trouble(&self) -> Option<String> {
        let (_, changed) = &*self.seen;
        let calm = |seen: &mut Seen| seen.alarm.is_none() && !seen.over;
        let seen = changed
            .wait_while(self.lock(), calm)
            .unwrap_or_else(PoisonError::into_inner);
        seen.alarm.clone()
    }

    /// How each machine is, by name.
    pub fn machines(&self) -> BTreeMap<String, Condition> {
        self.lock().machines.clone()
    }

    /// Returns when a machine is as `enough` wants it, `false` if it is not in time or the lab ends before.
    ///
    /// # Errors
    /// As [`Watch::check`], and at once.
    pub fn until(
        &self,
        machine: &str,
        patience: Duration,
        enough: impl Fn(&Condition) -> bool,
    ) -> Result<bool> {
        let (_, changed) = &*self.seen;
        let is_so = |seen: &Seen| seen.machines.get(machine).is_some_and(&enough);
        let waits = |seen: &mut Seen| seen.alarm.is_none() && !seen.over && !is_so(seen);
        let (seen, _) = changed
            .wait_timeout_while(self.lock(), patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match &seen.alarm {
            Some(alarm) => bail!("{alarm}"),
            None => Ok(is_so(&seen)),
        }
    }

    /// Does something that takes its time, and returns what came of it.
    ///
    /// # Errors
    /// As [`Watch::check`], and at once: then it goes on by itself.
    pub(crate) fn unless_trouble<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, outcome) = channel();
        let watch = self.clone();
        thread::spawn(move || {
            // Dropped last, and whatever becomes of what is done.
            let _waker = Waker(watch);
            let sender = sender;
            let _ = sender.send(act());
        });
        let mut seen = self.lock();
        loop {
            if let Some(alarm) = &seen.alarm {
                bail!("{alarm}");
            }
            match outcome.try_recv() {
                Ok(outcome) => return Ok(outcome),
                Err(TryRecvError::Disconnected) => bail!("a thread panicked"),
                Err(TryRecvError::Empty) => {
                    let woken = self.seen.1.wait(seen);
                    seen = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    pub(crate) fn note(&self, event: &Event) {
        let Some(machine) = &event.machine else {
            return;
        };
        let mut seen = self.lock();
        // Whoever waits looks when this is done.
        self.seen.1.notify_all();
        seen.machines
            .entry(machine.clone())
            .or_default()
            .note(&event.what);
        let (trouble, text) = match &event.what {
            Happened::Trouble { trouble, text } => (*trouble, text),
            Happened::Gone { reason } => (Trouble::Gone, reason),
            _ => return,
        };
        let is_expected = |expected: &Expected| expected.covers(machine, trouble, text);
        if seen.alarm.is_none() && !seen.silenced && !seen.expected.iter().any(is_expected) {
            seen.alarm = Some(format!("{machine} is in trouble ({trouble}): {text}"));
        }
    }

    /// Whoever started the lab ends it, or lets it live on.
    pub(crate) fn lets_go(&self) {
        self.lock().ending = true;
    }

    /// Nothing more will happen: trouble, too, where nobody wanted it.
    pub(crate) fn is_over(&self) {
        let mut seen = self.lock();
        seen.over = true;
        if !seen.ending && !seen.silenced {
            seen.alarm.get_or_insert_with(|| ENDED.to_owned());
        }
        self.seen.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes whoever waits for something, when it is dropped.
struct Waker(Watch);

impl Drop for Waker {
    fn drop(&mut self) {
        // Who is about to sleep does so first.
        drop(self.0.lock());
        self.0.seen.1.notify_all();
    }
}

/// Keeps a machine from telling of the same trouble twice, as when somebody has the kernel's log shown; and from
/// telling of more than anybody would read.
#[derive(Debug, Default)]
pub(crate) struct Told(HashSet<String>);

impl Told {
    const MOST: usize = 200;

    pub(crate) fn is_new(&mut self, text: &str) -> bool {
        self.0.len() < Told::MOST && self.0.insert(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(machine: &str, what: Happened) -> Event {
        Event {
            at: 0,
            machine: Some(machine.to_owned()),
            what,
        }
    }

    fn trouble(trouble: Trouble, text: &str) -> Happened {
        let text = text.to_owned();
        Happened::Trouble { trouble, text }
    }

    #[test]
    fn a_machine_is_what_has_happened_to_it() {
        let says = |text: &str| Happened::Says {
            text: text.to_owned(),
        };
        let befell = |fault| Happened::Befell { fault };
        let cleared = |fault| Happened::Cleared { fault };
        let steps = [
            (Happened::Resumed, State::Starting, 0),
            (says("online"), State::Online, 0),
            (befell(Fault::Frozen), State::Online, 1),
            (befell(Fault::PowerCut), State::Off, 2),
            (cleared(Fault::Frozen), State::Off, 1),
            (cleared(Fault::PowerCut), State::Off, 0),
            (Happened::Started, State::Starting, 0),
            (says("settled running"), State::Starting, 0),
            (befell(Fault::ClockJump { seconds: 1 }), State::Starting, 1),
            (befell(Fault::ClockJump { seconds: 2 }), State::Starting, 1),
            (says("online"), State::Online, 1),
            (Happened::Restored, State::Online, 1),
        ];
        let mut condition = Condition::default();
        for (what, state, faults) in steps {
            condition.note(&what);
            let found = (condition.state, condition.faults.len());
            assert_eq!(found, (state, faults), "{what:?}");
        }
    }

    #[test]
    fn the_alarm_is_raised_once_and_not_for_what_is_expected() {
        let watch = Watch::default();
        watch.expect(vec![Expected {
            machine: Some("worker1".to_owned()),
            trouble: Trouble::FailedUnit,
            text: "docker".to_owned(),
        }]);
        let failed = trouble(Trouble::FailedUnit, "docker.service: Failed");
        watch.note(&event("worker1", failed.clone()));
        watch.check().expect("expected");
        watch.note(&event("worker2", failed));
        watch.note(&event("worker3", trouble(Trouble::Panic, "later")));
        let alarm = watch.check().expect_err("nobody expected that").to_string();
        assert_eq!(
            alarm,
            "worker2 is in trouble (failed unit): docker.service: Failed"
        );
        assert_eq!(watch.wait_for_trouble(), Some(alarm));
        watch.silence();
        watch.note(&event("worker4", trouble(Trouble::Panic, "later")));
        watch.check().expect("silenced");
        assert!(watch.machines()["worker3"].trouble.is_some());
    }

    #[test]
    fn whoever_waits_for_trouble_waits_no_longer_than_the_lab_lasts() {
        let ended = |prepare: fn(&Watch)| {
            let watch = Watch::default();
            let waits = watch.clone();
            let waiting = std::thread::spawn(move || waits.wait_for_trouble());
            prepare(&watch);
            watch.is_over();
            waiting.join().expect("no panic")
        };
        assert_eq!(ended(Watch::lets_go), None);
        assert_eq!(ended(Watch::silence), None);
        assert_eq!(ended(|_| {}).as_deref(), Some(ENDED));

        let watch = Watch::default();
        let reason = "QEMU has ended".to_owned();
        watch.note(&event("worker1", Happened::Gone { reason }));
        assert!(
            watch
                .wait_for_trouble()
                .is_some_and(|it| it.contains("gone"))
        );
    }

    #[test]
    fn whoever_waits_for_a_machine_is_woken_by_what_happens_to_it() {
        let watch = Watch::default();
        let ever = Duration::from_secs(3600);
        let waits = |enough: fn(&Condition) -> bool| {
            let watch = watch.clone();
            std::thread::spawn(move || watch.until("worker1", ever, enough))
        };
        let (twice, off) = (
            waits(|now| now.online == 2),
            waits(|now| now.state == State::Off),
        );
        let text = guest::ONLINE.to_owned();
        for what in [
            Happened::Started,
            Happened::Says { text: text.clone() },
            Happened::Says { text },
        ] {
            watch.note(&event("worker1", what));
        }
        assert!(twice.join().expect("no panic").expect("no trouble"));
        assert!(
            !watch
                .until("worker1", Duration::ZERO, |now| now.starts == 2)
                .expect("no trouble")
        );
        watch.note(&event("worker2", trouble(Trouble::Panic, "the end")));
        off.join()
            .expect("no panic")
            .expect_err("the trouble of another");
    }

    #[test]
    fn trouble_ends_the_wait_for_what_takes_its_time() {
        let watch = Watch::default();
        assert_eq!(watch.unless_trouble(|| 42).expect("no trouble"), 42);
        let (hold, held) = channel::<()>();
        let waits = watch.clone();
        let waiting = thread::spawn(move || waits.unless_trouble(move || held.recv()));
        watch.note(&event("worker1", trouble(Trouble::Panic, "the end")));
        let outcome = waiting.join().expect("no panic");
        assert!(outcome.is_err_and(|it| it.to_string().contains("the end")));
        drop(hold);
    }

    #[test]
    fn the_same_trouble_is_told_once() {
        let mut told = Told::default();
        assert!(told.is_new("a") && told.is_new("b") && !told.is_new("a"));
        for number in 0..1000 {
            told.is_new(&number.to_string());
        }
        assert!(!told.is_new("one too many"));
    }
}
