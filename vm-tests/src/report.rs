//! What a run shows: its stages while they run, and how long each took when it is over.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::IsTerminal;
use std::ops::Add as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use bramble_lab::Attached;
/// A stage that has ended, or is known to run.
pub use bramble_lab::report::Stage as Done;
use bramble_lab::report::{self as page, Run};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::scenario::{Scenario, Skipped, Verdict};

/// A run in progress. Stages may run side by side.
pub struct Report {
    name: String,
    began: SystemTime,
    started: Instant,
    bars: Option<MultiProgress>,
    /// In the order they began.
    stages: Mutex<Vec<Done>>,
    /// Whose CPU time is counted.
    lab: Mutex<Option<Attached>>,
    cpu: Mutex<CpuTime>,
    /// Files that tell more of a failure.
    evidence: Mutex<Vec<PathBuf>>,
    onlookers: Mutex<Option<Onlookers>>,
}

/// CPU time in seconds, across labs that take each other's place and begin to count anew.
#[derive(Debug, Default)]
struct CpuTime {
    /// Of labs that have ended, as far as somebody looked.
    ended: f64,
    last: f64,
}

impl CpuTime {
    fn so_far(&mut self, now: f64) -> f64 {
        if now < self.last {
            self.ended += self.last;
        }
        self.last = now;
        self.ended + now
    }
}

/// Where whoever looks on finds how far a run is.
struct Onlookers {
    logs: PathBuf,
    /// All runs of the lab, the last of which is this one.
    runs: Vec<Run>,
}

/// A stage that runs, for it to say how far it is.
pub struct Stage<'a> {
    report: &'a Report,
    name: &'a str,
    number: usize,
    bar: Option<ProgressBar>,
    /// Where there is no terminal, each thing is said once.
    said: Mutex<BTreeSet<String>>,
}

impl Report {
    /// A report of the run `name`, live where standard error is a terminal.
    pub fn new(name: &str) -> Report {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Report {
            name: name.to_owned(),
            began: SystemTime::now(),
            started: Instant::now(),
            bars,
            stages: Mutex::default(),
            lab: Mutex::default(),
            cpu: Mutex::default(),
            evidence: Mutex::default(),
            onlookers: Mutex::default(),
        }
    }

    /// Tells whoever looks on at a lab how far this run is, from now on. It was used for the runs `before`.
    pub fn tell_onlookers(&self, scenario: &Scenario, before: &[Run], logs: &Path) {
        let mut runs = before.to_owned();
        runs.push(self.run(scenario));
        *lock(&self.onlookers) = Some(Onlookers {
            logs: logs.to_owned(),
            runs,
        });
        self.tell();
    }

    /// Tells them no more.
    pub fn leave_onlookers(&self) {
        *lock(&self.onlookers) = None;
    }

    fn tell(&self) {
        // Held, so that what is told last is the latest.
        if let Some(onlookers) = lock(&self.onlookers).as_mut()
            && let Some(run) = onlookers.runs.last_mut()
        {
            run.stages = lock(&self.stages).clone();
            // The run is what matters, whoever sees it.
            let _ = page::keep(&onlookers.runs, &onlookers.logs);
        }
    }

    /// Counts the CPU time of a lab's machines from now on.
    pub fn count(&self, lab: &Attached) {
        *lock(&self.lab) = Some(lab.clone());
    }

    /// CPU time of the lab's machines so far, in seconds.
    fn cpu(&self) -> Option<f64> {
        let lab = lock(&self.lab).clone()?;
        let milliseconds = lab.usage().ok()?.cpu;
        let now = Duration::from_millis(milliseconds).as_secs_f64();
        Some(lock(&self.cpu).so_far(now))
    }

    /// Runs a stage. Its error says which stage it was.
    ///
    /// # Errors
    /// That of the stage.
    pub fn stage<T>(&self, name: &str, work: impl FnOnce(&Stage) -> Result<T>) -> Result<T> {
        let start = self.started.elapsed();
        let stage = Stage {
            report: self,
            name,
            number: self.begin(name, start),
            bar: self.bar(name),
            said: Mutex::default(),
        };
        if stage.bar.is_none() {
            eprintln!("{:>6.1}s  begin  {name}", start.as_secs_f64());
        }
        let cpu = self.cpu().unwrap_or_default();
        let outcome = work(&stage);
        let cpu = self.cpu().map(|now| (now - cpu).max(0.0));
        let error = outcome.as_ref().err();
        let skipped = error.and_then(|error| error.downcast_ref::<Skipped>());
        if let Some(skipped) = skipped {
            stage.change(|it| it.note = skipped.to_string());
        }
        let failure = error.filter(|_| skipped.is_none());
        let done = stage.change(|it| {
            it.is_running = false;
            it.seconds = (self.started.elapsed() - start).as_secs_f64();
            it.cpu = cpu;
            it.failure = failure.map(|error| format!("{error:#}"));
        });
        stage.close(&done, skipped.is_some());
        outcome.with_context(|| format!("stage `{name}` failed"))
    }

    /// The number of a stage that begins.
    fn begin(&self, name: &str, start: Duration) -> usize {
        let mut stages = lock(&self.stages);
        stages.push(Done {
            name: name.to_owned(),
            start: start.as_secs_f64(),
            is_running: true,
            ..Done::default()
        });
        let number = stages.len() - 1;
        drop(stages);
        self.tell();
        number
    }

    fn bar(&self, name: &str) -> Option<ProgressBar> {
        let bar = self.bars.as_ref()?.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:22} {elapsed:>5}  {msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Some(bar)
    }

    /// Says something that stays, above the stages that run.
    pub fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }

    /// What the run is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What there is to tell of it so far.
    pub fn run(&self, scenario: &Scenario) -> Run {
        Run {
            shows: scenario.shows.to_owned(),
            expected: scenario.expected(),
            stages: lock(&self.stages).clone(),
            began: self.began,
            ..Run::begin(&self.name)
        }
    }

    /// Where the live view is, if there is one.
    pub(crate) fn bars(&self) -> Option<&MultiProgress> {
        self.bars.as_ref()
    }

    /// The stages that have ended, in the order they began.
    pub fn done(&self) -> Vec<Done> {
        let mut done = lock(&self.stages).clone();
        done.retain(|stage| !stage.is_running);
        done
    }

    /// Where the time went.
    pub fn timing_table(&self) -> String {
        timing_table(&self.done(), self.started.elapsed().as_secs_f64())
    }

    /// Has the JUnit report name what lies in `logs` as more to know of what failed.
    pub fn attach(&self, logs: &Path) {
        let tells = |file: &PathBuf| {
            let name = file.to_string_lossy();
            let endings = [".html", ".console.log", ".journal.log", ".pcap"];
            endings.iter().any(|ending| name.ends_with(ending))
        };
        let files = fs::read_dir(logs).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = files.map(|file| file.path()).filter(tells).collect();
        files.sort();
        *lock(&self.evidence) = files;
    }

    /// The stages as a JUnit suite named after the run: one test case each, and one more for a failure that happened in
    /// none of them, or for that the run was skipped.
    fn junit_suite(&self, outcome: &Result<Verdict>) -> TestSuite {
        let mut suite = TestSuite::new(self.name.clone());
        let mut stages = self.done();
        if let Err(error) = outcome
            && stages.iter().all(|stage| stage.failure.is_none())
        {
            stages.push(Done {
                name: self.name.clone(),
                seconds: self.started.elapsed().as_secs_f64(),
                failure: Some(format!("{error:#}")),
                ..Done::default()
            });
        }
        for stage in stages {
            let status = match &stage.failure {
                None => TestCaseStatus::success(),
                Some(failure) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status
                        .set_message(failure.lines().next().unwrap_or_default())
                        .set_description(failure.clone());
                    status
                }
            };
            let mut case = TestCase::new(stage.name, status);
            case.set_classname(self.name.clone())
                .set_time(Duration::from_secs_f64(stage.seconds));
            let mut said = stage.note;
            if stage.failure.is_some() {
                // What Jenkins and GitLab make links of.
                for file in lock(&self.evidence).iter() {
                    let _ = write!(said, "\n[[ATTACHMENT|{}]]", file.display());
                }
            }
            case.set_system_out(said);
            suite.add_test_case(case);
        }
        if let Ok(Verdict::Skipped(why)) = outcome {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why.clone());
            let mut case = TestCase::new(self.name.clone(), status);
            case.set_classname(self.name.clone());
            suite.add_test_case(case);
        }
        suite.set_time(self.started.elapsed());
        suite
    }
}

/// Writes runs as a JUnit file: a suite each, with what the run came to. Its directory is made if there is none.
///
/// # Errors
/// When it cannot be written.
pub fn write_junit<'a>(
    runs: impl IntoIterator<Item = (&'a Report, &'a Result<Verdict>)>,
    path: &Path,
) -> Result<()> {
    let mut report = quick_junit::Report::new("vm-test");
    for (run, outcome) in runs {
        report.add_test_suite(run.junit_suite(outcome));
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    report
        .serialize(file)
        .with_context(|| format!("cannot write {}", path.display()))
}

impl Stage<'_> {
    /// Says how far the stage is; the last of these is what it came to.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        match &self.bar {
            Some(bar) => bar.set_message(text.clone()),
            None if lock(&self.said).insert(text.clone()) => {
                eprintln!("         {}: {text}", self.name)
            }
            None => {}
        }
        self.change(|stage| stage.note = text);
    }

    /// Takes note of something, and returns all that is known.
    fn change(&self, what: impl FnOnce(&mut Done)) -> Done {
        let mut stages = lock(&self.report.stages);
        let stage = &mut stages[self.number];
        what(stage);
        let stage = stage.clone();
        drop(stages);
        self.report.tell();
        stage
    }

    fn close(&self, done: &Done, is_skipped: bool) {
        let mark = match (&done.failure, is_skipped) {
            (Some(_), _) => "✗",
            (None, true) => "–",
            (None, false) => "✓",
        };
        // Why, at once: what runs beside it may take minutes more.
        let why = done.failure.as_ref();
        let why = why.and_then(|failure| failure.lines().next());
        let what = why.unwrap_or(&done.note);
        let line = format!("{mark} {:<22} {:>7.1}s  {what}", self.name, done.seconds);
        match &self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                self.report.say(&line);
            }
            None => {
                let now = self.report.started.elapsed().as_secs_f64();
                eprintln!("{now:>6.1}s  {line}");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stages with their begin, their length and a bar, for a run of `total` seconds.
fn timing_table(stages: &[Done], total: f64) -> String {
    const WIDTH: f64 = 40.0;
    let column = |seconds: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 40"
        )]
        let column = (seconds / total.max(0.1) * WIDTH).round().clamp(0.0, WIDTH) as usize;
        column
    };
    let mut table = format!(
        "{:<22} {:>8} {:>8} {:>8}\n",
        "stage", "begin", "seconds", "guests' CPU"
    );
    for stage in stages {
        let (before, until) = (column(stage.start), column(stage.start + stage.seconds));
        let bar = " ".repeat(before) + &"█".repeat((until - before).max(1));
        let mark = if stage.failure.is_some() {
            "  failed"
        } else {
            ""
        };
        let cpu = stage.cpu.map_or(String::new(), |cpu| format!("{cpu:.1}"));
        let _ = writeln!(
            table,
            "{:<22} {:>8.1} {:>8.1} {cpu:>11}  {bar}{mark}",
            stage.name, stage.start, stage.seconds
        );
    }
    // From zero: the sum of nothing is less than that by a sign.
    let cpu = stages
        .iter()
        .filter_map(|stage| stage.cpu)
        .fold(0.0, f64::add);
    let _ = writeln!(table, "{:<22} {:>8} {total:>8.1} {cpu:>11.1}", "total", "");
    table
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::scenario::Filter;

    fn done(name: &str, start: f64, seconds: f64, failure: Option<&str>) -> Done {
        Done {
            name: name.to_owned(),
            start,
            seconds,
            cpu: (name == "search").then_some(seconds * 1.9),
            failure: failure.map(str::to_owned),
            ..Done::default()
        }
    }

    #[test]
    fn the_table_shows_where_the_time_went() {
        let stages = [
            done("root file systems", 0.5, 240.0, None),
            done("programs", 0.5, 130.25, None),
            done("search", 240.5, 59.5, Some("a different digest")),
        ];
        insta::assert_snapshot!(timing_table(&stages, 300.0));
    }

    #[test]
    fn a_lab_that_takes_anothers_place_adds_to_its_cpu_time() {
        let mut cpu = CpuTime::default();
        let so_far = [2.0, 5.0, 1.0, 1.0, 4.0].map(|now| cpu.so_far(now));
        assert_eq!(so_far, [2.0, 5.0, 6.0, 6.0, 9.0]);
    }

    #[test]
    fn whoever_looks_on_is_told_of_stages_that_run() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let told = || -> Result<Vec<(String, bool, String)>> {
            let kept = fs::read(dir.path().join("runs.json"))?;
            let kept: serde_json::Value = serde_json::from_slice(&kept)?;
            let stages: Vec<Done> = serde_json::from_value(kept["runs"][1]["stages"].clone())?;
            let stages = stages.into_iter();
            Ok(stages.map(|it| (it.name, it.is_running, it.note)).collect())
        };
        let stage = |name: &str, runs, note: &str| (name.to_owned(), runs, note.to_owned());

        let report = Report::new("partition");
        report.stage("tools", |_| Ok(()))?;
        let scenario = Filter::default().choose()?[0];
        report.tell_onlookers(scenario, &[Run::begin("idempotence")], dir.path());
        assert_eq!(told()?, [stage("tools", false, "")]);
        report.stage("machines", |it| {
            it.note("1 of 2 online");
            assert_eq!(told()?[1], stage("machines", true, "1 of 2 online"));
            Ok(())
        })?;
        assert_eq!(told()?[1], stage("machines", false, "1 of 2 online"));
        report.leave_onlookers();
        report.stage("clearing away", |_| Ok(()))?;
        assert_eq!(told()?.len(), 2);
        assert_eq!(report.done().len(), 3);
        Ok(())
    }

    #[test]
    fn what_fails_or_is_skipped_is_named_and_reported() -> Result<()> {
        let report = Report::new("pipeline");
        report.stage("tools", |stage| {
            stage.note("all there");
            Ok(())
        })?;
        let failed = report.stage("lab", |_| -> Result<()> { bail!("worker3 is gone") });
        assert_eq!(
            format!("{:#}", failed.expect_err("failed")),
            "stage `lab` failed: worker3 is gone"
        );

        let dir = tempfile::tempdir()?;
        for name in ["report.html", "worker3.console.log", "supervisor.log"] {
            fs::write(dir.path().join(name), "")?;
        }
        report.attach(dir.path());
        // Nothing may have come so far as to make it.
        let path = dir.path().join("vm-test/junit.xml");
        let (elsewhere, nowhere) = (Report::new("partition"), Report::new("ansible"));
        let lacking = nowhere.stage("tools", |_| -> Result<()> {
            Err(Skipped("there is no pip".to_owned()).into())
        });
        let lacking = lacking.expect_err("skipped");
        assert!(lacking.downcast_ref::<Skipped>().is_some());
        let runs = [
            (&report, Err(anyhow::anyhow!("worker3 is gone"))),
            (&elsewhere, Err(anyhow::anyhow!("there is no worker9"))),
            (
                &nowhere,
                Ok(Verdict::Skipped(lacking.root_cause().to_string())),
            ),
        ];
        write_junit(runs.iter().map(|(run, outcome)| (*run, outcome)), &path)?;
        let xml = std::fs::read_to_string(path)?;
        assert!(
            xml.contains(r#"tests="5""#) && xml.contains(r#"failures="2""#),
            "{xml}"
        );
        assert!(
            xml.contains("worker3 is gone") && xml.contains("all there"),
            "{xml}"
        );
        assert!(xml.contains("there is no worker9"), "{xml}");
        let attached: Vec<_> = xml.matches("[[ATTACHMENT|").collect();
        assert!(
            attached.len() == 2 && xml.contains("report.html]]"),
            "{xml}"
        );
        assert!(
            xml.contains(r#"<skipped message="there is no pip"/>"#),
            "{xml}"
        );
        Ok(())
    }
}
