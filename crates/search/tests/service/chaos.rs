//! Everything is killed, again and again, and the answer is that of a machine alone.

use std::thread;
use std::time::Duration;

use bramble_kernel::mix;

use crate::cluster::{Cluster, Process, wait_until};
use crate::{SEARCH, answer, run};

/// How often something is killed.
const BLOWS: u64 = 20;
/// Decides who is hit, and when. Any other number must do as well.
const SEED: u64 = 20_261_123;

#[test]
fn whatever_is_killed_the_answer_is_the_same() {
    let mut cluster = Cluster::start("2");
    let search = [&SEARCH[..], &["--len", "600000"]].concat();
    let id = cluster.begin(&[&search[..], &["--reservation", "300"]].concat());
    let mut miners: Vec<Process> = ["a", "b"].map(|node| cluster.miner(node)).into();

    for blow in 0..BLOWS {
        let drawn = mix(SEED ^ blow);
        thread::sleep(Duration::from_millis(drawn % 700));
        // Each of the five has its turn four times, in an order that is drawn.
        match (blow + mix(SEED ^ (blow / 5))) % 5 {
            0 => {
                let victim = (drawn >> 32) as usize % miners.len();
                miners[victim].kill();
                miners[victim] = cluster.miner(["a", "b"][victim]);
            }
            1 => {
                cluster.web.kill();
                cluster.start_web();
            }
            2 => {
                cluster.worker.kill();
                cluster.start_worker();
            }
            3 => cluster.restart_redis(),
            _ if drawn >> 40 & 1 == 0 => cluster.lose_redis(),
            _ => cluster.wipe_redis(),
        }
        // It goes on after each.
        cluster.advance(&id, 1);
    }

    let ended = cluster.end(&id);
    assert_eq!(ended["state"], "done");
    assert_eq!(answer(&ended["report"]), run(&search));

    // A finished job is still known when everything was restarted.
    drop(miners);
    cluster.worker.stop();
    cluster.web.stop();
    cluster.lose_redis();
    cluster.start_worker();
    cluster.start_web();
    wait_until("the finished job", || {
        cluster.job(&id).as_ref() == Some(&ended)
    });
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
    cluster.start_web();
    wait_until("ready again", || cluster.get("/readyz").is_ok());
    miner.stop();
    let _next = cluster.miner("a");
    let ended = cluster.end(&id);
    assert_eq!(answer(&ended["report"]), run(&search));
}
