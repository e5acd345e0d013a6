//! Who asks, and how often they may.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::App;
use super::answer::Refusal;
use crate::service::crowd::{Crowd, household};
use crate::service::token::{self, Token};
use crate::service::wire::Caller;

/// Whom to believe what.
pub(crate) struct Gate {
    /// Hashes of the tokens. Without an administrator's token, everybody may do everything.
    admin: Option<String>,
    member: Option<String>,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

/// Requests that may come at once, and how fast they grow again.
#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

const BURST: f64 = 100.0;
const PER_SECOND: f64 = 20.0;
/// Connections that one address may have, whoever asks over them: many miners behind one router.
const MOST_CONNECTIONS: usize = 256;
/// More than that many at a time are not remembered: the fullest are forgotten.
const MAX_BUCKETS: usize = 10_000;

impl Gate {
    pub(crate) fn new(admin: Option<&Token>, member: Option<&Token>) -> Self {
        Gate {
            admin: admin.map(Token::hash),
            member: member.map(Token::hash),
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Who shows this token. Hashes are compared, so that the time it takes tells nothing about the tokens.
    fn caller(&self, shown: Option<&str>) -> Caller {
        let Some(admin) = &self.admin else {
            return Caller::Admin;
        };
        let Some(shown) = shown else {
            return Caller::Nobody;
        };
        let hash = token::hash(shown);
        if hash == *admin {
            Caller::Admin
        } else if self.member.as_ref() == Some(&hash) {
            Caller::Member
        } else {
            Caller::Token(hash)
        }
    }

    /// At most so many connections of one address, where there are strangers.
    pub(super) fn connections(&self) -> Option<Arc<Crowd>> {
        self.admin.as_ref().map(|_| Crowd::new(MOST_CONNECTIONS))
    }

    /// Counts a request of somebody from outside. False if there were too many.
    ///
    /// Tokens do not count: which of them are good only worker knows, and anybody can make up one for each request.
    fn admit(&self, caller: &Caller, from: IpAddr, now: Instant) -> bool {
        if !is_outside(caller) {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, bucket| bucket.filled(now) < BURST);
        }
        let bucket = buckets.entry(household(from)).or_insert(Bucket {
            left: BURST,
            at: now,
        });
        bucket.left = bucket.filled(now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

impl Bucket {
    fn filled(self, now: Instant) -> f64 {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left + grown).min(BURST)
    }
}

/// Somebody from outside, and from where.
#[derive(Clone, Copy)]
pub(crate) struct Outsider(pub(crate) IpAddr);

/// Lets nobody from outside ask too often, whatever is asked.
pub(super) async fn admitted(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    // Whoever asks this asks on behalf of web, and must not find it ill because others ask much.
    if request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    let caller = app.gate.caller(shown(request.headers()));
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = from.map_or(IpAddr::from([0, 0, 0, 0]), |from| from.0.ip());
    if !app.gate.admit(&caller, from, Instant::now()) {
        return Refusal(
            StatusCode::TOO_MANY_REQUESTS,
            format!("no more than {PER_SECOND} requests a second, please"),
        )
        .into_response();
    }
    if is_outside(&caller) {
        request.extensions_mut().insert(Outsider(from));
    }
    next.run(request).await
}

/// The token that a request brings.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    value.to_str().ok()?.strip_prefix("Bearer ")
}

fn is_outside(caller: &Caller) -> bool {
    !matches!(caller, Caller::Admin | Caller::Member)
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(app.gate.caller(shown(&parts.headers)))
    }
}

/// Whoever shows a token, be it good or not. Others are refused before the body is read.
pub(super) struct Known(pub(super) Caller);

impl FromRequestParts<Arc<App>> for Known {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        match app.gate.caller(shown(&parts.headers)) {
            Caller::Nobody => Err(Refusal(
                StatusCode::UNAUTHORIZED,
                "this takes a token".to_owned(),
            )),
            caller => Ok(Known(caller)),
        }
    }
}

/// The administrator. Everybody else is refused before the body is read.
pub(super) struct Administrator;

impl FromRequestParts<Arc<App>> for Administrator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        match app.gate.caller(shown(&parts.headers)) {
            Caller::Admin => Ok(Administrator),
            _ => Err(Refusal(
                StatusCode::UNAUTHORIZED,
                "this takes the administrator's token".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn callers_are_told_by_their_token() {
        let (admin, member, other) = (
            Token::new().unwrap(),
            Token::new().unwrap(),
            Token::new().unwrap(),
        );
        let gate = Gate::new(Some(&admin), Some(&member));
        assert_eq!(gate.caller(Some(admin.reveal())), Caller::Admin);
        assert_eq!(gate.caller(Some(member.reveal())), Caller::Member);
        assert_eq!(
            gate.caller(Some(other.reveal())),
            Caller::Token(other.hash())
        );
        // The hash that is kept is no token.
        assert_eq!(
            gate.caller(Some(&admin.hash())),
            Caller::Token(token::hash(&admin.hash()))
        );
        assert_eq!(gate.caller(None), Caller::Nobody);
        assert_eq!(Gate::new(None, None).caller(None), Caller::Admin);
    }

    #[test]
    fn those_from_outside_are_held_back() {
        let gate = Gate::new(None, None);
        let now = Instant::now();
        let from = |address: &str| address.parse::<IpAddr>().unwrap();
        let admitted = |caller: &Caller, address, now| {
            let asks = 0..1000;
            asks.filter(|_| gate.admit(caller, from(address), now))
                .count()
        };
        let token = |number: usize| Caller::Token(number.to_string());
        assert_eq!(admitted(&Caller::Nobody, "192.0.2.1", now), 100);
        assert_eq!(admitted(&Caller::Nobody, "192.0.2.2", now), 100);
        // Neither another token helps nor another address of the same household.
        let made_up = |number| gate.admit(&token(number), from("192.0.2.3"), now);
        assert_eq!((0..1000).filter(|&number| made_up(number)).count(), 100);
        assert_eq!(admitted(&token(1), "::ffff:192.0.2.3", now), 0);
        assert_eq!(admitted(&token(1), "2001:db8::1", now), 100);
        assert_eq!(admitted(&token(1), "2001:db8::2", now), 0);
        assert_eq!(admitted(&token(1), "2001:db8:0:1::1", now), 100);
        assert_eq!(admitted(&Caller::Member, "192.0.2.1", now), 1000);
        let later = now + Duration::from_secs(2);
        assert_eq!(admitted(&Caller::Nobody, "192.0.2.1", later), 40);
    }
}
