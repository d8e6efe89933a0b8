//! How everything is written: as a value that can be run, and run again.
//!
//! A [`Write`] holds all it needs, so it lives on when the one who asked for it is gone: no transaction ever lives
//! in a future that a client's hang-up can drop. On SQLite the writer task (`sqlite_writer.rs`) puts several into
//! one flush; on MySQL (`mysql_writer.rs`) each is a transaction of its own, in a task of its own.

use std::future::Future;
use std::pin::Pin;

use sqlx::AnyConnection;
use tokio::sync::oneshot;

use super::StoreError;
use crate::sabotage::{self, Protection};

/// Which way a write takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Groups of events from the intake.
    Events,
    /// Everything else.
    Others,
}

/// Something to be written in one transaction.
pub(super) trait Write: Send + Sync + 'static {
    /// What the caller gets.
    type Output: Send + 'static;

    /// Runs the statements. May be called again after a rollback, so it changes nothing but the database.
    fn run(&self, conn: &mut AnyConnection) -> impl Future<Output = Result<Self::Output, StoreError>> + Send;

    /// Whether it changes the database with one statement, which is a transaction by itself: no `BEGIN` and no
    /// `COMMIT` then, which are round trips.
    fn is_one_statement(&self) -> bool {
        false
    }

    /// Called once, after the commit and before any other write runs on SQLite.
    fn committed(&self, _output: &Self::Output) {}
}

/// A write without its types, together with the one who waits for it.
pub(super) trait Job: Send {
    /// Runs the statements and keeps the output.
    fn run<'c>(
        &'c mut self,
        conn: &'c mut AnyConnection,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'c>>;

    /// As [`Write::is_one_statement`].
    fn is_one_statement(&self) -> bool;

    /// The transaction is on disk: hand out the output.
    fn committed(self: Box<Self>);

    /// The transaction is not, or not known to be, on disk.
    fn failed(self: Box<Self>, error: StoreError);

    /// Whether nobody waits any more and the protection that makes this harmless is switched off.
    fn abandoned(&self) -> bool;
}

/// The one implementation of [`Job`].
pub(super) struct Pending<W: Write> {
    work: W,
    output: Option<W::Output>,
    reply: oneshot::Sender<Result<W::Output, StoreError>>,
}

impl<W: Write> Pending<W> {
    /// The job, and where its answer will come.
    pub(super) fn new(work: W) -> (Box<Self>, oneshot::Receiver<Result<W::Output, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { work, output: None, reply }), answer)
    }
}

impl<W: Write> Job for Pending<W> {
    fn run<'c>(
        &'c mut self,
        conn: &'c mut AnyConnection,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'c>> {
        Box::pin(async move {
            self.output = Some(self.work.run(conn).await?);
            Ok(())
        })
    }

    fn is_one_statement(&self) -> bool {
        self.work.is_one_statement()
    }

    fn committed(self: Box<Self>) {
        let Self { work, output, reply } = *self;
        if let Some(output) = output {
            work.committed(&output);
            // Nobody may be waiting any more; what is written stays written.
            let _gone = reply.send(Ok(output));
        }
    }

    fn failed(self: Box<Self>, error: StoreError) {
        let _gone = self.reply.send(Err(error));
    }

    fn abandoned(&self) -> bool {
        sabotage::off(Protection::CancelProof) && self.reply.is_closed()
    }
}
