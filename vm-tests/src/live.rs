//! What the machines are up to, live below the stages of a report: a line each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bramble_lab::{Condition, Watch, last_line};
use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Report;

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(500);

/// The machines' lines, for as long as this is held.
pub struct Live {
    until: Option<Sender<()>>,
    painter: Option<JoinHandle<()>>,
}

impl Live {
    /// Shows the machines of a lab below the stages of `report`; nothing, where there is no terminal.
    pub fn show(report: &Report, watch: &Watch, logs: &Path) -> Option<Live> {
        let bars = report.bars()?.clone();
        let style = ProgressStyle::with_template("  {prefix:20} {wide_msg}").ok()?;
        let (watch, logs) = (watch.clone(), logs.to_owned());
        let (until, over) = channel::<()>();
        let painter = thread::spawn(move || {
            let mut lines: BTreeMap<String, ProgressBar> = BTreeMap::new();
            while over.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                for (name, condition) in watch.machines() {
                    let line = lines.entry(name).or_insert_with_key(|name| {
                        let line = bars.add(ProgressBar::new_spinner());
                        line.set_style(style.clone());
                        line.set_prefix(name.clone());
                        line
                    });
                    let said = last_line(&logs, &line.prefix());
                    line.set_message(told(&condition, said.as_deref()));
                }
            }
            for line in lines.values() {
                line.finish_and_clear();
            }
        });
        Some(Live {
            until: Some(until),
            painter: Some(painter),
        })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.until.take());
        if let Some(painter) = self.painter.take() {
            // A line that cannot be painted is no matter.
            let _ = painter.join();
        }
    }
}

/// How a machine is, what has befallen it, and what it said last.
fn told(condition: &Condition, said: Option<&str>) -> String {
    let faults: Vec<String> = condition.faults.iter().map(ToString::to_string).collect();
    let faults = match faults.is_empty() {
        true => String::new(),
        false => format!(" [{}]", faults.join(", ")),
    };
    format!(
        "{:<8}{faults} {}",
        condition.state,
        said.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use bramble_lab::{Fault, State};

    use super::*;

    #[test]
    fn a_machine_is_a_line() {
        let mut condition = Condition::default();
        assert_eq!(told(&condition, None), "starting ");
        condition.state = State::Online;
        condition.faults = vec![Fault::cut(), Fault::DiskFull];
        assert_eq!(
            told(&condition, Some("worker1 login:")),
            "online   [link: cut, disk full] worker1 login:"
        );
    }
}
