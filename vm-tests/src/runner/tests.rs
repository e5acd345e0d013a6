use std::process;

use anyhow::{anyhow, bail};

use super::*;
use crate::scenario::Filter;

fn options(directory: &Path) -> Options {
    Options {
        root: PathBuf::from(".."),
        directory: directory.to_owned(),
        cluster: None,
        nodes: None,
        times: 1,
        warm: false,
        keep: false,
        pause_on_failure: false,
    }
}

fn scenarios() -> Vec<&'static Scenario> {
    Filter::default().choose().expect("all")
}

/// A lab whose supervisor answers nothing any more, since it has been killed.
fn dead_lab(name: &str, scenario: &Scenario, options: &Options) -> Standing {
    let (cluster, file) = cluster(scenario, options).expect("a cluster");
    let place = Place::fresh(&options.directory.join(name)).expect("directories");
    let definition = bramble_lab::Definition {
        logs: place.logs.clone(),
        scratch: Some(place.scratch.clone()),
        backend: bramble_lab::Backend::Processes,
        machines: Vec::new(),
        gateway: None,
    };
    // It must have read what it is given, or the lab could not be launched.
    let listens = r#"read -r _; echo '{"at":0,"machine":null,"event":"listening"}'; kill -9 $$"#;
    let supervisor = ["sh", "-c", listens].map(str::to_owned);
    let name = format!("{name}-{}", process::id());
    Standing {
        operator: Operator::new(Path::new("/bin/false"), &place.files(), &place.logs),
        lab: Lab::launch(&name, &definition, &supervisor).expect("a lab"),
        file,
        cluster,
        place,
        web: 0,
        is_cluster: true,
        cards: Vec::new(),
        runs: Vec::new(),
    }
}

#[test]
fn a_lab_that_is_dead_hides_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = options(dir.path());
    let (scenario, next) = (scenarios()[0], scenarios()[1]);
    for (name, outcome, error, notes) in [
        (
            "fails",
            Err(anyhow!("worker1 does not answer")),
            "worker1 does not answer",
            ["`evidence` failed", "no page", "`clearing away` failed"].as_slice(),
        ),
        (
            "holds",
            Ok(Verdict::Holds),
            "`clearing away` failed",
            &["no page"],
        ),
    ] {
        let stands = dead_lab(name, scenario, &options);
        let mut done = Ended::new(scenario, 1, &options);
        done.outcome = outcome;
        assert!(wrap_up(stands, &mut done, Next::Scenario(next), &options).is_none());
        let failure = format!("{:#}", done.outcome.expect_err("a failure"));
        assert!(failure.contains(error), "{name}: {failure}");
        assert_eq!(done.notes.len(), notes.len(), "{name}: {:?}", done.notes);
        for (note, words) in done.notes.iter().zip(notes) {
            assert!(note.contains(words), "{name}: {note}");
        }
    }
}

#[test]
fn what_cannot_be_built_is_the_first_ones_failure() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut told = 0;
    let build = |report: &Report| report.stage("tools", |_| bail!("there is no QEMU"));
    let ended = run(&scenarios(), &options(dir.path()), build, |_| told += 1);
    assert_eq!((ended.len(), told), (1, 1));
    let error = ended[0].outcome.as_ref().expect_err("a failure");
    assert_eq!(
        format!("{error:#}"),
        "stage `tools` failed: there is no QEMU"
    );
}

#[test]
fn what_is_run_again_is_run_on_another_lab() {
    let named = |(time, scenario, next): (usize, &Scenario, Next)| {
        let next = match next {
            Next::Scenario(next) => next.name,
            Next::Time => "again",
            Next::Nothing => "nothing",
        };
        format!("{time} {}, then {next}", scenario.name)
    };
    let [one, two] = [scenarios()[0], scenarios()[1]];
    for (scenarios, times, expected) in [
        (vec![one], 1, vec!["1 pipeline, then nothing"]),
        (
            vec![one],
            2,
            vec!["1 pipeline, then again", "2 pipeline, then nothing"],
        ),
        (
            vec![one, two],
            2,
            vec![
                "1 pipeline, then first-light",
                "1 first-light, then again",
                "2 pipeline, then first-light",
                "2 first-light, then nothing",
            ],
        ),
    ] {
        let found: Vec<String> = order(&scenarios, times).map(named).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_is_skipped_has_not_failed() {
    let skipped = || anyhow::Error::from(Skipped("there is no pip".to_owned()));
    let why = Verdict::Skipped("there is no pip".to_owned());
    for (outcome, expected) in [
        (Ok(()), Some(Verdict::Holds)),
        (Err(skipped().context("stage `ansible`")), Some(why)),
        (Err(anyhow!("there is no pip")), None),
    ] {
        assert_eq!(verdict(outcome).ok(), expected);
    }
}
