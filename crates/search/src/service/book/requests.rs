//! What is answered to whom.

use std::sync::Arc;

use serde_json::json;

use super::{Book, Entry, Loan, Outcome, Place, Stretch};
use crate::service::packed::Packed;
use crate::service::wire::{
    Ask, Asked, Caller, Hold, Range, Refusal, Reply, Request, Reservation, Submission,
};

/// A node with more loans than that takes them and does nothing with them.
const MAX_LOANS: usize = 16;
/// Requests for work that are older than that, in seconds, are not waited for any more.
const STALE: f64 = 10.0;

/// Why a request is refused.
type Answer = Result<Reply, (Refusal, String)>;

impl Book {
    /// Answers a request. What that changed is added to `entries`, and must be in the ledger before the answer is given.
    pub(crate) fn handle(&mut self, asked: &Asked, now: f64, entries: &mut Vec<Entry>) -> Reply {
        self.answer(asked, now, entries)
            .unwrap_or_else(|(refusal, reason)| Reply::No(refusal, reason))
    }

    fn answer(&mut self, asked: &Asked, now: f64, entries: &mut Vec<Entry>) -> Answer {
        let caller = &asked.caller;
        match &asked.request {
            Request::Ping => Ok(Reply::yes(&json!({}))),
            Request::Jobs => Ok(Reply::yes(&self.statuses(now))),
            Request::Status { job } => self.find(job).map(|job| Reply::yes(&self.status(job, now))),
            Request::Spec { job } => self
                .find(job)
                .map(|job| Reply::yes(&self.jobs[&job].request.spec)),
            Request::Snapshot { job } => self
                .find(job)
                .map(|job| Reply::yes(&self.snapshot(job, now))),
            Request::Lend(_) if now - asked.at > STALE => Ok(Reply::Nothing),
            Request::Lend(ask) => self.lend(ask, caller, now, entries),
            Request::Renew(hold) => self.renew(hold, caller, now),
            Request::Return(hold) => {
                let node = self.name(caller, &hold.node)?;
                self.heard(&node, now);
                if self.held_by(&node, hold.epoch) {
                    self.free(hold.epoch, now, entries);
                }
                // It leaves; should it not, it asks again.
                self.node(&node).heard = None;
                Ok(Reply::yes(&json!({})))
            }
            Request::Result(submission) => self.submit(submission, caller, now, entries),
            _ if *caller != Caller::Admin => Err((
                Refusal::Unauthorized,
                "this takes the administrator's token".to_owned(),
            )),
            Request::Begin { id, request } => {
                if let Ok(job) = self.find(id) {
                    return Ok(Reply::yes(&self.status(job, now)));
                }
                let number = self.jobs.last_key_value().map_or(1, |(last, _)| last + 1);
                let entry = Entry::Job {
                    number,
                    id: id.clone(),
                    request: request.clone(),
                    at: now,
                };
                self.apply(entry, now, entries);
                self.end_if_done(number, now, entries);
                let Reply::Yes(status) = Reply::yes(&self.status(number, now)) else {
                    return Ok(Reply::Nothing);
                };
                Ok(Reply::Made(status))
            }
            Request::Grant { name, hash } => {
                self.check_free(name)?;
                let (name, hash) = (name.clone(), hash.clone());
                self.apply(
                    Entry::Token {
                        name,
                        hash,
                        at: now,
                    },
                    now,
                    entries,
                );
                Ok(Reply::Made("{}".to_owned()))
            }
            Request::Revoke { name } => {
                if !self.tokens.values().any(|token| *token.name == **name) {
                    return Err((Refusal::Missing, format!("no token {name:?}")));
                }
                self.apply(Entry::Revoked { name: name.clone() }, now, entries);
                Ok(Reply::yes(&json!({})))
            }
            Request::Tokens => {
                let tokens = self.tokens.values();
                let tokens =
                    tokens.map(|token| json!({ "name": *token.name, "created": token.created }));
                Ok(Reply::yes(&json!(tokens.collect::<Vec<_>>())))
            }
            Request::Forgive { node } => {
                let Some((name, _)) = self.nodes.get_key_value(node.as_str()) else {
                    return Err((Refusal::Missing, format!("no node {node:?}")));
                };
                let node = Arc::clone(name);
                if self.is_doubted(&node) {
                    return Err((
                        Refusal::Conflict,
                        format!(
                            "what {node} alone has said is being computed again; ask when that is done"
                        ),
                    ));
                }
                self.apply(
                    Entry::Faulty {
                        node,
                        faulty: false,
                    },
                    now,
                    entries,
                );
                self.work += 1;
                Ok(Reply::yes(&json!({})))
            }
        }
    }

    fn find(&self, id: &str) -> Result<u32, (Refusal, String)> {
        let found = self.jobs.iter().find(|(_, job)| job.id == id);
        found
            .map(|(number, _)| *number)
            .ok_or_else(|| (Refusal::Missing, format!("no job {id:?}")))
    }

    /// What a node that calls itself `claimed` is called here.
    fn name(&self, caller: &Caller, claimed: &str) -> Result<Arc<str>, (Refusal, String)> {
        match caller {
            Caller::Nobody => Err((Refusal::Unauthorized, "this takes a token".to_owned())),
            Caller::Token(hash) => match self.tokens.get(hash) {
                Some(token) => Ok(Arc::clone(&token.name)),
                None => Err((Refusal::Unauthorized, "this token is not known".to_owned())),
            },
            Caller::Admin | Caller::Member => match self.nodes.get_key_value(claimed) {
                Some((_, node)) if node.outside => Err((
                    Refusal::Forbidden,
                    format!("the name {claimed:?} belongs to a node from outside"),
                )),
                Some((name, _)) => Ok(Arc::clone(name)),
                None => Ok(claimed.into()),
            },
        }
    }

    /// Whether a token can be made for that name. One that nobody has shown may have been lost with the answer, and is replaced.
    fn check_free(&self, name: &str) -> Result<(), (Refusal, String)> {
        let refused = |reason: String| Err((Refusal::Conflict, reason));
        let granted = || self.tokens.values().any(|token| *token.name == *name);
        match self.nodes.get(name) {
            Some(node) if !node.outside => refused(format!(
                "there is a node {name:?} in the cluster; give the new one another name"
            )),
            Some(node) if node.shown && granted() => refused(format!(
                "{name:?} has a token; revoke that first, or give the new node another name"
            )),
            _ => Ok(()),
        }
    }

    /// Whether there is something that only this node has said and that does not count.
    fn is_doubted(&self, node: &str) -> bool {
        let running = self.jobs.values().filter(|job| job.ended.is_none());
        let levels = running.flat_map(|job| &job.levels);
        let mut claims = levels.flat_map(|level| level.claims.values());
        claims.any(|claim| {
            claim.counted.is_none() && claim.votes.iter().all(|vote| *vote.node == *node)
        })
    }

    fn heard(&mut self, node: &Arc<str>, now: f64) {
        let node = self.node(node);
        node.heard = Some(now);
        node.shown = true;
    }

    fn held_by(&self, node: &str, epoch: u64) -> bool {
        self.loans
            .get(&epoch)
            .is_some_and(|held| *held.loan.node == *node)
    }

    fn lend(&mut self, ask: &Ask, caller: &Caller, now: f64, entries: &mut Vec<Entry>) -> Answer {
        let name = self.name(caller, &ask.node)?;
        self.heard(&name, now);
        let rules = self.rules;
        let node = self.node(&name).clone();
        if node.faulty {
            return Err((
                Refusal::Forbidden,
                format!(
                    "{name} computed wrongly, as others found; when it is mended, let the administrator forgive it"
                ),
            ));
        }
        if node.lent >= MAX_LOANS {
            return Ok(Reply::Nothing);
        }
        let crew = self.crew;
        let running = self.jobs.iter().filter(|(_, job)| job.ended.is_none());
        let found = running.into_iter().find_map(|(&number, job)| {
            // What comes from outside cannot confirm what does so, too.
            let check = job.check_for(&name, |seeds| node.can_check(seeds));
            let open = || {
                let portion = node.portion(&rules, job.open_seeds(), &crew);
                job.open_range(portion.min(job.request.reservation))
            };
            check
                .or_else(open)
                .map(|(level, stretch)| (number, level, stretch))
        });
        let Some((number, level, stretch)) = found else {
            return Ok(Reply::Nothing);
        };
        let place = Place {
            job: number,
            level,
            start: stretch.start,
        };
        let loan = Loan {
            epoch: self.next_epoch,
            place,
            stretch,
            node: name,
            at: now,
        };
        let reservation = Reservation {
            range: Range {
                job: self.jobs[&number].id.clone(),
                level,
                start: stretch.start,
                len: stretch.len,
                twins: stretch.twins,
            },
            epoch: loan.epoch,
            lease_seconds: rules.lease as u64,
            deadline: (now + rules.lease) as u64,
        };
        self.apply(Entry::Lent(loan), now, entries);
        Ok(Reply::yes(&reservation))
    }

    fn renew(&mut self, hold: &Hold, caller: &Caller, now: f64) -> Answer {
        let node = self.name(caller, &hold.node)?;
        self.heard(&node, now);
        let rules = self.rules;
        match self
            .loans
            .get_mut(&hold.epoch)
            .filter(|held| held.loan.node == node)
        {
            Some(held) => {
                held.deadline = (now + rules.lease).min(held.loan.at + rules.utmost());
                Ok(Reply::yes(&json!({ "deadline": held.deadline as u64 })))
            }
            None => Err((Refusal::Gone, "the loan is over".to_owned())),
        }
    }

    fn submit(
        &mut self,
        submission: &Submission,
        caller: &Caller,
        now: f64,
        entries: &mut Vec<Entry>,
    ) -> Answer {
        let name = self.name(caller, &submission.node)?;
        self.heard(&name, now);
        let taken = self.take(submission, &name, now, entries);
        if taken.is_err() {
            self.node(&name).rejected += 1;
        }
        taken
    }

    fn take(
        &mut self,
        submission: &Submission,
        name: &Arc<str>,
        now: f64,
        entries: &mut Vec<Entry>,
    ) -> Answer {
        let Range {
            job,
            level,
            start,
            len,
            twins,
        } = &submission.range;
        let number = self.find(job)?;
        let filtered = self.jobs[&number].request.spec.filter.is_some();
        let tally = &submission.tally;
        let finding = tally.finding_of(*start, *len, *twins, filtered);
        let packed = Packed::new(&finding.map_err(|problem| (Refusal::Bad, problem))?);
        let place = Place {
            job: number,
            level: *level,
            start: *start,
        };
        let stretch = Stretch {
            start: *start,
            len: *len,
            twins: *twins,
        };

        let Some(held) = self.loans.get(&submission.epoch) else {
            let claim = self.jobs[&place.job].claim(place.level, place.start);
            let before = claim
                .filter(|claim| claim.stretch == stretch)
                .and_then(|claim| claim.vote_of(name));
            return match before {
                Some(vote) if vote.packed == packed => {
                    Ok(Reply::yes(&json!({ "outcome": "repeated" })))
                }
                Some(_) => Err((
                    Refusal::Conflict,
                    "a different result for the same range came from this node before".to_owned(),
                )),
                None => Err((Refusal::Gone, "the loan is over".to_owned())),
            };
        };
        if (&held.loan.node, held.loan.place, held.loan.stretch) != (name, place, stretch) {
            return Err((
                Refusal::Conflict,
                format!("this is not what was lent as number {}", submission.epoch),
            ));
        }
        let elapsed = now - held.loan.at;
        let rules = self.rules;
        let node = self.node(name);
        node.measure(stretch.seeds(), submission.seconds, elapsed);
        let result = Outcome {
            epoch: submission.epoch,
            place,
            stretch,
            node: Arc::clone(name),
            // It cannot have begun before it was lent.
            seconds: submission.seconds.min(elapsed.max(0.0)),
            at: now,
            chosen: node.is_chosen(&rules, submission.epoch),
            packed,
        };
        self.apply(Entry::Result(result), now, entries);
        self.settle(vec![place], entries, now);
        self.end_if_done(place.job, now, entries);
        Ok(Reply::yes(&json!({ "outcome": "taken" })))
    }
}
