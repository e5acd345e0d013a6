//! Web and worker in one process.

use anyhow::{Result, bail};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{BATCH, Bus, Outbox, Queue, Ticket, WAIT};
use crate::service::wire::{Asked, Reply};

/// The end of a channel.
pub(crate) struct Here {
    requests: Outbox,
    wake: watch::Sender<u64>,
    runtime: Runtime,
}

/// Both ends.
pub(crate) fn connect() -> Result<(Bus, Here)> {
    let (bus, requests, wake) = Bus::new();
    let runtime = Builder::new_current_thread().enable_time().build()?;
    Ok((
        bus,
        Here {
            requests,
            wake,
            runtime,
        },
    ))
}

impl Queue for Here {
    fn receive(&mut self) -> Result<Vec<(Ticket, Asked)>> {
        let mut batch = Vec::new();
        let receive = async { timeout(WAIT, self.requests.recv_many(&mut batch, BATCH)).await };
        if self.runtime.block_on(receive) == Ok(0) {
            bail!("web has ended");
        }
        Ok(batch
            .into_iter()
            .map(|(asked, to)| (Ticket::Here(to), asked))
            .collect())
    }

    fn answer(&mut self, answers: Vec<(Ticket, Reply)>, wake: bool) -> Result<()> {
        for (ticket, reply) in answers {
            if let Ticket::Here(to) = ticket {
                // Whoever does not wait any more does not want to know.
                let _ = to.send(reply);
            }
        }
        if wake {
            self.wake.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}
