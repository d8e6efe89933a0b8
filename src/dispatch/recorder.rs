//! Results of attempts, written in groups: what is waiting goes into one transaction.
//!
//! A result is not given up while the database is away. If the process ends first, the started mark of the delivery
//! tells the next owner that its outcome is unknown.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::store::{DeliveryResult, Fence, Store, StoreError};

/// Most results in one transaction.
const GROUP_MAX: usize = 128;

/// Results that may wait to be written; more make their senders wait.
const WAITING_MAX: usize = 1_024;

/// Between two tries to reach the database.
const RETRY: Duration = Duration::from_millis(250);

struct Job {
    result: DeliveryResult,
    fence: Fence,
    written: oneshot::Sender<bool>,
}

/// Hands results to the writing task. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Recorder(mpsc::Sender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("delivery", &self.result.id).finish_non_exhaustive()
    }
}

impl Recorder {
    /// The handle, and the task to run. Once `closed` is cancelled it takes nothing more and waits for no database.
    pub(super) fn new(
        store: Store,
        closed: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        (Self(jobs), write_all(store, waiting, closed))
    }

    /// Waits until the result is written. `false`: it was not, because the delivery has moved on.
    pub(super) async fn record(&self, result: DeliveryResult, fence: Fence) -> bool {
        let (written, answer) = oneshot::channel();
        if self.0.send(Job { result, fence, written }).await.is_err() {
            return false;
        }
        answer.await.unwrap_or(false)
    }
}

async fn write_all(store: Store, mut waiting: mpsc::Receiver<Job>, closed: CancellationToken) {
    loop {
        let mut jobs = Vec::new();
        tokio::select! {
            biased;
            taken = waiting.recv_many(&mut jobs, GROUP_MAX) => if taken == 0 { return },
            () = closed.cancelled() => return,
        }
        while !jobs.is_empty() {
            let Some(fence) = jobs.first().map(|job| job.fence) else { break };
            let (group, others): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.fence == fence);
            write_group(&Writing { store: &store, closed: &closed, fence }, group).await;
            jobs = others;
        }
    }
}

/// With what a group is written.
struct Writing<'a> {
    store: &'a Store,
    closed: &'a CancellationToken,
    fence: Fence,
}

async fn write_group(writing: &Writing<'_>, group: Vec<Job>) {
    let (results, answers): (Vec<DeliveryResult>, Vec<oneshot::Sender<bool>>) =
        group.into_iter().map(|job| (job.result, job.written)).unzip();
    let written = match writing.write(&results).await {
        Ok(written) => written,
        Err(_of_one) => writing.write_each(&results).await,
    };
    for (answer, written) in answers.into_iter().zip(written) {
        // The sender may be gone; the result is written all the same.
        let _gone = answer.send(written);
    }
}

impl Writing<'_> {
    /// One of them cannot be written: the others must not suffer.
    async fn write_each(&self, results: &[DeliveryResult]) -> Vec<bool> {
        let mut written = Vec::with_capacity(results.len());
        for result in results {
            written.push(match self.write(std::slice::from_ref(result)).await {
                Ok(one) => one.first().copied().unwrap_or(false),
                Err(error) => {
                    tracing::error!(delivery.id = %result.id, %error, "the result of a delivery cannot be written");
                    false
                }
            });
        }
        written
    }

    /// Writes once the database answers; any other error is final.
    async fn write(&self, results: &[DeliveryResult]) -> Result<Vec<bool>, StoreError> {
        let mut said = false;
        loop {
            match self.store.record_results(results, &self.fence).await {
                Err(error @ (StoreError::Busy | StoreError::Unavailable(_)))
                    if !self.closed.is_cancelled() =>
                {
                    if !said {
                        tracing::warn!(%error, results = results.len(), "results of deliveries wait for the database");
                        said = true;
                    }
                    tokio::time::sleep(RETRY).await;
                }
                other => return other,
            }
        }
    }
}
