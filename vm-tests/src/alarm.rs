//! What whoever waits for something else must know at once: that a machine is in trouble.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use bramble_lab::Watch;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// An alarm; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Alarm {
    state: Arc<(Mutex<Raised>, Condvar)>,
}

#[derive(Debug, Default)]
struct Raised {
    why: Option<String>,
    /// Groups of processes that somebody waits for.
    running: BTreeSet<i32>,
}

/// A group of processes that ends when the alarm is raised, for as long as this is held.
pub(crate) struct Running<'a> {
    alarm: &'a Alarm,
    group: i32,
}

impl Alarm {
    /// Has the lab that is watched raise it.
    pub fn listen(&self, watch: &Watch) {
        let (alarm, watch) = (self.clone(), watch.clone());
        thread::spawn(move || {
            if let Some(why) = watch.wait_for_trouble() {
                alarm.raise(why);
            }
        });
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// When it is not: what is the matter.
    pub fn check(&self) -> Result<()> {
        match &self.lock().why {
            Some(why) => bail!("{why}"),
            None => Ok(()),
        }
    }

    /// All is well again, or is to be taken so by those who look into what is not.
    pub fn reset(&self) {
        self.lock().why = None;
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// At once when all is not well: what is the matter.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let calm = |raised: &mut Raised| raised.why.is_none();
        let _ = self.state.1.wait_timeout_while(self.lock(), time, calm);
        self.check()
    }

    fn raise(&self, why: String) {
        let mut state = self.lock();
        for group in &state.running {
            // It may have ended by itself.
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
        state.why = Some(why);
        self.state.1.notify_all();
    }

    /// Ends the process group that `leader` leads when the alarm is raised.
    ///
    /// # Errors
    /// When it has been raised.
    pub(crate) fn watch_over(&self, leader: u32) -> Result<Running<'_>> {
        let group = i32::try_from(leader)?;
        self.lock().running.insert(group);
        let running = Running { alarm: self, group };
        if let Err(error) = self.check() {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            return Err(error);
        }
        Ok(running)
    }

    fn lock(&self) -> MutexGuard<'_, Raised> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.alarm.lock().running.remove(&self.group);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 300; true"]).process_group(0);
        command.spawn().expect("a shell")
    }

    #[test]
    fn an_alarm_ends_what_runs_and_what_would_be_run() {
        let alarm = Alarm::default();
        alarm.check().expect("all is well");
        let mut child = sleeper();
        let running = alarm.watch_over(child.id());
        alarm.raise("worker1 is in trouble".to_owned());
        assert_eq!(child.wait().expect("waited").signal(), Some(9));
        drop(running);
        assert!(alarm.sleep(Duration::from_secs(300)).is_err());

        let mut late = sleeper();
        assert!(alarm.watch_over(late.id()).is_err());
        assert_eq!(late.wait().expect("waited").signal(), Some(9));
        assert_eq!(
            alarm.check().expect_err("raised").to_string(),
            "worker1 is in trouble"
        );
        alarm.reset();
        alarm.check().expect("all is well again");
    }
}
