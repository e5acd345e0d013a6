//! What others ask of a lab that runs, at its control socket: a line of JSON each way.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Result;

use super::faults::reply;
use super::machines::{forward, saved, typed};
use super::{Message, Supervisor};
use crate::console::Console;
use crate::definition::{Definition, Reply, Request};
use crate::qemu::Sockets;
use crate::recorder::Capture;
use crate::switch::GATEWAY;

/// What a request leads to: a reply, and what the connection carries from then on where that was asked for.
pub(super) enum Answer {
    Reply(Reply),
    Console(Console),
    Capture(Capture),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer::Reply(reply)
    }
}

impl Supervisor {
    pub(super) fn listen_for_requests(&self) -> Result<()> {
        let listener = UnixListener::bind(Sockets(&self.sockets).control())?;
        let sender = self.sender.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || converse(stream, &sender));
            }
        });
        Ok(())
    }

    pub(super) fn answer(&mut self, request: Request, to: Sender<Answer>) {
        if let Err(why) = self.is_held_off(&request) {
            let _ = to.send(reply(Err(why)));
            return;
        }
        let running = |machine: &str| self.machines.get(machine).cloned();
        let answer = match request {
            Request::Usage => Reply::Usage(self.usage()).into(),
            Request::Place => {
                let Definition { scratch, logs, .. } = self.definition.clone();
                Reply::Place { scratch, logs }.into()
            }
            Request::Console { machine } => match running(&machine) {
                Some(running) => Answer::Console(running.console),
                None => self.unknown(&machine),
            },
            Request::Capture { machine } => match self.switch.capture(&machine) {
                Some(capture) => Answer::Capture(capture),
                None => self.unknown(&machine),
            },
            Request::Collect => return self.collect(to),
            Request::Save { machine, state } => match running(&machine) {
                // Takes its time, in which others are answered.
                Some(running) => {
                    thread::spawn(move || to.send(saved(&running, &machine, &state)));
                    return;
                }
                None => self.unknown(&machine),
            },
            Request::Checkpoint { dir } => return self.checkpoint(&dir, to),
            Request::Add { machine } => self.added(machine),
            Request::Forward {
                from,
                address,
                port,
            } => match running(GATEWAY) {
                Some(gateway) => {
                    let sender = self.sender.clone();
                    thread::spawn(move || {
                        let outcome = forward(&gateway, from, address, port);
                        if outcome.is_ok() {
                            let _ = sender.send(Message::Forwarded(from, address, port));
                        }
                        to.send(reply(outcome))
                    });
                    return;
                }
                None => failed("the lab has no gateway".to_owned()),
            },
            Request::Inflict {
                machine,
                fault,
                lasting,
            } => return self.inflict(&machine, fault, lasting, to),
            Request::Clear { machine, like } => return self.clear(&machine, like.as_ref(), to),
            Request::Afflictions => Reply::Afflictions {
                afflictions: self.in_force.afflictions(),
            }
            .into(),
            Request::Machines => {
                let machines = self.definition.machines.iter();
                let mut names: Vec<String> = machines.map(|it| it.name.clone()).collect();
                names.sort();
                Reply::Machines { names }.into()
            }
            Request::PowerOn { machine } => self.powered_on(&machine),
            Request::Type { machine, command } => match running(&machine) {
                Some(running) => {
                    thread::spawn(move || to.send(typed(&running, &machine, &command)));
                    return;
                }
                None => self.unknown(&machine),
            },
            Request::Detach | Request::Down => unreachable!("both are the main loop's"),
        };
        let _ = to.send(answer);
    }
}

/// Answers one request on `stream`; a console goes on from there. `None` when either side is gone.
fn converse(mut stream: UnixStream, to: &Sender<Message>) -> Option<()> {
    let mut line = String::new();
    BufReader::new(stream.try_clone().ok()?)
        .read_line(&mut line)
        .ok()?;
    let mut goes_down = false;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            goes_down = request == Request::Down;
            let (sender, answer) = channel();
            to.send(Message::Asked(Box::new(request), sender)).ok()?;
            answer.recv().ok()?
        }
        Err(error) => Reply::Failed {
            reason: format!("no request: {error}"),
        }
        .into(),
    };
    let reply = match &answer {
        Answer::Reply(reply) => reply,
        Answer::Console(_) | Answer::Capture(_) => &Reply::Done,
    };
    writeln!(stream, "{}", serde_json::to_string(reply).ok()?).ok()?;
    if goes_down {
        // The end of this process closes the connection, and tells the other side that all is gone.
        loop {
            thread::park();
        }
    }
    match answer {
        Answer::Reply(_) => None,
        Answer::Console(console) => console.attach(stream).ok(),
        Answer::Capture(capture) => capture.write(stream).ok(),
    }
}

pub(super) fn failed(reason: String) -> Answer {
    Reply::Failed { reason }.into()
}
