//! Faults as seen by whoever asks for them: on a lab of a gateway alone, which has a link like any machine.

use std::path::PathBuf;
use std::time::Duration;

use bramble_lab::{Backend, Definition, Direction, Fault, Gateway, Impairment, Lab};

fn lab(test: &str) -> (tempfile::TempDir, Lab) {
    let logs = tempfile::tempdir().expect("a directory");
    let definition = Definition {
        logs: logs.path().to_owned(),
        scratch: None,
        backend: Backend::Processes,
        machines: Vec::new(),
        gateway: Some(Gateway {
            subnet: "192.168.1.0/24".to_owned(),
            address: [192, 168, 1, 254].into(),
            name_server: [192, 168, 1, 253].into(),
            forwards: Vec::new(),
        }),
    };
    let supervisor = [example(), "supervise".to_owned()];
    let name = format!("test-{test}-{}", std::process::id());
    let lab = Lab::launch(&name, &definition, &supervisor);
    (
        logs,
        lab.expect("a lab; is QEMU installed? `cargo xtask doctor` says"),
    )
}

/// The program of the example, which is built along with the tests.
fn example() -> String {
    let tests = std::env::current_exe().expect("this test's own file");
    let profile: PathBuf = tests.ancestors().skip(2).take(1).collect();
    profile.join("examples/smallest_lab").display().to_string()
}

fn slow(direction: Direction) -> Fault {
    Fault::Link {
        direction,
        impairment: Impairment {
            latency: Duration::from_millis(5),
            ..Impairment::default()
        },
    }
}

#[test]
fn what_befalls_a_link_is_in_force_until_it_is_cleared() {
    let (_logs, lab) = lab("in-force");
    let lab = lab.attached();
    let in_force = || -> Vec<String> {
        let all = lab.afflictions().expect("a list");
        all.iter()
            .map(|it| format!("{}: {}", it.machine, it.fault))
            .collect()
    };
    assert!(in_force().is_empty());
    for direction in [Direction::To, Direction::From] {
        lab.inflict("gateway", &slow(direction)).expect("inflicted");
    }
    assert_eq!(
        in_force(),
        [
            "gateway: link, to only: latency 5ms",
            "gateway: link, from only: latency 5ms"
        ]
    );
    lab.inflict("gateway", &Fault::cut()).expect("inflicted");
    assert_eq!(
        in_force(),
        ["gateway: link: cut"],
        "a later one takes the place of earlier ones"
    );
    lab.clear("gateway").expect("cleared");
    assert!(in_force().is_empty());
}

#[test]
fn one_is_cleared_and_the_others_stay() {
    let (_logs, lab) = lab("one");
    let lab = lab.attached();
    let in_force = || -> Vec<Fault> {
        let all = lab.afflictions().expect("a list");
        all.into_iter().map(|it| it.fault).collect()
    };
    for direction in [Direction::To, Direction::From] {
        lab.inflict("gateway", &slow(direction)).expect("inflicted");
    }
    // Of the same kind, whatever its figures.
    let to = Fault::Link {
        direction: Direction::To,
        impairment: Impairment::default(),
    };
    lab.clear_one("gateway", &to).expect("cleared");
    assert_eq!(in_force(), [slow(Direction::From)]);
    for (fault, why) in [
        (to, "does not suffer from that: link, to only"),
        (Fault::Frozen, "does not suffer from that: frozen"),
    ] {
        let refused = lab.clear_one("gateway", &fault).expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert_eq!(in_force(), [slow(Direction::From)]);
    lab.clear_one("gateway", &Fault::cut()).expect("cleared");
    assert!(in_force().is_empty());
}

#[test]
fn what_was_to_last_for_a_while_is_over_then() {
    let (_logs, lab) = lab("for-a-while");
    let lab = lab.attached();
    lab.inflict_for("gateway", &Fault::cut(), Duration::from_millis(1))
        .expect("inflicted");
    while !lab.afflictions().expect("a list").is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_be_is_refused_and_not_in_force() {
    let (_logs, lab) = lab("refused");
    let lab = lab.attached();
    let apart = |from: &str| Fault::Apart {
        from: from.to_owned(),
    };
    for (machine, fault, why) in [
        ("worker9", Fault::cut(), "no machine worker9"),
        ("worker9", Fault::PowerCut, "no machine worker9"),
        ("gateway", apart("worker9"), "no machine worker9"),
        ("gateway", apart("gateway"), "apart from itself"),
        // It is the way in, and no machine.
        ("gateway", Fault::Frozen, "its link is all"),
    ] {
        let refused = lab.inflict(machine, &fault).expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert!(lab.clear("worker9").is_err() && lab.power_on("worker9").is_err());
    assert!(lab.type_in("worker9", "true").is_err());
    while !lab.afflictions().expect("a list").is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn ports_are_forwarded_while_it_runs() {
    let (_logs, lab) = lab("forward");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|it| it.local_addr())
        .expect("a port");
    let (lab, to) = (lab.attached(), [192, 168, 1, 200].into());
    lab.forward(port.port(), to, 22).expect("forwarded");
    std::net::TcpStream::connect(port).expect("somebody listens");
    let refused = lab.forward(port.port(), to, 22).expect_err("it is taken");
    assert!(refused.to_string().contains("hostfwd_add"), "{refused}");
}
