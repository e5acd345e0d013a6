//! Scenarios: nodes that compute rightly, wrongly, or not at all, and a ledger that is read back at any moment.

use bramble_kernel::{Summary, mix};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::service::ledger::Ledger;
use crate::service::snapshot::Health;
use crate::service::wire::{
    Ask, Asked, Caller, Hold, JobRequest, JobStatus, Refusal, Reply, Request, Reservation, State,
    Submission,
};
use crate::tally::Tally;

const RULES: Rules = Rules {
    lease: 60.0,
    target: 60.0,
    share: 0.0,
    first: 2,
    salt: 0,
};

/// A book and the ledger that it is written to, as worker has them.
struct World {
    book: Book,
    ledger: Ledger,
    rules: Rules,
    now: f64,
}

/// How a node computes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Machine {
    Right,
    /// Every so many results has a flipped bit.
    Flips(u64),
}

impl World {
    fn new(rules: Rules) -> Self {
        let ledger = Ledger::in_memory().unwrap();
        let book = ledger.read(rules, 0.0).unwrap();
        World {
            book,
            ledger,
            rules,
            now: 1.0,
        }
    }

    /// The process ends, and another reads the ledger.
    fn restart(&mut self) {
        self.book = self.ledger.read(self.rules, self.now).unwrap();
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.ask_as(Caller::Admin, request)
    }

    fn ask_as(&mut self, caller: Caller, request: Request) -> Reply {
        let asked = Asked {
            caller,
            at: self.now,
            request,
        };
        let mut entries = Vec::new();
        let reply = self.book.handle(&asked, self.now, &mut entries);
        self.ledger.write(&entries).unwrap();
        reply
    }

    fn pass(&mut self, seconds: f64) {
        self.now += seconds;
        let mut entries = Vec::new();
        self.book.tick(self.now, &mut entries);
        self.ledger.write(&entries).unwrap();
    }

    /// Two levels of `len` seeds, under a generator without twins unless `twins`.
    fn begin(&mut self, len: u64, reservation: u64, twins: bool) {
        let spec = json!({
            "world": "", "fill": "forward", "rng": if twins { "dotnet" } else { "pcg32" },
            "levels": ["one", "two"], "start": (1u64 << 31) - len / 2, "len": len,
        });
        let request: JobRequest =
            serde_json::from_value(json!({ "spec": spec, "reservation": reservation })).unwrap();
        let reply = self.ask(Request::Begin {
            id: "job".into(),
            request: Box::new(request),
        });
        assert!(matches!(reply, Reply::Made(_)), "{reply:?}");
    }

    fn lend(&mut self, node: &str) -> Result<Option<Reservation>, Refusal> {
        self.lend_as(Caller::Admin, node)
    }

    fn lend_as(&mut self, caller: Caller, node: &str) -> Result<Option<Reservation>, Refusal> {
        let ask = Ask {
            node: node.into(),
            wait_seconds: 0,
        };
        match self.ask_as(caller, Request::Lend(ask)) {
            Reply::Yes(json) => Ok(Some(serde_json::from_str(&json).unwrap())),
            Reply::Nothing => Ok(None),
            Reply::No(refusal, _) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, node: &str, reservation: &Reservation, machine: Machine) -> Reply {
        self.submit_as(Caller::Admin, node, reservation, machine)
    }

    fn submit_as(
        &mut self,
        caller: Caller,
        node: &str,
        reservation: &Reservation,
        machine: Machine,
    ) -> Reply {
        let mut summary = computed(reservation);
        if let Machine::Flips(every) = machine
            && mix(reservation.epoch).is_multiple_of(every)
        {
            summary.digest ^= 1 << (mix(reservation.epoch ^ 7) % 64);
        }
        let submission = Submission {
            range: reservation.range.clone(),
            epoch: reservation.epoch,
            node: node.into(),
            seconds: 1.0,
            tally: Tally::from(&summary),
        };
        self.ask_as(caller, Request::Result(submission))
    }

    /// They are there, whatever they do.
    fn beat(&mut self, nodes: &[(&str, Machine)]) {
        for (node, _) in nodes {
            let (epoch, node) = (0, (*node).into());
            self.ask(Request::Renew(Hold { epoch, node }));
        }
    }

    /// Everybody works, in turn, until nobody is lent anything.
    fn work(&mut self, nodes: &[(&str, Machine)]) {
        loop {
            let mut idle = true;
            for (node, machine) in nodes {
                if let Ok(Some(reservation)) = self.lend(node) {
                    idle = false;
                    self.pass(1.0);
                    self.submit(node, &reservation, *machine);
                }
            }
            self.pass(1.0);
            if idle {
                return;
            }
        }
    }

    fn status(&mut self) -> JobStatus {
        match self.ask(Request::Status { job: "job".into() }) {
            Reply::Yes(json) => serde_json::from_str(&json).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn health(&self, node: &str) -> Health {
        self.book.nodes[node].health(self.now, &self.rules)
    }

    /// Holds the answer against that of a machine that is right.
    fn assert_right(&mut self, len: u64) {
        let status = self.status();
        assert_eq!(status.state, State::Done, "{status:?}");
        let start = ((1u64 << 31) - len / 2) as u32;
        for (level, found) in status.report.unwrap().levels.iter().enumerate() {
            let whole = (start..=start + (len - 1) as u32).map(|seed| of_seed(level, seed));
            let digest = whole.fold(0u64, u64::wrapping_add);
            assert_eq!(
                (found.tally.scanned, found.tally.digest),
                (len, digest),
                "{level}"
            );
        }
    }
}

fn of_seed(level: usize, seed: u32) -> u64 {
    mix(u64::from(seed) | (level as u64) << 32)
}

/// What a machine that is right finds.
fn computed(reservation: &Reservation) -> Summary {
    let range = &reservation.range;
    let seeds = (0..range.len).map(|at| range.start.wrapping_add(at as u32));
    let digest = seeds.fold(0u64, |sum, seed| {
        let twin = if range.twins {
            of_seed(range.level, seed.wrapping_neg())
        } else {
            0
        };
        sum.wrapping_add(of_seed(range.level, seed))
            .wrapping_add(twin)
    });
    let scanned = range.len << u32::from(range.twins);
    let mut summary = Summary {
        scanned,
        completable: scanned,
        digest,
        ..Summary::EMPTY
    };
    summary.spheres[3] = scanned;
    summary
}

#[test]
fn a_machine_that_flips_bits_is_caught() {
    let mut world = World::new(Rules {
        share: 1.0,
        ..RULES
    });
    world.begin(3000, 100, false);
    // However much of what it did was right.
    for _ in 0..3 {
        let reservation = world.lend("b").unwrap().unwrap();
        world.submit("b", &reservation, Machine::Right);
    }
    world.work(&[
        ("a", Machine::Right),
        ("b", Machine::Flips(5)),
        ("c", Machine::Right),
    ]);
    world.assert_right(3000);
    assert_eq!(
        [world.health("a"), world.health("b"), world.health("c")],
        [Health::Good, Health::Faulty, Health::Good]
    );
    assert_eq!(world.lend("b"), Err(Refusal::Forbidden));
    // It stays known.
    world.restart();
    assert_eq!(world.lend("b"), Err(Refusal::Forbidden));
    world.ask(Request::Forgive { node: "b".into() });
    for _ in 0..2 {
        assert_eq!(
            (world.lend("b"), world.health("b")),
            (Ok(None), Health::New)
        );
        world.restart();
    }
    world.assert_right(3000);
}

#[test]
fn what_came_after_it_was_forgiven_counts() {
    let mut world = World::new(RULES);
    world.begin(3000, 100, false);
    let result = |world: &mut World| {
        let reservation = world.lend("b").unwrap().unwrap();
        world.submit("b", &reservation, Machine::Right);
    };
    (0..3).for_each(|_| result(&mut world));
    world.ask(Request::Forgive { node: "b".into() });
    for (count, health) in [(1, Health::New), (2, Health::Good)] {
        result(&mut world);
        world.restart();
        assert_eq!(world.book.nodes["b"].results, count);
        assert_eq!(world.health("b"), health);
    }
}

#[test]
fn what_a_machine_did_before_it_was_caught_is_computed_again() {
    // Nothing is chosen but the first ones of each, which are right.
    let mut world = World::new(RULES);
    world.begin(6000, 100, false);
    let nodes = [
        ("a", Machine::Right),
        ("b", Machine::Right),
        ("c", Machine::Right),
    ];
    for (node, machine) in nodes.iter().cycle().take(30) {
        let reservation = world.lend(node).unwrap().unwrap();
        world.pass(1.0);
        world.submit(node, &reservation, *machine);
    }
    let alone = |world: &mut World| world.status().progress.seeds_done;
    let before = alone(&mut world);
    // From now on everything is chosen, and b is wrong.
    world.rules.share = 1.0;
    world.restart();
    let wrong = world.lend("b").unwrap().unwrap();
    world.submit("b", &wrong, Machine::Flips(1));
    let check = world.lend("a").unwrap().unwrap();
    assert_eq!(check.range, wrong.range);
    world.submit("a", &check, Machine::Right);
    // While it is open who is wrong, what either of them alone said does not count.
    assert_eq!(
        [world.health("a"), world.health("b"), world.health("c")],
        [Health::Suspect, Health::Suspect, Health::Good]
    );
    let during = alone(&mut world);
    assert!(during < before, "{during} of {before}");
    let settles = world.lend("c").unwrap().unwrap();
    assert_eq!(settles.range, wrong.range);
    world.submit("c", &settles, Machine::Right);
    assert_eq!(
        [world.health("a"), world.health("b")],
        [Health::Good, Health::Faulty]
    );
    assert!(during < alone(&mut world));
    world.work(&[("a", Machine::Right), ("c", Machine::Right)]);
    world.assert_right(6000);
}

#[test]
fn a_job_that_ended_stays_as_it_is() {
    let mut world = World::new(Rules { first: 0, ..RULES });
    world.begin(1000, 100, false);
    world.work(&[("a", Machine::Right), ("b", Machine::Right)]);
    world.assert_right(1000);
    let entry = Entry::Faulty {
        node: "b".into(),
        faulty: true,
    };
    world.ledger.write(&[entry]).unwrap();
    world.restart();
    assert_eq!(world.lend("b"), Err(Refusal::Forbidden));
    world.assert_right(1000);
}

#[test]
fn two_who_differ_wait_for_a_third() {
    let mut world = World::new(RULES);
    world.begin(1000, 1000, false);
    world.work(&[("a", Machine::Right), ("b", Machine::Flips(1))]);
    let status = world.status();
    assert_eq!(
        (status.state, status.report.is_none()),
        (State::Disputed, true)
    );
    assert_eq!(status.disputes[0].digests.len(), 2);
    // What only the liar had computed takes two others.
    world.work(&[("c", Machine::Right), ("a", Machine::Right)]);
    world.assert_right(1000);
}

#[test]
fn one_alone_comes_to_an_end() {
    let mut world = World::new(RULES);
    world.begin(10_000, 1 << 32, true);
    world.work(&[("a", Machine::Right)]);
    world.assert_right(10_000);
    assert_eq!(world.status().progress.ranges_unverified, 2);
}

#[test]
fn somebody_outside_who_answers_at_once_is_lent_little_at_a_time() {
    let mut world = World::new(RULES);
    world.begin(1 << 20, 1 << 32, false);
    let (name, hash) = ("x".into(), "token".to_owned());
    world.ask(Request::Grant {
        name,
        hash: hash.clone(),
    });
    let caller = Caller::Token(hash);
    for _ in 0..20 {
        let reservation = world.lend_as(caller.clone(), "x").unwrap().unwrap();
        assert!(reservation.range.len <= 1 << 14, "{reservation:?}");
        world.pass(0.25);
        world.submit_as(caller.clone(), "x", &reservation, Machine::Flips(1));
    }
    world.work(&[("a", Machine::Right), ("b", Machine::Right)]);
    world.assert_right(1 << 20);
    assert_eq!(world.health("x"), Health::Faulty);
}

#[test]
fn a_fast_node_is_lent_no_more_than_the_slowest_can_check() {
    let mut world = World::new(Rules {
        lease: 700.0,
        ..RULES
    });
    world.begin(1 << 22, 1 << 32, false);
    // 16,384 seeds in a second, and 100, as the time between loan and result tells.
    for _ in 0..2 {
        let [fast, slow] = ["fast", "slow"].map(|node| world.lend(node).unwrap().unwrap());
        world.submit("fast", &fast, Machine::Right);
        world.pass(4.0 * 16_384.0 / 100.0);
        world.submit("slow", &slow, Machine::Right);
        world.pass(1.0);
    }
    // What is to be computed again comes first, and was lent before anything was known of either.
    let mut lent = world.lend("fast").unwrap().unwrap();
    while lent.range.len <= 1 << 14 {
        world.submit("fast", &lent, Machine::Right);
        lent = world.lend("fast").unwrap().unwrap();
    }
    assert_eq!(lent.range.len, 100 * 30 * 700 / 4);
}

#[test]
fn who_is_too_slow_to_check_does_not_keep_a_job_from_ending() {
    let mut world = World::new(Rules {
        share: 1.0,
        ..RULES
    });
    world.begin(1000, 1000, false);
    let fast = world.lend("fast").unwrap().unwrap();
    // It is there before all is done, and has one range after the other as long as it may.
    world.beat(&[("slow", Machine::Right)]);
    world.submit("fast", &fast, Machine::Right);
    world.work(&[("fast", Machine::Right)]);
    while let Some(check) = world.lend("slow").unwrap() {
        let (epoch, node) = (check.epoch, "slow".to_owned());
        let renew = Request::Renew(Hold { epoch, node });
        while matches!(world.ask(renew.clone()), Reply::Yes(_)) {
            assert_eq!(world.status().state, State::Running);
            world.pass(30.0);
        }
        assert!(world.now < 1e4, "it is lent the same again");
    }
    world.pass(1.0);
    world.assert_right(1000);
    assert!(world.status().progress.ranges_unverified > 0);
}

#[test]
fn loans_are_renewed_run_out_and_survive_a_restart() {
    let mut world = World::new(RULES);
    world.begin(1000, 1000, false);
    let first = world.lend("a").unwrap().unwrap();
    let renew = |epoch| {
        Request::Renew(Hold {
            epoch,
            node: "a".into(),
        })
    };
    for _ in 0..3 {
        world.pass(50.0);
        assert!(matches!(world.ask(renew(first.epoch)), Reply::Yes(_)));
        world.restart();
    }
    world.pass(61.0);
    assert!(matches!(
        world.ask(renew(first.epoch)),
        Reply::No(Refusal::Gone, _)
    ));
    let second = world.lend("b").unwrap().unwrap();
    assert_eq!(second.range, first.range);
    assert!(second.epoch > first.epoch);
    // Late, it is refused, and harms nothing.
    let late = world.submit("a", &first, Machine::Right);
    assert!(matches!(late, Reply::No(Refusal::Gone, _)), "{late:?}");
    // It cannot be renewed for ever.
    for _ in 0..40 {
        world.pass(50.0);
        world.ask(Request::Renew(Hold {
            epoch: second.epoch,
            node: "b".into(),
        }));
    }
    assert!(world.lend("a").unwrap().is_some());
}

#[test]
fn a_token_is_made_again_when_the_one_before_cannot_be_used() {
    enum Step {
        /// A token with this hash is made for a name; whether it is.
        Grant(&'static str, &'static str, bool),
        Revoke(&'static str),
        /// A token is shown; whether it is valid.
        Show(&'static str, bool),
        Restart,
    }
    use Step::{Grant, Restart, Revoke, Show};
    let cases: [(&str, &[Step]); 6] = [
        ("a member's name", &[Grant("a", "1", false)]),
        (
            "lost with its answer",
            &[
                Grant("x", "1", true),
                Grant("x", "2", true),
                Show("1", false),
                Show("2", true),
            ],
        ),
        (
            "in use",
            &[
                Grant("x", "1", true),
                Show("1", true),
                Grant("x", "2", false),
                Show("1", true),
            ],
        ),
        (
            "perhaps in use",
            &[
                Grant("x", "1", true),
                Restart,
                Grant("x", "2", false),
                Show("1", true),
            ],
        ),
        (
            "leaked",
            &[
                Grant("x", "1", true),
                Show("1", true),
                Revoke("x"),
                Show("1", false),
                Grant("x", "2", true),
                Restart,
                Show("1", false),
                Show("2", true),
            ],
        ),
        (
            "revoked, after a restart",
            &[
                Grant("x", "1", true),
                Revoke("x"),
                Restart,
                Grant("x", "2", true),
                Show("2", true),
            ],
        ),
    ];
    for (case, steps) in cases {
        let mut world = World::new(RULES);
        world.lend("a").unwrap();
        for step in steps {
            match *step {
                Grant(name, hash, made) => {
                    let (name, hash) = (name.into(), hash.into());
                    let reply = world.ask(Request::Grant { name, hash });
                    assert_eq!(matches!(reply, Reply::Made(_)), made, "{case}: {reply:?}");
                }
                Revoke(name) => {
                    let name = name.into();
                    let reply = world.ask(Request::Revoke { name });
                    assert!(matches!(reply, Reply::Yes(_)), "{case}: {reply:?}");
                }
                Show(hash, valid) => {
                    let lent = world.lend_as(Caller::Token(hash.into()), "whoever");
                    assert_eq!(lent.is_ok(), valid, "{case}: {lent:?}");
                }
                Restart => world.restart(),
            }
            // Whoever has or had a token is from outside.
            assert!(
                world.book.nodes.get("x").is_none_or(|node| node.outside),
                "{case}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: if two who are right work to the end and everything is computed twice, the answer is right.
    #[test]
    fn the_answer_is_right(
        len in 1u64..4000,
        reservation in 50u64..900,
        twins: bool,
        flips in prop_oneof![Just(None), (1u64..6).prop_map(Some)],
        steps in proptest::collection::vec((0usize..4, 0u8..10), 0..80),
    ) {
        let mut world = World::new(Rules { share: 1.0, ..RULES });
        world.begin(len, reservation, twins);
        let bad = flips.map_or(Machine::Right, Machine::Flips);
        let nodes = [("a", Machine::Right), ("b", bad), ("c", Machine::Right), ("d", Machine::Right)];
        let mut held: Vec<(usize, Reservation)> = Vec::new();
        world.beat(&nodes);
        for (who, what) in steps {
            let (name, machine) = nodes[who];
            match what {
                0..5 => held.extend(world.lend(name).ok().flatten().map(|loan| (who, loan))),
                5..8 => if let Some(at) = held.iter().position(|(holder, _)| *holder == who) {
                    let (_, loan) = held.remove(at);
                    world.submit(name, &loan, machine);
                    if what == 7 {
                        world.submit(name, &loan, machine);
                    }
                },
                8 => for _ in 0..2 { world.pass(25.0); world.beat(&nodes); },
                _ => world.restart(),
            }
            world.beat(&nodes);
            prop_assert_eq!(world.status().progress.seeds_total, 2 * len);
        }
        // Whatever is still lent comes back.
        for _ in 0..5 {
            world.pass(25.0);
            world.beat(&nodes);
        }
        world.work(&nodes);
        world.assert_right(len);
        let before = serde_json::to_value(world.status()).unwrap();
        world.restart();
        prop_assert_eq!(serde_json::to_value(world.status()).unwrap(), before);
    }
}
