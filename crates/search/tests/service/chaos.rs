//! Everything is killed, again and again, and the answer is that of a machine alone.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::thread;
use std::time::Duration;

use bramble_kernel::mix;
use serde_json::Value;

use crate::cluster::{Cluster, Process, wait_until};
use crate::{SEARCH, answer, run};

/// What is killed by SIGKILL, and what is deleted.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Miner,
    Web,
    Worker,
    Redis,
    /// What Redis knows, in memory and on disk.
    RedisData,
}

const VICTIMS: [Victim; 5] = [
    Victim::Miner,
    Victim::Web,
    Victim::Worker,
    Victim::Redis,
    Victim::RedisData,
];
/// How often each of them is hit in one run.
const TIMES: u64 = 20;
/// Seeds of a job, at each of two levels. There is always one that runs.
const LEN: u64 = 100_000;
/// The longest time between two blows, in milliseconds.
const PAUSE: u64 = 300;

/// Decides who is hit in which order, and when: drawn anew for every run, and printed.
fn chance() -> u64 {
    let wanted = std::env::var("BRAMBLE_CHAOS_SEED").ok();
    let drawn = || RandomState::new().build_hasher().finish();
    let seed = wanted.map_or_else(drawn, |seed| seed.parse().expect("a number"));
    println!("BRAMBLE_CHAOS_SEED={seed} has it all happen in the same order again");
    seed
}

/// All that is to happen, in an order that is drawn.
fn blows(seed: u64) -> Vec<Victim> {
    let mut blows: Vec<Victim> = (0..TIMES).flat_map(|_| VICTIMS).collect();
    for last in (1..blows.len()).rev() {
        blows.swap(last, mix(seed ^ last as u64) as usize % (last + 1));
    }
    blows
}

/// One job after the other: the one that runs is the last.
#[derive(Default)]
struct Jobs(Vec<(String, Vec<String>)>);

impl Jobs {
    /// The job that runs, which is a new one if the last has ended.
    fn running(&mut self, cluster: &Cluster) -> String {
        if let Some((id, _)) = self.0.last() {
            let mut job = Value::Null;
            wait_until("an answer", || {
                job = cluster.job(id).unwrap_or_default();
                job["state"].is_string()
            });
            if job["state"] == "running" {
                return id.clone();
            }
        }
        let start = (self.0.len() as u64 * LEN).to_string();
        let range = ["--start", &start, "--len", &LEN.to_string()].map(str::to_owned);
        let search: Vec<String> = SEARCH.map(str::to_owned).into_iter().chain(range).collect();
        let words: Vec<&str> = search.iter().map(String::as_str).collect();
        let id = cluster.begin(&[&words[..], &["--reservation", "300"]].concat());
        self.0.push((id.clone(), search));
        id
    }

    /// Waits until there is one more result, or nothing left to do.
    fn go_on(&mut self, cluster: &Cluster) {
        let id = self.running(cluster);
        let mut before = None;
        wait_until("progress", || {
            let Some(job) = cluster.job(&id) else {
                return false;
            };
            let done = job["progress"]["ranges_done"].as_u64();
            job["state"] != "running" || done > *before.get_or_insert(done)
        });
    }
}

#[test]
fn whatever_is_killed_the_answer_is_the_same() {
    let seed = chance();
    let mut cluster = Cluster::start("2");
    let mut jobs = Jobs::default();
    jobs.running(&cluster);
    let mut miners: Vec<Process> = ["a", "b"].map(|node| cluster.miner(node)).into();

    for (number, victim) in blows(seed).into_iter().enumerate() {
        // It goes on after each.
        jobs.go_on(&cluster);
        jobs.running(&cluster);
        let drawn = mix(!seed ^ number as u64);
        thread::sleep(Duration::from_millis(drawn % PAUSE));
        match victim {
            Victim::Miner => {
                let victim = (drawn >> 32) as usize % miners.len();
                miners[victim].kill();
                miners[victim] = cluster.miner(["a", "b"][victim]);
            }
            Victim::Web => {
                cluster.web.kill();
                cluster.start_web();
            }
            Victim::Worker => {
                cluster.worker.kill();
                cluster.start_worker();
            }
            Victim::Redis => cluster.restart_redis(),
            Victim::RedisData if drawn >> 40 & 1 == 0 => cluster.lose_redis(),
            Victim::RedisData => cluster.wipe_redis(),
        }
    }

    println!("{} jobs", jobs.0.len());
    let ended: Vec<Value> = jobs.0.iter().map(|(id, _)| cluster.end(id)).collect();
    for ((_, search), ended) in jobs.0.iter().zip(&ended) {
        assert_eq!(ended["state"], "done");
        let search: Vec<&str> = search.iter().map(String::as_str).collect();
        assert_eq!(answer(&ended["report"]), run(&search));
    }

    // Finished jobs are still known when everything was restarted.
    drop(miners);
    cluster.worker.stop();
    cluster.web.stop();
    cluster.lose_redis();
    cluster.start_worker();
    cluster.start_web();
    for ((id, _), ended) in jobs.0.iter().zip(&ended) {
        wait_until("the finished job", || {
            cluster.job(id).as_ref() == Some(ended)
        });
    }
}

/// A rolling update: each part is asked to stop and another takes its place, while miners go on with what they have.
#[test]
fn an_update_loses_no_reservation() {
    let mut cluster = Cluster::start("3600");
    let search = [&SEARCH[..], &["--len", "200000"]].concat();
    let id = cluster.begin(&search);
    let mut miner = cluster.miner("a");
    cluster.advance(&id, 1);
    // With a loan that lasts an hour, a reservation that is lost would keep the job from its end.
    cluster.worker.stop();
    cluster.start_worker();
    cluster.web.stop();
    // Nobody is there to whom it could hand back what it has, and then somebody is.
    miner.ask_to_stop();
    cluster.start_web();
    wait_until("ready again", || cluster.get("/readyz").is_ok());
    miner.ended();
    wait_until("the return", || cluster.on_loan(&id) == 0);
    let _next = cluster.miner("a");
    let ended = cluster.end(&id);
    assert_eq!(answer(&ended["report"]), run(&search));
}
