//! Speaking HTTP with web: for miners and for `submit`.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::RequestBuilder;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::names;
use super::token::Token;
use super::wire::ApiError;

/// Longer than any answer takes, long polls included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A server and the way to it.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<Token>,
}

/// An answer that is one.
pub(crate) enum Answer<T> {
    /// What was asked for.
    Yes(T),
    /// Nothing there (204).
    Nothing,
    /// The server will not, and asking again is no use (4xx).
    Refused(u16, String),
}

impl Client {
    /// `base` is as `http://web:3000`; the token says who asks.
    pub(crate) fn new(base: &str, token: Option<Token>) -> Self {
        let config = Config::builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), Names);
        Client {
            agent,
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>> {
        let url = self.url(path);
        answer(self.with_token(self.agent.get(&url)).call()).with_context(|| url)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>> {
        let url = self.url(path);
        answer(self.with_token(self.agent.post(&url)).send_json(body)).with_context(|| url)
    }

    /// Whether the base itself answers with success.
    pub(crate) fn check(&self) -> Result<()> {
        let status = self
            .agent
            .get(&self.base)
            .call()
            .with_context(|| self.base.clone())?
            .status();
        anyhow::ensure!(status.is_success(), "{}: {status}", self.base);
        Ok(())
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>> {
        let url = self.url(path);
        answer(self.with_token(self.agent.delete(&url)).call()).with_context(|| url)
    }

    fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {}", token.reveal())),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// Errors are those that may pass: no connection, a server that is not ready.
fn answer<T: DeserializeOwned>(
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer<T>> {
    let mut response = response?;
    let status = response.status().as_u16();
    match status {
        204 => Ok(Answer::Nothing),
        200..300 => Ok(Answer::Yes(response.body_mut().read_json()?)),
        _ => {
            let error = response.body_mut().read_json::<ApiError>();
            let message = error.map_or_else(|_| format!("status {status}"), |body| body.error);
            // Too slow, or too often: that passes.
            if (400..500).contains(&status) && ![408, 429].contains(&status) {
                Ok(Answer::Refused(status, message))
            } else {
                Err(anyhow!(message))
            }
        }
    }
}

/// Names looked up by [`names`].
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let mut found = self.empty();
        // The type holds 16.
        for address in names::resolve_blocking(host, uri.port_u16().unwrap_or(80))?
            .into_iter()
            .take(16)
        {
            found.push(address);
        }
        Ok(found)
    }
}
