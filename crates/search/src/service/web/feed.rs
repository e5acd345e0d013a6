//! What the page is told of jobs.

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;

use crate::service::page::feed::Source;
use crate::service::queue::Bus;
use crate::service::snapshot::Snapshot;
use crate::service::wire::{Caller, JobStatus, Refusal, Reply, Request};
use crate::spec::Spec;

/// What anybody may know.
pub(super) struct Told(pub(super) Bus);

impl Told {
    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<Option<T>> {
        let reply = self.0.ask(Caller::Nobody, request).await;
        match reply.context("the worker does not answer")? {
            Reply::Yes(json) | Reply::Made(json) => Ok(Some(serde_json::from_str(&json)?)),
            Reply::Nothing | Reply::No(Refusal::Missing, _) => Ok(None),
            Reply::No(_, reason) => anyhow::bail!(reason),
        }
    }
}

impl Source for Told {
    async fn jobs(&self) -> Result<Vec<String>> {
        let jobs: Option<Vec<JobStatus>> = self.ask(Request::Jobs).await?;
        Ok(jobs.into_iter().flatten().map(|job| job.id).collect())
    }

    async fn snapshot(&self, job: &str) -> Result<Option<Snapshot>> {
        self.ask(Request::Snapshot {
            job: job.to_owned(),
        })
        .await
    }

    async fn spec(&self, job: &str) -> Result<Option<Spec>> {
        self.ask(Request::Spec {
            job: job.to_owned(),
        })
        .await
    }
}
