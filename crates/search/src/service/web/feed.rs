//! What the page is told of jobs.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;

use crate::service::explainer::Explainer;
use crate::service::page::feed::Source;
use crate::service::queue::Bus;
use crate::service::snapshot::Snapshot;
use crate::service::wire::{Caller, JobStatus, Refusal, Reply, Request};

/// What anybody may know.
#[derive(Clone)]
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

/// Computes seeds of the jobs that there are.
pub(super) fn explainer(told: Told) -> Arc<Explainer> {
    Explainer::new(Arc::new(move |job| {
        let told = told.clone();
        Box::pin(async move { told.ask(Request::Spec { job }).await })
    }))
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
}
